"""Register of a tenant over RPC: lists, and changes that do not need the platform's rights.

A source's credential is not made here. The broker holds it, and `vigil guard|device` gives it out.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast
from zoneinfo import available_timezones

from services.contracts.errors import Refused
from services.directory.registry.source_ids import check_source_id
from services.directory.registry.store import CONTACT_FIELDS, DirectoryStore
from services.messaging import rpc
from services.outgoing.contact_addresses import check_contact

Rows = list[dict[str, Any]]
Place = list[Any]
"""Place of the last row of the page before."""


class Register:
    """RPC methods of the directory service about the register.

    `parts.store` is a `DirectoryStore`, `parts.bars` a `BarredSubjects`.
    """

    parts: Any

    @rpc
    def list_sites(self, *, tenant_id: int, limit: int = 1000, after: Place | None = None) -> Rows:
        return self._store.list_rows("site", tenant_id=tenant_id, limit=limit, after=after)

    @rpc
    def add_site(
        self,
        *,
        tenant_id: int,
        name: str,
        time_zone: str = "UTC",
        lat: float | None = None,
        lon: float | None = None,
    ) -> int:
        """Add a site, and return its id. Raises `Refused`, `Conflict`."""
        if time_zone not in available_timezones():
            raise Refused(f"time_zone: there is no {time_zone[:50]!r}; write it as Asia/Kolkata or UTC")
        if (lat is None) != (lon is None):
            raise Refused("lat and lon: give both or neither")
        return self._add("site", tenant_id=tenant_id, name=name, time_zone=time_zone, lat=lat, lon=lon)

    @rpc
    def list_guards(self, *, tenant_id: int, limit: int = 1000, after: Place | None = None) -> Rows:
        return self._store.list_rows("guard", tenant_id=tenant_id, limit=limit, after=after)

    @rpc
    def get_guard(self, *, tenant_id: int, guard_id: str) -> dict[str, Any]:
        """Return a guard. Raises `NotFound`."""
        return self._store.get_row("guard", guard_id, tenant_id=tenant_id)

    @rpc
    def get_device(self, *, tenant_id: int, device_id: str) -> dict[str, Any]:
        """Return a device. Raises `NotFound`."""
        return self._store.get_row("device", device_id, tenant_id=tenant_id)

    @rpc
    def add_guard(self, *, tenant_id: int, guard_id: str, name: str = "", site_id: int | None = None) -> str:
        """Add a guard, and return the id in full (`guard-7`).

        Raises `Refused`, `Conflict`, `NotFound`.
        """
        checked = check_source_id(guard_id, family="guard")
        return str(
            self._add("guard", tenant_id=tenant_id, guard_id=checked, name=name or checked, site_id=site_id)
        )

    @rpc
    def switch_guard(self, *, tenant_id: int, guard_id: str, enabled: bool) -> None:
        """Enable or disable a guard, everywhere within two seconds. Raises `NotFound`."""
        self._store.set_enabled("guard", guard_id, tenant_id=tenant_id, enabled=enabled)

    @rpc
    def list_devices(self, *, tenant_id: int, limit: int = 1000, after: Place | None = None) -> Rows:
        return self._store.list_rows("device", tenant_id=tenant_id, limit=limit, after=after)

    @rpc
    def add_device(
        self, *, tenant_id: int, device_id: str, family: str, name: str = "", site_id: int | None = None
    ) -> str:
        """Add a device of a family (device, sensor, system or alert), and return its id.

        Raises `Refused`, `Conflict`, `NotFound`.
        """
        checked = check_source_id(device_id, family=family)
        return str(
            self._add(
                "device",
                tenant_id=tenant_id,
                device_id=checked,
                name=name or checked,
                family=family,
                site_id=site_id,
            )
        )

    @rpc
    def switch_device(self, *, tenant_id: int, device_id: str, enabled: bool) -> None:
        """Enable or disable a device, everywhere within two seconds. Raises `NotFound`."""
        self._store.set_enabled("device", device_id, tenant_id=tenant_id, enabled=enabled)

    @rpc
    def set_silence_limit(self, *, tenant_id: int, device_id: str, silence_limit_s: float | None) -> None:
        """Set the seconds without a message after which a device is OFFLINE.

        They count from now on. Raises `NotFound`, `Refused`.

        Args:
            silence_limit_s: None for the limit of the device's family, 0 for never.
        """
        self._store.set_silence_limit(device_id, silence_limit_s, tenant_id=tenant_id)

    @rpc
    def list_carriers(self, *, tenant_id: int, device_id: str, limit: int = 100) -> Rows:
        """Return the guards who carried a device, with their times, newest first."""
        return self._store.carriers(device_id, tenant_id=tenant_id, limit=limit)

    @rpc
    def assign_device(self, *, tenant_id: int, device_id: str, guard_id: str) -> None:
        """Assign a device to a guard, who alone carries it from now on. Raises `NotFound`."""
        self._store.assign(device_id, guard_id, tenant_id=tenant_id, at=datetime.now(UTC))

    @rpc
    def release_device(self, *, tenant_id: int, device_id: str) -> None:
        """End the assignment of a device: nobody carries it. Raises `NotFound`."""
        self._store.release(device_id, tenant_id=tenant_id, at=datetime.now(UTC))

    @rpc
    def list_groups(self, *, tenant_id: int, limit: int = 1000, after: Place | None = None) -> Rows:
        return self._store.list_rows("group", tenant_id=tenant_id, limit=limit, after=after)

    @rpc
    def add_group(self, *, tenant_id: int, name: str) -> int:
        """Add a group of guards, and return its id. Raises `Conflict`."""
        return self._add("group", tenant_id=tenant_id, name=name)

    @rpc
    def join_group(self, *, tenant_id: int, name: str, guard_id: str) -> None:
        """Put a guard into a group. Raises `NotFound`."""
        self._store.set_member(name, guard_id, tenant_id=tenant_id, member=True)

    @rpc
    def leave_group(self, *, tenant_id: int, name: str, guard_id: str) -> None:
        """Take a guard out of a group. Raises `NotFound`."""
        self._store.set_member(name, guard_id, tenant_id=tenant_id, member=False)

    @rpc
    def list_contacts(self, *, tenant_id: int, limit: int = 1000, after: Place | None = None) -> Rows:
        return self._store.list_rows("contact", tenant_id=tenant_id, limit=limit, after=after)

    @rpc
    def add_contact(
        self,
        *,
        tenant_id: int,
        name: str,
        email: str | None = None,
        phone: str | None = None,
        push_token: str | None = None,
        url: str | None = None,
        language: str = "en",
        note: str = "",
        site_id: int | None = None,
    ) -> int:
        """Add a person who is notified of alerts, and return the contact's id.

        Raises `Refused` naming the address that is wrong, and `Conflict`.
        """
        check_contact(email=email, phone=phone, push_token=push_token, url=url)
        addresses = {"email": email, "phone": phone, "push_token": push_token, "url": url}
        further = {"language": language, "note": note, "site_id": site_id}
        return self._add("contact", tenant_id=tenant_id, name=name, **addresses, **further)

    @rpc
    def change_contact(self, *, tenant_id: int, name: str, **changes: Any) -> None:
        """Change fields of a contact. The others stay.

        Raises `Refused` naming the address that is wrong, and `NotFound`.
        """
        unknown = sorted(changes.keys() - set(CONTACT_FIELDS))
        if unknown:
            raise Refused(f"a contact has no {unknown[0]!r}; it has {', '.join(sorted(CONTACT_FIELDS))}")
        self._store.change_contact(name, changes, tenant_id=tenant_id)

    @rpc
    def remove_contact(self, *, tenant_id: int, name: str) -> None:
        """Remove a contact. Raises `NotFound`."""
        self._store.remove_contact(name, tenant_id=tenant_id)

    @rpc
    def list_shifts(self, *, tenant_id: int, limit: int = 1000, after: Place | None = None) -> Rows:
        return self._store.list_rows("shift", tenant_id=tenant_id, limit=limit, after=after)

    @rpc
    def add_shift(self, *, tenant_id: int, guard_id: str, starts_at: datetime, ends_at: datetime) -> int:
        """Add a shift of a guard, and return its id.

        A shift has 48 hours at most, and no two shifts of a guard overlap. Raises `Refused`,
        `Conflict`, `NotFound`.
        """
        checked = check_source_id(guard_id, family="guard")
        return self._add("shift", tenant_id=tenant_id, guard_id=checked, starts_at=starts_at, ends_at=ends_at)

    @rpc
    def remove_shift(self, *, tenant_id: int, shift_id: int) -> None:
        """Remove a shift. Positions that were stored during it stay. Raises `NotFound`."""
        self._store.remove_shift(shift_id, tenant_id=tenant_id)

    @rpc
    def list_users(self, *, tenant_id: int, limit: int = 1000, after: Place | None = None) -> Rows:
        """Return users who log in, without anything about their passwords."""
        return self._store.list_users(tenant_id=tenant_id, limit=limit, after=after)

    @rpc
    def bar_subject(
        self,
        *,
        tenant_id: int,
        by: str,
        subject: str,
        reason: str = "",
        issuer: str | None = None,
        until: datetime | None = None,
    ) -> int:
        """Void the tokens of a subject everywhere within two seconds. Return the bar's id.

        Raises `Refused`.
        """
        bar_id: int = self.parts.bars.bar(
            subject, tenant_id=tenant_id, by=by, reason=reason, issuer=issuer, until=until
        )
        return bar_id

    @rpc
    def lift_bar(self, *, tenant_id: int, by: str, bar_id: int) -> None:
        """End a bar: new tokens of the subject are valid again. Raises `NotFound`."""
        self.parts.bars.lift(bar_id, tenant_id=tenant_id, by=by)

    @rpc
    def list_bars(self, *, tenant_id: int, limit: int = 1000, after: Place | None = None) -> Rows:
        """Return bars in the order in which they were made, with those that ended lately."""
        rows: Rows = self.parts.bars.list_rows(tenant_id=tenant_id, limit=limit, after=after)
        return rows

    def _add(self, what: str, /, **values: Any) -> int:
        return cast(int, self._store.add(what, **values))

    @property
    def _store(self) -> DirectoryStore:
        return cast(DirectoryStore, self.parts.store)
