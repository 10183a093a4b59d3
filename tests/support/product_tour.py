"""A tour of the product in one tenant: one of everything, with words that no other test uses.

`secret` has the values that only their own channel may carry, by kind. `personal` has the data
about people and places. Users who may see the tenant may read them. They are nowhere in Redis
in clear.

How to extend: create the rows that a new operation lists in one of the steps, and put their secrets
into `secret`. Tests read every GET of the API's table, and expect an answer with content.
"""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image

from ops.local.stack import EVIDENCE_KEY
from tests.providers import WEBHOOK_SECRET, Provider
from tests.providers.server import TOKEN
from tests.support.canaries import canary, secrets_of
from tests.support.commands import run_vigil
from tests.support.customer import Customer
from tests.support.outside_clients import FeedSession, OutsideClients

LAT, LON = 12.734561, 77.248913
"""The place of the tenant's site, as its guard's fixes have it."""
EVERYWHERE = {
    "CRITICAL": {
        "steps": [{"after_s": 0, "channels": ["sms", "email", "push", "url"], "who": ["contacts"]}],
        "repeat_s": 600,
    }
}

FURTHEST_STEP = 29
"""Last step of the walk. Times of fixes more than five minutes ahead are not believed."""


def number_of(begin: str, run: str) -> str:
    """Return a telephone number of India that no other run has."""
    return f"+{begin}{int.from_bytes(run.encode(), 'big') % 10_000_000:07}"


def plain_picture() -> bytes:
    """Return a small picture as PNG."""
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "PNG")
    return out.getvalue()


