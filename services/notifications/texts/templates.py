"""Texts of messages: Jinja2 templates in a sandbox, by channel and language. Pure.

A tenant may have templates of its own. When one fails, the built-in template is used, and the fault
is reported: the alarm goes out. A drill is marked whatever the template says. The message of a
silent alert says that nobody calls the guard back.
"""

from __future__ import annotations

import re
import traceback
import unicodedata
from collections.abc import Iterable, Mapping

import jinja2
import msgspec
from jinja2 import filters, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from services.contracts.enum_words import as_words, flag_as_words
from services.contracts.errors import Refused
from services.notifications.channels import SMS_MARK
from services.notifications.texts.sms_length import GSM7, UCS2, fit_sms, fits, size
from services.notifications.texts.translations import FIXED, SAMPLES, WORDS, TextValues, clean, named_words

MAX_SOURCE = 4_000
MAX_OUTPUT = {"subject": 200, "text": 4_000, "html": 40_000}
MAX_PUSH = 1_000
"""Limit of characters of a push notification's text. Phones show fewer."""
MAX_FILTERED = 40_000
"""Limit of characters that a filter may make."""
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
TESTS = ("defined", "undefined", "none", "in", "eq", "ne", "lt", "le", "gt", "ge")
ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.CondExpr, nodes.Name, nodes.Const,
    nodes.Getattr, nodes.Filter, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Test, nodes.Concat,
    nodes.Keyword,
)  # fmt: skip
PARTS = {
    "email": ("subject", "text", "html"),
    "sms": ("text", "template_id"),
    "push": ("subject", "text"),
    "url": ("subject", "text"),
}
"""Parts of a message by channel.

`template_id` is the id under which the operator's regulator registered the text (DLT in India).
"""
MARKED = {("sms", "text"), ("email", "subject"), ("email", "text"), ("email", "html"), ("push", "subject"),
          ("url", "subject")}  # fmt: skip
"""Parts with the mark of a drill."""
SILENT = {("sms", "text"), ("email", "text"), ("email", "html"), ("push", "text"), ("url", "text")}
"""Parts with the sentence of a silent alert: do not call the guard back."""
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
TEMPLATE_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class RenderedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message. `faults` has a sentence for each of the tenant's templates that failed.

    A built-in template replaces each of these.
    """

    subject: str
    text: str
    html: str = ""
    template_id: str = ""
    faults: tuple[str, ...] = ()


HEAD = "{% if drill %}{{ w.drill }} {% endif %}{{ w.severity }}: {{ w.alert_type }}"
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
    + "{% if silent %} {{ w.silent }}{% endif %}"
    + "{% if code %} {{ w.reply }} {{ code }}{% endif %}{% if message %} {{ message }}{% endif %}",
    ("push", "subject"): HEAD + " {{ source }}",
    (
        "push",
        "text",
    ): "{% if silent %}{{ w.silent }} {% endif %}{% if place %}{{ place }} {% endif %}{{ time }}"
    " {{ message }}",
    ("url", "subject"): HEAD + " {{ source }}{% if site %}, {{ site }}{% endif %}",
    ("url", "text"): "{% if silent %}{{ w.silent }}\n{% endif %}"
    "{{ time }}{% if place %} {{ place }}{% endif %}: {{ message }}"
    "{% if link %}\n{{ w.take }}: {{ link }}{% endif %}",
}


class Templates:
    """Built-in templates and a tenant's own, by (channel, language, part). The tenant's go first.

    `hi-IN` uses the templates of `hi`. A language without words in Vigil uses the tenant's
    templates of `en`.
    """

    def __init__(self, overrides: Mapping[tuple[str, str, str], str]) -> None:
        self._overrides = dict(overrides)
        self._compiled: dict[tuple[bool, str], jinja2.Template] = {}

    def render(self, channel: str, language: str, words: TextValues) -> RenderedMessage:
        """Return the message of a channel, whatever the tenant's templates are like."""
        parts: dict[str, str] = {}
        faults: list[str] = []
        for part in ("subject", "text", "html"):
            source, found_for = self.source(channel, language, part)
            fault = None
            if found_for is not None:
                try:
                    parts[part] = self._write(channel, language, part, source, words)
                    fault = None if parts[part] or part == "html" else ": it makes no text"
                except Exception as error:  # a fault of a tenant's template must not stop the alarm
                    fault = _problem(error)
                if fault:
                    faults.append(f"template {channel} {found_for} {part}{fault}; the built-in one is used")

            if found_for is None or fault:
                built_in = BUILT_IN.get((channel, part), "")
                parts[part] = self._write(channel, language, part, built_in, words)

        return RenderedMessage(
            subject=parts["subject"],
            text=parts["text"],
            html=parts["html"],
            template_id="" if faults else self._template_id(channel, language),
            faults=tuple(faults),
        )

    def source(self, channel: str, language: str, part: str) -> tuple[str, str | None]:
        """Return the template in force, and the language that the tenant gave it for.

        The language is None for the built-in template.
        """
        base = language.partition("-")[0]
        for candidate in (language, base, *(() if base in FIXED else ("en",))):
            own = self._overrides.get((channel, candidate, part))
            if own is not None:
                return own, candidate
        return BUILT_IN.get((channel, part), ""), None

    def _template_id(self, channel: str, language: str) -> str:
        """Return the template id. An id is valid for the text that was registered under it."""
        _, text_is_for = self.source(channel, language, "text")
        return self.source(channel, text_is_for or language, "template_id")[0].strip()

    def _write(self, channel: str, language: str, part: str, source: str, words: TextValues) -> str:
        """Return one part, marked and within the limit of its channel."""
        html = part == "html"

        def fill(message: str) -> str:
            said = msgspec.structs.replace(words, message=message)
            text = self._fill(source, said, language, html=html).strip()
            if channel == "sms" or part == "subject":
                text = " ".join(text.split())
            if (channel, part) in SILENT and text:
                text = _hushed(text, words, language, html=html)
            return _marked(text, words, language, html=html) if (channel, part) in MARKED and text else text

        if channel == "sms" and part == "text":
            return fit_sms(fill, words, language) if fill(words.message) else ""

        written = fill(words.message)
        most = MAX_PUSH if (channel, part) == ("push", "text") else MAX_OUTPUT[part]
        if len(written) <= most:
            return written

        # The sentence of a silent alert may stand at the end. It must not be cut off.
        cut = written[:most]
        if (channel, part) not in SILENT or _hushed(cut, words, language, html=html) == cut:
            return cut

        sentence = _hushed("", words, language, html=html)
        return sentence + written[: most - len(sentence)]

    def _fill(self, source: str, words: TextValues, language: str, *, html: bool) -> str:
        if not source:
            return ""

        template = self._compiled.get((html, source))
        if template is None:
            template = self._compiled[html, source] = compile_template(source, html=html)

        fixed = named_words(language)
        named = {
            **fixed,
            "severity": fixed.get(words.severity) or as_words(words.severity),
            "alert_type": fixed.get(words.alert_type) or as_words(words.alert_type),
        }

        cleaned = {name: clean(value) for name, value in msgspec.structs.asdict(words).items()}
        cleaned["flags"] = tuple(map(flag_as_words, cleaned["flags"]))
        return template.render(**cleaned, w=named)


