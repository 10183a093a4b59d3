"""Tests of the HTTP API as an integrator meets it.

It is described, paged, safe to repeat, and closed to callers without the right.
"""

import json
import secrets
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from sqlalchemy import text

from services.contracts.families import Fix, FixBatch, Origin
from services.messaging import DEAD_QUEUE, HEADER_QUEUE, HEADER_REASON, event_queue_name
from services.messaging.publisher import connect
from services.messaging.topology import EVENT_CONTENT_TYPE
from services.platform.database import make_operator_engine
from tests.support.commands import run_vigil
from tests.support.outside_clients import OutsideClients, ReceiptSubscriber
from tests.support.tenant_rows import fill

SECONDS = 240
TRIED = 4001
LINK = 'rel="next"'
# The document cannot say which ids exist, which addresses are right, that an id is taken already,
# or that a PUT of a new name is fine. The API refuses those with 400, 404 and 409, which the
# document lists.
CHECKS = ",".join(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
        "ignored_auth",
    ]
)


def page(outside: OutsideClients, path: str, token: str) -> tuple[list[dict[str, Any]], str]:
    """Return (rows, link to the next page) of a list."""
    request = urllib.request.Request(
        f"http://{outside.base}{path}", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        link = answer.headers.get("Link", "")
        return json.loads(answer.read()), link.partition(">")[0].lstrip("<") if LINK in link else ""


def test_every_operation_answers_as_the_document_says(outside: OutsideClients, tmp_path: Path) -> None:
    """The tenant is the test's own, with a row of each kind.

    No other test needs what this one changes and switches off.
    """
    owner = make_operator_engine(outside.env["VIGIL_OWNER_DATABASE_URL"], name="test")
    with owner.begin() as connection:
        fill(connection, TRIED)
        # The row of `fill` stands for no line that existed. A backup that is verified meanwhile
        # would fail.
        connection.execute(text("DELETE FROM timeline_erased WHERE tenant_id = :tenant"), {"tenant": TRIED})
    owner.dispose()
    token = outside.token(role="admin", tenant_id=TRIED, name="integrator")
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"http://{outside.base}/api/v1/openapi.json",
        f"--header=Authorization: Bearer {token}",
        f"--checks={CHECKS}",
        "--phases=examples,coverage,fuzzing",
        "--max-examples=8",
        "--seed=1",
        "--no-color",
        "--warnings=off",
        "--request-timeout=20",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_a_list_is_read_page_by_page_without_gap_or_double(outside: OutsideClients) -> None:
    token = outside.token(role="supervisor")
    names = {f"group-{outside.run}-{n}" for n in range(7)}
    for name in names:
        status, added = outside.request("POST", "/api/v1/groups", {"name": name}, token=token)
        assert (status, added["id"] > 0) == (201, True)
    found, path = [], "/api/v1/groups?limit=3"
    while path:
        rows, path = page(outside, path, token)
        found += [row["name"] for row in rows]
    assert len(found) == len(set(found))
    assert names <= set(found)


def test_alerts_are_paged_and_narrowed_by_source(outside: OutsideClients) -> None:
    sources = [f"guard-{outside.run}{n}" for n in range(3)]
    for source in sources:
        outside.publish(f"alert/panic/{source}", {"message": "help"})
    token = outside.token()
    [mine] = outside.until(
        lambda: outside.request("GET", f"/api/v1/alerts?source_id={sources[0]}", token=token)[1]
    )
    assert mine["source_id"] == sources[0]
    outside.until(
        lambda: (
            set(sources) <= {a["source_id"] for a in outside.request("GET", "/api/v1/alerts", token=token)[1]}
        )
    )
    first, path = page(outside, "/api/v1/alerts?limit=2", token)
    second, _ = page(outside, path, token)
    assert not {a["id"] for a in first} & {a["id"] for a in second}
    assert min(a["received_at"] for a in first) >= max(a["received_at"] for a in second)


def test_a_post_that_is_sent_again_with_its_key_is_done_once(outside: OutsideClients) -> None:
    token, key = outside.token(role="supervisor"), f"key-{outside.run}"
    body = {"name": f"once-{outside.run}"}
    answers = [
        outside.request("POST", "/api/v1/groups", body, token=token, **{"Idempotency-Key": key})
        for _ in range(3)
    ]
    assert [status for status, _ in answers] == [201, 201, 201]
    assert len({answer["id"] for _, answer in answers}) == 1
    status, problem = outside.request(
        "POST", "/api/v1/groups", {"name": "another"}, token=token, **{"Idempotency-Key": key}
    )
    assert (status, "another request" in problem["detail"]) == (400, True)
    assert outside.request("POST", "/api/v1/groups", body, token=token)[0] == 409


def test_what_failed_may_be_tried_again_with_the_same_key(outside: OutsideClients) -> None:
    token, key = outside.token(role="supervisor"), f"again-{outside.run}"
    taken, free = {"name": f"taken-{outside.run}"}, f"/api/v1/groups/taken-{outside.run}/guards/nobody"
    assert outside.request("PUT", free, token=token)[0] == 404
    assert (
        outside.request("POST", "/api/v1/groups", {"name": ""}, token=token, **{"Idempotency-Key": key})[0]
        == 400
    )
    assert outside.request("POST", "/api/v1/groups", taken, token=token, **{"Idempotency-Key": key})[0] == 201


@pytest.mark.parametrize(
    ("role", "method", "path", "body"),
    [
        ("viewer", "POST", "/api/v1/alerts/00000000-0000-0000-0000-000000000000/acknowledge", {}),
        ("operator", "POST", "/api/v1/sites", {"name": "x"}),
        ("operator", "GET", "/api/v1/users", None),
        ("supervisor", "POST", "/api/v1/devices", {"device_id": "d", "family": "device"}),
    ],
)
def test_a_role_does_no_more_than_it_may(
    outside: OutsideClients, role: str, method: str, path: str, body: dict[str, Any] | None
) -> None:
    status, problem = outside.request(method, path, body, token=outside.token(role=role))
    assert status == 403
    assert "role" in problem["detail"]


def test_mistakes_are_named(outside: OutsideClients) -> None:
    token = outside.token(role="supervisor")

    def said(method: str, path: str, body: object = None) -> tuple[int, str]:
        status, problem = outside.request(method, path, body, token=token)
        return status, problem["detail"]

    assert said("GET", "/api/v1/nothing") == (
        404,
        "there is no /api/v1/nothing; /api/v1/openapi.json lists the paths",
    )
    assert said("DELETE", "/api/v1/alerts")[0] == 405
    for method, answer, header in (
        ("DELETE", 405, ("Allow", "GET")),
        ("GET", 401, ("WWW-Authenticate", "Bearer")),
    ):
        request = urllib.request.Request(f"http://{outside.base}/api/v1/alerts", method=method)
        if answer == 405:
            request.add_header("Authorization", f"Bearer {token}")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=20)
        assert refused.value.code == answer
        assert header[1] in refused.value.headers[header[0]]
    assert "limit" in said("GET", "/api/v1/alerts?limit=0")[1]
    assert "cursor" in said("GET", "/api/v1/alerts?cursor=x")[1]
    assert "time_zone" in said("POST", "/api/v1/sites", {"name": "s", "time_zone": "Mars/Base"})[1]
    assert "phone" in said("POST", "/api/v1/contacts", {"name": "c", "phone": "12"})[1]
    assert "`nmae`" in said("POST", "/api/v1/sites", {"nmae": "s", "name": "s"})[1]
    status, problem = outside.request("GET", "/api/v1/alerts")
    assert (status, "Bearer" in problem["detail"]) == (401, True)


