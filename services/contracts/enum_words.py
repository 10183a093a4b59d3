"""English words for the values of enums: `GEOFENCE_VIOLATION` is "Geofence violation". Pure.

Texts for a person have the words. JSON, filters and stored rows have the values. `console/words.js`
has the same words for the console; a test compares the two.
"""

from __future__ import annotations

WORDS = {
    "SOS": "SOS",
    "MEDICAL": "Medical emergency",
    "CHECK_IN_MISSED": "Check-in missed",
    "REPORTED": "Reported incident",
    "UNKNOWN": "Unknown alert",
    "sms": "SMS",
    "email": "E-mail",
    "url": "URL",
}
"""Values whose words are more than their letters in sentence case."""
FLAGS = {
    "seen_before": "Perhaps seen before",
    "severity": "Unknown severity",
    "severity_claim": "Lower severity claimed",
    "location": "Unreadable location",
    "timestamp": "Time not believed",
    "timestamp_offset": "Time without an offset",
    "raw_unstorable": "Kept as bytes",
    "msg_id_reused": "Message id used before",
    "broken_json": "Broken JSON",
    "poison": "Stopped the gateway, kept unread",
    "received_after_outage": "Received after an outage of the gateway",
}
"""Words of an alert's flags where the flag in sentence case is not clear enough."""


def as_words(value: object) -> str:
    """Return the words for a value, in sentence case."""
    text = str(value)
    return WORDS.get(text) or text.replace("_", " ").capitalize()


def flag_as_words(flag: str) -> str:
    """Return the words for a flag of an alert; a value behind a colon follows the words."""
    name, colon, value = flag.partition(":")
    return f"{FLAGS.get(name) or as_words(name)}{colon and ': '}{value}"


def inside(value: object) -> str:
    """Return the words for a value within a sentence: `a geofence violation`, `an SOS`."""
    words = as_words(value)
    return words if words.isupper() else words[:1].lower() + words[1:]
