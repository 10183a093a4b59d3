"""Evidence pack as a page for readers: one file without scripts, made of the JSON alone. Pure.

The page loads nothing from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from services.alerts.evidence.markup import Html, joined, tag
from services.alerts.evidence.svg_map import track_map
from services.contracts.enum_words import as_words, flag_as_words, inside

VERSION = "vigil-evidence-page/1"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #111; background: #fff; max-width: 60rem; margin: 1.5rem auto;
       padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; color: #444; padding: .2rem 0; }
th, td { text-align: left; vertical-align: top; border: 1px solid #bbb; padding: .3rem .5rem; }
th { background: #eee; white-space: nowrap; } td { min-width: 3rem; }
pre { white-space: pre-wrap; margin: 0; font-size: .8rem; } code { font-size: .8rem; }
dl { display: grid; grid-template-columns: 9rem 1fr; gap: .3rem 1rem; margin: 1rem 0; }
dt { font-weight: 600; } dd { margin: 0; } small, .none { color: #444; }
.drill { background: #fff3bf; border: 3px solid #8a6d00; padding: .6rem 1rem; font-weight: 700; margin: 1rem 0; }
svg { width: 100%; height: auto; border: 1px solid #999; background: #f7f8f5; }
svg text { font: 12px system-ui, sans-serif; paint-order: stroke; stroke: #fff; stroke-width: 3px; }
.track { fill: none; stroke: #1a4fa3; stroke-width: 2.5; } .silent { stroke-dasharray: 6 5; stroke-width: 1.2; }
.way { fill: none; stroke: none; } .head, .fix, .mark { fill: #1a4fa3; }
.zone { fill-opacity: .10; stroke-width: 1.5; fill-rule: evenodd; } .required { fill: #1b7f3b; stroke: #1b7f3b; }
.forbidden { fill: #b3261e; stroke: #b3261e; stroke-dasharray: 8 4; } rect.site { fill: #444; }
circle.ring { fill: none; stroke: #c00; stroke-width: 3; } circle.dot { fill: #c00; }
text.alert { fill: #c00; font-weight: 700; } path.scale { fill: none; stroke: #111; stroke-width: 2; }
.north { fill: #111; }
@media print { body { margin: 0; max-width: none; font-size: 11px; } h2 { break-after: avoid; }
  tr, svg, dl { break-inside: avoid; } thead { display: table-header-group; } @page { margin: 15mm; } }
"""
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
ACTIONS = {
    "raised": "Alert raised",
    "repeated": "Alert repeated",
    "acknowledged": "Acknowledged by a person",
    "started": "Work started",
    "resolved": "Resolved",
    "false_alarm": "Closed as a false alarm",
    "cleared": "Condition over",
}
STATES = {
    "NEW": "not acknowledged",
    "ACKNOWLEDGED": "acknowledged",
    "IN_PROGRESS": "in progress",
    "RESOLVED": "closed as resolved",
    "FALSE_ALARM": "closed as a false alarm",
}
TOLD = ("created_at", "channel", "recipient", "state", "body")
NOT_SHOWN = ("notification_id", "tenant_id", "alert_id")

Row = Mapping[str, Any]


