"""Tests of sources on the whole stack.

The operator's commands give them credentials. Vigil receives their messages and disconnects them,
and guards carry devices.
"""

import csv
import itertools
import json
import stat
import time
from pathlib import Path

import pytest

from tests.support.canaries import canary
from tests.support.commands import run_vigil
from tests.support.mqtt_device import ConnectionRefused, MqttClient
from tests.support.outside_clients import OutsideClients


def add(outside: OutsideClients, kind: str, name: str, *options: str) -> dict[str, str]:
    added = json.loads(run_vigil(outside.env, kind, "add", name, "--json", *options))
    if "password" in added:
        canary(added["password"])
    return dict(added)


def connect(outside: OutsideClients, credential: dict[str, str], *, port: str = "mqtts") -> MqttClient:
    address = outside.stack.addresses()[port]
    return MqttClient(
        int(address.rpartition(":")[2]),
        credential["client_id"],
        username=credential["username"],
        password=credential.get("password", ""),
        ca_file=outside.stack.home / "mosquitto" / "tls" / "ca.pem",
        certificate=(Path(credential["certificate_file"]), Path(credential["key_file"]))
        if "certificate_file" in credential
        else None,
    )


def stored(outside: OutsideClients, msg_id: str) -> list[tuple[object, ...]]:
    return outside.rows("SELECT guard_id FROM mqtt_guard_location WHERE msg_id = %s", msg_id)


def test_a_guard_is_added_heard_over_tls_and_off_within_two_seconds_of_being_disabled(
    outside: OutsideClients,
) -> None:
    number = str(int(outside.run, 16))
    credential = add(outside, "guard", number)
    name = f"guard-{number}"
    assert credential["username"] == name
    phone = connect(outside, credential)
    assert phone.subscribe(f"receipt/{name}")
    for n, topic in enumerate((f"guard/{name}/gps", f"guard/{number}/gps")):
        phone.publish(
            topic, json.dumps({"lat": 12.97, "lon": 77.59, "msg_id": f"{outside.run}-{n}"}).encode()
        )
        outside.until(lambda n=n: stored(outside, f"{outside.run}-{n}") == [(name,)])
    phone.until(lambda: len(phone.heard) == 2)

    run_vigil(outside.env, "guard", "disable", name)
    disabled_s = time.monotonic()
    phone.until(lambda: phone.closed_s is not None)
    assert phone.closed_s is not None
    assert phone.closed_s - disabled_s < 2.0
    with pytest.raises(ConnectionRefused):
        connect(outside, credential)
    # The registry refuses the source by every other way too.
    outside.until(lambda: _is_refused(outside, name, "source_disabled"), timeout_s=5)
    panic = f"alert/panic/{name}"
    outside.publish(panic, {"msg_id": f"{outside.run}-panic"})
    query = "SELECT flags FROM mqtt_device_alert WHERE source_id = %s AND alert_type = 'PANIC'"
    [(flags,)] = outside.until(lambda: outside.rows(query, name))
    assert flags == ["source_disabled"]

    run_vigil(outside.env, "guard", "enable", name)
    assert connect(outside, credential).alive
    fresh = json.loads(run_vigil(outside.env, "guard", "rotate", name, "--json"))
    assert canary(fresh["password"]) != credential["password"]
    with pytest.raises(ConnectionRefused):
        connect(outside, credential)
    assert connect(outside, fresh).alive


