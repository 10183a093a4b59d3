"""Tests that a notification is one SMS with all its necessary parts.

This holds for any names of devices and sites, and for any message.
"""

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from services.contracts.events import AlertType, Severity
from services.notifications.channels import SMS_MARK
from services.notifications.texts.sms_length import fits, gsm7_length, plain, segments, size
from services.notifications.texts.templates import Templates
from services.notifications.texts.translations import TextValues

HINDI = "गेट नंबर चार पर दो आदमी खड़े हैं"
SCRIPTS = st.one_of(
    st.text(st.sampled_from("abcXYZ 019-_.,'\"<>&"), max_size=300),
    st.text(st.sampled_from("{}[]~|^\\€"), max_size=300),
    st.text(st.sampled_from(HINDI), max_size=300),
    st.text(st.sampled_from("ab é–’ 🔥🚨\u200dगे\n"), max_size=300),
)
NAMES = SCRIPTS.map(str.strip).filter(bool)
ASCII_NAMES = st.text(st.sampled_from("abcdefXYZ0123456789-_."), min_size=1, max_size=40)


def words_with(**changes: object) -> TextValues:
    base = TextValues(
        severity="CRITICAL",
        alert_type="GEOFENCE_VIOLATION",
        source="guard-123",
        place="12.97160,77.59460",
        time="31 Jan 18:05 IST",
        message="help",
        drill=True,
        code="K7RM",
    )
    return msgspec.structs.replace(base, **changes)


def written(words: TextValues, language: str = "en", **own: str) -> str:
    overrides = {("sms", language, part): source for part, source in own.items()}
    rendered = Templates(overrides).render("sms", language, words)
    assert rendered.faults == ()
    return rendered.text


@given(
    source=ASCII_NAMES,
    place=ASCII_NAMES,
    message=SCRIPTS,
    language=st.sampled_from(["en", "hi", "xx"]),
    alert_type=st.sampled_from(AlertType),
    severity=st.sampled_from(Severity),
    drill=st.booleans(),
    code=st.sampled_from(["", "K7RM"]),
)
def test_source_place_time_and_code_stand_in_full_whatever_the_message(
    source: str,
    place: str,
    message: str,
    language: str,
    alert_type: AlertType,
    severity: Severity,
    drill: bool,
    code: str,
) -> None:
    words = words_with(
        source=source,
        place=place,
        message=message,
        alert_type=alert_type,
        severity=severity,
        drill=drill,
        code=code,
    )
    text = written(words, language)
    assert segments(text) == segments(SMS_MARK + text) == 1
    assert all(part in text for part in (source, place, words.time, code))
    assert not drill or "DRILL" in text or "अभ्यास" in text


@given(source=NAMES, place=NAMES, message=SCRIPTS, language=st.sampled_from(["en", "hi"]))
@example(source="e" * 300, place=HINDI * 9, message=HINDI * 9, language="hi")
@example(source="🔥" * 300, place="🚨" * 300, message="x" * 2000, language="en")
@example(source="[" * 300, place="{" * 300, message="", language="en")
def test_names_in_any_alphabet_keep_their_beginning_and_end(
    source: str, place: str, message: str, language: str
) -> None:
    words = words_with(source=source, place=place, message=message)
    text = written(words, language)
    assert segments(SMS_MARK + text) == 1
    assert words.time in text
    for name in (source, place):
        kept = " ".join(name.split())
        assert kept[:2].strip() in text
        assert kept[-2:].strip() in text


@given(st.text(max_size=400), st.text(max_size=400), st.text(max_size=100), st.text(max_size=400))
def test_nothing_that_a_device_says_makes_two_of_it(source: str, place: str, time: str, message: str) -> None:
    assert (
        segments(SMS_MARK + written(words_with(source=source, place=place, time=time, message=message))) == 1
    )


def test_the_message_is_what_gives_way_and_only_as_far_as_it_must() -> None:
    text = written(words_with(message="x" * 500))
    assert gsm7_length(SMS_MARK + text) == 160
    head, _, message = text.partition(" Reply K7RM ")
    assert head == "DRILL Critical: Geofence violation guard-123 at 12.97160,77.59460 31 Jan 18:05 IST"
    assert set(message) == {"x"}
    assert written(words_with(message="short")).endswith("K7RM short")


def test_a_message_in_another_alphabet_has_70_units() -> None:
    text = written(words_with(alert_type="FIRE", place="Gate", drill=False, code="", message=HINDI * 3))
    assert size(SMS_MARK + text) in ((69, "UCS-2"), (70, "UCS-2")), "a word's end is no blank"
    assert HINDI[:10] in text


def test_word_processors_letters_do_not_cost_the_message() -> None:
    text = written(words_with(message="they’re at the gate – three of them, with a car"))
    assert text.endswith("they're at the gate - three of them, with a car")


def test_a_tenant_s_own_text_keeps_its_shape_and_shortens_the_message() -> None:
    own = "ALERT {{ source }} {{ place }} {{ time }} says {{ message }} -ACME Guarding"
    text = written(words_with(drill=False, message="word " * 100), text=own)
    assert text.startswith("ALERT guard-123 12.97160,77.59460 31 Jan 18:05 IST says word word")
    assert text.endswith("word -ACME Guarding")
    assert 150 < len(text) <= 156


def test_a_tenant_s_own_text_that_leaves_no_room_gives_way_to_what_must_be_said() -> None:
    text = written(words_with(source="s" * 40), text="x" * 140 + "{{ source }} {{ place }} {{ time }}")
    assert "x" not in text
    assert "s" * 40 in text


def test_the_letters_of_phones() -> None:
    assert gsm7_length("a@£Δ\n") == 5
    assert gsm7_length("€[]") == 6
    assert gsm7_length("ह") is None
    assert [segments(text) for text in ("a" * 160, "a" * 161, "ह" * 70, "ह" * 71, "🔥" * 35, "🔥" * 36)] == [
        1, 2, 1, 2, 1, 2,
    ]  # fmt: skip
    assert (segments("a" * 306), segments("a" * 307), segments("ह" * 134), segments("ह" * 135)) == (
        2,
        3,
        2,
        3,
    )
    assert fits("a" * 156)
    assert not fits("a" * 157)
    assert plain("Zoë’s “café” № 4 – ½ ह\u200d e\u0308") == 'Zoe\'s "café" No 4 - 1?2 ? e'
