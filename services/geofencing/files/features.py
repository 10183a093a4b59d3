"""Zones of a file: one feature for each, in any format. Pure.

An absent property leaves the field as it is, and gives a new zone the default. A null removes the
value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from services.contracts.errors import Refused
from services.geofencing.rings import as_text
from services.geofencing.validation import name_of

MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_FEATURES = 10_000
NUMBERS = ("speed_limit_mps", "radius_m")
DOCUMENTS = ("schedule", "confirmation")
REFERENCES = ("site", "group", "guard")
"""Properties that name a site or a group of the tenant, or a guard by id."""
PROPERTIES = ("name", "kind", *REFERENCES, "enabled", *NUMBERS, *DOCUMENTS)
SWITCH = {"true": True, "1": True, "false": False, "0": False}


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """Feature of a file.

    Attributes:
        index: the place in the file, from 1.
        fields: the properties in `PROPERTIES`, and `area`.
        reason: the reason why there are no fields.
        ignored: the properties that a zone does not have.
    """

    index: int
    name: str
    fields: dict[str, Any] = {}
    reason: str = ""
    ignored: tuple[str, ...] = ()


def feature_of(index: int, properties: Mapping[str, Any], area: object, *, reason: str = "") -> Feature:
    """Return the feature of these properties. A fault of a property becomes its `reason`."""
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
    """Return the features, with a reason on each one that has the name of an earlier feature.

    Of several features with one name, the intended one is unknown.
    """
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
    """Check the size of a file. Raises `Refused`."""
    if len(document) > MAX_FILE_BYTES:
        raise Refused(
            f"the file has {len(document):,} bytes; {MAX_FILE_BYTES:,} at the most are read: split it"
        )


def check_count(count: int) -> None:
    """Check the number of features. Raises `Refused`."""
    if count > MAX_FEATURES:
        raise Refused(f"the file has more than {MAX_FEATURES:,} features; split it")


def _value(key: str, value: Any) -> Any:
    """Return the value of a property.

    Text is converted too, because some formats and programs write everything as text.
    """
    if not isinstance(value, str):
        if key in REFERENCES and value is not None:
            raise Refused(
                f"{key} is {as_text(value)}; it must be a {'guard id' if key == 'guard' else 'name'}"
            )
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
            raise Refused(f"enabled is {as_text(text)}; it must be true or false")
        return SWITCH[text.lower()]

    return text


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise Refused(f"{key} is {as_text(text)}; it must be a number") from error


def _document(key: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise Refused(f"{key} is not JSON: {error}") from error
