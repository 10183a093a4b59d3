"""RPC methods of the directory service about profiles of guards, sites and devices."""

from __future__ import annotations

import base64
from typing import Any, cast

from eventlet import tpool

from services.contracts.errors import Refused
from services.contracts.people import WrongNumber, overdue, seen_by, wrong
from services.directory.people import pictures
from services.directory.people.store import SHAPES, Key, Kind, ProfileStore, StoredProfile, today

Answer = dict[str, Any]
Rows = list[dict[str, Any]]
Place = list[Any]


class ProfileCalls:
    """RPC methods about profiles. `role` is the caller's role, which decides what is hidden."""

    def __init__(self, profiles: ProfileStore) -> None:
        self._profiles = profiles

    def get_guard_profile(self, *, tenant_id: int, guard_id: str, role: str) -> Answer:
        """Return the profile of a guard. Raises `NotFound`."""
        return self._shown("guard", guard_id, tenant_id=tenant_id, role=role)

    def change_guard_profile(
        self, *, tenant_id: int, guard_id: str, by: str, role: str, **changes: Any
    ) -> Answer:
        """Set fields of a guard's profile. Raises `NotFound`, `Refused`, `Conflict`."""
        return self._change("guard", guard_id, changes, tenant_id=tenant_id, by=by, role=role)

    def get_site_profile(self, *, tenant_id: int, site_id: int, role: str) -> Answer:
        """Return the profile of a site. Raises `NotFound`."""
        return self._shown("site", site_id, tenant_id=tenant_id, role=role)

    def change_site_profile(
        self, *, tenant_id: int, site_id: int, by: str, role: str, **changes: Any
    ) -> Answer:
        """Set fields of a site's profile. Raises `NotFound`, `Refused`, `Conflict`."""
        return self._change("site", site_id, changes, tenant_id=tenant_id, by=by, role=role)

    def get_device_profile(self, *, tenant_id: int, device_id: str, role: str) -> Answer:
        """Return the profile of a device. Raises `NotFound`."""
        return self._shown("device", device_id, tenant_id=tenant_id, role=role)

    def change_device_profile(
        self, *, tenant_id: int, device_id: str, by: str, role: str, **changes: Any
    ) -> Answer:
        """Set fields of a device's profile. Raises `NotFound`, `Refused`, `Conflict`."""
        return self._change("device", device_id, changes, tenant_id=tenant_id, by=by, role=role)

    def get_guard_photo(self, *, tenant_id: int, guard_id: str) -> Answer:
        """Return the photo of a guard. Raises `NotFound`."""
        return self._picture("guard", guard_id, tenant_id=tenant_id)

    def set_guard_photo(self, *, tenant_id: int, guard_id: str, by: str, content: str) -> None:
        """Set the photo of a guard. Raises `NotFound`, `Refused`."""
        self._set_picture("guard", guard_id, content, tenant_id=tenant_id, by=by)

    def remove_guard_photo(self, *, tenant_id: int, guard_id: str, by: str) -> None:
        """Remove the photo of a guard. Raises `NotFound`."""
        self._profiles.set_picture("guard", guard_id, None, tenant_id=tenant_id, by=by)

    def get_device_picture(self, *, tenant_id: int, device_id: str) -> Answer:
        """Return the picture of a device's mounting place. Raises `NotFound`."""
        return self._picture("device", device_id, tenant_id=tenant_id)

    def set_device_picture(self, *, tenant_id: int, device_id: str, by: str, content: str) -> None:
        """Set the picture of a device. Raises `NotFound`, `Refused`."""
        self._set_picture("device", device_id, content, tenant_id=tenant_id, by=by)

    def remove_device_picture(self, *, tenant_id: int, device_id: str, by: str) -> None:
        """Remove the picture of a device. Raises `NotFound`."""
        self._profiles.set_picture("device", device_id, None, tenant_id=tenant_id, by=by)

    def list_guard_changes(
        self, *, tenant_id: int, guard_id: str, limit: int = 100, after: Place | None = None
    ) -> Rows:
        """Return the changes of a guard's profile, newest first."""
        return self._profiles.changes("guard", guard_id, tenant_id=tenant_id, limit=limit, after=after)

    def list_site_changes(
        self, *, tenant_id: int, site_id: int, limit: int = 100, after: Place | None = None
    ) -> Rows:
        """Return the changes of a site's profile, newest first."""
        return self._profiles.changes("site", site_id, tenant_id=tenant_id, limit=limit, after=after)

    def list_device_changes(
        self, *, tenant_id: int, device_id: str, limit: int = 100, after: Place | None = None
    ) -> Rows:
        """Return the changes of a device's profile, newest first."""
        return self._profiles.changes("device", device_id, tenant_id=tenant_id, limit=limit, after=after)

    def list_wrong_numbers(self, *, tenant_id: int, limit: int = 100) -> list[WrongNumber]:
        """Return the entries that somebody marked as a wrong number. Each needs a correction."""
        return self._profiles.wrong_numbers(tenant_id=tenant_id, limit=limit)

    def mark_wrong_number(self, *, tenant_id: int, kind: Kind, subject: str, place: str, by: str) -> None:
        """Mark an entry of a profile as a wrong number. Raises `NotFound`, `Refused`.

        Args:
            kind: guard or site.
            subject: the guard's id, or the site's number as text.
            place: the entry, such as `telephones.0`.
        """
        key = _key(kind, subject)
        self._profiles.mark_wrong(kind, key, place, tenant_id=tenant_id, by=by)

    def _change(
        self, kind: Kind, key: Key, changes: dict[str, Any], *, tenant_id: int, by: str, role: str
    ) -> Answer:
        version = changes.pop("version", None)
        known = SHAPES[kind].of.__struct_fields__
        unknown = sorted(changes.keys() - set(known))
        if unknown:
            raise Refused(f"a {kind} profile has no {unknown[0]!r}; it has {', '.join(known)}")
        stored = self._profiles.change(kind, key, changes, tenant_id=tenant_id, by=by, version=version)
        return _answer(kind, key, stored, role=role)

    def _shown(self, kind: Kind, key: Key, *, tenant_id: int, role: str) -> Answer:
        return _answer(kind, key, self._profiles.get(kind, key, tenant_id=tenant_id), role=role)

    def _picture(self, kind: Kind, key: Key, *, tenant_id: int) -> Answer:
        picture = self._profiles.picture(kind, key, tenant_id=tenant_id)
        return picture._asdict() | {"content": base64.b64encode(picture.content).decode()}

    def _set_picture(self, kind: Kind, key: Key, content: str, *, tenant_id: int, by: str) -> None:
        # Decoding takes up to half a second, in a thread where it delays nothing else.
        picture = tpool.execute(pictures.prepared, pictures.decoded(content))
        self._profiles.set_picture(kind, key, picture, tenant_id=tenant_id, by=by)


def _answer(kind: Kind, key: Key, stored: StoredProfile, *, role: str) -> Answer:
    """Return a profile as a role sees it, with its state."""
    shape = SHAPES[kind]
    profile, hidden = seen_by(cast(Any, stored.profile), role=role)
    answer: Answer = {
        shape.key: key,
        "profile": profile,
        "version": stored.version,
        "changed_at": stored.changed_at,
        "changed_by": stored.changed_by,
        "hidden": hidden,
        "overdue": overdue(stored.profile, today=today()),
        "wrong": wrong(stored.profile),
    }

    return answer | ({f"{shape.picture}_sha256": stored.picture_sha256} if shape.picture else {})


def _key(kind: Kind, subject: str) -> Key:
    if kind not in SHAPES:
        raise Refused(f"kind is {str(kind)[:20]!r}; it must be one of {', '.join(SHAPES)}")
    return int(subject) if kind == "site" else subject
