"""Places, zones with their versions, and guards who walk in and out of them, all from one seed.

Coordinates are random and continuous, so that only a rare accident makes a decision depend on
rounding (`Oracle.slack`).
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import cos, pi, radians, sin
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from tests.oracle.geometry import Shape, around
from tests.oracle.words import Fix, Needed, Rules, Zone

DEFAULTS = Rules(
    accuracy_default_m=25,
    accuracy_floor_m=5,
    scatter_fixes=8,
    scatter_window_s=120,
    max_speed_mps=70,
    max_jump_m=200,
    relocate_fixes=3,
    relocate_s=30,
    confirm_fixes=2,
    confirm_s=60,
    confirm_weight=8,
    margin_cap_radii=4,
)
METRES_A_DEGREE = 111_195.08
# The moments at which clocks change, and at which a new date begins.
NIGHTS = (
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2026, 6, 1, 18, 15, tzinfo=UTC)),
    ("UTC", datetime(2026, 12, 31, 23, 55, tzinfo=UTC)),
)
GROUPS = (1, 2, 3)
Point = tuple[float, float]


@dataclass(frozen=True)
class Guard:
    guard_id: str
    groups: frozenset[int]
    fixes: tuple[Fix, ...]
    """The fixes in the order in which the device made them."""


@dataclass(frozen=True)
class World:
    zones: list[Zone]
    rules: Rules
    lat: float
    lon: float
    begins: datetime
    targets: list[Point]
    """Metres east and north of the middle, of places that guards walk to."""


def world(random: Random, *, begins: datetime | None = None, rules: Rules | None = None) -> World:
    """Return a world in a night when clocks change, under random rules.

    `begins` and `rules` replace the random choice.
    """
    lat, lon = _place(random)
    time_zone, night = random.choice(NIGHTS)
    begins = begins or night + timedelta(seconds=random.uniform(-1800, 600))
    place = World([], rules or _rules(random), lat, lon, begins, [(0.0, 0.0)])
    shapes: list[Shape] = []
    for zone_id in random.sample(range(1, 90), random.choice((0, 2, 3, 4, 5, 7))):
        far = random.random() < 0.12
        reach = random.choice((3_000, 60_000)) if far else 250
        middle = (random.uniform(-reach, reach), random.uniform(-reach, reach))
        if shapes and random.random() < 0.15:
            shape = random.choice(shapes)
        else:
            shape, size = _shape(random, lat, lon, middle)
            if abs(middle[0]) + abs(middle[1]) < 2_000:
                place.targets.extend(
                    (middle, middle, (middle[0] + size, middle[1]), (middle[0], middle[1] - 1.2 * size))
                )
        shapes.append(shape)
        place.zones.extend(_versions(random, place, zone_id, shape, middle, time_zone))
    return place


def guard(random: Random, place: World, guard_id: str, length: int | None = None) -> Guard:
    groups = frozenset(g for g in GROUPS if random.random() < 0.4)
    return Guard(guard_id, groups, tuple(_walk(random, place, length or _length(random))))


# Where and how strict.


def _place(random: Random) -> Point:
    """Return latitude and longitude of the middle."""
    lon = random.uniform(-180, 180)
    if random.random() < 0.3:
        lon = around(180 + random.uniform(-0.004, 0.004))
    kind = random.random()
    if kind < 0.6:
        return random.uniform(-55, 62), lon
    if kind < 0.8:
        return random.choice((-1, 1)) * random.uniform(66, 89.7), lon
    return random.uniform(-0.002, 0.002), lon


def _rules(random: Random) -> Rules:
    if random.random() < 0.6:
        return DEFAULTS
    return Rules(
        accuracy_default_m=random.choice((4, 25, 40)),
        accuracy_floor_m=random.choice((3, 5, 8)),
        scatter_fixes=random.choice((4, 6, 12)),
        scatter_window_s=random.choice((45, 120, 600)),
        max_speed_mps=random.choice((12, 70, 90)),
        max_jump_m=random.choice((20, 200, 1_000)),
        relocate_fixes=random.choice((1, 2, 3)),
        relocate_s=random.choice((0, 30)),
        confirm_fixes=random.choice((1, 2, 3)),
        confirm_s=random.choice((20, 60)),
        confirm_weight=random.choice((0, 2, 8)),
        margin_cap_radii=random.choice((2, 4, 6)),
    )


def _needed(random: Random, rules: Rules) -> Needed:
    if random.random() < 0.5:
        return Needed(rules.confirm_fixes, rules.confirm_s)
    return Needed(random.choice((1, 2, 3, 4)), random.choice((5, 20, 60)), random.choice((0, 0, 15, 60)))


# Shapes.


def _at(lat: float, lon: float, east: float, north: float) -> Point:
    """Return longitude and latitude of a place in metres."""
    degrees = east / METRES_A_DEGREE / cos(radians(lat))
    return around(lon + degrees), lat + north / METRES_A_DEGREE


def _shape(random: Random, lat: float, lon: float, middle: Point) -> tuple[Shape, float]:
    kind = random.random()
    size = random.choice((random.uniform(12, 60), random.uniform(60, 150), random.uniform(60, 300)))
    if kind < 0.25:
        return Shape(centre=_at(lat, lon, *middle), radius_m=size), size
    if kind < 0.32:
        return _vast(random, lat, lon, middle), 100
    if kind < 0.42:
        return _strip(random, lat, lon, middle, size), size
    if kind < 0.65:
        return _several(random, lat, lon, middle, size), size
    return Shape(polygons=(_star(random, lat, lon, middle, size),)), size


def _star(
    random: Random, lat: float, lon: float, middle: Point, size: float, hole: float = 0.4
) -> tuple[tuple[Point, ...], ...]:
    corners = random.randint(3, 12)
    shift = random.uniform(0, 2 * pi)
    angles = [shift + 2 * pi * (n + random.uniform(-0.3, 0.3)) / corners for n in range(corners)]
    lengths = [size * random.uniform(0.45, 1.15) for _ in angles]
    rings = [[(r * cos(a), r * sin(a)) for a, r in zip(angles, lengths, strict=True)]]
    if random.random() < hole:
        share = random.uniform(0.2, 0.7)
        rings.append([(x * share, y * share) for x, y in reversed(rings[0])])
    return tuple(
        _closed(random, [_at(lat, lon, middle[0] + x, middle[1] + y) for x, y in ring]) for ring in rings
    )


def _closed(random: Random, ring: list[Point]) -> tuple[Point, ...]:
    if random.random() < 0.5:
        ring = ring[::-1]
    return (*ring, ring[0])


def _several(random: Random, lat: float, lon: float, middle: Point, size: float) -> Shape:
    """Return several polygons apart from each other, as parts of one shape are."""
    parts = random.choice((2, 3))
    middles = [(middle[0] + n * 2.6 * size, middle[1] + random.uniform(-1, 1) * size) for n in range(parts)]
    return Shape(polygons=tuple(_star(random, lat, lon, m, size) for m in middles))


def _strip(random: Random, lat: float, lon: float, middle: Point, size: float) -> Shape:
    angle, width = random.uniform(0, pi), random.uniform(0.05, 0.2) * size
    corners = [(size, width), (-size, width), (-size, -width), (size, -width)]
    turned = [(x * cos(angle) - y * sin(angle), x * sin(angle) + y * cos(angle)) for x, y in corners]
    return Shape(
        polygons=((_closed(random, [_at(lat, lon, middle[0] + x, middle[1] + y) for x, y in turned]),),)
    )


def _vast(random: Random, lat: float, lon: float, middle: Point) -> Shape:
    """Return the shape of a county or a country. One of its sides passes here."""
    east, north = _at(lat, lon, *middle)
    width = random.choice((random.uniform(0.05, 0.5), random.uniform(2, 40)))
    height = min(random.uniform(0.05, 6), max(0.01, 89.9 - abs(north)))
    away = -1 if north > 0 else 1
    slant = random.uniform(-0.2, 0.2) * width
    ring = [(east, north), (east + width, north), (east + width + slant, north + away * height)]
    ring.append((east + slant, north + away * height))
    turned = random.random() < 0.5
    # The same on the other side of this meridian.
    points = [(around(2 * east - x if turned else x), y) for x, y in ring]
    return Shape(polygons=((_closed(random, points),),))


def _nudged(random: Random, lat: float, lon: float, middle: Point) -> Shape:
    return _shape(
        random, lat, lon, (middle[0] + random.uniform(-60, 60), middle[1] + random.uniform(-60, 60))
    )[0]


# Versions.


def _versions(
    random: Random, place: World, zone_id: int, shape: Shape, middle: Point, time_zone: str
) -> list[Zone]:
    rules, begins = place.rules, place.begins
    bare = Zone(zone_id, 1, "", shape, _needed(random, rules), _needed(random, rules), time_zone=time_zone)
    versions = [_dressed(random, bare, begins)]
    for _ in range(random.choice((0, 0, 0, 0, 1, 2, 3))):
        held = versions[-1]
        until = (held.holds_from or begins) + timedelta(seconds=random.uniform(5, 400))
        versions[-1] = replace(held, holds_to=until)
        after = replace(held, version=held.version + 1, holds_from=until, holds_to=None)
        match random.randrange(5):
            case 0:
                after = replace(after, enabled=not after.enabled)
            case 1:
                after = replace(after, shape=_nudged(random, place.lat, place.lon, middle))
            case 2:
                after = replace(after, enter=_needed(random, rules), exit=_needed(random, rules))
            case _:
                after = _dressed(random, after, begins)
        versions.append(after)
    if random.random() < 0.1:
        versions[0] = replace(versions[0], holds_from=begins + timedelta(seconds=random.uniform(-60, 5)))
    return versions


def _dressed(random: Random, zone: Zone, begins: datetime) -> Zone:
    kind = random.choice(("required", "required", "forbidden", "speed", "speed"))
    whom = random.random()
    return replace(
        zone,
        kind=kind,
        limit_mps=random.choice((1.5, 3.0, 8.0)) if kind == "speed" else None,
        group_id=random.choice(GROUPS) if whom > 0.75 else None,
        guard_id=f"guard-{random.randrange(8)}" if whom > 0.9 or 0.7 < whom < 0.75 else None,
        schedule=_schedule(random, begins, zone.time_zone) if random.random() < 0.25 else None,
    )


def _schedule(random: Random, begins: datetime, time_zone: str) -> dict[str, Any]:
    local = begins.astimezone(ZoneInfo(time_zone))

    def clock() -> str:
        if random.random() < 0.15:
            return random.choice(("00:00", "02:00", "02:30", "01:30", "03:00"))
        return (local + timedelta(minutes=random.randint(-90, 90))).strftime("%H:%M")

    def window() -> dict[str, Any]:
        return {"from": clock(), "to": "24:00" if random.random() < 0.1 else clock()}

    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    weekly = [
        {"days": sorted(random.sample(days, random.randint(1, 7)), key=days.index), **window()}
        for _ in range(random.randint(0, 3))
    ]
    dates = {
        (local + timedelta(days=random.randint(-1, 1))).date().isoformat()
        for _ in range(random.randint(0, 2))
    }
    exceptions = [
        {"date": d, "windows": [window() for _ in range(random.randint(0, 2))]} for d in sorted(dates)
    ]
    return {"weekly": weekly, "exceptions": exceptions}


# A walk.


def _length(random: Random) -> int:
    return random.randint(15, 40) if random.random() < 0.08 else random.randint(5, 14)


def _walk(random: Random, place: World, length: int) -> list[Fix]:
    at = place.begins + timedelta(seconds=random.uniform(0, 300))
    here = _near(random, random.choice(place.targets))
    goal, pace = here, 1.0
    noise, pauses = (
        random.choice((0.5, 4.0, 15.0)),
        random.choice(((5,), (10, 30), (1, 30, 60), (0, 0, 7, 20, 240))),
    )
    exact = random.random() < 0.2
    away, astray = (0.0, 0.0), 0
    claims = random.choice((0.0, 0.3, 0.95))
    fixes = []
    for _ in range(length):
        pause = float(random.choice(pauses)) * (1 if exact else random.uniform(0.6, 1.4))
        at += timedelta(seconds=pause)
        if random.random() < 0.2:
            goal, pace = (
                _near(random, random.choice(place.targets)),
                random.choice((0.3, 1.4, 4.0, 12.0, 40.0)),
            )
        here = _towards(here, goal, pace * pause)
        astray -= 1
        if astray < 0 and random.random() < 0.03:
            astray = random.choice((0, 1, 3, 6))
            away = (random.choice((4e3, 2e5, -9e5)) * random.random(), random.uniform(-4e4, 4e4))
        east, north = (here[0] + away[0], here[1] + away[1]) if astray >= 0 else here
        lon, lat = _at(place.lat, place.lon, east + random.gauss(0, noise), north + random.gauss(0, noise))
        fixes.append(_fix(random, at, max(-89.99, min(89.99, lat)), lon, pace, claims))
    return fixes


def _fix(random: Random, at: datetime, lat: float, lon: float, pace: float, claims: float) -> Fix:
    delay = random.uniform(0, 2)
    if random.random() < 0.15:
        delay = random.choice((-120, -20, 600, 7200)) * random.random()
    accuracy = random.choice((None, -1.0, 0.0, 4.0, 6.0, 8.0, 12.0, 30.0, 250.0))
    if accuracy and random.random() < 0.9:
        accuracy *= random.uniform(0.7, 1.5)
    speed = None
    if random.random() < claims:
        speed = random.choice((pace, pace * random.uniform(0.5, 2), 3.0, 1.5))
    if random.random() < 0.04:
        speed = random.choice((120.0, 60.0, 3.6 * pace))
    if random.random() < 0.01:
        lat, lon = 0.0, 0.0
    return Fix(
        key=random.randbytes(16),
        recorded_at=at,
        received_at=at + timedelta(seconds=delay),
        lat=lat,
        lon=lon,
        accuracy=accuracy,
        speed=speed,
        mock=random.random() < 0.02,
    )


def _near(random: Random, target: Point) -> Point:
    off = random.choice((8, 25))
    return target[0] + random.gauss(0, off), target[1] + random.gauss(0, off)


def _towards(here: Point, goal: Point, way: float) -> Point:
    east, north = goal[0] - here[0], goal[1] - here[1]
    whole = max((east**2 + north**2) ** 0.5, 1e-9)
    share = min(1.0, way / whole)
    return here[0] + share * east, here[1] + share * north
