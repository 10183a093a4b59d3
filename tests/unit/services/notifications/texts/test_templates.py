"""Tests of templates.

A tenant's own ones come before the built-in ones. They can do no harm, and can never stop an alarm.
"""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import Refused
from services.notifications.texts.templates import (
    BUILT_IN,
    FILTERS,
    MAX_SOURCE,
    PARTS,
    RenderedMessage,
    Templates,
    check_template,
    fault_of,
)
from services.notifications.texts.translations import SAMPLE, SAMPLES, TextValues

SCRIPT = "<script>alert('x')</script> & \"more\""


def written(
    channel: str,
    part: str,
    source: str,
    *,
    language: str = "en",
    words: TextValues = SAMPLE,
    reader: str = "",
) -> RenderedMessage:
    return Templates({(channel, language, part): source}).render(channel, reader or language, words)


def built_in(channel: str, language: str = "en", words: TextValues = SAMPLE) -> RenderedMessage:
    return Templates({}).render(channel, language, words)


def refusal(source: str, *, channel: str = "email", language: str = "en", part: str = "text") -> str:
    with pytest.raises(Refused) as caught:
        check_template(channel=channel, language=language, part=part, source=source)
    return str(caught.value)


def with_message(message: str) -> TextValues:
    return msgspec.structs.replace(SAMPLE, message=message)


# -- The owner of a template


def test_a_tenant_s_own_template_is_used_and_the_others_stay() -> None:
    own = written("email", "subject", "ACME: {{ source }}")
    assert own.subject == "ACME: guard-123"
    assert (own.text, own.html) == (built_in("email").text, built_in("email").html)
    assert written("email", "subject", "ACME: {{ source }}", reader="hi") == built_in("email", "hi")
    templates = Templates({("email", "en", "subject"): "ACME"})
    assert templates.render("push", "en", SAMPLE) == built_in("push")


def test_a_language_has_its_own_words_and_a_dialect_those_of_its_language() -> None:
    assert "संकट" in built_in("email", "hi").text
    assert built_in("email", "hi-IN") == built_in("email", "hi")
    assert written("email", "subject", "अलर्ट {{ source }}", language="hi", reader="hi-IN").subject == (
        "अलर्ट guard-123"
    )
    assert built_in("email", "mr") == built_in("email", "en")


def test_a_language_that_vigil_has_no_words_for_is_told_in_the_tenant_s_english() -> None:
    assert written("push", "subject", "ACME {{ source }}", reader="mr").subject == "ACME guard-123"
    both = Templates({("push", "en", "subject"): "ACME", ("push", "mr", "subject"): "एसीएमई"})
    assert both.render("push", "mr", SAMPLE).subject == "एसीएमई"


def test_an_id_goes_out_with_the_text_that_was_registered_under_it() -> None:
    text = "{{ source }} {{ place }} {{ time }}"
    overrides = {("sms", "en", "text"): text, ("sms", "en", "template_id"): " 1107 \n"}
    assert Templates(overrides).render("sms", "en", SAMPLE).template_id == "1107"
    assert Templates(overrides).render("sms", "mr", SAMPLE).template_id == "1107"
    assert Templates(overrides).render("sms", "hi", SAMPLE).template_id == ""
    assert Templates(overrides).render("email", "en", SAMPLE).template_id == ""
    broken = Templates({**overrides, ("sms", "en", "text"): "{{ nothing }}"})
    assert broken.render("sms", "en", SAMPLE).template_id == ""
    of_another = Templates({**overrides, ("sms", "hi", "template_id"): "9", ("sms", "hi-IN", "text"): text})
    assert of_another.render("sms", "hi-IN", SAMPLE).template_id == "9"


# -- Faults that must never stop an alarm

BROKEN = {
    "{{ nothing }}": "there is no 'nothing'",
    "one\ntwo {{ source.__class__.__mro__ }}": "line 2: .__mro__",
    "{{ source": "line 1: unexpected end of template",
    "{% for flag in flags %}{{ flag }}{% endfor %}": "For is not offered",
    "{{ occurrences > 'a' }}": "not supported between",
    "\n\n{{ occurrences | join }}": "line 3: 'int' object is not iterable",
    "{{ occurrences | length }}": "has no len()",
    "{% if drill %}drill{% endif %}": "it makes no text",
    "{{ message | frobnicate }}": "there is no filter 'frobnicate'",
    "{{ " + "(" * 1500 + "source" + ")" * 1500 + " }}": "too deeply nested",
    "{{ source" + "|upper" * 600 + " }}": "too deeply nested",
    "{% if source %}" * 120 + "x" + "{% endif %}" * 120: "too deeply nested",
    "x" * (MAX_SOURCE + 1): f"the limit is {MAX_SOURCE}",
}


