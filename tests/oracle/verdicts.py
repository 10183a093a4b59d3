"""A second version of docs/zones.md, written from that page alone and as plainly as possible.

It judges the whole track at once, and imports nothing of `services.geofencing`. `judge` also sets
`slack`, the nearest decision's distance to a tie. At a tie, two right programs may decide in two
ways, because one of them rounded the other way. Such a track is no useful test.
"""

from datetime import datetime
from math import cos, radians, sqrt

from tests.oracle.geometry import RADIUS_M, around, depth_m, distance_m, haversine_m
from tests.oracle.hours import covers
from tests.oracle.words import Change, Fix, Gathered, Needed, Presence, Row, Rules, Zone


def seconds(earlier: datetime, later: datetime) -> float:
    return (later - earlier).total_seconds()


class Oracle:
    """One guard's track, from its first fix."""

    def __init__(self, zones: list[Zone], rules: Rules, guard_id: str, groups: frozenset[int]) -> None:
        self.zones, self.rules = zones, rules
        self.guard_id, self.groups = guard_id, groups
        self.slack = float("inf")
        self.depths = {id(zone): depth_m(zone.shape) for zone in zones}
        self.last: Fix | None = None
        self.suspects: list[Fix] = []
        self.memory: list[Fix] = []
        self.presences: dict[int, Presence] = {}
        self.without = False
        self.required = Gathered()
        self.contributors: dict[int | None, Zone | None] = {}
        self.row = Row(None, False, False, None)

    def judge(self, fixes: list[Fix]) -> list[Row]:
        unique = {fix.key: fix for fix in fixes}
        return [self.step(fix) for fix in sorted(unique.values(), key=lambda f: (f.recorded_at, f.key))]

    def step(self, fix: Fix) -> Row:
        before = self.last
        reason, relocated = self.plausible(fix)
        if reason is not None:
            self.row = Row(reason, self.row.in_geofence, self.row.violation, None)
        else:
            self.row = self.verdict(fix, None if relocated else before)
        return self.row

    # 1. Plausible?

    def plausible(self, fix: Fix) -> tuple[str | None, bool]:
        if fix.lat == 0 and fix.lon == 0:
            return "no_fix", False
        if fix.mock:
            return "mock", False
        relocated = False
        if self.memory and self.jumps(fix):
            if self.suspects and self.together(self.suspects[-1], fix):
                self.suspects.append(fix)
            else:
                self.suspects = [fix]
            enough = len(self.suspects) >= self.rules.relocate_fixes
            if not enough or seconds(self.suspects[0].recorded_at, fix.recorded_at) < self.rules.relocate_s:
                return "teleport", False
            self.memory, relocated = [], True
        self.last, self.suspects = fix, []
        return None, relocated

    def jumps(self, fix: Fix) -> bool:
        r = self.memory[-1]
        t = seconds((self.suspects or [r])[-1].recorded_at, fix.recorded_at)
        way = self.way(r, fix)
        if not self.at_most(way, self.rules.max_speed_mps * max(t, 1)):
            return True
        if len(self.memory) < 2 or t > 60:
            return False
        q = self.memory[-2]
        pace = haversine_m(q.lat, q.lon, r.lat, r.lon) / max(seconds(q.recorded_at, r.recorded_at), 1)
        jump = self.rules.max_jump_m
        return not self.at_most(way, jump) and not self.at_most(way, pace * max(t, 1) + jump)

    def together(self, suspect: Fix, fix: Fix) -> bool:
        t = seconds(suspect.recorded_at, fix.recorded_at)
        return self.at_most(self.way(suspect, fix), self.rules.max_speed_mps * max(t, 1))

    def way(self, start: Fix, fix: Fix) -> float:
        return haversine_m(start.lat, start.lon, fix.lat, fix.lon) - self.own(start) - self.own(fix)

    def own(self, fix: Fix) -> float:
        unknown = fix.accuracy is None or fix.accuracy < 0
        claimed = self.rules.accuracy_default_m if unknown else fix.accuracy
        return max(claimed, self.rules.accuracy_floor_m)

    # 2. Error radius.

    def error_radius(self, fix: Fix) -> float:
        self.memory = [*self.memory, fix][-self.rules.scatter_fixes :]
        window = self.rules.scatter_window_s
        self.memory = [f for f in self.memory if seconds(f.recorded_at, fix.recorded_at) <= window]
        times = [seconds(fix.recorded_at, f.recorded_at) for f in self.memory]
        if len(times) < 4 or len(set(times)) < 2:
            return self.own(fix)
        x = [RADIUS_M * radians(around(f.lon - fix.lon)) * cos(radians(fix.lat)) for f in self.memory]
        y = [RADIUS_M * radians(f.lat - fix.lat) for f in self.memory]
        squares = residuals(times, x) + residuals(times, y)
        return max(self.own(fix), 1.07 * sqrt(squares / (len(times) - 2)))

    # 3. to 5. One fix that is believed.

    def verdict(self, fix: Fix, before: Fix | None) -> Row:
        moment = min(fix.recorded_at, fix.received_at)
        error = self.error_radius(fix)
        applying = {z.zone_id: z for z in self.zones if self.applies(z, moment)}
        forced = {
            n: z for n, z in applying.items() if z.schedule is None or covers(z.schedule, moment, z.time_zone)
        }
        distances = {n: distance_m(z.shape, fix.lat, fix.lon) for n, z in applying.items()}
        changes, began = [], {}
        slowed = []
        for zone_id in sorted({*applying, *self.presences}):
            if zone_id not in applying:
                gone = self.presences.pop(zone_id)
                if gone.inside:
                    changes.append(self.change("exited", gone.zone, fix, fix))
                if gone.speeding:
                    slowed.append(self.change("speeding_ended", gone.zone, fix, fix))
                continue
            presence = self.presences.setdefault(zone_id, Presence(applying[zone_id]))
            presence.zone = applying[zone_id]
            first = self.cross(presence, fix, distances[zone_id], error)
            if first is not None:
                began[zone_id] = first
                changes.append(
                    self.change("entered" if presence.inside else "exited", presence.zone, first, fix)
                )
        changes += self.violation(fix, error, forced, distances, began)
        for zone_id in applying:
            slowed += self.pace(self.presences[zone_id], fix, before, zone_id in forced)
        changes += sorted(slowed, key=lambda c: c.zone_id or 0)
        within = any(self.presences[n].inside or self.at_most(distances[n], 0) for n in forced)
        return Row(None, within, bool(self.contributors), error, tuple(changes))

    def applies(self, zone: Zone, moment: datetime) -> bool:
        holds = zone.holds_from is None or zone.holds_from <= moment
        holds = holds and (zone.holds_to is None or moment < zone.holds_to)
        everybody = zone.group_id is None and zone.guard_id is None
        chosen = zone.group_id in self.groups or zone.guard_id == self.guard_id
        return holds and zone.enabled and (everybody or chosen)

    def change(self, kind: str, zone: Zone | None, first: Fix, fix: Fix) -> Change:
        zone_id, version = (zone.zone_id, zone.version) if zone else (None, None)
        return Change(kind, zone_id, version, first.recorded_at, fix.recorded_at)

    def cross(self, presence: Presence, fix: Fix, d: float, error: float) -> Fix | None:
        """Return the first evidence when the belief about this zone changes at this fix."""
        zone = presence.zone
        alarming = presence.inside == (zone.kind == "required")
        radius = error if zone.kind == "required" else min(error, self.depths[id(zone)] / 2)
        outwards = d if presence.inside else -d
        needed = zone.exit if presence.inside else zone.enter
        first = self.gather(presence.evidence, fix, outwards, radius, needed, alarming)
        if first is not None:
            presence.inside = not presence.inside
        return first

    def gather(
        self, gathered: Gathered, fix: Fix, towards: float, radius: float, needed: Needed, alarming: bool
    ) -> Fix | None:
        """Gather the evidence of a fix, and return the first evidence when the change is confirmed.

        `towards` is the distance over the edge, to the side that is not yet believed.
        """
        evident, contrary = (radius, 0.0) if alarming else (0.0, -radius)
        if self.at_least(towards, evident):
            gathered.add(fix, min(abs(towards) / radius, self.rules.margin_cap_radii) ** 2)
            return self.confirmed(gathered, needed, alarming)
        if self.at_most(towards, contrary):
            gathered.drop()
        return None

    def confirmed(self, gathered: Gathered, needed: Needed, weighed: bool) -> Fix | None:
        first, count = gathered.fixes[0], len(gathered.fixes)
        lasted = seconds(first.recorded_at, gathered.fixes[-1].recorded_at)
        enough = count >= needed.fixes
        if enough and weighed:
            enough = self.heavy(gathered.weights, self.rules.confirm_weight * needed.fixes)
        if lasted < needed.hold_s or not (enough or (count >= 2 and lasted >= needed.seconds)):
            return None
        gathered.drop()
        return first

    # 4. Violation.

    def violation(
        self,
        fix: Fix,
        error: float,
        forced: dict[int, Zone],
        distances: dict[int, float],
        began: dict[int, Fix],
    ) -> list[Change]:
        causes: dict[int | None, Fix] = {}
        for zone_id, evidence in began.items():
            causes[zone_id] = evidence
        lending, first = self.require(fix, error, forced, distances)
        if first is not None:
            causes[None] = first
        now: dict[int | None, Zone | None] = {None: lending} if self.without else {}
        for zone_id, held in forced.items():
            if held.kind == "forbidden" and self.presences[zone_id].inside:
                now[zone_id] = held
        was, self.contributors = self.contributors, now
        if bool(was) == bool(now):
            return []
        cause = min(now or was, key=lambda n: -1 if n is None else n)
        named = lending
        if cause is not None:
            named = self.presences[cause].zone if cause in self.presences else was[cause]
        kind = "violation_began" if now else "violation_ended"
        return [self.change(kind, named, causes.get(cause, fix), fix)]

    def require(
        self, fix: Fix, error: float, forced: dict[int, Zone], distances: dict[int, float]
    ) -> tuple[Zone | None, Fix | None]:
        """Return the zone whose numbers changed the belief at this fix, and the first evidence."""
        required = [n for n, zone in forced.items() if zone.kind == "required"]
        if not required:
            self.without = False
            self.required.drop()
            return None, None
        nearest = min(required, key=lambda n: (distances[n], n))
        least = distances[nearest]
        alarming = not self.without
        if not self.required.fixes:
            near = self.below(least, self.rules.margin_cap_radii * error)
            self.required.by = forced[nearest] if near else None
            if near:
                self.contest(nearest, forced, distances)
        by = self.required.by
        needed = Needed(self.rules.confirm_fixes, self.rules.confirm_s)
        if by is not None:
            needed = by.exit if alarming else by.enter
        first = self.gather(self.required, fix, least if alarming else -least, error, needed, alarming)
        if first is None:
            return None, None
        self.without = alarming
        return by, first

    # 5. Speeding.

    def pace(self, presence: Presence, fix: Fix, before: Fix | None, forced: bool) -> list[Change]:
        zone = presence.zone
        if not (forced and presence.inside and zone.kind == "speed"):
            ended, presence.speeding = presence.speeding, False
            presence.pace.drop()
            return [self.change("speeding_ended", zone, fix, fix)] if ended else []
        assert zone.limit_mps is not None
        v = self.speed_mps(fix, before)
        if v is None:
            return []
        if v != fix.speed:
            self.note(v - zone.limit_mps)
        if (v > zone.limit_mps) == presence.speeding:
            presence.pace.drop()
            return []
        presence.pace.add(fix, 0.0)
        first = self.confirmed(presence.pace, zone.exit if presence.speeding else zone.enter, weighed=False)
        if first is None:
            return []
        presence.speeding = not presence.speeding
        kind = "speeding_began" if presence.speeding else "speeding_ended"
        return [self.change(kind, zone, first, fix)]

    def speed_mps(self, fix: Fix, before: Fix | None) -> float | None:
        if fix.speed is not None and not self.doubted(fix.speed, fix, before):
            return fix.speed
        if before is None or fix.recorded_at == before.recorded_at:
            return None
        way = haversine_m(before.lat, before.lon, fix.lat, fix.lon) - self.own(before) - self.own(fix)
        return max(way, 0.0) / seconds(before.recorded_at, fix.recorded_at)

    def doubted(self, claimed: float, fix: Fix, before: Fix | None) -> bool:
        if claimed > self.rules.max_speed_mps:
            return True
        if before is None:
            return False
        t = seconds(before.recorded_at, fix.recorded_at)
        if t > 60:
            return False
        most = haversine_m(before.lat, before.lon, fix.lat, fix.lon) + self.own(before) + self.own(fix)
        return not self.at_most(claimed * t, 2 * most)

    # How near to a tie.

    def note(self, difference: float) -> None:
        self.slack = min(self.slack, abs(difference))

    def at_most(self, value: float, bound: float) -> bool:
        self.note(value - bound)
        return value <= bound

    def at_least(self, value: float, bound: float) -> bool:
        self.note(value - bound)
        return value >= bound

    def below(self, value: float, bound: float) -> bool:
        self.note(value - bound)
        return value < bound

    def heavy(self, weights: list[float], bound: float) -> bool:
        total = sum(weights)
        # Weights at the cap are the settings' values, and add up the same anywhere.
        if any(weight != self.rules.margin_cap_radii**2 for weight in weights):
            self.note(total - bound)
        return total >= bound

    def contest(self, nearest: int, forced: dict[int, Zone], distances: dict[int, float]) -> None:
        """Note how near another zone comes to the nearest one.

        A zone of the same shape is exactly as near for every program, and does not count.
        """
        for n, zone in forced.items():
            if zone.kind == "required" and zone.shape != forced[nearest].shape:
                self.note(distances[n] - distances[nearest])


def residuals(times: list[float], values: list[float]) -> float:
    """Return the sum of the squared residuals of a straight line through time.

    The line is fitted by least squares.
    """
    n = len(times)
    middle, mean = sum(times) / n, sum(values) / n
    spread = sum((t - middle) ** 2 for t in times)
    slope = sum((t - middle) * (v - mean) for t, v in zip(times, values, strict=True)) / spread
    return sum((v - mean - slope * (t - middle)) ** 2 for t, v in zip(times, values, strict=True))
