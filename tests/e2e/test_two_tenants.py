"""Tests of two tenants on one installation.

An attacker of the one tries to get the other's data.

Every door is tried at random: SQL as a service has it, Redis's frames, RPC, HTTP, websocket, MQTT.
Nothing of the other tenant may come back, and none of its rows may change. `--probes N` sets how
many attempts there are in all.
"""

from __future__ import annotations

import http.client
import inspect
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import websocket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nameko.extensions import ENTRYPOINT_EXTENSIONS_ATTR
from nameko.standalone.rpc import ClusterRpcProxy
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, StatementError

from ops.processes import PROCESSES, service_class
from services.contracts.errors import InvalidMessage
from services.directory.registry.source_ids import NOT_FREE
from services.feed import encryption
from services.feed.stream import stream_key
from services.messaging.rpc_calls import SERIALIZER, MeasuredRpc
from services.platform import config as configuration
from services.platform import database
from tests.support.commands import run_vigil
from tests.support.mqtt_device import MqttClient
from tests.support.outside_clients import OutsideClients
from tests.support.tenant_rows import fill, fingerprint, tenant_tables, word_of

OURS, THEIRS, HONEST = 11, 22, 33
"""The three tenants.

The third has a source that goes on sending. The rows of the second may not change.
"""
SHARES = {"sql": 0.36, "frames": 0.2, "mqtt": 0.2, "http": 0.08, "ids": 0.02, "websocket": 0.07, "rpc": 0.08}
WITHOUT_TENANT = {
    "directory.check",
    "directory.close_session",
    "directory.list_barred",
    "directory.open_session",
    "directory.refresh_session",
    "notifications.describe_link",
    "notifications.take_provider_report",
    "notifications.take_reply",
    "notifications.use_link",
}
"""RPCs that are about users or the service itself.

Add a new one here only after thinking about it.
"""
MARKERS_OF_THE_WIRE = 80
"""Messages that each name sends at most. One user may send 100 in a minute."""

junk = st.text(max_size=20)
numbers = st.one_of(
    st.integers(-(2**40), 2**40), st.floats(allow_nan=True), st.sampled_from([OURS, THEIRS, 0, -1])
)


