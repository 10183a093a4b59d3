"""Zones of a file, one feature each: what it says of a zone, whatever the file's format. Pure.

A property that is absent leaves the field as it is (a new zone takes the usual); null takes it away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from services.directory.drafts import name_of
from services.directory.rings import shown
from services.errors import Refused

MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_FEATURES = 10_000
NUMBERS = ("speed_limit_mps", "radius_m")
DOCUMENTS = ("schedule", "confirmation")
REFERENCES = ("site", "group", "guard")
"""Names of the tenant's own: of a site, of a group; the id of a guard."""
PROPERTIES = ("name", "kind", *REFERENCES, "enabled", *NUMBERS, *DOCUMENTS)
SWITCH = {"true": True, "1": True, "false": False, "0": False}


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """`fields`: those of PROPERTIES that it has, and its `area`. `reason`: why there are none.

    `index` counts from 1; `ignored` are properties that say nothing of a zone.
    """

    index: int
    name: str
    fields: dict[str, Any] = {}
    reason: str = ""
    ignored: tuple[str, ...] = ()


def feature_of(index: int, properties: Mapping[str, Any], area: object, *, reason: str = "") -> Feature:
    """The feature of these properties; what cannot be read of them is its reason."""
    given = properties.get("name")
    name = given.strip() if isinstance(given, str) else ""
    ignored = tuple(sorted(str(key) for key in properties if key not in PROPERTIES))
    if reason:
        return Feature(index=index, name=name[:80], reason=reason, ignored=ignored)
    try:
        fields = {key: _value(key, properties[key]) for key in PROPERTIES if key in properties}
        fields["name"] = name_of(given)
        fields["area"] = area
    except Refused as error:
        return Feature(index=index, name=name[:80], reason=str(error), ignored=ignored)
    return Feature(index=index, name=name, fields=fields, ignored=ignored)


def without_twins(features: list[Feature]) -> list[Feature]:
    """The first of each name; which of several is meant, nobody can say, so the others are refused."""
    first: dict[str, int] = {}
    for feature in features:
        if not feature.reason:
            first.setdefault(feature.name, feature.index)
    return [
        feature
        if feature.reason or first[feature.name] == feature.index
        else Feature(
            index=feature.index,
            name=feature.name,
            reason=f"feature {first[feature.name]} bears that name too; rename one of them",
            ignored=feature.ignored,
        )
        for feature in features
    ]


def check_size(document: str | bytes) -> None:
    """Raises `Refused`."""
    if len(document) > MAX_FILE_BYTES:
        raise Refused(
            f"the file has {len(document):,} bytes; {MAX_FILE_BYTES:,} at the most are read: split it"
        )


def check_count(count: int) -> None:
    """Raises `Refused`."""
    if count > MAX_FEATURES:
        raise Refused(f"the file has more than {MAX_FEATURES:,} features; split it")


def _value(key: str, value: Any) -> Any:
    """Formats that have only text, and programs that write everything as text, are understood as well."""
    if not isinstance(value, str):
        if key in REFERENCES and value is not None:
            raise Refused(f"{key} is {shown(value)}; it must be a {'guard id' if key == 'guard' else 'name'}")
        return value
    text = value.strip()
    if key != "name" and not text:
        return None
    if key in NUMBERS:
        return _number(key, text)
    if key in DOCUMENTS:
        return _document(key, text)
    if key == "enabled":
        if text.lower() not in SWITCH:
            raise Refused(f"enabled is {shown(text)}; it must be true or false")
        return SWITCH[text.lower()]
    return text


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise Refused(f"{key} is {shown(text)}; it must be a number") from error


def _document(key: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise Refused(f"{key} is no JSON: {error}") from error