@pytest.mark.parametrize("source", list(BROKEN), ids=lambda source: source[:30])
@pytest.mark.parametrize(("channel", "part"), [("email", "text"), ("sms", "text"), ("push", "subject")])
def test_a_broken_template_gives_way_to_the_built_in_one_and_says_so(
    source: str, channel: str, part: str
) -> None:
    rendered = written(channel, part, source)
    [fault] = rendered.faults
    assert fault.startswith(f"template {channel} en {part}")
    assert fault.endswith("; the built-in one is used")
    assert BROKEN[source] in fault
    assert msgspec.structs.replace(rendered, faults=()) == built_in(channel)


@pytest.mark.parametrize("source", list(BROKEN), ids=lambda source: source[:30])
def test_a_broken_template_is_not_taken_in_the_first_place(source: str) -> None:
    said = refusal(source)
    assert said.startswith("template email en text")
    assert BROKEN[source] in said
    assert fault_of(channel="email", language="en", part="text", source=source) == said


def test_what_breaks_only_in_a_drill_is_found_without_one() -> None:
    assert "line 2: there is no 'dril'" in refusal("{{ source }}\n{% if drill %}{{ dril }}{% endif %}")
    assert "there is no filter 'up'" in refusal("{{ source }}{% if drill %}{{ source | up }}{% endif %}")
    assert "it makes no text of a LOW alert" in refusal("{% if severity != 'LOW' %}{{ source }}{% endif %}")


@given(
    st.sampled_from(list(BUILT_IN)),
    st.one_of(
        st.text(max_size=80),
        st.lists(
            st.sampled_from(
                ["{{", "}}", "{%", "%}", " if ", " endif ", " drill ", "source", "|", "join", "e", ".", "__class__",
                 "(", ")", "'", "1", "~", " is ", " not ", "==", "\n", "w", "replace", ",", "else"]
            ),
            max_size=25,
        ).map("".join),
    ),
)  # fmt: skip
def test_whatever_a_tenant_writes_the_alarm_is_told(place: tuple[str, str], source: str) -> None:
    channel, part = place
    rendered = written(channel, part, source)
    assert rendered.text
    assert rendered.subject or channel == "sms"


# -- The sandbox