def test_readings_and_refused_messages_are_there_to_see(outside: OutsideClients) -> None:
    token = outside.token(role="supervisor")
    device = f"dev-{outside.run}"
    outside.publish(f"device/{device}/telemetry", {"battery": 77, "signal": -70})
    between = "since=2026-01-01T00:00:00Z&until=2100-01-01T00:00:00Z"
    path = f"/api/v1/devices/{device}/readings?{between}"
    [reading] = outside.until(lambda: (a := outside.request("GET", path, token=token))[0] == 200 and a[1])
    assert reading["values"]["battery"] == 77
    outside.publish(f"device/{device}/telemetry", {"battery": 77, "client_id": 4711})
    [refused] = outside.until(
        lambda: [
            m
            for m in outside.request("GET", "/api/v1/rejected-messages", token=token)[1]
            if m["source_id"] == device
        ]
    )
    assert refused["reason"] == "identity_mismatch"


def square(lat: float, lon: float, *, half: float = 0.001) -> dict[str, Any]:
    corners = [(-half, -half), (half, -half), (half, half), (-half, half), (-half, -half)]
    return {"type": "Polygon", "coordinates": [[[lon + east, lat + north] for east, north in corners]]}


def test_a_zone_is_added_changed_and_disabled_and_stays_on_record(outside: OutsideClients) -> None:
    token = outside.token(role="supervisor", name="Sam")
    name = f"zone-{outside.run}"
    body = {"name": name, "area": square(10, 20), "guard_id": None, "enabled": False}
    status, made = outside.request("POST", "/api/v1/zones", body, token=token)
    assert (status, made["version"]) == (201, 1)
    path = f"/api/v1/zones/{made['zone_id']}"
    change = {"changes": {"kind": "forbidden"}, "version": 1}
    assert outside.request("PATCH", path, change, token=token)[1]["changed"] is True
    status, problem = outside.request("PATCH", path, {**change, "changes": {"name": "other"}}, token=token)
    assert (status, "version 2" in problem["detail"]) == (409, True)
    assert outside.request("DELETE", path, token=token) == (204, None)
    zone = outside.request("GET", path, token=token)[1]
    assert (zone["name"], zone["kind"], zone["enabled"], zone["changed_by"]) == (
        name,
        "forbidden",
        False,
        "Sam",
    )
    assert [version["kind"] for version in zone["versions"]] == ["forbidden", "required"]


