"""Changes of a tenant's register over RPC, which do not need the platform's rights.

A source's credential is not made here. The broker holds it, and `vigil guard|device` gives it out.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import available_timezones

from services.contracts.errors import Refused
from services.directory.registry.source_ids import check_source_id
from services.directory.registry.store import CONTACT_FIELDS, DirectoryStore
from services.outgoing.contact_addresses import check_contact


class RegistryRpc:
    """Changes of the register, as the directory service serves them."""

    def __init__(self, store: DirectoryStore) -> None:
        self._store = store

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
        return int(
            self._store.add("site", tenant_id=tenant_id, name=name, time_zone=time_zone, lat=lat, lon=lon)
        )

    def get_guard(self, *, tenant_id: int, guard_id: str) -> dict[str, Any]:
        """Return a guard. Raises `NotFound`."""
        return self._store.get_row("guard", guard_id, tenant_id=tenant_id)

    def get_device(self, *, tenant_id: int, device_id: str) -> dict[str, Any]:
        """Return a device. Raises `NotFound`."""
        return self._store.get_row("device", device_id, tenant_id=tenant_id)

    def add_guard(self, *, tenant_id: int, guard_id: str, name: str = "", site_id: int | None = None) -> str:
        """Add a guard, and return the id in full (`guard-7`).

        Raises `Refused`, `Conflict`, `NotFound`.
        """
        checked = check_source_id(guard_id, family="guard")
        return str(
            self._store.add(
                "guard", tenant_id=tenant_id, guard_id=checked, name=name or checked, site_id=site_id
            )
        )

    def switch_guard(self, *, tenant_id: int, guard_id: str, enabled: bool) -> None:
        """Enable or disable a guard, everywhere within two seconds. Raises `NotFound`."""
        self._store.set_enabled("guard", guard_id, tenant_id=tenant_id, enabled=enabled)

    def add_device(
        self, *, tenant_id: int, device_id: str, family: str, name: str = "", site_id: int | None = None
    ) -> str:
        """Add a device of a family (device, sensor, system or alert), and return its id.

        Raises `Refused`, `Conflict`, `NotFound`.
        """
        checked = check_source_id(device_id, family=family)
        return str(
            self._store.add(
                "device",
                tenant_id=tenant_id,
                device_id=checked,
                name=name or checked,
                family=family,
                site_id=site_id,
            )
        )

    def switch_device(self, *, tenant_id: int, device_id: str, enabled: bool) -> None:
        """Enable or disable a device, everywhere within two seconds. Raises `NotFound`."""
        self._store.set_enabled("device", device_id, tenant_id=tenant_id, enabled=enabled)

    def assign_device(self, *, tenant_id: int, device_id: str, guard_id: str) -> None:
        """Assign a device to a guard, who alone carries it from now on. Raises `NotFound`."""
        self._store.assign(device_id, guard_id, tenant_id=tenant_id, at=datetime.now(UTC))

    def release_device(self, *, tenant_id: int, device_id: str) -> None:
        """End the assignment of a device: nobody carries it. Raises `NotFound`."""
        self._store.release(device_id, tenant_id=tenant_id, at=datetime.now(UTC))

    def add_group(self, *, tenant_id: int, name: str) -> int:
        """Add a group of guards, and return its id. Raises `Conflict`."""
        return int(self._store.add("group", tenant_id=tenant_id, name=name))

    def join_group(self, *, tenant_id: int, name: str, guard_id: str) -> None:
        """Put a guard into a group. Raises `NotFound`."""
        self._store.set_member(name, guard_id, tenant_id=tenant_id, member=True)

    def leave_group(self, *, tenant_id: int, name: str, guard_id: str) -> None:
        """Take a guard out of a group. Raises `NotFound`."""
        self._store.set_member(name, guard_id, tenant_id=tenant_id, member=False)

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
        return int(self._store.add("contact", tenant_id=tenant_id, name=name, **addresses, **further))

    def change_contact(self, *, tenant_id: int, name: str, **changes: Any) -> None:
        """Change fields of a contact. The others stay.

        Raises `Refused` naming the address that is wrong, and `NotFound`.
        """
        unknown = sorted(changes.keys() - set(CONTACT_FIELDS))
        if unknown:
            raise Refused(f"a contact has no {unknown[0]!r}; it has {', '.join(sorted(CONTACT_FIELDS))}")
        self._store.change_contact(name, changes, tenant_id=tenant_id)

    def add_shift(self, *, tenant_id: int, guard_id: str, starts_at: datetime, ends_at: datetime) -> int:
        """Add a shift of a guard, and return its id.

        A shift has 48 hours at most, and no two shifts of a guard overlap. Raises `Refused`,
        `Conflict`, `NotFound`.
        """
        checked = check_source_id(guard_id, family="guard")
        return int(
            self._store.add(
                "shift", tenant_id=tenant_id, guard_id=checked, starts_at=starts_at, ends_at=ends_at
            )
        )
