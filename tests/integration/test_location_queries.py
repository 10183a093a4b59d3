"""Tests of tracks, whereabouts, transitions and time in zones, on a real PostGIS."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy import Engine, text

from services.contracts.errors import NotFound, Refused
from services.geofencing.rule.transitions import TransitionEvidence
from services.location.tracks.dwell_report import DwellReport
from services.location.tracks.nearby import NearbyGuards, busy_with
from services.location.tracks.queries import TrackQueries
from services.platform.database import Database

NOW = datetime.now(UTC)
LAT, LON = 12.9716, 77.5946
METRE = 1 / 111_195


class Book:
    """A writer of rows as the services write them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, statement: str, **values: Any) -> list[Any]:
        with self._engine.begin() as connection:
            done = connection.execute(text(statement), values)
            return list(done) if done.returns_rows else []

    def guard(
        self, name: str, *, metres: float = 0, age_s: float = 5, tenant_id: int = 1, enabled: bool = True
    ) -> None:
        """Add a guard `metres` north of the place, who was seen `age_s` ago."""
        self.run(
            "INSERT INTO guard (guard_id, tenant_id, name, enabled) VALUES (:g, :t, 'Name of ' || :g, :enabled)",
            g=name,
            t=tenant_id,
            enabled=enabled,
        )
        self.run(
            "INSERT INTO guard_state (guard_id, tenant_id, recorded_at, received_at, location, lat, lon, in_geofence,"
            " geofence_violation) SELECT :g, :t, at, at, ST_SetSRID(ST_MakePoint(:lon, :lat), 4326), :lat, :lon,"
            " false, false FROM (SELECT now() - make_interval(secs => :age) AS at) AS times",
            g=name,
            t=tenant_id,
            lat=LAT + metres * METRE,
            lon=LON,
            age=age_s,
        )

    def fix(
        self, guard: str, second: float, *, lat: float = LAT, violation: bool = False, implausible: str = ""
    ) -> UUID:
        key = uuid4()
        self.run(
            "INSERT INTO mqtt_guard_location (tenant_id, guard_id, message_key, recorded_at, received_at,"
            " clock_suspect, quality, lat, lon, mock, in_geofence, geofence_violation, raw_data)"
            " VALUES (1, :g, :key, :at, :at, false, '{}', :lat, :lon,"
            " false, false, :violation, '{}')",
            g=guard,
            key=key,
            at=NOW + timedelta(seconds=second),
            lat=lat,
            lon=LON,
            violation=violation,
        )
        if implausible:
            self.run(
                "INSERT INTO implausible_fix (message_key, tenant_id, guard_id, recorded_at, reason, detail)"
                " VALUES (:key, 1, :g, :at, :reason, '{\"speed_mps\": 99}')",
                key=key,
                g=guard,
                at=NOW + timedelta(seconds=second),
                reason=implausible,
            )
        return key

    def zone(self, name: str, time_zone: str = "UTC") -> int:
        [[site]] = self.run(
            "INSERT INTO site (tenant_id, name, time_zone) VALUES (1, :n, :z) RETURNING site_id",
            n=name,
            z=time_zone,
        )
        [[zone_id]] = self.run(
            "INSERT INTO zone (tenant_id, site_id, name, area, radius_m, in_force_from)"
            " VALUES (1, :site, :n, :area, 100, '-infinity') RETURNING zone_id",
            site=site,
            n=name,
            area=f"POINT({LON} {LAT})",
        )
        return int(zone_id)

    def transition(
        self, guard: str, kind: str, at: datetime, zone_id: int | None, *, superseded: bool = False
    ) -> str:
        its_id = UUID(bytes=os.urandom(16))
        self.run(
            "INSERT INTO zone_transition (transition_id, tenant_id, guard_id, kind, zone_id, zone_version, at,"
            " confirmed_at, superseded_at, evidence) VALUES (:id, 1, :g, :kind, :zone, 1, :at, :at,"
            " CASE WHEN :superseded THEN now() END, CAST(:evidence AS jsonb))",
            evidence=msgspec.json.encode(TransitionEvidence("fixes", (), 0)).decode(),
            id=its_id,
            g=guard,
            kind=kind,
            zone=zone_id,
            at=at,
            superseded=superseded,
        )
        return str(its_id)