def test_zones_are_of_the_tenant_alone(outside: OutsideClients) -> None:
    mine, theirs = (outside.token(role="supervisor", tenant_id=tenant) for tenant in (1, 0))
    body = {"name": f"mine-{outside.run}", "area": square(11, 20), "enabled": False}
    made = outside.request("POST", "/api/v1/zones", body, token=mine)[1]
    path = f"/api/v1/zones/{made['zone_id']}"
    assert outside.request("GET", path, token=theirs)[0] == 404
    assert outside.request("PATCH", path, {"changes": {"enabled": True}}, token=theirs)[0] == 404
    assert outside.request("DELETE", path, token=theirs)[0] == 404
    assert outside.request("GET", path, token=mine)[1]["version"] == 1


def test_zones_are_listed_page_by_page_and_go_out_and_in_as_a_file(outside: OutsideClients) -> None:
    token = outside.token(role="supervisor")
    names = {f"paged-{outside.run}-{n}" for n in range(5)}
    for name in names:
        body = {"name": name, "area": square(12, 20), "enabled": False}
        assert outside.request("POST", "/api/v1/zones", body, token=token)[0] == 201
    found, path = [], "/api/v1/zones?limit=2"
    while path:
        rows, path = page(outside, path, token)
        found += [row["name"] for row in rows]
    assert len(found) == len(set(found))
    assert names <= set(found)
    status, collection = outside.request("GET", "/api/v1/zones.geojson", token=token)
    assert status == 200
    collection["features"] = [f for f in collection["features"] if f["properties"]["name"] in names]
    asked = {"document": json.dumps(collection), "dry_run": True}
    outcomes = outside.request("POST", "/api/v1/zones/import", asked, token=token)[1]
    assert [outcome["outcome"] for outcome in outcomes] == ["unchanged"] * 5


def test_where_guards_are_and_were_is_there_to_see(outside: OutsideClients) -> None:
    token, guard = outside.token(role="viewer"), f"guard-{outside.run}"
    for step in range(3):
        outside.publish(f"guard/{guard}/gps", {"lat": 42.5 + step / 10_000, "lon": 17.25, "accuracy": 5})
    between = "since=2026-01-01T00:00:00Z&until=2100-01-01T00:00:00Z"
    status, problem = outside.request("GET", f"/api/v1/guards/{guard}/track?{between}", token=token)
    assert status == 400, "longer than a month"
    since, until = outside.rows("SELECT now() - interval '1 hour', now() + interval '1 hour'")[0]
    between = f"since={since:%Y-%m-%dT%H:%M:%SZ}&until={until:%Y-%m-%dT%H:%M:%SZ}"
    path = f"/api/v1/guards/{guard}/track?{between}"
    track = outside.until(
        lambda: (a := outside.request("GET", path, token=token))[0] == 200 and a[1]["count"] == 3 and a[1]
    )
    assert [round(point["lat"], 4) for point in track["points"]] == [42.5, 42.5001, 42.5002]
    shape = {"type": "Point", "coordinates": [17.25, 42.5], "radius_m": 500}
    inside = outside.request("POST", "/api/v1/positions/within", {"shape": shape}, token=token)[1]
    assert [position["guard_id"] for position in inside] == [guard]
    near = outside.request("GET", "/api/v1/positions/nearest?lat=42.5&lon=17.25&explain=true", token=token)[1]
    assert guard in {g["guard_id"] for g in [*near["guards"], *near["left_out"]]}
    # This place is far from every zone that the guards must be in.
    [transition] = outside.request("GET", f"/api/v1/transitions?guard_id={guard}", token=token)[1]
    assert transition["kind"] == "violation_began"
    assert outside.request("GET", f"/api/v1/implausible-fixes?guard_id={guard}", token=token) == (200, [])
    status, spent = outside.request("GET", f"/api/v1/time-in-zones?guard_id={guard}&{between}", token=token)
    assert (status, spent) == (200, {"days": [], "truncated": False})