def page(pack: Row, *, json_name: str, json_sha256: str) -> str:
    """Return the whole page. `json_name` is the file that it was made of."""
    clock = TimeFormatter(pack["place"]["site"])
    alert = pack["alert"]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        tag("meta", name="generator", content=VERSION),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"Evidence: {type_words(alert)}, {alert['alert_id']}"),
        tag("style", Html(STYLE)),
    )

    body = tag(
        "body",
        tag("h1", f"{type_words(alert)}: evidence"),
        tag(
            "p", f"Made on {clock.words(pack['made_at'])} by {pack['made_by']} for {pack['tenant']['name']}."
        ),
        _drill(alert),
        _summary(pack, clock),
        tag("h2", "What happened, step by step"),
        _timeline(pack["timeline"], clock),
        tag("h2", "Where"),
        track_map(pack),
        *_track_words(pack, clock),
        tag("h2", "Notifications and their results"),
        _notifications(pack["notifications"], clock),
        tag("h2", "The messages behind the alert"),
        _occurrences(pack["occurrences"], clock),
        tag("h2", "How to check this"),
        *_proof(pack, json_name, json_sha256),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def type_words(alert: Row) -> str:
    return as_words(alert["alert_type"])


class TimeFormatter:
    """Formatter of times: UTC, and in brackets the site's own time."""

    def __init__(self, site: Row | None) -> None:
        self.zone: ZoneInfo | None = None
        # For a time zone that this machine does not know, show UTC alone rather than no page.
        with suppress(ValueError, OSError, KeyError):
            self.zone = ZoneInfo(site["time_zone"]) if site else None
        if self.zone is not None and self.zone.key in ("UTC", "Etc/UTC"):
            self.zone = None

    def words(self, moment: str | None) -> str:
        if moment is None:
            return "-"
        at = datetime.fromisoformat(moment).astimezone(UTC)
        said = f"{at.day} {MONTHS[at.month - 1]} {at.year}, {at:%H:%M:%S} UTC"
        if self.zone is None:
            return said
        local = at.astimezone(self.zone)
        day = "" if local.date() == at.date() else f"{local.day} {MONTHS[local.month - 1]}, "
        return f"{said} ({day}{local:%H:%M:%S} {self.zone.key})"


def duration(since: str, until: str) -> str:
    seconds = round((datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _drill(alert: Row) -> Html:
    if not alert["drill"]:
        return Html("")
    said = "THIS WAS A DRILL. The alert was raised for an exercise; no emergency is reported here."
    return tag("p", said, cls="drill", role="note")


def _summary(pack: Row, clock: TimeFormatter) -> Html:
    alert, place = pack["alert"], pack["place"]
    facts = [
        ("What", f"{type_words(alert)}, severity {inside(alert['severity'])}: {alert['message']}"),
        ("Who", _who(pack)),
        ("Where", _where(alert, place["site"])),
        *_on_record(place.get("people_at_raise")),
        ("When", f"{clock.words(alert['recorded_at'])}, received {clock.words(alert['received_at'])}"),
        ("How often", _often(alert, clock)),
        ("Acknowledged", _acknowledged(alert, clock)),
        ("Outcome", _outcome(alert, clock)),
    ]

    if alert["silent"]:
        facts.append(("Silent", "the device must not show the alert"))

    doubts = [
        *map(flag_as_words, alert["flags"]),
        *(["Time of the device not believed"] if alert["clock_suspect"] else []),
    ]
    if doubts:
        facts.append(("Remarks", ", ".join(doubts)))

    facts.append(("Number", alert["alert_id"]))
    return tag(
        "dl", *(tag(name, words) for fact in facts for name, words in zip(("dt", "dd"), fact, strict=True))
    )


def _who(pack: Row) -> str:
    alert, guard = pack["alert"], pack["track"]["guard"]
    source = alert["source_id"]
    if alert.get("source_name") and alert["source_name"] != source:
        source += f" ({alert['source_name']})"
    if guard is None:
        return source

    name = (
        guard["guard_id"] if guard["name"] == guard["guard_id"] else f"{guard['name']} ({guard['guard_id']})"
    )
    return name if guard["guard_id"] == alert["source_id"] else f"{source}, carried by {name}"


def _where(alert: Row, site: Row | None) -> str:
    parts = [f"site {site['name']}"] if site else []
    if alert["lat"] is not None:
        parts.append(f"latitude {alert['lat']:.6f}, longitude {alert['lon']:.6f} as the device reported it")
    return "; ".join(parts) or "not known"


def _on_record(people: Row | None) -> list[tuple[str, str]]:
    """Return the call sign and the address that were on record when the alert was raised."""
    content = people["content"] if people else {}
    call_sign = ((content.get("guard") or {}).get("profile") or {}).get("call_sign")
    address = ((content.get("site") or {}).get("profile") or {}).get("address")
    facts = [("Call sign", call_sign), ("Address", address)]
    return [(name, words) for name, words in facts if words]


def _often(alert: Row, clock: TimeFormatter) -> str:
    count = alert["occurrences"]
    return "once" if count == 1 else f"{count} times, last {clock.words(alert['last_seen_at'])}"


def _acknowledged(alert: Row, clock: TimeFormatter) -> str:
    if alert["acknowledged_at"] is None:
        return "not acknowledged"
    after = duration(alert["received_at"], alert["acknowledged_at"])
    return f"by {alert['acknowledged_by']}, {clock.words(alert['acknowledged_at'])}: {after} after it was received"


def _outcome(alert: Row, clock: TimeFormatter) -> str:
    state = STATES.get(alert["status"], alert["status"])
    if alert["closed_at"] is None:
        return f"still open when this was made: {state}"
    after = duration(alert["received_at"], alert["closed_at"])
    return f"{state}, {clock.words(alert['closed_at'])}: {after} after it was received"


def _table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in names)))
    return tag("table", head, tag("tbody", *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows)))


