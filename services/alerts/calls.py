"""Words of the timeline for calls to the people of an alert. Pure."""

from __future__ import annotations

from services.contracts.errors import Refused
from services.contracts.people import Callee, Entry, People, entries

CALL_RESULTS = {
    "answered": "answered",
    "no_answer": "no answer",
    "voicemail": "voicemail, which does not count as an answer",
    "wrong_number": "wrong number",
}
"""Words of the timeline by the result of a call."""


def call_note(people: People, *, about: str, place: str, result: str, note: str) -> str:
    """Return the timeline's text for a call. It names the person and never the number.

    Raises:
        Refused: nobody is on record at this place, or there is no such result.
    """
    if result not in CALL_RESULTS:
        raise Refused(f"result is {result[:40]!r}; it must be one of {', '.join(CALL_RESULTS)}")
    part = {"guard": people.guard, "site": people.site}.get(about)
    found = dict(entries(part.profile)).get(place) if part is not None else None
    if part is None or found is None:
        raise Refused(f"{about}.{place[:60]}: there is no such entry; GET /alerts/ID lists them")
    said = f"{_callee(part.name, place, found)}: {CALL_RESULTS[result]}"
    return f"{said}; {note}" if note else said


def _callee(owner: str, place: str, entry: Entry) -> str:
    """Return the words for an entry: the person called, or the owner and the entry's kind."""
    if isinstance(entry, Callee):
        return entry.name
    name, _, index = place.partition(".")
    words = name.replace("_", " ").removesuffix("s" if index else "")
    return f"{owner}, {words} {int(index) + 1}" if index else f"{owner}, {words}"
