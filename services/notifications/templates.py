"""What messages say: Jinja2 templates in a sandbox, by channel and language; a tenant may have its own. Pure.

An SMS is held to one segment: 160 characters of GSM 03.38, or 70 of UCS-2 when the text has others. What must be in it
(drill, severity, type, source, place, time, code) is written first, and the free text is what gives way.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

import jinja2
import msgspec
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from services.errors import Refused

GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENDED = frozenset("^{}\\[~]|€\f")
SMS_GSM7 = 160
SMS_UCS2 = 70
MAX_SOURCE = 4_000
MAX_OUTPUT = {"subject": 200, "text": 4_000, "html": 40_000, "template_id": 100}
MAX_FIELD = {"source": 40, "site": 40, "place": 40, "time": 20}
"""Of what must be in an SMS, so that it always fits; a longer one loses its middle."""
FILTERS = (
    "join",
    "upper",
    "lower",
    "title",
    "capitalize",
    "trim",
    "replace",
    "default",
    "length",
    "first",
    "last",
    "e",
)
ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.CondExpr, nodes.Name, nodes.NSRef, nodes.Const,
    nodes.Getattr, nodes.Filter, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Test, nodes.Concat,
    nodes.Keyword,
)  # fmt: skip
CHANNELS = ("email", "sms", "push", "url")
PARTS = ("subject", "text", "html", "template_id")


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """What a template may use. `place` is a position or a site's name, `time` that of the place."""

    severity: str
    alert_type: str
    source: str
    carried_by: str = ""
    site: str = ""
    place: str = ""
    time: str = ""
    message: str = ""
    occurrences: int = 1
    drill: bool = False
    silent: bool = False
    flags: tuple[str, ...] = ()
    link: str = ""
    code: str = ""


class Rendered(msgspec.Struct, frozen=True):
    subject: str
    text: str
    html: str = ""


FIXED: dict[str, dict[str, str]] = {
    "en": {
        "drill": "DRILL", "at": "at", "source": "Source", "carried_by": "Carried by", "place": "Place", "time": "Time",
        "message": "Message", "take": "Take this alert", "reply": "Reply",
        "silent": "Silent: do not call the guard back.",
        "flags": "Doubts", "occurrences": "Times",
    },
    "hi": {
        "drill": "अभ्यास", "at": "पर", "source": "स्रोत", "carried_by": "धारक", "place": "स्थान", "time": "समय",
        "message": "संदेश", "take": "यह अलर्ट लें", "reply": "उत्तर दें", "silent": "मौन: गार्ड को वापस कॉल न करें।",
        "flags": "संदेह", "occurrences": "बार",
        "CRITICAL": "गंभीर", "HIGH": "उच्च", "MEDIUM": "मध्यम", "LOW": "निम्न",
        "PANIC": "संकट", "SOS": "SOS", "DURESS": "दबाव", "MEDICAL": "चिकित्सा", "FIRE": "आग", "INTRUSION": "घुसपैठ",
        "GEOFENCE_VIOLATION": "क्षेत्र उल्लंघन", "EQUIPMENT_FAILURE": "उपकरण खराबी", "LOW_BATTERY": "बैटरी कम",
        "OFFLINE": "संपर्क नहीं", "UNREADABLE_ALERT": "अपठनीय अलर्ट", "UNKNOWN": "अज्ञात",
    },
}  # fmt: skip
"""Fixed words by language; a word that a language lacks stands as it is."""