def _timeline(lines: Sequence[Row], clock: TimeFormatter) -> Html:
    rows = [
        (
            line["seq"],
            clock.words(line["at"]),
            ACTIONS.get(line["action"]) or as_words(line["action"]),
            STATES.get(line["status"], line["status"]),
            line["by"],
            line["note"],
        )
        for line in lines
    ]
    return _table(("No.", "Time", "What", "State after it", "By", "Note"), rows)


def _notifications(rows: Sequence[Row], clock: TimeFormatter) -> Html:
    if not rows:
        return tag("p", "No notification is on record.", cls="none")

    def further(row: Row) -> str:
        known = (*TOLD, *NOT_SHOWN)
        return "; ".join(
            f"{k.replace('_', ' ')}: {v}"
            for k, v in row.items()
            if k not in known and v not in (None, "", [])
        )

    cells = [
        (
            clock.words(row["created_at"]),
            row["channel"],
            row["recipient"],
            row["state"],
            row["body"],
            further(row),
        )
        for row in rows
    ]
    return _table(("Time", "By", "To", "Result", "Text", "Further"), cells)


def _plainly(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _occurrences(rows: Sequence[Row], clock: TimeFormatter) -> Html:
    cells = [
        (
            f"{clock.words(row['received_at'])}; by its own clock {clock.words(row['recorded_at'])}",
            row["topic"] or "a rule",
            _raw(row),
            joined([tag("code", row["message_key"]), tag("br"), tag("small", _remarks(row))]),
        )
        for row in rows
    ]
    return _table(("Received", "Topic", "Content as stored", "Key, remarks"), cells)


def _raw(row: Row) -> Html:
    if row["unreadable"] is not None:
        return joined([tag("small", "not readable; its bytes as base64:"), tag("pre", row["unreadable"])])
    return tag("pre", "-" if row["raw_data"] is None else row["raw_data"])


def _remarks(row: Row) -> str:
    own = [f"msg_id {row['msg_id']}"] if row["msg_id"] else []
    return ", ".join([*own, *row["flags"], *(["clock not believed"] if row["clock_suspect"] else [])])


def _track_words(pack: Row, clock: TimeFormatter) -> list[Html]:
    track, zones = pack["track"], pack["place"]["zones"]
    if track["guard"] is None:
        return [tag("p", "There is no track: the source is not a guard, and no guard carried it.")]

    said = (
        f"{len(track['fixes'])} positions of {track['guard']['guard_id']} from {clock.words(track['since'])}"
        f" to {clock.words(track['until'])}. Times on the map are UTC; where the line is dashed, there was no"
        " position for more than five minutes."
    )

    if track["thinned"]:
        said += f" There are {track['fixes_in_window']} positions; they were thinned out evenly."
    if track["cut_short"]:
        said += " The alert went on for longer: the track ends after 24 hours."
    if not track["fixes"]:
        said = f"No position of {track['guard']['guard_id']} was received in this time."

    parts = [tag("p", said)]
    if zones:
        named = ", ".join(f"{zone['name']} ({zone['kind']}, version {zone['version']})" for zone in zones)
        parts.append(tag("p", tag("small", f"Zones as they were when this page was made: {named}.")))

    return parts


def _proof(pack: Row, json_name: str, json_sha256: str) -> list[Html]:
    signature, chain = pack["signature"], pack["chain"]
    head = chain["head"] or {"seq": 0, "hash": "-"}
    steps = [
        joined(
            [Html("This page is for reading. The evidence is the file "), tag("code", json_name), Html(".")]
        ),
        f"Its SHA-256 must be the one below (`sha256sum {json_name}`).",
        f"`vigil alert verify {json_name} --key FINGERPRINT` checks it on any machine, without a network, and names"
        " whatever was changed. FINGERPRINT is what the company published of its key beforehand, not what stands here.",
        "Without Vigil: the signature is Ed25519 over the document without signature.value, as JSON in UTF-8 with"
        " sorted names and no blanks. Each row of the timeline is sealed: hash = SHA-256(prev_hash, SHA-256(row)), and"
        " prev_hash is the hash of the row before it in the company's record; row is the JSON list of seq, tenant_id,"
        " alert_id, at, action, status, by, note.",
    ]

    facts = [
        ("SHA-256 of the file", json_sha256),
        ("Fingerprint of the key", signature["fingerprint"]),
        ("Public key", signature["public_key"]),
        ("Signature", signature["value"]),
        ("Chain", f"seq {chain['first_seq']} to {chain['last_seq']}, head at seq {head['seq']}"),
        ("Hash of the head", head["hash"]),
        *((f"SHA-256 of {name}", digest) for name, digest in pack["sections"].items()),
    ]
    return [
        tag("ol", *(tag("li", step) for step in steps)),
        _table(("What", "Value"), [(name, tag("code", value)) for name, value in facts]),
    ]
