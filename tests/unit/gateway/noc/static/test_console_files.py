import pytest

from gateway.noc.static.console_files import ConsoleFiles, content_policy
from services.contracts.errors import NotFound
from services.platform import config

NOC = config.load(environ={}).noc


def directives(policy: str) -> dict[str, list[str]]:
    return {name: sources for name, *sources in map(str.split, policy.split(";"))}


def test_a_browser_runs_the_consoles_own_scripts_and_workers_and_nothing_inline() -> None:
    policy = directives(content_policy(""))

    assert policy["default-src"] == ["'none'"]
    for kind in ("script-src", "style-src", "worker-src", "connect-src"):
        assert policy[kind] == ["'self'"], kind


@pytest.mark.parametrize(
    "url", ["https://tiles.example:8443/style.json?key=1", "https://tiles.example:8443/{z}/{x}/{y}.png"]
)
def test_the_configured_map_is_the_only_thing_of_elsewhere(url: str) -> None:
    policy = directives(content_policy(url))

    assert policy["connect-src"] == ["'self'", "https://tiles.example:8443"]
    assert policy["img-src"] == ["'self'", "data:", "https://tiles.example:8443"]
    assert policy["script-src"] == policy["worker-src"] == ["'self'"]


def test_a_page_is_served_under_its_policy() -> None:
    page = ConsoleFiles(NOC).file("index.html")

    assert page.content_type == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"] == content_policy("")
    assert page.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    ["../config.yaml", "/etc/passwd", "package-lock.json", "vendor.sh", "no-such.js", "vendor/.stamp", ""],
)
def test_what_is_no_page_of_the_console_is_not_served(name: str) -> None:
    with pytest.raises(NotFound, match="no console file"):
        ConsoleFiles(NOC).file(name)