def test_a_guard_s_owntracks_phone_is_heard_under_the_guard_s_credential(outside: OutsideClients) -> None:
    number = str(int(outside.run, 16))
    phone = connect(outside, add(outside, "guard", number))
    said = {"_type": "location", "lat": 12.97, "lon": 77.59, "acc": 6, "vel": 36, "tst": int(time.time())}
    for n, topic in enumerate((f"owntracks/{number}/pixel", f"owntracks/guard-{number}/pixel")):
        phone.publish(topic, json.dumps({**said, "_type": "lwt"}).encode())
        phone.publish(topic, json.dumps({**said, "msg_id": f"{outside.run}-{n}"}).encode())
        outside.until(lambda n=n: stored(outside, f"{outside.run}-{n}") == [(f"guard-{number}",)])
    query = "SELECT lat, accuracy, speed, raw_data->>'_type' FROM mqtt_guard_location WHERE guard_id = %s"
    assert outside.rows(query, f"guard-{number}") == [(12.97, 6.0, 10.0, "location")] * 2
    phone.publish(topic, b'{"_type":"encrypted","data":"x"}')
    kept = "SELECT reason FROM rejected_message WHERE topic = %s"
    assert outside.until(lambda: outside.rows(kept, topic)) == [("owntracks_encrypted",)]
    phone.publish("owntracks/guard-1/pixel", json.dumps({**said, "msg_id": f"{outside.run}-other"}).encode())
    phone.publish(topic, json.dumps({**said, "msg_id": f"{outside.run}-last"}).encode())
    outside.until(lambda: stored(outside, f"{outside.run}-last"))
    assert stored(outside, f"{outside.run}-other") == [], "nobody speaks for another"


def _is_refused(outside: OutsideClients, name: str, reason: str) -> bool:
    outside.publish(f"guard/{name}/gps", {"lat": 12.97, "lon": 77.59})
    refused = json.loads(run_vigil(outside.env, "rejected", "--security", "--json"))
    return any(row["source_id"] == name and row["reason"] == reason for row in refused)


def test_a_certificate_is_an_alternative(outside: OutsideClients, tmp_path: Path) -> None:
    name = f"cam-{outside.run}"
    options = ["--family", "sensor", "--certificate", "--out", str(tmp_path)]
    credential = add(outside, "device", name, *options)
    assert "password" not in credential
    assert stat.S_IMODE(Path(credential["key_file"]).stat().st_mode) == 0o600
    camera = connect(outside, credential, port="mqtts_certificate")
    camera.publish(f"sensor/{name}/reading", json.dumps({"type": "MOTION", "msg_id": outside.run}).encode())
    query = "SELECT 1 FROM mqtt_sensor_reading WHERE sensor_id = %s"
    outside.until(lambda: outside.rows(query, name))
    run_vigil(outside.env, "device", "disable", name)
    camera.until(lambda: camera.closed_s is not None, timeout_s=2)


def test_a_button_s_alert_names_the_guard_who_carries_it(outside: OutsideClients) -> None:
    button, first, second = (f"{word}-{outside.run}" for word in ("button", "guard-a", "guard-b"))
    add(outside, "device", button, "--family", "alert")
    for guard in (first, second):
        run_vigil(outside.env, "guard", "add", guard, "--no-credential")
    for guard in (first, second):
        run_vigil(outside.env, "device", "assign", button, guard)
    history = json.loads(run_vigil(outside.env, "device", "carriers", button, "--json"))
    assert [(row["guard_id"], row["until"] is None) for row in history] == [(second, True), (first, False)]
    query = "SELECT carried_by FROM mqtt_device_alert WHERE source_id = %s"

    def presses() -> bool:
        outside.publish(f"alert/panic/{button}", {})
        return (second,) in outside.rows(query, button)

    outside.until(presses)
    run_vigil(outside.env, "device", "release", button)
    assert "no guard carries" in run_vigil(outside.env, "device", "release", button, check=False)


