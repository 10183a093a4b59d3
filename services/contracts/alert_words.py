"""Words that name an alert type, in the spellings that devices use. Pure.

To add a spelling, add one line to `ALIASES`, in capitals and without separators. A source must not
have such a word as its id: in `alert/<type>/<source>` nobody could distinguish the two.
"""

from __future__ import annotations

from services.contracts.events import LIFE_SAFETY, AlertType

ALIASES: dict[str, AlertType] = {
    "PANICALARM": AlertType.PANIC,
    "PANICBUTTON": AlertType.PANIC,
    "HOLDUP": AlertType.PANIC,
    "HOLDUPALARM": AlertType.PANIC,
    "ROBBERY": AlertType.PANIC,
    "EMERGENCY": AlertType.SOS,
    "SOSALARM": AlertType.SOS,
    "SOSBUTTON": AlertType.SOS,
    "MAYDAY": AlertType.SOS,
    "DURESSALARM": AlertType.DURESS,
    "DURESSCODE": AlertType.DURESS,
    "SILENTPANIC": AlertType.DURESS,
    "MEDICALALARM": AlertType.MEDICAL,
    "MEDICALEMERGENCY": AlertType.MEDICAL,
    "FIREALARM": AlertType.FIRE,
    "SMOKE": AlertType.FIRE,
    "SMOKEALARM": AlertType.FIRE,
    "MANDOWNALARM": AlertType.MAN_DOWN,
    "DEADMAN": AlertType.MAN_DOWN,
    "FALL": AlertType.MAN_DOWN,
    "FALLALARM": AlertType.MAN_DOWN,
    "FALLDETECTED": AlertType.MAN_DOWN,
    "FALLDETECTION": AlertType.MAN_DOWN,
    "FALLDOWN": AlertType.MAN_DOWN,
    "MISSEDCHECKIN": AlertType.CHECK_IN_MISSED,
    "BURGLARY": AlertType.INTRUSION,
    "BREAKIN": AlertType.INTRUSION,
    "INTRUDER": AlertType.INTRUSION,
    "TAMPERALARM": AlertType.TAMPER,
    "TAMPERING": AlertType.TAMPER,
    "BATTERYLOW": AlertType.LOW_BATTERY,
}
"""Spellings besides the types' own names, as `squeezed` makes them."""

_BY_WORD = {kind.replace("_", ""): kind for kind in AlertType} | ALIASES
LIFE_SAFETY_WORDS = frozenset(word for word, kind in _BY_WORD.items() if kind in LIFE_SAFETY)
"""Spellings of life-safety alerts, as `squeezed` makes them."""
_SEPARATORS = str.maketrans("", "", " -_.")


def squeezed(text: str) -> str:
    """Return a word in capitals and without separators: `Man-Down` and `man_down` are `MANDOWN`."""
    return text.translate(_SEPARATORS).upper()


def alert_type(text: str) -> AlertType | None:
    """Return the alert type that a word names, in any case and with any separator."""
    return _BY_WORD.get(squeezed(text)) if len(text) <= 64 else None
