"""MQTT and the feed as AsyncAPI 3.0, generated from the types that check messages. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from gateway.mqtt.decoding.payloads import PAYLOADS
from gateway.noc.api.examples import FRAMES, MESSAGES
from services.contracts.events import AlertType, Severity
from services.contracts.families import COMMON_FIELDS, FAMILIES, SENSOR_KINDS
from services.contracts.frames import CLIENT, CONTROL, FEED

REFERENCE = "#/components/schemas/{name}"
FEED_PATH = "/ws/noc/dashboard/"


class ReceiptPayload(msgspec.Struct, frozen=True, omit_defaults=True):
    """Result of a message: stored, refused (with the reason) or off_shift (not kept).

    For an alert it is also notified, acknowledged (with the operator's name) or resolved.

    The source of a silent alert gets no receipt, unless the alert says `outbox`. Then it gets
    `stored`, marked `silent`, and nothing at the source may show or sound that the receipt came.
    """

    msg_id: Annotated[str | None, Meta(description="Id of the message, as the device gave it")]
    status: Annotated[str, Meta(description="Result of the message")]
    at: Annotated[datetime, Meta(description="Time of the result")]
    alert_id: Annotated[str | None, Meta(description="The alert that the message raised")] = None
    by: Annotated[str | None, Meta(description="The operator who acknowledged")] = None
    silent: Annotated[bool, Meta(description="Nothing at the source may show or sound")] = False
    reason: Annotated[str | None, Meta(description="The reason of a refusal")] = None


class OwnTracksLocation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Message of the OwnTracks apps with `_type` location. Their other messages are not kept."""

    type_: Literal["location"] = msgspec.field(name="_type")
    lat: float
    lon: float
    acc: float | None = None
    vel: float | None = None
    cog: float | None = None
    tst: int | None = None
    batt: float | None = None


class MqttTopic(NamedTuple):
    """Topic of MQTT. `{name}` in the address is a parameter."""

    name: str
    address: str
    payload: type
    summary: str
    qos: int
    sent: bool = False


ROADS = (
    *(
        MqttTopic(
            row.channel,
            row.topic,
            PAYLOADS.get(row.family, OwnTracksLocation),
            row.summary,
            row.qos,
        )
        for row in FAMILIES
    ),
    MqttTopic(
        "receipt",
        "receipt/{source_id}",
        ReceiptPayload,
        "Receipt of a message with a `msg_id`, and of every alert",
        1,
        sent=True,
    ),
)
PARAMETERS: Mapping[str, dict[str, Any]] = {
    "kind": {"enum": sorted(SENSOR_KINDS)},
    "alert_type": {"description": f"One of {', '.join(AlertType)}, in any case, with - or _"},
    "source_id": {"description": "The name that the credential is for"},
    "guard_id": {"description": "guard-789 or 789"},
    "phone": {"description": "As the app calls it"},
}
NOTES: Mapping[str, Mapping[str, str]] = {
    "OwnTracksLocation": {
        "_type": "Kind of the message",
        "lat": "Degrees",
        "lon": "Degrees",
        "acc": "Metres",
        "vel": "Kilometres an hour",
        "cog": "Degrees from north",
        "tst": "Unix seconds",
        "batt": "Per cent",
    },
    "AlertPayload": {
        "alert_type": "Type of the alert, where the topic names none",
        "message": "Text for operators",
        "location": "Place, as `lat` and `lon` in degrees",
        "guard_id": COMMON_FIELDS["source_id"],
        "severity": f"{', '.join(Severity)}, in any case; by the type when left out",
        "silent": "Nothing at the source may show or sound that it was sent: no receipt either, unless `outbox`",
        "outbox": "The device's promise: it sends the same bytes until their receipt, never gives the id to another"
        " message, and shows nothing of a receipt that is `silent`",
        "drill": "An exercise; kept apart from real alarms",
    },
}
DESCRIPTION = (
    "Messages of devices over MQTT, and frames of the websocket. Times are RFC 3339; unknown fields"
    " are kept. `receive` is what Vigil takes, `send` what it sends."
)
SEALED = {
    "description": "A Fernet token under the tenant's feed key, or, with encryption off, the value itself",
    "type": "string",
}


def document(*, version: str) -> dict[str, Any]:
    """Return the whole document, ready for JSON."""
    kinds = [
        *(road.payload for road in ROADS),
        *FEED.values(),
        *CONTROL.values(),
        *CLIENT.values(),
    ]

    schemas, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    _annotate(components)
    schema_of = dict(zip(map(id, kinds), schemas, strict=True))

    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Vigil", "version": version, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {
            "mqtt": {
                "host": "localhost:1883",
                "protocol": "mqtt",
                "protocolVersion": "5.0",
                "description": "3.1.1 too; in production with TLS. A credential may use its own topics alone.",
                "security": [{"$ref": "#/components/securitySchemes/source"}],
            },
            "noc": {
                "host": "localhost:8000",
                "protocol": "ws",
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            },
        },
        "channels": {**{road.name: _channel(road) for road in ROADS}, "feed": _feed_channel()},
        "operations": {**dict(map(_operation, ROADS)), **_feed_operations()},
        "components": {
            "messages": {road.name: _message(road, schema_of) for road in ROADS} | _feed_messages(schema_of),
            "schemas": components,
            "securitySchemes": {
                "source": {"type": "userPassword", "description": "From `vigil guard|device`"},
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "POST /api/v1/session gives one",
                },
            },
        },
    }


