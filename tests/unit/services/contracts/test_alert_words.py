from pathlib import Path

import pytest

from services.contracts.alert_words import ALIASES, alert_type, squeezed
from services.contracts.events import AlertType


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("pAnIc", AlertType.PANIC),
        ("Low-Battery", AlertType.LOW_BATTERY),
        ("mandown", AlertType.MAN_DOWN),
        ("man-down", AlertType.MAN_DOWN),
        ("ManDown", AlertType.MAN_DOWN),
        ("man down", AlertType.MAN_DOWN),
        ("fall", AlertType.MAN_DOWN),
        ("fallDown", AlertType.MAN_DOWN),
        ("fall_detected", AlertType.MAN_DOWN),
        ("checkin_missed", AlertType.CHECK_IN_MISSED),
        ("check-in-missed", AlertType.CHECK_IN_MISSED),
        ("missed_checkin", AlertType.CHECK_IN_MISSED),
        ("fire_alarm", AlertType.FIRE),
        ("SMOKE", AlertType.FIRE),
        ("medical_emergency", AlertType.MEDICAL),
        ("emergency", AlertType.SOS),
        ("holdup", AlertType.PANIC),
        ("hold_up", AlertType.PANIC),
        ("hold-up-alarm", AlertType.PANIC),
        ("silent_panic", AlertType.DURESS),
        ("tampering", AlertType.TAMPER),
    ],
)
def test_a_type_is_known_in_the_spellings_of_devices(word: str, kind: AlertType) -> None:
    assert alert_type(word) is kind


@pytest.mark.parametrize("word", ["", "nonsense", "panics", "alarm", "guard-7", "-", "p" * 100_000])
def test_any_other_word_names_no_type(word: str) -> None:
    assert alert_type(word) is None


def test_an_alias_is_written_as_it_is_looked_up_and_is_no_type_itself() -> None:
    own = {squeezed(kind) for kind in AlertType}
    assert [word for word in ALIASES if squeezed(word) != word or word in own] == []


def test_the_guide_for_devices_lists_every_spelling() -> None:
    guide = (Path(__file__).resolve().parents[4] / "docs" / "devices.md").read_text()
    table = guide.partition("| Type | Also |")[2].partition("\n\n")[0]
    listed = {
        squeezed(word): AlertType(kind.strip())
        for row in table.splitlines()[2:]
        for _, kind, words, _ in [row.split("|")]
        for word in words.split(",")
    }
    assert listed == ALIASES