@pytest.fixture
def book(engine: Engine) -> Book:
    made = Book(engine)
    made.run("INSERT INTO tenant (tenant_id, name) VALUES (2, 'Other')")
    return made


def test_a_track_is_thinned_and_says_of_how_many_fixes(book: Book, database: Database) -> None:
    book.guard("guard-1")
    for number in range(60):
        book.fix("guard-1", number, lat=LAT + number * METRE, violation=number >= 40)
    book.fix("guard-1", 20.5, lat=50.0, implausible="teleport")
    changed = NOW + timedelta(seconds=10)
    book.transition("guard-1", "entered", changed, book.zone("yard"))
    queries = TrackQueries(database)
    asked = {"since": NOW.isoformat(), "until": NOW + timedelta(seconds=60)}
    track = queries.track("guard-1", tenant_id=1, **asked, max_points=6)
    seconds = [(point.recorded_at - NOW).total_seconds() for point in track["points"]]
    assert (track["count"], seconds[0], seconds[-1]) == (61, 0.0, 59.0)
    assert {10.0, 20.5, 40.0} < set(seconds)
    assert len(seconds) == 6
    assert [point.implausible for point in track["points"] if point.lat == 50.0] == ["teleport"]
    assert len(queries.track("guard-1", tenant_id=1, **asked, max_points=5000)["points"]) == 61
    later = {"since": NOW + timedelta(days=1), "until": NOW + timedelta(days=2)}
    assert queries.track("guard-1", tenant_id=1, **later, max_points=10)["points"] == []