def compile_template(source: str, *, html: bool) -> jinja2.Template:
    """Return a template from the few constructs that a message needs.

    Constructs that can run long or grow large are refused: loops, macros, calls, multiplication,
    formats. Filters stop at 40,000 characters.

    Raises:
        jinja2.TemplateError: the template is not valid.
    """
    if len(source) > MAX_SOURCE:
        raise jinja2.TemplateSyntaxError(f"{len(source)} characters; the limit is {MAX_SOURCE}", 1)

    made = ImmutableSandboxedEnvironment(autoescape=html, undefined=jinja2.StrictUndefined)
    made.globals.clear()
    made.filters = {name: made.filters[name] for name in FILTERS} | {"join": _join, "replace": _replace}
    made.tests = {name: made.tests[name] for name in TESTS}

    try:
        for node in made.parse(source).find_all(nodes.Node):
            if problem := _objection(node):
                raise jinja2.TemplateSyntaxError(problem, node.lineno)
        return made.from_string(source)
    except (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError) as error:
        # Python's own compiler raises these for a thousand brackets.
        raise jinja2.TemplateSyntaxError(
            "it is too deeply nested, or its numbers are too large", 1
        ) from error


def check_template(*, channel: str, language: str, part: str, source: str) -> None:
    """Check a tenant's template by writing several alerts with it.

    Raises:
        Refused: the template is not valid. The text names the line and the fault.
    """
    parts = PARTS.get(channel) if isinstance(channel, str) else None
    if parts is None:
        raise Refused(f"template: there is no channel {channel!r}; channels are {', '.join(PARTS)}")
    if part not in parts:
        raise Refused(f"template {channel}: there is no part {part!r}; its parts are {', '.join(parts)}")
    if not isinstance(language, str) or not LANGUAGE.fullmatch(language):
        raise Refused(f"template {channel}: {language!r} is not a language; write it as en, hi or pt-BR")

    where = f"template {channel} {language} {part}"
    if not isinstance(source, str) or not source.strip():
        raise Refused(f"{where} is empty; `vigil template remove` takes a template back")
    if any(unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\r\t" for letter in source):
        raise Refused(f"{where} has control characters; it must be text")
    if part == "template_id":
        if not TEMPLATE_ID.fullmatch(source.strip()):
            raise Refused(f"{where}: it must be the id alone: letters, digits, - and _, 100 at the most")
        return

    try:
        _try_out(channel, language, part, source)
    except Exception as error:
        raise Refused(f"{where}{_problem(error)}") from error


def fault_of(*, channel: str, language: str, part: str, source: str) -> str | None:
    """Return the fault of a template that is kept; None when there is none."""
    try:
        check_template(channel=channel, language=language, part=part, source=source)
    except Refused as error:
        return str(error)
    return None


def _marked(text: str, words: TextValues, language: str, *, html: bool) -> str:
    """Return the text, with the mark of a drill where it is missing."""
    word = named_words(language)["drill"]
    if not words.drill or word in text:
        return text
    return f"<p><b>{word}</b></p>{text}" if html else f"{word} {text}"


def _hushed(text: str, words: TextValues, language: str, *, html: bool) -> str:
    """Return the text, with the sentence of a silent alert before it where it is missing."""
    sentence = named_words(language)["silent"]
    if not words.silent or sentence in text:
        return text
    return f"<p><b>{sentence}</b></p>{text}" if html else f"{sentence} {text}"


def _try_out(channel: str, language: str, part: str, source: str) -> None:
    """Write sample alerts with a template. Raises any fault as an exception."""
    template = compile_template(source, html=part == "html")
    if channel == "sms":
        used = {node.name for node in template.environment.parse(source).find_all(nodes.Name)}
        if missing := [name for name in ("source", "time") if name not in used]:
            raise Refused(f"it must use {' and '.join(missing)}: some recipients read nothing but the SMS")
        if not used & {"place", "site"}:
            raise Refused("it must use place or site: some recipients read nothing but the SMS")

    templates = Templates({})
    for words in SAMPLES:
        text = templates._fill(source, words, language, html=part == "html")
        if not text.strip() and part != "html":
            raise Refused(f"it makes no text of a {words.severity} alert")

        if channel == "sms":
            bare = templates._fill(source, msgspec.structs.replace(words, message=""), language, html=False)
            line = " ".join(bare.split())
            if not fits(line):
                taken, alphabet = size(line)
                limit = (GSM7 if alphabet == "GSM-7" else UCS2) - len(SMS_MARK)
                raise Refused(f"{taken} characters of {alphabet} before any message; the limit is {limit}")
        elif len(text) > MAX_OUTPUT[part]:
            raise Refused(f"it makes {len(text)} characters; the limit is {MAX_OUTPUT[part]}")


def _objection(node: nodes.Node) -> str | None:
    """Return the reason why a template must not have this node; None when it may."""
    if not isinstance(node, ALLOWED):
        return f"{type(node).__name__} is not offered in a template"

    match node:
        case nodes.Name(name=name) if name != "w" and name not in TextValues.__struct_fields__:
            return f"there is no {name!r}; a template may use {', '.join(TextValues.__struct_fields__)}, and w.<word>"
        case nodes.Getattr(attr=attr) if not isinstance(node.node, nodes.Name) or node.node.name != "w":
            return f".{attr}: only w has something after a dot"
        case nodes.Getattr(attr=attr) if attr not in WORDS:
            return f"there is no w.{attr}; there are {', '.join(sorted(WORDS))}"
        case nodes.Filter(name=name) if name not in FILTERS:
            return f"there is no filter {name!r}; there are {', '.join(FILTERS)}"
        case nodes.Test(name=name) if name not in TESTS:
            return f"there is no test {name!r}; there are {', '.join(TESTS)}"

    return None


def _problem(error: Exception) -> str:
    """Return the fault in the form `, line 2: fault`."""
    line = error.lineno if isinstance(error, jinja2.TemplateSyntaxError) else _line_of(error)
    said = error.message if isinstance(error, jinja2.TemplateError) else str(error)
    return f"{f', line {line}' if line else ''}: {said or type(error).__name__}"


def _line_of(error: Exception) -> int | None:
    """Return the line of the template, which Jinja2 wrote into the traceback."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"
    ]
    return lines[-1] if lines else None


@jinja2.pass_eval_context
def _join(context: nodes.EvalContext, values: Iterable[object], between: str = "") -> str:
    parts = list(values)
    _check_size(sum(len(str(part)) for part in parts) + len(parts) * len(str(between)))
    return filters.sync_do_join(context, parts, between)


@jinja2.pass_eval_context
def _replace(context: nodes.EvalContext, text: str, old: str, new: str) -> str:
    _check_size(len(str(text)) + str(text).count(str(old)) * len(str(new)))
    return filters.do_replace(context, text, old, new)


def _check_size(characters: int) -> None:
    if characters > MAX_FILTERED:
        raise jinja2.TemplateRuntimeError(
            f"a filter makes {characters} characters; the limit is {MAX_FILTERED}"
        )