ESCAPES = [
    "{{ source.__class__.__base__.__subclasses__() }}",
    "{{ w.__class__ }}",
    "{{ w.items }}",
    "{{ source['__class__'] }}",
    "{{ source | attr('__class__') }}",
    "{{ source.format }}",
    "{{ '{0.__class__}'.format(source) }}",
    "{{ '%s' % source }}",
    "{{ '%9999999d' | format(1) }}",
    "{{ self }}",
    "{{ cycler }}",
    "{{ lipsum() }}",
    "{{ range(9) }}",
    "{{ source * 100000 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ [1] }}",
    "{% include 'x' %}",
    "{% import 'x' as x %}",
    "{% set x = source %}{{ x }}",
    "{% macro m() %}{% endmacro %}",
    "{% autoescape false %}{{ message }}{% endautoescape %}",
    "{{ message | safe }}",
    "{{ flags | join(',', attribute='__class__') }}",
    "{{ flags | map('upper') | join }}",
    "{{ occurrences is divisibleby 0 }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_there_is_no_way_out_of_a_template(source: str) -> None:
    for part in ("text", "html"):
        assert refusal(source, part=part).startswith(f"template email en {part}")
        rendered = written("email", part, source)
        assert rendered.faults
        assert "class" not in rendered.text + rendered.html


def test_no_filter_makes_a_text_grow_without_end() -> None:
    longer = (
        "{{ message | replace('', '" + "x" * 60 + "')" + " | replace('x', 'xxxxxxxxxxxxxxxx')" * 60 + " }}"
    )
    joined = "{{ message" + " | join('xxxxxxxxxxxxxxxxxxxx')" * 60 + " }}"
    for source in (longer, joined):
        assert "a filter makes" in refusal(source)
        assert written("email", "text", source).text == built_in("email").text


def test_filters_that_are_offered_work() -> None:
    assert set(FILTERS) >= {"join", "replace", "upper", "default"}
    source = "{{ flags | join('+') }} {{ source | replace('guard', 'G') | upper }} {{ site | default('-') | length }}"
    calm = msgspec.structs.replace(SAMPLE, silent=False)
    assert written("email", "text", source, words=calm).text == "Clock G-123 12"


def test_a_text_is_no_longer_than_its_channel_takes() -> None:
    words = with_message("x" * 30_000)
    assert len(written("email", "text", "{{ message }}" * 50, words=words).text) == 4_000
    assert len(written("push", "subject", "{{ message }}", words=words).subject) == 200
    assert "the limit is 200" in refusal("{{ message }}" * 3, part="subject")


# -- HTML and text


def test_html_shows_what_a_device_says_and_runs_none_of_it() -> None:
    words = msgspec.structs.replace(
        with_message(SCRIPT), source="<b>s", site="<i>", carried_by="<u>", flags=("<s>",), link='"><img>'
    )
    for rendered in (
        built_in("email", words=words),
        written(
            "email", "html", "{{ message }}{{ source|upper }}{{ flags|join('<br>') }}<p>own</p>", words=words
        ),
        written("email", "html", "{{ message|replace('&lt;', '<')|e }}{{ ('<'~message)|trim }}", words=words),
    ):
        assert rendered.faults == ()
        for tag in ("<script", "<b>s", "<B>", "<i>", "<u>", "<s>", "<img"):
            assert tag not in rendered.html
        assert "&lt;script&gt;" in rendered.html
    assert "<p>own</p>" in written("email", "html", "<p>own</p>").html


@pytest.mark.parametrize("channel", list(PARTS))
def test_text_is_text(channel: str) -> None:
    assert SCRIPT in built_in(channel, words=with_message(SCRIPT)).text


def test_a_device_puts_no_lines_into_a_subject_and_no_control_characters_anywhere() -> None:
    words = msgspec.structs.replace(SAMPLE, source="g\r\nBcc: x@example.com", message="\x1b[31mred\x00\u202e")
    rendered = built_in("email", words=words)
    assert "\n" not in rendered.subject
    assert "\r" not in rendered.subject
    assert not any(letter in rendered.text + rendered.html for letter in "\x1b\x00\r\u202e")


def test_joiners_of_indian_scripts_are_letters() -> None:
    word = "क्\u200dष"
    assert word in built_in("email", words=with_message(word)).text


# -- Drills


@pytest.mark.parametrize("channel", list(PARTS))
@pytest.mark.parametrize(("language", "word"), [("en", "DRILL"), ("hi", "अभ्यास"), ("xx", "DRILL")])
def test_a_drill_says_so_in_every_channel_and_nothing_else_does(
    channel: str, language: str, word: str
) -> None:
    real, drill = SAMPLES[:2]
    own = Templates(
        {
            (channel, language, part): "{{ source }} at {{ place }}, {{ time }}"
            for part in PARTS[channel]
            if part != "template_id"
        }
    )
    for templates in (Templates({}), own):
        marked = templates.render(channel, language, drill)
        assert marked.faults == ()
        head = marked.text if channel == "sms" else marked.subject
        # An SMS that would be too long in Hindi is in English.
        assert head.startswith((word, "DRILL") if channel == "sms" else word)
        if channel == "email":
            assert word in marked.text
            assert word in marked.html
        plain = templates.render(channel, language, real)
        assert not any(mark in plain.subject + plain.text + plain.html for mark in ("DRILL", word))


# -- Templates that are accepted


@pytest.mark.parametrize(("channel", "part"), list(BUILT_IN))
@pytest.mark.parametrize("language", ["en", "hi"])
def test_built_in_templates_are_such_as_would_be_taken(channel: str, part: str, language: str) -> None:
    if (channel, language) != ("sms", "hi"):  # too long in Hindi, and then English
        check_template(channel=channel, language=language, part=part, source=BUILT_IN[channel, part])
    for words in SAMPLES:
        assert built_in(channel, language, words).text


@pytest.mark.parametrize(
    ("place", "source", "problem"),
    [
        ({"channel": "fax"}, "x", "there is no channel 'fax'; channels are email, sms, push, url"),
        ({"channel": None}, "x", "there is no channel None"),
        ({"channel": "sms", "part": "subject"}, "x", "its parts are text, template_id"),
        ({"part": "template_id"}, "x", "its parts are subject, text, html"),
        ({"language": "english please"}, "x", "is not a language"),
        ({"language": "EN"}, "x", "is not a language"),
        ({}, " \n", "is empty"),
        ({}, "a\x00b", "control characters"),
        ({}, "a\ud800b", "control characters"),
        ({"channel": "sms"}, "{{ message }}", "it must use source and time"),
        ({"channel": "sms"}, "{{ source }} {{ time }}", "it must use place or site"),
        ({"channel": "sms"}, "x" * 130 + "{{ source }} {{ place }} {{ time }}", "before any message; the limit is 156"),
        ({"channel": "sms"}, "अ" * 40 + "{{ source }} {{ place }} {{ time }}", "UCS-2 before any message; the limit"),
        ({"channel": "sms", "part": "template_id"}, "1107 2208", "it must be the id alone"),
        ({"channel": "sms", "part": "template_id"}, "9" * 101, "it must be the id alone"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_the_reason(
    place: dict[str, str], source: str, problem: str
) -> None:
    assert problem in refusal(source, **place)


def test_a_registered_id_is_taken() -> None:
    check_template(channel="sms", language="hi", part="template_id", source="1107160000000012345\n")