def test_of_a_long_track_postgres_gives_what_must_stay(
    book: Book, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.location.tracks.queries.READ_POINTS", 20)
    book.guard("guard-1")
    for number in range(100):
        book.fix("guard-1", number, lat=LAT + number * METRE, violation=number in (33, 71))
    track = TrackQueries(database).track(
        "guard-1", tenant_id=1, since=NOW, until=NOW + timedelta(seconds=100), max_points=20
    )
    seconds = [(point.recorded_at - NOW).total_seconds() for point in track["points"]]
    assert (track["count"], len(seconds)) == (100, 20)
    assert {0, 33, 34, 71, 72, 99} < set(seconds)
    assert max(b - a for a, b in zip(seconds, seconds[1:], strict=False)) <= 10, "spread over the whole"


def test_what_is_wrong_with_a_question_is_said(book: Book, database: Database) -> None:
    book.guard("guard-1")
    book.guard("guard-2", tenant_id=2)
    queries = TrackQueries(database)
    good: dict[str, Any] = {"since": NOW, "until": NOW + timedelta(hours=1), "max_points": 10}
    with pytest.raises(NotFound, match="no guard guard-2 of tenant 1"):
        queries.track("guard-2", tenant_id=1, **good)
    for change, said in (
        ({"max_points": 1}, "max_points must be a number from 2 to 5000"),
        ({"until": NOW + timedelta(days=40)}, "more than 31 days"),
        ({"since": "noon"}, "since is 'noon'"),
    ):
        with pytest.raises(Refused, match=said):
            queries.track("guard-1", tenant_id=1, **{**good, **change})
    with pytest.raises(Refused, match="limit must be a number from 1 to 1000"):
        queries.transitions(tenant_id=1, limit=0)
    with pytest.raises(Refused, match="after must be the place of a row"):
        queries.transitions(tenant_id=1, after="x")
    with pytest.raises(Refused, match="tenant_id must be"):
        queries.transitions(tenant_id="1")  # type: ignore[arg-type]
    for wrong in ("x", str(uuid4())):
        with pytest.raises(NotFound, match="no transition"):
            queries.transition(wrong, tenant_id=1)


def test_transitions_come_in_pages_with_every_filter(book: Book, database: Database) -> None:
    yard, gate = book.zone("yard"), book.zone("gate")
    made = [
        book.transition(f"guard-{n % 2}", "entered", NOW - timedelta(minutes=n // 2), (yard, gate)[n % 2])
        for n in range(7)
    ]
    gone = book.transition("guard-0", "exited", NOW, yard, superseded=True)
    queries = TrackQueries(database)
    found: list[str] = []
    after = None
    while page := queries.transitions(tenant_id=1, limit=2, after=after):
        found += [row["transition_id"] for row in page]
        after = [page[-1]["at"], page[-1]["transition_id"]]
    assert sorted(found) == sorted(made)
    times = [queries.transition(one, tenant_id=1)["at"] for one in found]
    assert times == sorted(times, reverse=True)

    def ids(**asked: Any) -> set[str]:
        return {row["transition_id"] for row in queries.transitions(tenant_id=1, **asked)}

    assert ids(guard_id="guard-1") == set(made[1::2])
    assert ids(zone_id=yard) == set(made[0::2])
    assert ids(zone_id=yard, superseded=True) == {*made[0::2], gone}
    assert ids(since=NOW - timedelta(minutes=1), until=NOW) == set(made[2:4])
    assert ids(guard_id="guard-1", zone_id=yard) == set()
    one = queries.transition(made[0], tenant_id=1)
    assert (one["zone_name"], one["evidence"]) == ("yard", {"rule": "fixes", "fixes": [], "count": 0})
    with pytest.raises(NotFound):
        queries.transition(made[0], tenant_id=2)
    assert queries.transitions(tenant_id=2) == []


def test_what_was_not_believed_is_listed_for_review(book: Book, database: Database) -> None:
    book.guard("guard-1")
    keys = [str(book.fix("guard-1", n, implausible=reason)) for n, reason in enumerate(("mock", "speed"))]
    queries = TrackQueries(database)
    page = queries.implausible(tenant_id=1, limit=1)
    assert [(row["message_key"], row["reason"], row["lat"]) for row in page] == [(keys[1], "speed", LAT)]
    [rest] = queries.implausible(tenant_id=1, after=[page[-1]["recorded_at"], keys[1]])
    assert (rest["message_key"], rest["detail"]) == (keys[0], {"speed_mps": 99})
    assert queries.implausible(tenant_id=1, guard_id="guard-2") == []
    assert len(queries.implausible(tenant_id=1, guard_id="guard-1", since=NOW)) == 2
    assert queries.implausible(tenant_id=2) == []


def nearest(database: Database, **asked: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"busy": set(), "limit": 5, "max_age_s": 600, "explain": False}
    return NearbyGuards(database).nearest(LAT, LON, tenant_id=1, **{**usual, **asked})


def test_the_nearest_free_guards_and_why_the_others_are_not(book: Book, database: Database) -> None:
    book.guard("far", metres=900)
    book.guard("near", metres=100)
    book.guard("source", metres=10)
    book.guard("assigned", metres=20)
    book.guard("old", metres=30, age_s=700)
    book.guard("silent", metres=40)
    book.guard("disabled", metres=50, enabled=False)
    book.guard("theirs", metres=1, tenant_id=2)
    book.run("INSERT INTO guard_silence (guard_id, tenant_id, since) VALUES ('silent', 1, now())")
    alerts = [
        {"source_id": "source", "carried_by": None, "assigned_to": None},
        {"source_id": "sensor-1", "assigned_to": "Name of assigned"},
    ]
    found = nearest(database, busy=busy_with(alerts), explain=True)
    assert [(row["guard_id"], round(row["distance_m"])) for row in found["guards"]] == [
        ("near", pytest.approx(100, abs=1)),
        ("far", pytest.approx(900, abs=6)),
    ]
    assert {row["guard_id"]: row["reasons"] for row in found["left_out"]} == {
        "source": ["is the source of an open alert, or assigned to one"],
        "assigned": ["is the source of an open alert, or assigned to one"],
        "old": ["was last seen 700 s ago, more than 600 s"],
        "silent": ["is offline"],
        "disabled": ["is disabled"],
    }
    assert [row["guard_id"] for row in nearest(database, limit=1, busy=["source"])["guards"]] == ["assigned"]


def test_where_shifts_are_kept_only_those_on_shift_are_free(book: Book, database: Database) -> None:
    book.guard("on", metres=500)
    book.guard("off", metres=5)
    assert [row["guard_id"] for row in nearest(database)["guards"]] == ["off", "on"]
    book.run(
        "INSERT INTO guard_shift (tenant_id, guard_id, starts_at, ends_at)"
        " VALUES (1, 'on', now() - interval '1 hour', now() + interval '1 hour'),"
        " (1, 'off', now() + interval '1 hour', now() + interval '2 hours')"
    )
    found = nearest(database, explain=True)
    assert [row["guard_id"] for row in found["guards"]] == ["on"]
    assert [(row["guard_id"], row["reasons"]) for row in found["left_out"]] == [("off", ["is not on shift"])]


@pytest.mark.parametrize(
    ("asked", "said"),
    [({"max_age_s": 0}, "max_age_s must be"), ({"limit": 101}, "limit must be a number from 1 to 100")],
)
def test_a_wrong_bound_is_named(database: Database, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        nearest(database, **asked)


def test_guards_within_a_shape(book: Book, database: Database) -> None:
    book.guard("inside", metres=50)
    book.guard("hole", metres=0)
    book.guard("outside", metres=500)
    book.guard("theirs", metres=50, tenant_id=2)

    def square(half_m: float) -> list[list[float]]:
        d = half_m * METRE
        corners = [(-d, -d), (d, -d), (d, d), (-d, d), (-d, -d)]
        return [[LON + x, LAT + y] for x, y in corners]

    def ids(shape: dict[str, Any]) -> list[str]:
        return [row["guard_id"] for row in NearbyGuards(database).within(shape, tenant_id=1, limit=10)]

    assert ids({"type": "Polygon", "coordinates": [square(100), square(10)]}) == ["inside"]
    assert ids({"type": "MultiPolygon", "coordinates": [[square(10)]]}) == ["hole"]
    assert ids({"type": "Point", "coordinates": [LON, LAT], "radius_m": 100}) == ["hole", "inside"]
    [first, *_] = NearbyGuards(database).positions(1, limit=10)
    assert (first["guard_id"], first["silent_since"]) == ("hole", None)


def test_time_in_zones_by_the_days_of_each_sites_time_zone(book: Book, database: Database) -> None:
    berlin, utc = book.zone("berlin", "Europe/Berlin"), book.zone("utc")
    book.guard("guard-1", age_s=0)
    book.guard("guard-2", age_s=3600)
    # Clocks in Berlin went forward on 29 March 2026 at 01:00 UTC: that day began at 23:00 UTC and
    # had 23 hours.
    start, end = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 30, 12, tzinfo=UTC)
    for zone_id in (berlin, utc):
        book.transition("guard-1", "entered", start, zone_id)
        book.transition("guard-1", "exited", end, zone_id)
    book.transition("guard-1", "exited", start + timedelta(hours=1), utc, superseded=True)
    days = DwellReport(database)
    one = days.time_in_zones(tenant_id=1, guard_id="guard-1", day="2026-03-29")["days"]
    assert [(row["zone_name"], row["seconds"], row["open"]) for row in one] == [
        ("berlin", 23 * 3600, False),
        ("utc", 24 * 3600, False),
    ]
    every = days.time_in_zones(tenant_id=1, since=start - timedelta(days=1), until=end + timedelta(days=1))
    mine = [row["seconds"] for row in every["days"] if row["zone_id"] == berlin]
    assert sum(mine) == (end - start).total_seconds()
    assert every["truncated"] is False
    assert days.time_in_zones(tenant_id=1, since=start, until=end + timedelta(days=1), limit=1)["truncated"]

    since = datetime.now(UTC) - timedelta(hours=4)
    book.transition("guard-2", "entered", since - timedelta(days=20), utc)
    open_stay = days.time_in_zones(tenant_id=1, since=since, until=datetime.now(UTC))["days"]
    assert sum(row["seconds"] for row in open_stay) == pytest.approx(3 * 3600, abs=20), "until the last fix"
    assert all(row["open"] and row["guard_id"] == "guard-2" for row in open_stay)
    assert days.time_in_zones(tenant_id=2, since=since, until=datetime.now(UTC))["days"] == []
    with pytest.raises(Refused, match="either day, or since and until"):
        days.time_in_zones(tenant_id=1, day="2026-03-29", since=since)
    with pytest.raises(Refused, match="day is 'today'"):
        days.time_in_zones(tenant_id=1, day="today")


CROWD_SIZE = 1_500
CROWD = """
INSERT INTO guard (guard_id, tenant_id, name) SELECT 'crowd-' || n, 1, 'Crowd ' || n FROM generate_series(1, :count) n
"""
PLACES = """
INSERT INTO guard_state (guard_id, tenant_id, recorded_at, received_at, location, lat, lon, in_geofence,
                         geofence_violation)
SELECT 'crowd-' || n, 1, now(), now(), ST_SetSRID(ST_MakePoint(lon, lat), 4326), lat, lon, false, false
FROM (SELECT n, :lat + :spread * (n * 7919 % 1000 - 500) / 1000.0 AS lat,
             mod((:lon + :spread * (n * 104729 % 997 - 498) / 997.0 + 540)::numeric, 360)::float8 - 180 AS lon
      FROM generate_series(1, :count) n) places
"""
BY_EXACT_DISTANCE = """
SELECT s.location <-> CAST(ST_SetSRID(ST_MakePoint(:lon, :lat), 4326) AS geography) AS distance_m
FROM guard_state s JOIN guard g USING (guard_id) WHERE g.enabled ORDER BY 1 LIMIT 5
"""


def test_the_nearest_are_those_by_exact_distance_however_many_others_are_nearer(
    book: Book, database: Database
) -> None:
    # Given a crowd in a city, across the antimeridian, in the far north, in one building, and all
    # over the world
    places = [(LAT, LON, 0.2), (-17.5, 179.99, 0.3), (69.6, 18.9, 5.0), (12.0, 77.0, 1e-4), (0.1, 0.3, 89.0)]
    book.run(CROWD, count=CROWD_SIZE)
    for lat, lon, spread in places:
        book.run("DELETE FROM guard_state")
        book.run(PLACES, count=CROWD_SIZE, lat=lat, lon=lon, spread=spread)
        # All of them, one in 40 or one in 700 is free. Among the nearest hundred are many free
        # ones, few, or none
        for free_each in (1, 40, 700):
            book.run("UPDATE guard SET enabled = right(guard_id, -6)::int % :each = 0", each=free_each)

            # When the nearest are asked for
            found = NearbyGuards(database).nearest(
                lat, lon, tenant_id=1, busy=(), limit=5, max_age_s=600, explain=False
            )["guards"]

            # Then they are as near as a search through all guards finds
            exact = [row.distance_m for row in book.run(BY_EXACT_DISTANCE, lat=lat, lon=lon)]
            assert [row["distance_m"] for row in found] == pytest.approx(exact), (lat, lon, free_each)
            assert len(found) == min(5, CROWD_SIZE // free_each)
