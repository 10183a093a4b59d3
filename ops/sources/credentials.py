"""Credentials of sources: registered in the database, added at the broker, shown once.

The registry is the truth. When the broker is not reachable half-way, the source is registered
without a credential. The same command, given again, goes on from there.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gateway.mqtt import access_control
from ops.servers.certificates import CertificateAuthority
from ops.servers.mosquitto import BrokerAdmin
from services.contracts.errors import Conflict, NotFound
from services.directory.registry.source_ids import NOT_FREE, check_source_id, number_of
from services.directory.registry.store import DirectoryStore

PASSWORD_BYTES = 24


class AlreadyThere(Conflict):
    """The source is already registered as wanted."""


class SourceRequest(NamedTuple):
    """A source to add, as the operator entered it.

    `family` is guard, device, sensor, system or alert.
    """

    entered: str
    family: str
    name: str = ""
    site_id: int | None = None

    @property
    def kind(self) -> str:
        return "guard" if self.family == "guard" else "device"


class Credential(NamedTuple):
    """Credential to give to the source, once. Its user name and client id are the source's id."""

    source_id: str
    password: str = ""
    certificate_file: str = ""
    key_file: str = ""


class RegisteredSource(NamedTuple):
    """A source in the registry. `said` says what was done, for the operator."""

    source_id: str
    said: str


class Provisioner:
    """Adds, rotates and switches sources of one tenant.

    Methods raise `Refused`, `Conflict`, `NotFound` and `Unavailable`. Without a broker, only the
    registry is changed.
    """

    def __init__(
        self, store: DirectoryStore, broker: BrokerAdmin | None, *, tenant_id: int, prefix: str
    ) -> None:
        self._store = store
        self._broker = broker
        self._tenant_id = tenant_id
        self._prefix = prefix

    def register(self, wanted: SourceRequest) -> RegisteredSource:
        """Put a source into the registry only.

        A source that is there without a credential keeps its data, except for a name and site that
        are given.
        """
        source_id = check_source_id(wanted.entered, family=wanted.family)
        values = {"tenant_id": self._tenant_id, "site_id": wanted.site_id, "name": wanted.name or source_id}
        values |= {"guard_id": source_id} if wanted.kind == "guard" else {"device_id": source_id}

        if wanted.kind == "device":
            values["family"] = wanted.family

        try:
            self._store.add(wanted.kind, **values)
        except Conflict as error:
            known = self._unfinished(wanted, source_id, error)
            return RegisteredSource(source_id, self._complete(wanted, source_id, known))

        return RegisteredSource(source_id, f"{wanted.kind} {source_id} added")

    def give_passwords(self, batch: Sequence[tuple[SourceRequest, str]]) -> list[Credential]:
        """Give each registered (wanted, id) a new password.

        It replaces the earlier access of the source at the broker.
        """
        credentials = {source_id: self._password(source_id) for _, source_id in batch}
        self._let_in([(wanted, source_id, credentials[source_id].password) for wanted, source_id in batch])
        for wanted, source_id in batch:
            self._remember(wanted.kind, source_id, "password")
        return [credentials[source_id] for _, source_id in batch]

    def give_certificate(
        self, wanted: SourceRequest, source_id: str, *, authority: CertificateAuthority, out: Path
    ) -> Credential:
        """Issue a certificate and key in `out`; add the source at the broker without a password."""
        certificate_file, key_file = authority.issue_source(out, source_id)
        self._let_in([(wanted, source_id, None)])
        self._remember(wanted.kind, source_id, "certificate")
        return Credential(source_id, "", str(certificate_file), str(key_file))

    def rotate(self, kind: str, source_id: str) -> Credential:
        """Give a source a new password; the old one is void at once.

        A source without a password gets its first one.
        """
        source = self._store.source(kind, source_id, tenant_id=self._tenant_id)
        if source["credential"] != "password":
            [credential] = self.give_passwords([(SourceRequest(source_id, source["family"]), source_id)])
            return credential
        credential = self._password(source_id)
        self._run(access_control.rotate(source_id, credential.password))
        self._remember(kind, source_id, "password")
        return credential

    def switch(self, kind: str, source_id: str, *, enabled: bool) -> None:
        """Enable or disable a source, in the registry first.

        If the broker cannot be reached, the messages of a disabled source are still refused.
        """
        source = self._store.source(kind, source_id, tenant_id=self._tenant_id)
        self._store.set_enabled(kind, source_id, tenant_id=self._tenant_id, enabled=enabled)
        if source["credential"] is not None:
            self._run(access_control.switch(source_id, enabled=enabled), ignore=["already", "not found"])

    def _let_in(self, sources: Sequence[tuple[SourceRequest, str, str | None]]) -> None:
        # The first command removes what an earlier installation may have left at the broker.
        commands = [
            command
            for wanted, source_id, password in sources
            for command in (
                *access_control.remove(source_id),
                *access_control.add(
                    source_id,
                    family=wanted.family,
                    password=password,
                    prefix=self._prefix,
                    number=number_of(wanted.entered),
                ),
            )
        ]
        self._run(commands, ignore=["Client not found", "Role already exists"])

    def _run(self, commands: Sequence[access_control.Command], *, ignore: Sequence[str] = ()) -> None:
        if self._broker is not None:
            self._broker.run(commands, ignore=ignore)

    def _remember(self, kind: str, source_id: str, credential: str) -> None:
        self._store.set_credential(kind, source_id, tenant_id=self._tenant_id, credential=credential)

    def _complete(self, wanted: SourceRequest, source_id: str, known: Mapping[str, Any]) -> str:
        """Give a source that was registered before its new name and site, and say so."""
        given = {"name": wanted.name or None, "site_id": wanted.site_id}
        changes = {
            field: value for field, value in given.items() if value is not None and value != known[field]
        }
        if changes:
            self._store.describe(
                wanted.kind,
                source_id,
                tenant_id=self._tenant_id,
                name=wanted.name or None,
                site_id=wanted.site_id,
            )

        said = [f"{field} is {value} now (was {known[field]})" for field, value in changes.items()]
        return (
            f"{wanted.kind} {source_id} was registered before: {', '.join(said) or 'name and site are kept'}"
        )

    def _unfinished(self, wanted: SourceRequest, source_id: str, conflict: Conflict) -> dict[str, Any]:
        """Return a source that was registered before and still waits for its credential.

        Raises:
            AlreadyThere: the source has a credential, or there is no broker.
            Conflict: the source is not there, or the id belongs to another family.
        """
        try:
            source = self._store.source(wanted.kind, source_id, tenant_id=self._tenant_id)
        except NotFound:
            raise conflict from None

        if source["family"] != wanted.family:
            raise Conflict(NOT_FREE) from conflict

        if source["credential"] is not None or self._broker is None:
            raise AlreadyThere(
                f"{source_id} is registered already: `vigil {wanted.kind} change {source_id}` changes its name or site,"
                f" `vigil {wanted.kind} rotate {source_id}` gives it a new password"
            ) from conflict

        return source

    def _password(self, source_id: str) -> Credential:
        return Credential(source_id, secrets.token_urlsafe(PASSWORD_BYTES))
