"""Tests of a credential's rights, as the broker will read them.

Other tests show on a real broker that it enforces them.
"""

import json

import pytest

from gateway.mqtt import access_control
from gateway.mqtt.decoding import topics, unreadable
from services.contracts.events import AlertType


def write_patterns() -> list[str]:
    lines = access_control.acl_file("", anonymous=False).splitlines()
    return [line.removeprefix("pattern write ") for line in lines if line.startswith("pattern write ")]


@pytest.mark.parametrize("source", ["guard-1", "789", "sos-1", "device", "x.y:z@w_v"])
@pytest.mark.parametrize("filling", ["panic", "guard-2", "sos", "789", "UNKNOWN", "alarm", "fall"])
def test_whatever_a_source_may_publish_is_read_as_its_own(source: str, filling: str) -> None:
    for pattern in write_patterns():
        topic = pattern.replace("%u", source).replace("+", filling)
        try:
            parsed = topics.parse(topic)
        except topics.InvalidMessage:
            # The gateway refuses the shape, and raises an alert of no other source.
            own = (source, topics.guard_id(source), topic)
            assert not unreadable.may_be_alarm(topic, None) or topics.source_in(topic) in own
            continue
        assert parsed.source_id == topics.guard_id(source) or parsed.source_id == source, topic


def test_nobody_without_a_name_is_let_in_unless_the_machine_is_for_development() -> None:
    assert "topic" not in access_control.acl_file("", anonymous=False).replace("pattern", "")
    assert access_control.acl_file("", anonymous=True).startswith("topic readwrite #\n")
    assert all("%u" in line for line in access_control.acl_file("p/", anonymous=False).splitlines())
    assert f"pattern write p/alert/%u/{AlertType.PANIC.lower()}" in access_control.acl_file(
        "p/", anonymous=False
    )


def test_the_file_of_the_broker_keeps_its_sources_and_renews_what_is_ours() -> None:
    held = {
        "clients": [
            {"username": "guard-1", "password": "kept"},
            {"username": "vigil-admin", "password": "old"},
        ],
        "roles": [{"rolename": "numeric-guard-1", "acls": []}, {"rolename": "guard", "acls": ["old"]}],
    }
    made = access_control.broker_file(held, prefix="", people={"vigil-admin": ("new", "admin", b"s" * 12)})
    names = [client["username"] for client in made["clients"]]
    assert names == ["vigil-admin", "guard-1"]
    assert "new" not in json.dumps(made)
    assert made["clients"][1]["password"] == "kept"
    roles = [role["rolename"] for role in made["roles"]]
    assert len(roles) == len(set(roles))
    assert "numeric-guard-1" in roles
    renewed = next(role for role in made["roles"] if role["rolename"] == "numeric-guard-1")
    own = ["guard/1/+", "owntracks/1/+", "alert/+/1", "alert/+/1/", "alert/+/+/1"]
    assert [acl["topic"] for acl in renewed["acls"]] == own
    assert not any(
        made["defaultACLAccess"][kind] for kind in ("publishClientSend", "publishClientReceive", "subscribe")
    )


def test_a_credential_is_bound_to_its_client_id_and_family() -> None:
    [client] = access_control.add("d-1", family="sensor", password="p", prefix="")
    assert client["clientid"] == client["username"] == "d-1"
    assert {"rolename": "sensor"} in client["roles"]
    role, client = access_control.add("guard-7", family="guard", password=None, prefix="p/", number="7")
    own = ["p/guard/7/+", "p/owntracks/7/+", "p/alert/+/7", "p/alert/+/7/", "p/alert/+/+/7"]
    assert [acl["topic"] for acl in role["acls"]] == own
    assert "password" not in client


def test_a_disabled_source_is_put_off_and_its_rights_are_taken_too() -> None:
    commands = [command["command"] for command in access_control.switch("d", enabled=False)]
    assert commands == ["addClientRole", "disableClient"]
    assert [c["command"] for c in access_control.switch("d", enabled=True)] == [
        "removeClientRole",
        "enableClient",
    ]
    assert [c["command"] for c in access_control.rotate("d", "x") + access_control.remove("d")] == [
        "setClientPassword",
        "deleteClient",
    ]


@pytest.mark.parametrize("family", access_control.FAMILY_ROLES)
def test_only_guards_have_phones_that_speak_owntracks(family: str) -> None:
    role = next(role for role in access_control.roles("p/") if role["rolename"] == family)
    denied = {acl["topic"] for acl in role["acls"] if not acl["allow"]}
    assert ("p/owntracks/#" in denied) is (family != "guard")
