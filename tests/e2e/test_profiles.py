"""Tests of profiles by the public API: roles, another tenant, and the people of an alert."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

from tests.support.outside_clients import OutsideClients

TENANT, OTHER = 5101, 5102
TELEPHONE, EMERGENCY, KEYHOLDER = (f"+91987654330{n}" for n in range(3))


class Company:
    """A tenant with a guard and a site, by the API."""

    def __init__(self, outside: OutsideClients, tenant_id: int) -> None:
        self.outside = outside
        self.tenant_id = tenant_id
        outside.execute(
            "INSERT INTO tenant (tenant_id, name) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            tenant_id,
            f"Company {tenant_id}",
        )
        self.guard = f"guard-{outside.run}-{tenant_id}"
        name = f"Mill {outside.run} {tenant_id}"
        self.site_id = self.ask("POST", "/sites", {"name": name}, role="supervisor")[1]["id"]
        body = {"guard_id": self.guard, "name": "Asha Rao", "site_id": self.site_id}
        assert self.ask("POST", "/guards", body, role="supervisor")[0] == 201

    def ask(self, method: str, path: str, body: object = None, *, role: str = "operator") -> tuple[int, Any]:
        token = self.outside.token(role=role, tenant_id=self.tenant_id)
        return self.outside.request(method, f"/api/v1{path}", body, token=token)


@pytest.fixture
def company(outside: OutsideClients) -> Company:
    return Company(outside, TENANT)


def test_a_profile_is_written_by_supervisors_and_read_by_role(company: Company) -> None:
    path = f"/guards/{company.guard}/profile"
    change = {
        "version": 0,
        "call_sign": "Kilo 1",
        "telephones": [{"number": TELEPHONE, "verified_on": "2026-01-01"}],
        "emergency_contact": {"name": "Ravi", "number": EMERGENCY},
    }
    assert company.ask("PATCH", path, change)[0] == 403
    status, made = company.ask("PATCH", path, change, role="supervisor")
    assert (status, made["version"]) == (200, 1)
    assert made["profile"]["telephones"][0]["verified_by"]
    assert company.ask("PATCH", path, change, role="supervisor")[0] == 409

    _, operator = company.ask("GET", path)
    assert operator["profile"]["emergency_contact"]["number"] == EMERGENCY
    _, viewer = company.ask("GET", path, role="viewer")
    assert (viewer["profile"]["emergency_contact"], viewer["hidden"]) == (None, ["emergency_contact"])
    assert viewer["profile"]["telephones"][0]["number"] == TELEPHONE

    assert company.ask("GET", f"{path}/changes")[0] == 403
    status, changes = company.ask("GET", f"{path}/changes", role="supervisor")
    assert status == 200
    assert changes[0]["after"]["call_sign"] == "Kilo 1"


def test_a_wrong_value_is_refused_by_its_place(company: Company) -> None:
    path = f"/sites/{company.site_id}/profile"
    bad = {"call_list": [{"name": "Zoe", "number": "123"}]}
    status, said = company.ask("PATCH", path, bad, role="supervisor")
    assert status == 400
    assert "call_list.0.number" in str(said)
    assert company.ask("PATCH", path, {"adress": "x"}, role="supervisor")[0] == 400


def test_another_tenant_s_people_are_not_there(company: Company, outside: OutsideClients) -> None:
    theirs = Company(outside, OTHER)
    profile, photo = f"/guards/{theirs.guard}/profile", f"/guards/{theirs.guard}/photo"
    content = {"content": base64.b64encode(picture()).decode()}
    assert theirs.ask("PUT", photo, content, role="supervisor")[0] == 204
    for method, path, body in (
        ("GET", profile, None),
        ("PATCH", profile, {"call_sign": "x"}),
        ("GET", photo, None),
        ("PUT", photo, content),
        ("DELETE", photo, None),
        ("GET", f"/sites/{theirs.site_id}/profile", None),
        ("PATCH", f"/sites/{theirs.site_id}/profile", {"address": "x"}),
    ):
        assert company.ask(method, path, body, role="supervisor")[0] == 404, (method, path)
    assert company.ask("GET", f"{profile}/changes", role="supervisor") == (200, [])
    assert theirs.ask("GET", photo)[0] == 200


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(out, "PNG")
    return out.getvalue()


def test_a_photo_is_kept_as_a_picture_and_nothing_else(company: Company) -> None:
    path = f"/guards/{company.guard}/photo"
    script = {"content": base64.b64encode(b"<svg><script>alert(1)</script></svg>").decode()}
    assert company.ask("PUT", path, script, role="supervisor")[0] == 400
    content = {"content": base64.b64encode(picture()).decode()}
    assert company.ask("PUT", path, content)[0] == 403
    assert company.ask("PUT", path, content, role="supervisor")[0] == 204
    status, kept = company.ask("GET", path, role="viewer")
    assert (status, kept["media_type"]) == (200, "image/png")
    _, shown = company.ask("GET", f"/guards/{company.guard}/profile")
    assert shown["photo_sha256"] == kept["sha256"]
    assert company.ask("DELETE", path, role="supervisor")[0] == 204
    assert company.ask("GET", path)[0] == 404


def test_an_alert_has_its_people_and_the_calls_to_them(company: Company) -> None:
    # Given a guard and a site with profiles
    outside = company.outside
    numbers = {"telephones": [{"number": TELEPHONE}]}
    company.ask("PATCH", f"/guards/{company.guard}/profile", numbers, role="supervisor")
    listed = {"address": "12 Mill Road", "call_list": [{"name": "Zoe", "number": KEYHOLDER}]}
    company.ask("PATCH", f"/sites/{company.site_id}/profile", listed, role="supervisor")
    # When the guard presses
    outside.publish(f"alert/panic/{company.guard}", {"message": "help"})
    query = "SELECT alert_id::text FROM mqtt_device_alert WHERE source_id = %s"
    [(alert_id,)] = outside.until(lambda: outside.rows(query, company.guard))
    # Then the alert says who, where and whom to call, and hides numbers from viewers
    _, alert = company.ask("GET", f"/alerts/{alert_id}")
    people = alert["people"]
    assert people["at_raise"]["guard"]["name"] == "Asha Rao"
    assert people["now"]["site"]["profile"]["address"] == "12 Mill Road"
    assert people["now"]["site"]["profile"]["call_list"][0]["number"] == KEYHOLDER
    _, seen = company.ask("GET", f"/alerts/{alert_id}", role="viewer")
    assert seen["people"]["hidden"] == ["site.call_list.number"]
    assert KEYHOLDER not in str(seen)

    # And calls are on the timeline without the number; a wrong number is marked in the profile
    calls = f"/alerts/{alert_id}/calls"
    first = {"about": "guard", "place": "telephones.0", "result": "no_answer"}
    assert company.ask("POST", calls, first, role="viewer")[0] == 403
    assert company.ask("POST", calls, first)[0] == 200
    wrong = {"about": "site", "place": "call_list.0", "result": "wrong_number", "note": "a shop"}
    assert company.ask("POST", calls, wrong)[0] == 200
    assert company.ask("POST", calls, {**first, "place": "telephones.2"})[0] == 400
    _, after = company.ask("GET", f"/alerts/{alert_id}")
    called = [line["note"] for line in after["timeline"] if line["action"] == "called"]
    assert called == ["Asha Rao, telephone 1: no answer", "Zoe: wrong number; a shop"]
    assert after["people"]["wrong"] == ["site.call_list.0"]
    assert KEYHOLDER not in str(called)
    _, profile = company.ask("GET", f"/sites/{company.site_id}/profile")
    assert profile["profile"]["call_list"][0]["wrong_by"]
    _, tasks = company.ask("GET", "/wrong-numbers", role="supervisor")
    mine = [task for task in tasks if task["subject"] == str(company.site_id)]
    assert [(task["kind"], task["place"], task["number"]) for task in mine] == [
        ("site", "call_list.0", KEYHOLDER)
    ]
