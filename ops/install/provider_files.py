"""Settings of SMS providers in files that cannot read Python: written from the declarations.

    python -m ops.install.provider_files            writes the marked blocks
    python -m ops.install.provider_files --check    fails when a block is out of date

A block begins with a line `begin providers: KIND` and ends with a line `end providers`, in the
file's form of a comment. Lines between them are replaced.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ops.environment import PROJECT
from services.notifications.channels.provider import Provider, ProviderSetting, required_of
from services.notifications.channels.sms_providers import SMS_PROVIDERS, secrets_of, settings_of

FILES = (
    "config.yaml",
    ".env.example",
    ".env.production.example",
    "docker-compose.yml",
    "docs/notifications.md",
    "ops/install/install.sh",
    "ops/install/systemd/vigil-migrate.service",
    "ops/install/systemd/vigil@domains.service.d/secrets.conf",
    "ops/install/systemd/vigil@notifications.service.d/secrets.conf",
)
BLOCK = re.compile(
    r"^(?P<first>(?P<indent>[ ]*)(?:#|<!--) begin providers: (?P<kind>[a-z_]+)[^\n]*\n)"
    r"(?P<lines>.*?)"
    r"(?P<last>^[ ]*(?:#|<!--) end providers)",
    re.DOTALL | re.MULTILINE,
)

Providers = Sequence[type[Provider]]


def render(text: str, providers: Providers = SMS_PROVIDERS) -> str:
    """Return the text of a file with its blocks brought up to the declarations.

    Raises:
        KeyError: there is no such kind of block.
    """

    def block(found: re.Match[str]) -> str:
        lines = KINDS[found["kind"]](providers)
        body = "".join(f"{found['indent']}{line}\n" if line else "\n" for line in lines)
        return f"{found['first']}{body}{found['last']}"

    return BLOCK.sub(block, text)


def outdated(project: Path = PROJECT) -> list[str]:
    """Return the files whose blocks differ from the declarations."""
    return [name for name in FILES if render(text := (project / name).read_text()) != text]


def _config(providers: Providers) -> Iterator[str]:
    for setting in settings_of(providers):
        yield from _help(setting)
        yield f"{setting.name}: ${{{setting.variable}:{setting.default}}}"


def _environment(providers: Providers) -> Iterator[str]:
    for provider in providers:
        yield f"# SMS by {provider.title}."
        yield from _assignments(provider.settings)


def _production_environment(providers: Providers) -> Iterator[str]:
    for provider in providers:
        files = ", ".join(f"secrets/{secret.name}" for secret in secrets_of([provider]))
        yield (
            f"# SMS by {provider.title}: secrets are in {files}." if files else f"# SMS by {provider.title}."
        )
        yield from _assignments([setting for setting in provider.settings if not setting.is_secret])


def _assignments(settings: Sequence[ProviderSetting]) -> Iterator[str]:
    for setting in settings:
        yield from _help(setting)
        yield f"{setting.variable}={setting.default}"


def _help(setting: ProviderSetting) -> Iterator[str]:
    if setting.help:
        yield f"# {setting.help}"


def _compose_settings(providers: Providers) -> Iterator[str]:
    for setting in settings_of(providers):
        if not setting.is_secret:
            yield f"{setting.variable}: ${{{setting.variable}:-{setting.default}}}"


def _secret_lines(line: str) -> Callable[[Providers], Iterator[str]]:
    """Return a writer of one line for each secret, from a template with NAME and VARIABLE."""

    def lines(providers: Providers) -> Iterator[str]:
        for secret in secrets_of(providers):
            yield line.replace("NAME", secret.name).replace("VARIABLE", secret.variable)

    return lines


def _install(providers: Providers) -> Iterator[str]:
    yield f"local of_providers=({' '.join(secret.name for secret in secrets_of(providers))})"


def _table(providers: Providers) -> Iterator[str]:
    yield ""
    yield "| Provider | Needed | Also | URL for replies |"
    yield "|---|---|---|---|"
    for provider in providers:
        needed = required_of(provider)
        further = [setting for setting in provider.settings if setting not in needed]
        url = f"`VIGIL_PUBLIC_URL/api/v1/providers/{provider.name}/inbound`"
        yield f"| {provider.title} | {_named(needed)} | {_named(further)} | {url} |"
    yield ""


def _named(settings: Sequence[ProviderSetting]) -> str:
    return ", ".join(f"`{setting.variable}`" for setting in settings)


KINDS: Mapping[str, Callable[[Providers], Iterator[str]]] = {
    "config": _config,
    "environment": _environment,
    "production_environment": _production_environment,
    "compose_settings": _compose_settings,
    "compose_secret_variables": _secret_lines("VARIABLE_FILE: /run/secrets/NAME"),
    "compose_secrets": _secret_lines("- NAME"),
    "compose_secret_files": _secret_lines('NAME: {file: "${VIGIL_SECRETS_DIR:-./secrets}/NAME"}'),
    "credentials": _secret_lines("LoadCredential=NAME:/etc/vigil/secrets/NAME"),
    "credential_variables": _secret_lines("Environment=VARIABLE_FILE=%d/NAME"),
    "install": _install,
    "table": _table,
}
"""Kinds of blocks: the name in the file, and the writer of its lines."""


def main(arguments: Sequence[str]) -> int:
    found = outdated()
    if "--check" in arguments:
        if found:
            print(f"out of date: {', '.join(found)}; run: python -m ops.install.provider_files")
        return 1 if found else 0

    for name in found:
        path = PROJECT / name
        path.write_text(render(path.read_text()))
        print(f"wrote {name}")

    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