HEAD = "{% if drill %}{{ w.drill }} {% endif %}{{ w.severity }} {{ w.alert_type }}"
BUILT_IN: dict[tuple[str, str], str] = {
    ("email", "subject"): HEAD + " {{ source }}{% if site %}, {{ site }}{% endif %}",
    ("email", "text"): HEAD
    + """
{{ w.source }}: {{ source }}{% if carried_by %}
{{ w.carried_by }}: {{ carried_by }}{% endif %}{% if place %}
{{ w.place }}: {{ place }}{% if site and site != place %} ({{ site }}){% endif %}{% endif %}
{{ w.time }}: {{ time }}{% if occurrences > 1 %}
{{ w.occurrences }}: {{ occurrences }}{% endif %}{% if flags %}
{{ w.flags }}: {{ flags | join(", ") }}{% endif %}
{{ w.message }}: {{ message }}{% if silent %}

{{ w.silent }}{% endif %}{% if link %}

{{ w.take }}: {{ link }}{% endif %}
""",
    ("email", "html"): "<h1>"
    + HEAD
    + """</h1><table>
<tr><th>{{ w.source }}</th><td>{{ source }}</td></tr>{% if carried_by %}
<tr><th>{{ w.carried_by }}</th><td>{{ carried_by }}</td></tr>{% endif %}{% if place %}
<tr><th>{{ w.place }}</th><td>{{ place }}{% if site and site != place %} ({{ site }}){% endif %}</td></tr>{% endif %}
<tr><th>{{ w.time }}</th><td>{{ time }}</td></tr>{% if flags %}
<tr><th>{{ w.flags }}</th><td>{{ flags | join(", ") }}</td></tr>{% endif %}
<tr><th>{{ w.message }}</th><td>{{ message }}</td></tr></table>{% if silent %}<p><b>{{ w.silent }}</b></p>{% endif %}
{% if link %}<p><a href="{{ link }}">{{ w.take }}</a></p>{% endif %}""",
    ("sms", "text"): HEAD
    + " {{ source }}{% if place %} {{ w.at }} {{ place }}{% endif %} {{ time }}"
    + "{% if code %} {{ w.reply }} {{ code }}{% endif %}{% if message %} {{ message }}{% endif %}",
    ("push", "subject"): HEAD + " {{ source }}",
    ("push", "text"): "{% if place %}{{ place }} {% endif %}{{ time }} {{ message }}",
    ("url", "subject"): HEAD + " {{ source }}{% if site %}, {{ site }}{% endif %}",
    ("url", "text"): "{{ time }}{% if place %} {{ place }}{% endif %}: {{ message }}"
    "{% if link %}\n{{ w.take }}: {{ link }}{% endif %}",
}


class Templates:
    """The built-in templates, and a tenant's own by (channel, language, part) before them."""

    def __init__(self, overrides: Mapping[tuple[str, str, str], str]) -> None:
        self._overrides = dict(overrides)
        self._compiled: dict[tuple[bool, str], jinja2.Template] = {}

    def render(self, channel: str, language: str, words: Words) -> Rendered:
        """The message of a channel. A tenant's template that fails gives way to the built-in one: an alarm is told."""
        parts = {}
        for part in ("subject", "text", "html"):
            own = self._overrides.get((channel, language, part))
            built_in = BUILT_IN.get((channel, part), "")
            try:
                text = self._fill(own if own is not None else built_in, words, language, html=part == "html")
            except jinja2.TemplateError:
                text = self._fill(built_in, words, language, html=part == "html")
            parts[part] = text[: MAX_OUTPUT[part]]
        subject = " ".join(parts["subject"].split())
        if channel == "sms":
            return Rendered("", fit_sms(parts["text"], words, language))
        return Rendered(subject, parts["text"].strip(), parts["html"].strip())

    def template_id(self, channel: str, language: str) -> str:
        """What the tenant registered this text as; empty when it did not."""
        return self._overrides.get((channel, language, "template_id"), "").strip()

    def _fill(self, source: str, words: Words, language: str, *, html: bool) -> str:
        if not source:
            return ""
        template = self._compiled.get((html, source))
        if template is None:
            template = self._compiled[html, source] = compile_template(source, html=html)
        fixed = {**FIXED["en"], **FIXED.get(language, {})}
        known = {name: fixed.get(name, name) for name in (words.severity, words.alert_type)}
        clean = {name: _clean(value) for name, value in msgspec.structs.asdict(words).items()}
        named = {
            **fixed,
            "severity": known[words.severity],
            "alert_type": known[words.alert_type].replace("_", " "),
        }
        return template.render(**clean, w=named)


def compile_template(source: str, *, html: bool) -> jinja2.Template:
    """A template of the few things that a message needs. Raises `jinja2.TemplateError`.

    What can run long or grow large (loops, macros, calls, multiplication, formats) is not among them.
    """
    made = ImmutableSandboxedEnvironment(autoescape=html, undefined=jinja2.StrictUndefined)
    made.globals.clear()
    made.filters = {name: made.filters[name] for name in FILTERS}
    for node in made.parse(source).find_all(nodes.Node):
        if not isinstance(node, ALLOWED):
            raise jinja2.TemplateSyntaxError(
                f"{type(node).__name__} is not offered in a template", node.lineno
            )
    return made.from_string(source)