def test_a_file_is_imported_line_by_line_and_said_again_it_goes_on(
    outside: OutsideClients, tmp_path: Path
) -> None:
    file, refused = tmp_path / "devices.csv", tmp_path / "refused.csv"
    lines = [
        "id,name,family,site",
        *(f"imp-{outside.run}-{n},Camera {n},sensor,Bengaluru HQ" for n in range(60)),
        "bad/id,x,sensor,",
        f"imp-{outside.run}-x,x,toaster,",
        f"imp-{outside.run}-y,x,sensor,Nowhere",
        f"imp-{outside.run}-0,again,device,",
        "panic,x,alert,",
        f"imp-{outside.run}-z,x,sensor,,more,cells",
    ]
    file.write_text("\n".join(lines) + "\n")
    said = run_vigil(outside.env, "device", "import", str(file), "--refused", str(refused), check=False)
    assert "60 added, 6 refused" in said
    for number, reason in (
        (62, "bad/id"),
        (63, "toaster"),
        (64, "Nowhere"),
        (65, "not free"),
        (66, "alert type"),
        (67, "it has 6 cells, and the header has 4 columns"),
    ):
        assert any(line.startswith(f"line {number}: ") and reason in line for line in said.splitlines()), said
    assert len(refused.read_text().splitlines()) == 6
    passwords = file.with_name("devices-credentials.csv")
    assert stat.S_IMODE(passwords.stat().st_mode) == 0o600
    with passwords.open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 60
    sensor = connect(outside, {**rows[7], "password": canary(rows[7]["password"])})
    name = rows[7]["username"]
    sensor.publish(f"sensor/{name}/reading", b'{"type":"DOOR","state":"OPEN"}')
    outside.until(lambda: outside.rows("SELECT 1 FROM mqtt_sensor_reading WHERE sensor_id = %s", name))

    again = run_vigil(outside.env, "device", "import", str(file), check=False)
    assert "0 added, 60 were there already, 6 refused" in again
    assert sensor.alive

    file.write_text("name,id,colour\nx,y,z\n")
    assert "colour" in run_vigil(outside.env, "device", "import", str(file), check=False)


def test_a_change_of_the_registry_is_effective_everywhere_within_two_seconds(outside: OutsideClients) -> None:
    """The development stack's broker is open, so that only the registry can refuse a source."""
    name = f"device-{outside.run}"
    run_vigil(outside.env, "device", "add", name, "--no-credential")
    run_vigil(outside.env, "device", "disable", name, "--no-credential")
    disabled_s = time.monotonic()
    query = "SELECT count(*) FROM mqtt_device_telemetry WHERE device_id = %s"
    last = outside.rows(query, name)
    counted = itertools.count()
    while time.monotonic() - disabled_s < 2.0:
        outside.publish(f"device/{name}/telemetry", {"battery": 50, "count": next(counted)})
        last = outside.rows(query, name)
    for _ in range(5):
        outside.publish(f"device/{name}/telemetry", {"battery": 50, "count": next(counted)})
    refused = "SELECT count(*) FROM rejected_message WHERE source_id = %s AND reason = 'source_disabled'"
    outside.until(lambda: outside.rows(refused, name)[0][0] >= 5)
    [(stored_then,)], [(stored_now,)] = last, outside.rows(query, name)
    # A message on its way at the end of the two seconds may still be stored. No message sent after
    # them is.
    assert stored_now - stored_then <= 5


def test_groups_and_contacts_are_kept(outside: OutsideClients) -> None:
    guard, group = f"guard-{outside.run}", f"night {outside.run}"
    run_vigil(outside.env, "guard", "add", guard, "--no-credential")
    run_vigil(outside.env, "group", "add", group)
    run_vigil(outside.env, "group", "join", group, guard)
    groups = json.loads(run_vigil(outside.env, "group", "list", "--limit", "1000", "--json"))
    assert [row["guards"] for row in groups if row["name"] == group] == [[guard]]
    run_vigil(outside.env, "group", "leave", group, guard)
    assert "no such thing" in run_vigil(outside.env, "group", "join", group, "nobody", check=False)
    name = f"Ann {outside.run}"
    assert "E.164" in run_vigil(outside.env, "contact", "add", name, "--phone", "123", check=False)
    run_vigil(outside.env, "contact", "add", name, "--phone", "+919876543210", "--email", "ann@example.com")
    contacts = json.loads(run_vigil(outside.env, "contact", "list", "--limit", "1000", "--json"))
    assert [row["phone"] for row in contacts if row["name"] == name] == ["+919876543210"]
    run_vigil(outside.env, "contact", "remove", name)
    assert "no contact" in run_vigil(outside.env, "contact", "remove", name, check=False)