class ProductTour:
    """A tour with a viewer's session that is open all the time.

    `person` logs in. `places` fill the paths of operations.
    """

    def __init__(self, outside: OutsideClients, directory: Path, outer: dict[str, Provider]) -> None:
        self.outside = outside
        self.outer = outer
        self.house = Customer(outside, directory, outer)
        self.tenant_id = self.house.tenant_id
        self.word = f"canary{outside.run}"
        self.secret: dict[str, str] = {}
        self.codes: list[str] = []
        self.personal = {
            "name of a guard": f"Ravi {self.word}",
            "name of a site": f"Depot {self.word}",
            "name of a zone": f"Yard {self.word}",
            "message of a guard": f"two men at the gate {self.word}",
            "note of an operator": f"a car is on its way {self.word}",
            "latitude": str(LAT),
            "longitude": str(LON),
            **{f"{kind} of a contact": address for kind, address in self.house.addresses.items()},
        }
        self.hidden_from_viewers = {
            "number of an emergency contact": canary(number_of("91987", outside.run)),
            "number of a keyholder": canary(number_of("91988", outside.run)),
        }
        self.personal |= {
            "number of a guard": canary(number_of("91989", outside.run)),
            "number of a site": canary(number_of("91990", outside.run)),
            "call sign of a guard": f"Kilo {self.word}",
            **self.hidden_from_viewers,
        }
        self.house.set_policy(EVERYWHERE, directory)
        self.screen: FeedSession = outside.screen(role="viewer", tenant_id=self.tenant_id)
        self.screen.wait("snapshot")
        self.places: dict[str, str] = {}
        self._secrets_of_the_installation()
        self._register()
        self._people()
        self._field()
        self._panic()
        self._failed_webhook()
        self._letters()

    def token(self, role: str, **claims: Any) -> str:
        return self.outside.token(role=role, tenant_id=self.tenant_id, **claims)

    def ask(self, method: str, path: str, body: object = None, *, role: str = "admin", **headers: str) -> Any:
        """Return the answer of a request that must succeed."""
        status, answer = self.outside.request(
            method, f"/api/v1{path}", body, token=self.token(role), **headers
        )
        assert status in (200, 201, 204), (method, path, answer)
        return answer

    def _keep(self, **found: str) -> None:
        for kind, secret in found.items():
            self.secret[kind.replace("_", " ")] = canary(secret)

    def _secrets_of_the_installation(self) -> None:
        home = self.outside.stack.home
        for number, secret in enumerate(sorted(secrets_of(home))):
            self.secret[f"secret {number} of the installation"] = secret
        fcm = json.loads(Path(self.outer["fcm"].credentials_file).read_text())["private_key"].splitlines()
        self._keep(
            fcm_key=fcm[1],
            twilio_token=TOKEN,
            webhook_secret=WEBHOOK_SECRET,
            feed_key_of_another_tenant=next(iter(self.outside.ring.of_tenant(self.tenant_id + 1).values())),
        )

    def _register(self) -> None:
        house, site = self.house, {"name": self.personal["name of a site"], "lat": LAT, "lon": LON}
        site_id = self.ask("POST", "/sites", site)["id"]
        self.outside.execute(
            "UPDATE guard SET name = %s, site_id = %s WHERE guard_id = %s",
            self.personal["name of a guard"],
            site_id,
            house.guard,
        )
        device = f"box-{self.outside.run}"
        said = run_vigil(self.outside.env, "device", "add", device, "--tenant", str(self.tenant_id), "--json")
        self._keep(password_of_a_device=json.loads(said)["password"])
        half = 0.002
        corners = [(-half, -half), (half, -half), (half, half), (-half, half), (-half, -half)]
        area = {"type": "Polygon", "coordinates": [[[LON + east, LAT + north] for east, north in corners]]}
        zone = self.ask("POST", "/zones", {"name": self.personal["name of a zone"], "area": area})
        self.ask("POST", "/groups", {"name": f"Nights {self.word}"})
        now = datetime.now(UTC)
        shift = {
            "guard_id": house.guard,
            "starts_at": (now - timedelta(hours=1)).isoformat(),
            "ends_at": (now + timedelta(hours=8)).isoformat(),
        }
        self.ask("POST", "/shifts", shift)
        self.ask("PUT", f"/devices/{device}/carrier", {"guard_id": house.guard})
        rota = {"members": ["Asha"], "time_zone": "Asia/Kolkata", "first_day": "2026-01-05"}
        self.ask("PUT", "/rotas/nights", {"rota": rota})
        self.ask("PUT", "/templates/email/en/subject", {"source": "{{ w.severity }} {{ w.source }}"})
        self.ask("POST", "/bars", {"subject": f"left-{self.word}", "reason": "left"})
        self._profiles(house.guard, device, site_id)
        self.places |= {
            "guard_id": house.guard,
            "device_id": device,
            "source_id": device,
            "site_id": str(site_id),
            "zone_id": str(zone["zone_id"]),
        }

    def _profiles(self, guard: str, device: str, site_id: int) -> None:
        own, today = self.personal, datetime.now(UTC).date().isoformat()
        of_guard = {
            "call_sign": own["call sign of a guard"],
            "telephones": [{"number": own["number of a guard"], "verified_on": today}],
            "emergency_contact": {
                "name": f"Mira {self.word}",
                "number": own["number of an emergency contact"],
            },
        }
        keyholder = {"name": f"Holt {self.word}", "number": own["number of a keyholder"]}
        of_site = {"telephone": {"number": own["number of a site"]}, "call_list": [keyholder]}
        self.ask("PATCH", f"/guards/{guard}/profile", of_guard)
        self.ask("PATCH", f"/sites/{site_id}/profile", of_site)
        self.ask("PATCH", f"/devices/{device}/profile", {"mounted_at": f"Gate {self.word}"})
        picture = {"content": base64.b64encode(plain_picture()).decode()}
        self.ask("PUT", f"/guards/{guard}/photo", picture)
        self.ask("PUT", f"/devices/{device}/picture", picture)

    def _people(self) -> None:
        login, password = self.outside.person(role="operator", tenant_id=self.tenant_id)
        hook = f"/hook-{secrets.token_hex(12)}"
        desk = {"name": "Desk", "url": f"{self.outer['webhook'].url}{hook}"}
        self.ask("POST", "/contacts", desk)
        session = self.outside.request("POST", "/api/v1/session", {"user": login, "password": password})[1]
        renewed = self.outside.request(
            "POST", "/api/v1/session/refresh", {"refresh_token": session["refresh_token"]}
        )[1]
        wrong = canary(f"wrong-{secrets.token_hex(8)}")
        self.outside.request("POST", "/api/v1/session", {"user": login, "password": wrong})
        # A token at a place where none belongs is refused, and must not be in a log
        assert self.outside.request("GET", f"/api/v1/alerts?token={canary(secrets.token_hex(16))}")[0] == 401
        ticket = self.outside.request("POST", "/api/v1/tickets", {}, token=renewed["token"])[1]["ticket"]
        [(hashed,)] = self.outside.rows("SELECT password_hash FROM app_user WHERE login = %s", login)
        [(token_hash,)] = self.outside.rows(
            "SELECT encode(token_hash, 'hex') FROM refresh_token JOIN user_session USING (session_id)"
            " JOIN app_user USING (user_id) WHERE login = %s AND used_at IS NULL",
            login,
        )
        self.person = login
        self.hook = hook
        self.personal["login of a user"] = login
        self.session_token = renewed["token"]
        self._keep(
            password=password,
            password_hash=hashed,
            token=renewed["token"],
            earlier_refresh_token=session["refresh_token"],
            refresh_token=renewed["refresh_token"],
            hash_of_a_refresh_token=token_hash,
            ticket=ticket,
            wrong_password=wrong,
            URL_of_a_webhook=hook.strip("/"),
            push_token=self.house.addresses["push-token"],
            idempotency_key=secrets.token_hex(12),
        )

    def _field(self) -> None:
        house, device, now = self.house, self.places["device_id"], datetime.now(UTC)
        begun_s, sent = time.monotonic(), set[int]()

        def went_in() -> bool:
            """Return whether the guard has entered.

            Send one fix each half second meanwhile.

            Each fix is dated ten seconds after the one before. Zones are known within two seconds.
            """
            step = int((time.monotonic() - begun_s) * 2)
            if step not in sent and step < FURTHEST_STEP:
                sent.add(step)
                at = (now + timedelta(seconds=10 * step)).isoformat()
                fix = {"lat": LAT, "lon": LON, "accuracy": 5, "timestamp": at}
                self.outside.publish(f"guard/{house.guard}/gps", fix)
            return bool(
                rows("SELECT 1 FROM zone_transition WHERE guard_id = %s AND kind = 'entered'", house.guard)
            )

        rows = self.outside.rows
        self.outside.until(went_in)
        self.outside.publish(f"guard/{house.guard}/gps", {"lat": LAT, "lon": LON, "mock": True})
        self.outside.publish(f"device/{device}/telemetry", {"battery": 77, "signal": -70})
        self.outside.publish(f"device/{device}/telemetry", {"battery": 5, "client_id": 4711})
        for query, source in (
            ("SELECT 1 FROM implausible_fix WHERE guard_id = %s", house.guard),
            ("SELECT 1 FROM mqtt_device_telemetry WHERE device_id = %s", device),
            ("SELECT 1 FROM rejected_message WHERE source_id = %s", device),
        ):
            self.outside.until(lambda query=query, source=source: rows(query, source))
        [(transition,), *_] = rows(
            "SELECT transition_id FROM zone_transition WHERE guard_id = %s ORDER BY at", house.guard
        )
        self.places["transition_id"] = str(transition)

    def _panic(self) -> None:
        house, outside = self.house, self.outside
        place = {"lat": LAT, "lon": LON}
        house.press(message=self.personal["message of a guard"], location=place, msg_id=f"{self.word}-p")
        mail, sms, push = (house.message(kind) for kind in ("smtp", "twilio", "fcm"))
        webhook = outside.until(
            lambda: [m for m in self.outer["webhook"].accepted() if m["to"] == self.hook]
        )[0]
        texts = (mail["body"], mail["html"], str(push["data"]), webhook["raw"])
        for number, text in enumerate(texts):
            link = re.search(r"/a/([\w-]{48})", text)
            assert link
            self.secret[f"link {number}"] = canary(link[1])
        code = re.search(r"Reply ([A-Z2-9]{4})\b", sms["body"])
        assert code
        self.codes.append(code[1])
        outside.until(lambda: len([row for row in house.notifications() if row[1] == "accepted"]) >= 4)
        # The walk out of the zone may have raised an alert of its own by now.
        panics = "SELECT alert_id::text FROM mqtt_device_alert WHERE source_id = %s AND alert_type = 'PANIC'"
        [(alert_id,)] = outside.rows(panics, house.guard)
        noted = "SELECT count(*) FROM alert_timeline WHERE alert_id = %s AND action = 'notified'"
        outside.until(lambda: outside.rows(noted, alert_id)[0][0] >= 4)
        self.places["alert_id"] = alert_id
        call = {"about": "site", "place": "call_list.0", "result": "wrong_number"}
        self.ask("POST", f"/alerts/{alert_id}/calls", call, role="operator")
        pack = self.ask("POST", f"/alerts/{alert_id}/evidence", role="supervisor")
        assert pack["faults"] == []
        # The first pack makes the key
        self._keep(evidence_key=(outside.stack.home / EVIDENCE_KEY).read_text().splitlines()[1])
        # An act with a key, whose answer is stored, and the same again
        note, key = {"note": self.personal["note of an operator"]}, self.secret["idempotency key"]
        for _ in range(2):
            status, _ = outside.request(
                "POST",
                f"/api/v1/alerts/{alert_id}/acknowledge",
                note,
                token=self.session_token,
                **{"Idempotency-Key": key},
            )
            assert status == 200

    def _failed_webhook(self) -> None:
        """Let a second guard's panic go to a webhook that refuses for good. The error is stored."""
        outside, second = self.outside, f"{self.house.guard}-2"
        self.ask("POST", "/guards", {"guard_id": second})
        before = self.outer["webhook"].requests_seen()
        self.outer["webhook"].behave("refuse")
        try:
            outside.publish(f"alert/panic/{second}", {"message": self.word})
            query = (
                "SELECT n.error FROM notification n JOIN mqtt_device_alert a USING (alert_id)"
                " WHERE source_id = %s AND channel = 'url' AND state = 'failed'"
            )
            outside.until(lambda: outside.rows(query, second))
            assert self.outer["webhook"].requests_seen() > before
        finally:
            self.outer["webhook"].behave("accept")

    def _letters(self) -> None:
        self.places["letter_id"] = self.outside.give_up_on_a_fix_of(self.house.guard)
