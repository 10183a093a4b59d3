"""The HTTP API as an integrator meets it: described, paged, safe to repeat, and closed to whoever may not."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Outside

SECONDS = 240
LINK = 'rel="next"'
# What the document cannot say: which ids there are, which addresses are right, that an id is taken already, that a
# PUT of a new name is fine. Those are refused with 400, 404 and 409, which the document lists.
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


def page(outside: Outside, path: str, token: str) -> tuple[list[dict[str, Any]], str]:
    """(rows, where the list goes on)."""
    request = urllib.request.Request(
        f"http://{outside.base}{path}", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        link = answer.headers.get("Link", "")
        return json.loads(answer.read()), link.partition(">")[0].lstrip("<") if LINK in link else ""


def test_every_operation_answers_as_the_document_says(outside: Outside, tmp_path: Path) -> None:
    token = outside.token(role="admin", tenant_id=1, name="integrator")
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


def test_a_list_is_read_page_by_page_without_gap_or_double(outside: Outside) -> None:
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


def test_alerts_are_paged_and_narrowed_by_source(outside: Outside) -> None:
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


def test_a_post_that_is_sent_again_with_its_key_is_done_once(outside: Outside) -> None:
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


def test_what_failed_may_be_tried_again_with_the_same_key(outside: Outside) -> None:
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
    outside: Outside, role: str, method: str, path: str, body: dict[str, Any] | None
) -> None:
    status, problem = outside.request(method, path, body, token=outside.token(role=role))
    assert status == 403
    assert "role" in problem["detail"]


def test_mistakes_are_named(outside: Outside) -> None:
    token = outside.token(role="supervisor")

    def said(method: str, path: str, body: object = None) -> tuple[int, str]:
        status, problem = outside.request(method, path, body, token=token)
        return status, problem["detail"]

    assert said("GET", "/api/v1/nothing") == (
        404,
        "there is no /api/v1/nothing; /api/v1/openapi.json lists what there is",
    )
    assert said("DELETE", "/api/v1/alerts")[0] == 405
    assert "limit" in said("GET", "/api/v1/alerts?limit=0")[1]
    assert "cursor" in said("GET", "/api/v1/alerts?cursor=x")[1]
    assert "time_zone" in said("POST", "/api/v1/sites", {"name": "s", "time_zone": "Mars/Base"})[1]
    assert "phone" in said("POST", "/api/v1/contacts", {"name": "c", "phone": "12"})[1]
    assert "`nmae`" in said("POST", "/api/v1/sites", {"nmae": "s", "name": "s"})[1]
    status, problem = outside.request("GET", "/api/v1/alerts")
    assert (status, "Bearer" in problem["detail"]) == (401, True)


def test_readings_and_refused_messages_are_there_to_see(outside: Outside) -> None:
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
