"""Directory service: sessions of users, the register of tenants, zones, and snapshots."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from eventlet import tpool
from eventlet.semaphore import Semaphore

from services.contracts.errors import NotAuthenticated, TooMany, Unavailable
from services.contracts.frames import Snapshot
from services.directory.dead_letters.rpc import DeadLetterRpc, DeadLetters
from services.directory.people.rpc import ProfileCalls
from services.directory.people.store import ProfileStore
from services.directory.registry.rpc import RegistryRpc
from services.directory.registry.store import DirectoryStore
from services.directory.users import passwords
from services.directory.users.barred_subjects import BarredSubjects
from services.directory.users.store import RefreshedSession, Reused, UserStore
from services.directory.zones.geometry_thread import GeometryThread
from services.directory.zones.rpc import ZoneRpc
from services.directory.zones.store import ZoneStore
from services.feed.stream import make_sealer
from services.messaging import Resource, RpcProxy, rpc, rpc_methods_of, rpc_of, timer
from services.platform import security_events
from services.platform.config import Config
from services.platform.database import Database
from services.platform.schema.check import SchemaCheck

SNAPSHOT_ALERTS = 1000
CLOCK_SKEW = timedelta(minutes=1)
"""Largest difference between the clocks of an identity provider, the gateway and the database."""


class PasswordChecks:
    """Limit of password checks at once, and of log-ins that hold a worker: half work, half wait."""

    def __init__(self, *, at_once: int) -> None:
        self._turns = Semaphore(at_once)
        self._most = 2 * at_once
        self._admitted = 0

    def admit(self) -> bool:
        """Return whether there is room for one more log-in. If so, `leave` must follow."""
        if self._admitted >= self._most:
            return False
        self._admitted += 1
        return True

    def leave(self) -> None:
        self._admitted -= 1

    def run(self, check: Callable[..., bool], *arguments: Any) -> bool:
        """Return the result of `check`.

        It computes for a tenth of a second, in a thread where it delays nothing else.
        """
        with self._turns:
            return bool(tpool.execute(check, *arguments))


class DirectoryParts:
    """Stores and collaborators of the service, made once per process."""

    def __init__(self, config: Config) -> None:
        database = Database(config, name="directory")
        self.store = DirectoryStore(database)
        self.schema = SchemaCheck(database)
        self.people = UserStore(database)
        self.zones = ZoneStore(database, judge_of=GeometryThread().of, beside=tpool.execute)
        self.bars = BarredSubjects.from_config(config, database)
        self.register = RegistryRpc(self.store)
        self.profile_calls = ProfileCalls(ProfileStore(database))
        self.zone_calls = ZoneRpc(self.zones)
        self.letter_calls = DeadLetterRpc(DeadLetters(config, database))
        self.token_life = timedelta(seconds=config.noc.token_max_age_s) + CLOCK_SKEW
        self.session_lifetime = timedelta(seconds=config.noc.session_lifetime_s)
        self.sealer = make_sealer(config)
        self.password_checks = PasswordChecks(at_once=config.noc.password_checks)


@rpc_methods_of(
    register=RegistryRpc, profile_calls=ProfileCalls, zone_calls=ZoneRpc, letter_calls=DeadLetterRpc
)
class DirectoryService:
    name = "directory"

    parts = Resource(DirectoryParts)
    alerts = RpcProxy("alerts")
    location = RpcProxy("location")
    telemetry = RpcProxy("telemetry")

    list_sites = rpc_of("store", DirectoryStore.list_rows, kind="site")
    list_guards = rpc_of("store", DirectoryStore.list_rows, kind="guard")
    list_devices = rpc_of("store", DirectoryStore.list_rows, kind="device")
    list_groups = rpc_of("store", DirectoryStore.list_rows, kind="group")
    list_contacts = rpc_of("store", DirectoryStore.list_rows, kind="contact")
    list_shifts = rpc_of("store", DirectoryStore.list_rows, kind="shift")
    list_users = rpc_of("store", DirectoryStore.list_users)
    set_silence_limit = rpc_of("store", DirectoryStore.set_silence_limit)
    list_carriers = rpc_of("store", DirectoryStore.carriers)
    remove_contact = rpc_of("store", DirectoryStore.remove_contact)
    remove_shift = rpc_of("store", DirectoryStore.remove_shift)
    list_zones = rpc_of("zones", ZoneStore.list_zones)
    list_zone_versions = rpc_of("zones", ZoneStore.versions)
    bar_subject = rpc_of("bars", BarredSubjects.bar)
    lift_bar = rpc_of("bars", BarredSubjects.lift)
    list_bars = rpc_of("bars", BarredSubjects.list_rows)

    @rpc
    def open_session(self, *, login: str, password: str) -> dict[str, Any]:
        """Open a session for the user with this password. Return it with its first refresh token.

        Raises:
            NotAuthenticated: the user or the password is wrong. The work is the same for both.
            TooMany: the limit of log-ins is reached. The other workers are for snapshots, bars and
                zones.
        """
        checks = self.parts.password_checks
        if not checks.admit():
            raise TooMany("too many log-ins at once; try again in 2 s")

        try:
            user = self.parts.people.find(login)
            if (
                not checks.run(passwords.matches, password, user["password_hash"] if user else None)
                or not user
            ):
                raise NotAuthenticated("user or password is wrong")
        finally:
            checks.leave()

        token = secrets.token_urlsafe(32)
        lifetime = self.parts.session_lifetime
        return _answer(
            self.parts.people.open(user, token=token, now=datetime.now(UTC), lifetime=lifetime), token
        )

    @rpc
    def refresh_session(self, *, token: str) -> dict[str, Any]:
        """Continue a session, and return it with the next refresh token.

        A token that comes twice ends its session. Raises `NotAuthenticated`.
        """
        fresh = secrets.token_urlsafe(32)
        try:
            return _answer(self.parts.people.refresh(token, fresh=fresh, now=datetime.now(UTC)), fresh)
        except Reused as error:
            security_events.note("refresh_token_reused", detail=str(error))
            raise NotAuthenticated(str(error)) from error

    @rpc
    def close_session(self, *, session_id: str) -> None:
        """Log a user out: the session's tokens are void everywhere within two seconds."""
        self.parts.people.close(session_id, now=datetime.now(UTC), why="logged out")

    @rpc
    def list_barred(self) -> dict[str, Any]:
        """Return the tokens that are void before their time.

        Changes that are older than a token's life are left out: no token of that time is valid.

        Returns:
            `users`: the Unix second before which tokens are void, by login; null for all tokens.
            `roles`: the present role by login. `sessions`: ids. `subjects`: (tenant id, issuer,
            subject, second as in `users`).
        """
        parts = self.parts
        since = datetime.now(UTC) - parts.token_life
        users, roles, sessions = parts.people.barred(since=since)
        subjects = parts.bars.in_force(since=since)
        return {"users": users, "roles": roles, "sessions": sessions, "subjects": subjects}

    @timer(3600)
    def forget_old_sessions(self) -> None:
        """Delete sessions and bars that void nothing any more."""
        self.parts.people.forget_old_sessions(now=datetime.now(UTC))
        self.parts.bars.forget(now=datetime.now(UTC), token_life=self.parts.token_life)

    @rpc
    def check(self) -> dict[str, str]:
        """Return the states of this service, its database and the whole schema.

        A state is "ok", or the fault in words.
        """
        self.parts.store.check()
        return {"directory": "ok", "postgresql": "ok", "schema": self.parts.schema.words() or "ok"}

    @rpc
    def seal_snapshot(self, *, tenant_id: int, frame_id: int) -> bytes:
        """Return a `snapshot` frame, sealed here: the websocket gateway never holds its content.

        Without the alerts there is no snapshot. Positions and devices may be missing, and are then
        named. Alerts beyond the gravest thousand are named too, because the operator must know that
        there are more.

        Raises:
            Unavailable: the alerts service does not answer.
        """
        missing: list[str] = []

        def part(name: str, fetch: Callable[..., Any]) -> Any:
            try:
                return fetch(tenant_id=tenant_id)
            except Unavailable:
                missing.append(name)
                return []

        alerts = self.alerts.list_gravest(tenant_id=tenant_id, limit=SNAPSHOT_ALERTS)
        if len(alerts) == SNAPSHOT_ALERTS:
            missing.append(f"what may be open beyond the gravest {SNAPSHOT_ALERTS} alerts")

        data = Snapshot(
            alerts=alerts,
            positions=part("positions", self.location.list_positions),
            devices=part("devices", self.telemetry.list_device_states),
            missing=missing,
        )
        return self.parts.sealer.seal(
            tenant_id, type="snapshot", id=frame_id, data=data, now_s=int(time.time())
        )


def _answer(session: RefreshedSession, token: str) -> dict[str, Any]:
    user = {name: session.user[name] for name in ("user_id", "tenant_id", "role", "name", "login")}
    return {**user, "session_id": session.session_id, "refresh_token": token, "ends_at": session.expires_at}