def check_template(*, channel: str, part: str, source: str) -> None:
    """Raises `Refused` naming what is wrong with a tenant's template."""
    where = f"template {channel} {part}"
    if channel not in CHANNELS or part not in PARTS:
        raise Refused(f"{where}: channels are {', '.join(CHANNELS)}, parts {', '.join(PARTS)}")
    if len(source) > MAX_SOURCE:
        raise Refused(f"{where}: {len(source)} characters; the limit is {MAX_SOURCE}")
    if part == "template_id":
        return
    words = Words(severity="HIGH", alert_type="FIRE", source="sensor-1")
    try:
        filled = Templates({})._fill(source, words, "en", html=part == "html")
    except jinja2.TemplateError as error:
        names = ", ".join(Words.__struct_fields__)
        raise Refused(f"{where}: {error}; a template may use {names}, and w.<word>") from error
    if len(filled) > MAX_OUTPUT[part]:
        raise Refused(f"{where}: it makes {len(filled)} characters; the limit is {MAX_OUTPUT[part]}")


def gsm7_length(text: str) -> int | None:
    """How many septets a text takes in GSM 03.38; None when it has characters beyond."""
    length = 0
    for letter in text:
        if letter in GSM_BASIC:
            length += 1
        elif letter in GSM_EXTENDED:
            length += 2
        else:
            return None
    return length


def fits(text: str) -> bool:
    """Whether a text is one SMS."""
    septets = gsm7_length(text)
    return septets <= SMS_GSM7 if septets is not None else len(text.encode("utf-16-be")) // 2 <= SMS_UCS2


def fit_sms(text: str, words: Words, language: str) -> str:
    """The text as one SMS; when it is too long, what must be in it and as much of the message as there is room for."""
    line = " ".join(text.split())
    if fits(line):
        return line
    for fixed in (FIXED.get(language, {}), {}):
        must = _must(words, fixed)
        message = " ".join(str(_clean(words.message)).split())
        for letters in (message, _ascii(message)):
            whole = f"{must} {letters}".strip()
            # What fits grows with each letter left out.
            low, high = len(must), len(whole)
            if not fits(must):
                continue
            while low < high:
                middle = (low + high + 1) // 2
                low, high = (middle, high) if fits(whole[:middle]) else (low, middle - 1)
            return whole[:low].strip()
    # Names that no phone's alphabet has: their plain letters, each short enough for all to fit.
    return _ascii(_must(words, {}))[:SMS_GSM7].strip()


def _must(words: Words, fixed: Mapping[str, str]) -> str:
    """Drill, severity, type, source, place, time and code; long names lose their middles."""
    english = FIXED["en"]
    parts = [
        fixed.get("drill", english["drill"]) if words.drill else "",
        fixed.get(words.severity, words.severity),
        fixed.get(words.alert_type, words.alert_type).replace("_", " "),
        _short(words.source, MAX_FIELD["source"]),
        _short(words.place or words.site, MAX_FIELD["place"]),
        _short(words.time, MAX_FIELD["time"]),
        f"{fixed.get('reply', english['reply'])} {words.code}" if words.code else "",
    ]
    return " ".join(part for part in parts if part)


def _short(text: str, most: int) -> str:
    clean = " ".join(str(_clean(text)).split())
    return clean if len(clean) <= most else f"{clean[: most // 2 - 1]}..{clean[-(most // 2 - 1) :]}"


def _ascii(text: str) -> str:
    """The nearest letters that every phone has; others become question marks."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "replace").decode()
    return "".join(letter for letter in plain if gsm7_length(letter) == 1)


def _clean(value: Any) -> Any:
    """Text without control characters, but for line ends; a device chose it."""
    if isinstance(value, tuple):
        return tuple(map(_clean, value))
    if not isinstance(value, str):
        return value
    return "".join(
        letter if letter == "\n" or unicodedata.category(letter)[0] != "C" else " " for letter in value
    )