def test_a_dead_letter_is_seen_by_its_own_tenant_and_sent_again(outside: OutsideClients) -> None:
    guard, now = f"guard-{outside.run}", datetime.now(UTC)
    outside.execute("INSERT INTO guard (guard_id, tenant_id, name) VALUES (%s, 1, %s)", guard, guard)
    origin = Origin(guard, secrets.token_bytes(16), None, "t", now, now, False, (), None, "{}")
    body = msgspec.msgpack.encode(FixBatch([Fix(origin, 43.0, 17.0, 5.0, None, None, "gps", False)]))
    queue = event_queue_name("mqtt_gateway", "guard_gps_received", "location", "process_guard_gps")
    headers = {HEADER_QUEUE: queue, HEADER_REASON: "Unavailable"}
    with connect(outside.env["AMQP_URI"]) as connection, connection.channel() as channel:
        message = channel.prepare_message(
            body,
            content_type=EVENT_CONTENT_TYPE,
            content_encoding="binary",
            headers=headers,
            properties={"message_id": outside.run, "delivery_mode": 2},
        )
        channel.basic_publish_confirm(message, exchange="", routing_key=DEAD_QUEUE)
    path = f"/api/v1/dead-letters/{outside.run}"
    mine, theirs = (outside.token(role="admin", tenant_id=tenant) for tenant in (1, 0))
    assert outside.request("GET", path, token=outside.token(role="supervisor"))[0] == 403
    assert outside.request("GET", path, token=theirs)[0] == 404
    assert outside.request("DELETE", path, token=theirs)[0] == 404
    listed = outside.request("GET", "/api/v1/dead-letters?limit=1000", token=theirs)[1]
    assert outside.run not in {letter["id"] for letter in listed}
    for token in (mine, outside.token(role="platform", tenant_id=0)):
        status, letter = outside.request("GET", path, token=token)
        assert (status, letter["queue"], letter["sources"]) == (200, queue, [guard])
    assert outside.request("POST", f"{path}/retry", token=mine) == (204, None)
    outside.until(lambda: outside.rows("SELECT 1 FROM mqtt_guard_location WHERE guard_id = %s", guard))
    assert outside.request("GET", path, token=mine)[0] == 404


def test_evidence_is_signed_and_verified_by_whoever_has_the_file(
    outside: OutsideClients, tmp_path: Path
) -> None:
    guard, token = f"guard-{outside.run}", outside.token(role="supervisor", name="Sam")
    outside.publish(f"alert/panic/{guard}", {"message": "help"})
    [alert] = outside.until(
        lambda: outside.request("GET", f"/api/v1/alerts?source_id={guard}", token=token)[1]
    )
    path = f"/api/v1/alerts/{alert['id']}/evidence"
    assert outside.request("POST", path, token=outside.token(role="operator"))[0] == 403
    assert outside.request("POST", path, token=outside.token(role="supervisor", tenant_id=0))[0] == 404
    status, made = outside.request("POST", path, token=token)
    assert (status, made["faults"]) == (200, [])
    for ending, content in ((".json", made["json"]), (".html", made["page"])):
        (tmp_path / f"{made['name']}{ending}").write_bytes(content.encode())
    file = str(tmp_path / f"{made['name']}.json")
    said = json.loads(run_vigil(outside.env, "alert", "verify", file, "--key", made["fingerprint"], "--json"))
    assert said["ok"], said