class Two:
    """Both tenants with their data, and the markers of the other tenant's data."""

    def __init__(
        self, outside: OutsideClients, owner: Engine, ids: dict[int, dict[str, str]], probes: int
    ) -> None:
        self.outside = outside
        self.owner = owner
        self.ours, self.theirs = ids[OURS], ids[THEIRS]
        self.keys = {tenant: outside.ring.of_tenant(tenant) for tenant in (OURS, THEIRS)}
        self.markers = [word_of(THEIRS), *self.keys[THEIRS], *self.keys[THEIRS].values()]
        self.probes = probes
        self.tried: dict[str, int] = dict.fromkeys(SHARES, 0)
        self.before = self.fingerprint()

    def quota(self, door: str) -> int:
        return math.ceil(self.probes * SHARES[door])

    def fingerprint(self) -> dict[str, str]:
        with self.owner.connect() as connection:
            return fingerprint(connection, THEIRS)

    def check(self, door: str, answer: object, *, asked: object = "") -> None:
        """Check that the answer has no marker of the other tenant.

        Markers in the question do not count.
        """
        self.tried[door] += 1
        shown, said = str(answer), str(asked)
        leaked = [marker for marker in self.markers if marker in shown and marker not in said]
        assert not leaked, f"{door}: {asked!r} was answered with {shown[:500]}"

    def run(self, door: str, strategy: st.SearchStrategy[Any], probe: Callable[[Any], None]) -> None:
        """Try the door as often as its share. Then check that the other tenant is unchanged."""
        while self.tried[door] < self.quota(door):
            before = self.tried[door]

            @settings(
                max_examples=self.quota(door) - before,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(strategy)
            def attempt(chosen: Any) -> None:
                probe(chosen)

            attempt()
            assert self.tried[door] > before
        assert self.fingerprint() == self.before


@pytest.fixture(scope="module")
def two(stack: Any, request: pytest.FixtureRequest) -> Iterator[Two]:
    with OutsideClients(stack) as outside:
        settled = configuration.load(environ=outside.env)
        owner = database.make_engine(settled, name="test", as_owner=True)
        with owner.begin() as connection:
            ids = {tenant: fill(connection, tenant) for tenant in (OURS, THEIRS)}
        for tenant in (OURS, THEIRS):
            guard = ids[tenant]["guard_id"]
            outside.publish(f"alert/panic/{guard}", {"message": word_of(tenant)})
            outside.publish(f"guard/{guard}/gps", {"lat": 12.0, "lon": 77.0, "msg_id": word_of(tenant)})
            query = "SELECT 1 FROM mqtt_guard_location WHERE guard_id = %s"
            outside.until(lambda guard=guard, query=query: outside.rows(query, guard))
            query = "SELECT 1 FROM alert_timeline WHERE by = %s AND announced_at IS NOT NULL"
            outside.until(lambda guard=guard, query=query: outside.rows(query, guard))
            query = (
                "SELECT 1 FROM notification JOIN mqtt_device_alert USING (alert_id)"
                " WHERE source_id = %s AND body <> %s AND told_state = state"
            )
            outside.until(
                lambda guard=guard, query=query, tenant=tenant: outside.rows(query, guard, word_of(tenant))
            )
        # Nobody acknowledges these alerts. Vigil would repeat their notifications, and this
        # tenant's rows must not change by themselves.
        with owner.begin() as connection:
            connection.exec_driver_sql("UPDATE alert_timer SET due_at = 'infinity'")
        yield Two(outside, owner, ids, request.config.getoption("--probes"))
        owner.dispose()


# -- SQL, as a service has it for our tenant

TABLES = st.deferred(lambda: st.sampled_from(TABLE_NAMES))
TABLE_NAMES: list[str] = []
conditions = st.sampled_from(
    [
        "true",
        f"tenant_id = {THEIRS}",
        f"tenant_id <> {OURS}",
        "tenant_id IS NOT NULL OR true",
        f"tenant_id IN ({OURS}, {THEIRS})",
        "tenant_id = any(SELECT tenant_id FROM tenant)",
        "EXISTS (SELECT 1 FROM tenant)",
        f"tenant_id = {THEIRS} OR 1 = 1",
        "ctid IS NOT NULL",
    ]
)
changes = st.sampled_from([f"tenant_id = {THEIRS}", "tenant_id = tenant_id + 11", f"tenant_id = -{THEIRS}"])


def select(parts: tuple[str, str, str, int]) -> str:
    table, other, condition, form = parts
    return [
        f"SELECT * FROM {table} WHERE {condition}",
        f"SELECT a.*, b.* FROM {table} a, {other} b",
        f"SELECT a.* FROM {table} a LEFT JOIN {other} b USING (tenant_id)",
        f"SELECT to_jsonb(a) FROM {table} a WHERE {condition.replace('tenant_id =', 'a.tenant_id =')}",
        f"SELECT string_agg(a::text, ' ') FROM {table} a",
        f"WITH x AS (SELECT * FROM {table} WHERE {condition}) SELECT * FROM x UNION ALL SELECT * FROM x",
        f"SELECT count(*), min(tenant_id), max(tenant_id) FROM {table} WHERE {condition}",
        f"SELECT * FROM {table} TABLESAMPLE SYSTEM (100)",
        f"SELECT query_to_xml('SELECT * FROM {table}', true, false, '')",
        f"TABLE {table}",
        f"SELECT (SELECT string_agg(b::text, '') FROM {other} b) FROM {table}",
        f"SELECT most_common_vals::text, histogram_bounds::text FROM pg_stats WHERE tablename = '{table}'",
    ][form]


def change(parts: tuple[str, str, str, int, str]) -> str:
    table, other, condition, form, value = parts
    return [
        f"UPDATE {table} SET {value} WHERE {condition}",
        f"DELETE FROM {table} WHERE {condition}",
        f"INSERT INTO {table} SELECT * FROM {table} ON CONFLICT DO NOTHING",
        f"INSERT INTO {table} (tenant_id) VALUES ({THEIRS})",
        f"UPDATE {table} a SET tenant_id = b.tenant_id FROM {other} b",
        f"UPDATE {table} SET tenant_id = tenant_id WHERE {condition} RETURNING *",
        f"SELECT * FROM {table} WHERE {condition} FOR UPDATE",
    ][form]


def test_sql_as_a_service_has_it(two: Two) -> None:
    with two.owner.connect() as connection:
        TABLE_NAMES[:] = tenant_tables(connection)
        partitions = connection.execute(
            text("SELECT relname FROM pg_class WHERE relispartition LIMIT 8")
        ).scalars()
        TABLE_NAMES.extend(partitions)
    settled = configuration.load(environ=two.outside.env)
    engine = database.make_engine(settled, name="test", pool_size=1, role="vigil_tenant")
    statements = st.one_of(
        st.tuples(TABLES, TABLES, conditions, st.integers(0, 11)).map(select),
        st.tuples(TABLES, TABLES, conditions, st.integers(0, 6), changes).map(change),
    )
    with engine.connect() as connection:
        connection.execute(text("SELECT set_config('vigil.tenant_id', :t, false)"), {"t": str(OURS)})
        connection.commit()

        def probe(pair: tuple[str, int]) -> None:
            statement, _ = pair
            try:
                result = connection.exec_driver_sql(statement)
                answer = result.fetchall() if result.returns_rows else []
                # Without the commit, every change would be harmless.
                connection.commit()
            except (DBAPIError, StatementError) as error:
                connection.rollback()
                answer = str(error.orig if isinstance(error, DBAPIError) else error)  # type: ignore[assignment]
            two.check("sql", answer, asked=statement)
            assert not any(THEIRS in row for row in answer if isinstance(row, tuple)), statement

        two.run("sql", st.tuples(statements, st.integers()), probe)
    engine.dispose()


# -- what Redis holds


def test_frames_open_for_their_own_tenant_only(two: Two) -> None:
    env = two.outside.env
    client = redis.Redis.from_url(env["REDIS_URL"])
    prefix = configuration.load(environ=env).redis.key_prefix
    frames = {
        tenant: [fields[b"frame"] for _, fields in client.xrange(stream_key(prefix, tenant))]  # type: ignore[union-attr]
        for tenant in (OURS, THEIRS)
    }
    assert all(frames.values())

    def probe(chosen: tuple[int, int, int, int, int]) -> None:
        of, number, keys_of, claimed, flip = chosen
        frame = bytearray(frames[of][number % len(frames[of])])
        if flip >= 0:
            frame[flip % len(frame)] ^= 1 << (flip % 7)
        try:
            body = encryption.open_frame(bytes(frame), keys=two.keys[keys_of], tenant_id=claimed)
        except InvalidMessage:
            body = None
            assert (of, keys_of, claimed) != (of, of, of) or flip >= 0
        if body is not None:
            assert keys_of == claimed == of == body.tenant_id
        two.check("frames", bytes(frame), asked="" if of == OURS else bytes(frame))

    tenants = st.sampled_from([OURS, THEIRS])
    two.run("frames", st.tuples(tenants, st.integers(0), tenants, tenants, st.integers(-500, 4000)), probe)
    for key in client.scan_iter(f"{prefix}:*"):
        kind = client.type(key)
        held = {
            b"stream": lambda key=key: client.xrange(key),
            b"hash": lambda key=key: client.hgetall(key),
            b"string": lambda key=key: client.get(key),
            b"list": lambda key=key: client.lrange(key, 0, -1),
            b"none": lambda: None,  # the key has expired meanwhile
        }[kind]()  # type: ignore[index]
        shown = repr(held)
        assert word_of(OURS) not in shown or key.split(b":")[2] == str(OURS).encode(), key
        kids = [
            kid for tenant, keys in two.keys.items() if f":{tenant}" not in key.decode() + ":" for kid in keys
        ]
        assert not any(kid in shown for kid in kids), f"{key!r} holds another tenant's frames"
        if kind == b"stream":
            assert word_of(OURS) not in shown
            assert word_of(THEIRS) not in shown


# -- RPC


def rpc_methods() -> Iterator[tuple[str, str, inspect.Signature]]:
    for process in PROCESSES:
        cls = service_class(process)
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            entrypoints = getattr(method, ENTRYPOINT_EXTENSIONS_ATTR, ())
            if any(isinstance(entrypoint, MeasuredRpc) for entrypoint in entrypoints):
                yield cls.name, name, inspect.signature(method)


def arguments(two: Two, signature: inspect.Signature) -> st.SearchStrategy[dict[str, Any]]:
    theirs, ours = two.theirs, two.ours
    of_both = st.sampled_from([*theirs.values(), *ours.values()])
    known: dict[str, st.SearchStrategy[Any]] = {
        "tenant_id": st.just(OURS),
        "limit": st.one_of(st.integers(1, 50), numbers),
        "status": st.one_of(st.sampled_from(["open", "all", "NEW", "RESOLVED"]), junk),
        "lat": st.floats(-90, 90),
        "lon": st.floats(-180, 180),
        "radius_m": st.floats(1, 1000),
        "frame_id": st.integers(0, 2**40),
        "vertices": st.lists(st.lists(st.floats(-80, 80), min_size=2, max_size=2), max_size=5),
        "kind": st.sampled_from(["required", "forbidden"]),
        "note": junk,
        "by": junk,
        "name": junk,
    }
    names = [name for name in signature.parameters if name != "self"]
    return st.fixed_dictionaries({name: known.get(name, st.one_of(of_both, junk)) for name in names})


def test_rpc_with_every_argument_that_might_name_them(two: Two) -> None:
    methods = list(rpc_methods())
    assert {f"{s}.{m}" for s, m, sig in methods if "tenant_id" not in sig.parameters} == WITHOUT_TENANT
    calls = st.one_of(
        *(
            st.tuples(st.just(service), st.just(method), arguments(two, signature))
            for service, method, signature in methods
            if "tenant_id" in signature.parameters
        )
    )
    settled = configuration.load(environ=two.outside.env)
    setup = {"AMQP_URI": settled.amqp.uri, "serializer": SERIALIZER, "ACCEPT": [SERIALIZER]}
    with ClusterRpcProxy(setup, timeout=20) as cluster:

        def probe(call: tuple[str, str, dict[str, Any]]) -> None:
            service, method, given_arguments = call
            try:
                answer = getattr(getattr(cluster, service), method)(**given_arguments)
            except Exception as error:
                answer = str(error)
            if isinstance(answer, bytes):
                answer = encryption.open_frame(answer, keys=two.keys[OURS], tenant_id=OURS, after_id=-1)
            two.check("rpc", answer, asked=given_arguments)

        two.run("rpc", calls, probe)
        for service, method, signature in methods:
            if "tenant_id" in signature.parameters:
                for nobody in ("1 OR true", None, -1, [THEIRS], 2**40):
                    wrong = {
                        "tenant_id": nobody,
                        "alert_id": two.theirs["alert_id"],
                        "device_id": "d",
                        "by": "x",
                    }
                    given_arguments = {k: v for k, v in wrong.items() if k in signature.parameters}
                    try:
                        answer = getattr(getattr(cluster, service), method)(**given_arguments)
                    except Exception as error:
                        answer = str(error)
                    two.check("rpc", answer)


# -- HTTP

PATHS = [
    "/api/v1/alerts",
    "/api/v1/alerts?status={junk}&limit={number}&client_id={tenant}&tenant_id={tenant}",
    "/api/v1/alerts/{id}",
    "/api/v1/alerts/{id}?tenant_id={tenant}",
    "/api/v1/alerts/{id}/acknowledge",
    "/api/v1/alerts/{id}/start",
    "/api/v1/alerts/{id}/resolve",
    "/api/v1/alerts/{id}/false-alarm",
    "/api/v1/alerts/{id}/{junk}",
    "/api/v1/guards?limit={number}",
    "/api/v1/guards/{id}",
    "/api/v1/users?cursor={junk}",
    "/api/v1/contacts/{id}",
    "/api/v1/devices/{id}/carriers",
    "/api/v1/devices/{id}/carrier",
    "/api/v1/devices/{id}/readings?since=2026-01-01T00:00:00Z&until=2100-01-01T00:00:00Z",
    "/api/v1/groups/{id}/guards/{id}",
    "/api/v1/shifts/{number}",
    "/api/v1/sites",
    "/api/v1/policy?site_id={number}",
    "/api/v1/rotas/{id}",
    "/api/v1/positions",
    "/api/v1/device-states",
    "/api/v1/rejected-messages?reason={junk}",
    "/api/v1/feed-keys?client_id={tenant}",
    "/api/v1/feed-keys?client_id={number}",
    "/api/v1/tickets",
    "/api/v1/session/refresh",
    "/api/v1/{junk}",
    "/console/{junk}",
    "/console/../../{junk}",
    "/readyz",
    "/{junk}",
]


def test_http_with_every_path_that_might_name_them(two: Two) -> None:
    host, port = two.outside.base.split(":")
    tokens = [
        two.outside.token(tenant_id=OURS, role=role, name=f"probe-{role}")
        for role in ("viewer", "operator", "supervisor", "admin")
    ]
    everyone = [*two.theirs.values(), *two.ours.values()]
    bodies = st.one_of(
        st.none(),
        st.dictionaries(
            st.sampled_from(["tenant_id", "client_id", "note", "refresh_token", "alert_id", "role", "user"]),
            st.one_of(junk, st.sampled_from([OURS, THEIRS, word_of(THEIRS), two.theirs["alert_id"]])),
        ),
    )
    strategy = st.tuples(
        st.sampled_from(["GET", "POST", "DELETE", "PUT"]),
        st.sampled_from(PATHS),
        st.sampled_from(everyone),
        st.sampled_from([OURS, THEIRS]),
        st.text("abcdefghijklmnopqrstuvwxyz0123456789-._%", max_size=12),
        st.integers(-5, 2000),
        st.sampled_from(tokens),
        bodies,
    )
    connection = http.client.HTTPConnection(host, int(port), timeout=20)

    def probe(chosen: tuple[Any, ...]) -> None:
        method, path, its_id, tenant, word, number, token, body = chosen
        target = path.format(id=its_id, tenant=tenant, junk=word, number=number).replace(" ", "+")
        sent = json.dumps(body) if body is not None else None
        headers = {"Authorization": f"Bearer {token}", "X-Tenant": str(tenant)}
        try:
            connection.request(method, target, body=sent, headers=headers)
            response = connection.getresponse()
            answer = response.read().decode("utf-8", "replace")
        except http.client.HTTPException:
            connection.close()
            raise
        assert response.status != 500, (method, target, body, answer)
        two.check("http", answer, asked=f"{target} {sent}")
        if f"client_id={THEIRS}" in target and "feed-keys" in target and method == "GET":
            assert response.status == 403

    two.run("http", strategy, probe)
    connection.close()


# -- ids of sources


def test_ids_of_theirs_are_not_free_in_any_kind_and_their_sources_are_still_heard(
    two: Two, tmp_path: Path
) -> None:
    outside, button = two.outside, f"button-{two.outside.run}"
    run_vigil(outside.env, "tenant", "add", str(HONEST), "Honest")
    options = ("--family", "alert", "--tenant", str(HONEST), "--no-credential")
    run_vigil(outside.env, "device", "add", button, *options)
    held = [two.theirs["guard_id"], two.theirs["device_id"], two.ours["guard_id"], button]
    token = outside.token(tenant_id=OURS, role="admin", name="probe-ids")

    def probe(chosen: tuple[str, str, str, str]) -> None:
        kind, family, its_id, name = chosen
        body = {f"{kind}_id": its_id, "name": name} | ({"family": family} if kind == "device" else {})
        answer = outside.request("POST", f"/api/v1/{kind}s", body, token=token)
        two.check("ids", answer, asked=body)
        assert (answer[0], answer[1]["detail"]) == (409, NOT_FREE), body

    families = st.sampled_from(["device", "sensor", "system", "alert"])
    names = st.text("abc ", min_size=1, max_size=9).filter(str.strip)
    two.run(
        "ids", st.tuples(st.sampled_from(["guard", "device"]), families, st.sampled_from(held), names), probe
    )

    for kind in ("guard", "device"):
        file = tmp_path / f"{kind}.csv"
        foreign = [its_id for its_id in held if its_id != two.ours["guard_id"]]
        file.write_text("id\n" + "".join(f"{its_id}\n" for its_id in foreign))
        said = run_vigil(outside.env, kind, "import", str(file), "--tenant", str(OURS), check=False)
        two.check("ids", said, asked=foreign)
        assert "0 added, 3 refused" in said

    # Registration is open here: a publisher under an id of another kind takes nothing either.
    topics = [f"guard/{its_id}/gps" for its_id in (two.theirs["device_id"], button)]
    for topic in topics:
        outside.publish(topic, {"lat": 12.0, "lon": 77.0})
    query = "SELECT count(*) FROM rejected_message WHERE topic = ANY(%s) AND reason = 'unknown_source'"
    outside.until(lambda: outside.rows(query, topics) == [(2,)])
    assert two.fingerprint() == two.before

    outside.publish(f"alert/panic/{button}", {"message": "help"})
    query = "SELECT tenant_id, message FROM mqtt_device_alert WHERE source_id = %s"
    assert outside.until(lambda: outside.rows(query, button)) == [(HONEST, "help")]


# -- the websocket


class Probing:
    """Sockets of our users, one name after another. Each user may send 100 messages a minute."""

    def __init__(self, two: Two) -> None:
        self._two = two
        self._socket: websocket.WebSocket | None = None
        self._sent = 0
        self._number = 0

    def ask(self, frame: dict[str, Any]) -> str:
        """Send one frame, and return everything that comes until it is answered."""
        if self._socket is None or self._sent >= MARKERS_OF_THE_WIRE:
            self._connect()
        assert self._socket is not None
        self._sent += 1
        self._socket.send(json.dumps(frame))
        said: list[str] = []
        while True:
            opcode, data = self._socket.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                self._socket = None
                return " ".join(said)
            came = json.loads(data)
            self._check(came, data)
            said.append(data.decode())
            done = {"resume": "connected", "heartbeat": "heartbeat", "request_metrics": "metrics"}
            if came["type"] in ("ack", "error", done.get(frame["type"])):
                return " ".join(said)

    def _connect(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._number += 1
        self._sent = 0
        role = random.Random(self._number).choice(["viewer", "operator", "supervisor", "admin"])
        token = self._two.outside.token(tenant_id=OURS, role=role, name=f"probe-{self._number}")
        self._socket = websocket.create_connection(
            f"ws://{self._two.outside.base}/ws/noc/dashboard/",
            header=[f"Authorization: Bearer {token}"],
            timeout=20,
        )

    def _check(self, frame: dict[str, Any], data: bytes) -> None:
        assert frame.get("tenant_id", OURS) == OURS
        assert frame.get("kid") not in self._two.keys[THEIRS]
        if isinstance(frame.get("data"), str):
            body = encryption.open_frame(data, keys=self._two.keys[OURS], tenant_id=OURS, after_id=-1)
            assert word_of(THEIRS) not in str(body.data)


def test_the_websocket_with_every_frame_that_might_name_them(two: Two) -> None:
    probing = Probing(two)
    ids = st.sampled_from([*two.theirs.values(), *two.ours.values(), "x"])
    frames = st.fixed_dictionaries(
        {
            "type": st.one_of(
                st.sampled_from(
                    [
                        "subscribe_client",
                        "acknowledge_alert",
                        "start_alert",
                        "resolve_alert",
                        "false_alarm",
                        "resume",
                        "heartbeat",
                        "request_metrics",
                        "subscribe",
                    ]
                ),
                st.text("abcxyz_", max_size=8),
            ),
            "ref": st.integers(0, 2**30),
        },
        optional={
            "alert_id": ids,
            "client_id": st.one_of(
                st.sampled_from([THEIRS, OURS, 0, -1, None, str(THEIRS)]), st.integers(0, 99)
            ),
            "tenant_id": st.just(THEIRS),
            "since": st.one_of(st.none(), st.integers(0, 2**60)),
            "note": junk,
        },
    )

    def probe(frame: dict[str, Any]) -> None:
        two.check("websocket", probing.ask(frame), asked=frame)

    two.run("websocket", frames, probe)


# -- MQTT


def test_mqtt_with_a_credential_of_ours_and_claims_of_theirs(two: Two) -> None:
    env = two.outside.env
    name = f"guard-mqtt-{two.outside.run}"
    added = json.loads(run_vigil(env, "guard", "add", name, "--tenant", str(OURS), "--json"))
    client = MqttClient(
        int(env["MQTT_BROKER_PORT"]), name, username=added["username"], password=added["password"]
    )
    names = [name, two.theirs["guard_id"], two.theirs["device_id"], two.ours["guard_id"], "nobody"]
    topics = st.one_of(
        st.sampled_from(
            [
                "guard/{}/gps",
                "device/{}/telemetry",
                "sensor/{}/reading",
                "sensor/{}/alarm",
                "alert/panic/{}",
                "alert/{}/panic",
                "alert/intrusion/{}",
                "alert/{}/{}",
                "system/health/{}",
                "receipt/{}",
                "command/{}",
            ]
        ),
        st.text("abcdegilmnoprstuvy/$", min_size=1, max_size=15).map(lambda word: word + "/{}"),
    )
    claims = st.fixed_dictionaries(
        {"lat": st.just(12.0), "lon": st.just(77.0)},
        optional={
            "client_id": st.sampled_from([OURS, THEIRS, str(THEIRS), None, [THEIRS]]),
            "guard_id": st.sampled_from([*names, 5]),
            "source_id": st.sampled_from(names),
            "tenant_id": st.just(THEIRS),
            "severity": st.sampled_from(["critical", "low", 7]),
            "msg_id": st.text("ab", max_size=3),
        },
    )

    def probe(chosen: tuple[str, str, dict[str, Any]]) -> None:
        topic, target, payload = chosen
        client.publish(topic.replace("{}", target), json.dumps(payload).encode())
        two.tried["mqtt"] += 1
        client.settle(two.tried["mqtt"] - 200)  # a window, as a device has

    def everything_is_through() -> bool:
        client.settle(two.tried["mqtt"] + 1)
        query = "SELECT 1 FROM mqtt_guard_location WHERE guard_id = %s AND msg_id = 'the end'"
        return bool(two.outside.rows(query, name))

    strategy = st.tuples(topics, st.sampled_from(names), claims)
    two.run("mqtt", strategy, probe)
    client.publish(f"guard/{name}/gps", b'{"lat":12,"lon":77,"msg_id":"the end"}')
    two.outside.until(everything_is_through, timeout_s=60)
    assert two.fingerprint() == two.before
    for table, column in (
        ("mqtt_guard_location", "guard_id"),
        ("mqtt_device_alert", "source_id"),
        ("guard_state", "guard_id"),
    ):
        own = two.outside.rows(f"SELECT DISTINCT tenant_id FROM {table} WHERE {column} = %s", name)
        assert own == [(OURS,)], table
    impostors = two.outside.rows(
        "SELECT count(*) FROM rejected_message WHERE source_id = %s AND reason = 'identity_mismatch'", name
    )
    assert impostors[0][0] > 0
    assert b"nobody" not in b" ".join(topic.encode() for topic, *_ in client.heard)


def test_all_doors_were_tried_as_often_as_asked(two: Two) -> None:
    tried = {door: count for door, count in two.tried.items() if count}
    assert set(tried) == set(SHARES), "run the whole file"
    assert sum(tried.values()) >= two.probes
    assert two.fingerprint() == two.before