def _annotate(components: Mapping[str, Any]) -> None:
    of_all = {kind.__name__: COMMON_FIELDS for kind in PAYLOADS.values()}
    for shape, notes in (*of_all.items(), *NOTES.items()):
        for field, note in notes.items():
            components[shape]["properties"][field]["description"] = note


def _channel(road: MqttTopic) -> dict[str, Any]:
    names = [word[1:-1] for word in road.address.split("/") if word.startswith("{")]
    return {
        "address": road.address,
        "servers": [{"$ref": "#/servers/mqtt"}],
        "parameters": {name: PARAMETERS.get(name, {}) for name in names},
        "messages": {road.name: {"$ref": f"#/components/messages/{road.name}"}},
    }


def _operation(road: MqttTopic) -> tuple[str, dict[str, Any]]:
    action = "send" if road.sent else "receive"
    return f"{action}_{road.name}", {
        "action": action,
        "channel": {"$ref": f"#/channels/{road.name}"},
        "summary": road.summary,
        "bindings": {"mqtt": {"qos": road.qos, "bindingVersion": "0.2.0"}},
    }


def _message(road: MqttTopic, schema_of: Mapping[int, Any]) -> dict[str, Any]:
    return {
        "name": road.name,
        "summary": road.summary,
        "payload": schema_of[id(road.payload)],
        "examples": [{"payload": MESSAGES[road.name]}],
    }


def _feed_channel() -> dict[str, Any]:
    return {
        "address": FEED_PATH,
        "description": "`?since=<id>` resumes. Browsers offer a ticket as a subprotocol instead of a token.",
        "servers": [{"$ref": "#/servers/noc"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _feed_names()},
    }


def _feed_names() -> list[str]:
    served = [f"server.{kind}" for kind in (*CONTROL, *FEED)]
    return [*served, *(f"client.{kind}" for kind in CLIENT)]


def _feed_operations() -> dict[str, Any]:
    return {
        f"{action}_feed": {
            "action": action,
            "channel": {"$ref": "#/channels/feed"},
            "messages": [
                {"$ref": f"#/channels/feed/messages/{name}"}
                for name in _feed_names()
                if name.startswith(f"{side}.")
            ],
        }
        for action, side in (("send", "server"), ("receive", "client"))
    }


def _feed_messages(schema_of: Mapping[int, Any]) -> dict[str, Any]:
    made = {f"server.{kind}": _frame(kind, _sealed(kind, schema_of[id(data)])) for kind, data in FEED.items()}
    made |= {f"server.{kind}": _frame(kind, schema_of[id(shape)]) for kind, shape in CONTROL.items()}
    for kind, shape in CLIENT.items():
        made[f"client.{kind}"] = {"name": kind, "payload": schema_of[id(shape)]}
        made[f"client.{kind}"]["examples"] = [{"payload": FRAMES[f"client.{kind}"]}]
    return made


def _frame(kind: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": kind, "payload": payload, "examples": [{"payload": FRAMES[f"server.{kind}"]}]}


def _sealed(kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a feed frame: `data` is either the token or the decrypted value."""
    return {
        "type": "object",
        "required": ["type", "id", "data"],
        "properties": {
            "type": {"const": kind},
            "id": {"type": "integer", "description": "Grows; what `since` asks for"},
            "kid": {"type": "string", "description": "Names the feed key; absent with encryption off"},
            "trace": {"type": "string"},
            "arrived": {"type": "number", "description": "When its message came, Unix seconds"},
            "data": {"anyOf": [SEALED, data]},
        },
    }