def test_a_guard_and_a_device_are_found_by_their_names(outside: OutsideClients) -> None:
    token, theirs = outside.token(role="admin"), outside.token(role="admin", tenant_id=0)
    guard, device = f"guard-{outside.run}", f"dev-{outside.run}"
    assert outside.request("POST", "/api/v1/guards", {"guard_id": guard}, token=token)[0] == 201
    body = {"device_id": device, "family": "sensor"}
    assert outside.request("POST", "/api/v1/devices", body, token=token)[0] == 201
    assert outside.request("GET", f"/api/v1/guards/{guard}", token=token)[1]["guard_id"] == guard
    assert outside.request("GET", f"/api/v1/devices/{device}", token=token)[1]["family"] == "sensor"
    for path in (f"/api/v1/guards/{guard}", f"/api/v1/devices/{device}"):
        assert outside.request("GET", path, token=theirs)[0] == 404


def test_frames_and_receipts_are_as_the_asyncapi_document_says(outside: OutsideClients) -> None:
    with urllib.request.urlopen(f"http://{outside.base}/api/v1/asyncapi.json", timeout=20) as answer:
        components = json.loads(answer.read())["components"]
    guard = f"guard-{outside.run}"
    device, screen = ReceiptSubscriber(outside, f"receipt/{guard}"), outside.screen()
    screen.wait("snapshot")
    outside.publish(f"guard/{guard}/gps", {"lat": 42.0, "lon": 17.0, "accuracy": 5})
    outside.publish(f"alert/panic/{guard}", {"message": "help", "msg_id": outside.run})
    outside.until(lambda: any(guard in {p["guard_id"] for p in f["data"]} for f in screen.seen("positions")))
    [alert] = outside.until(
        lambda: [f["data"] for f in screen.seen("critical_alert") if f["data"]["source_id"] == guard]
    )
    screen.send(type="acknowledge_alert", alert_id=alert["id"], ref=1)
    screen.send(type="request_metrics", ref="r")
    for kind in ("heartbeat", "none such"):
        screen.send(type=kind)
    wanted = {"alert_updated", "ack", "heartbeat", "metrics", "error"}
    outside.until(lambda: wanted <= {frame["type"] for frame in screen.seen()})
    checked = {"receipt": device.receive(1)} | {
        f"server.{kind}": screen.seen(kind) for kind in {frame["type"] for frame in screen.seen()}
    }
    screen.close()
    assert len(checked) >= 9
    for message, values in checked.items():
        schema = {**components["messages"][message]["payload"], "components": components}
        for value in values:
            jsonschema.Draft7Validator(schema).validate(value)


def test_a_zone_is_tried_on_what_was_and_nothing_is_kept(outside: OutsideClients) -> None:
    token, guard = outside.token(role="supervisor"), f"guard-{outside.run}"
    begin = datetime.now(UTC) - timedelta(minutes=10)
    for step in range(20):
        at = (begin + timedelta(seconds=10 * step)).isoformat()
        outside.publish(
            f"guard/{guard}/gps", {"lat": 12.9716, "lon": 77.5946, "accuracy": 5, "timestamp": at}
        )
    query = "SELECT count(*) FROM mqtt_guard_location WHERE guard_id = %s"
    outside.until(lambda: outside.rows(query, guard) == [(20,)])
    name = f"tried-{outside.run}"
    feature = {
        "type": "Feature",
        "properties": {"name": name, "kind": "forbidden", "guard": guard},
        "geometry": square(12.9716, 77.5946),
    }
    document = json.dumps({"type": "FeatureCollection", "features": [feature]})
    asked = {"document": document, "guard_id": guard}
    assert outside.request("POST", "/api/v1/zones/try", asked, token=outside.token())[0] == 403
    status, trial = outside.request("POST", "/api/v1/zones/try", asked, token=token)
    assert (status, [zone["outcome"] for zone in trial["zones"]]) == (200, ["new"])
    [difference] = trial["guards"]
    assert difference["violations_edited"]["count"] == difference["violations_today"]["count"] + 1
    assert any(moment["zone"] == name and moment["why"] for moment in difference["gained"])
    theirs = outside.token(role="supervisor", tenant_id=0)
    status, problem = outside.request("POST", "/api/v1/zones/try", asked, token=theirs)
    assert (status, "not a guard of this tenant" in problem["detail"]) == (400, True)
    del feature["properties"]["guard"]
    asked["document"] = json.dumps({"type": "FeatureCollection", "features": [feature]})
    assert outside.request("POST", "/api/v1/zones/try", asked, token=theirs)[0] == 404
    assert outside.rows("SELECT 1 FROM zone WHERE name = %s", name) == []
