from typing import Any

import pytest

from gateway.mqtt.decoding.values import is_set, is_switch, number_of, word_of


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("350", 350.0),
        (" 12 ", 12.0),
        ("350,5", 350.5),
        ("-65.25", -65.25),
        ("+.5", 0.5),
        (",5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("85%", 85.0),
        ("85 %", 85.0),
        ("007", 7.0),
        (12, 12.0),
        (-0.0, 0.0),
    ],
)
def test_numbers_are_read_in_text_too(written: Any, number: float) -> None:
    assert number_of(written) == number


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "NaN",
        "inf",
        "-Infinity",
        "1e999",
        "0x1F",
        "1,234,567",
        "1.2.3",
        "12 V",
        "twelve",
        "1_000",
        "\uff11\uff12",
        "1" * 41,
        True,
        False,
        None,
        [1],
        {"n": 1},
        float("nan"),
        float("inf"),
        10**400,
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_finite_number_is_none(written: Any) -> None:
    assert number_of(written) is None


@pytest.mark.parametrize("value", [None, False, 0, 0.0, "false", "False", " FALSE ", "0", " 0 "])
def test_a_dangerous_switch_is_off_for_the_words_of_the_contract_only(value: Any) -> None:
    assert not is_set(value)


@pytest.mark.parametrize(
    "value", [True, 1, -1, 2.5, "true", "1", "yes", "no", "", "maybe", [], [0], {}, "null"]
)
def test_a_dangerous_switch_is_on_for_everything_else(value: Any) -> None:
    assert is_set(value)


def test_usual_switches_are_told_from_odd_ones() -> None:
    assert all(is_switch(value) for value in (True, False, None, 0, 1, "true", "FALSE", "0", "1"))
    assert not any(is_switch(value) for value in (2, "yes", "", [], {}))


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (" on ", "ON"),
        (True, "TRUE"),
        (False, "FALSE"),
        (1, "1"),
        (1.0, "1"),
        (0, "0"),
        ("", None),
        (None, None),
        ([], None),
    ],
)
def test_a_word_is_read_of_text_switches_and_numbers(value: Any, word: str | None) -> None:
    assert word_of(value) == word
