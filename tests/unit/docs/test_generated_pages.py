"""Tests that docs/http-api.md and docs/mqtt.md are what their generators make, and are complete."""

from __future__ import annotations

import ast

from gateway.mqtt.decoding.payloads import PAYLOADS
from gateway.noc.api.operation import MAX_LIMIT
from gateway.noc.api.operations.all_operations import OPERATIONS
from gateway.noc.api.routes import PREFIX
from ops.commands import http_api_page, mqtt_page
from ops.environment import PROJECT

DOCS = PROJECT / "docs"
SERVICE = PROJECT / "gateway" / "noc" / "api" / "service.py"


def routes() -> set[str]:
    """Return the routes under the API's prefix that the service serves beside the operations."""
    found = set()
    for node in ast.walk(ast.parse(SERVICE.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "http":
            words = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            method, route = str(words[0]), str(words[-1])
            if route.startswith(f"{PREFIX}/") and "<" not in route:
                found.add(f"{method} {route.removeprefix(PREFIX)}")
    return found


def test_the_page_of_the_http_api_is_what_the_operations_say() -> None:
    page = (DOCS / "http-api.md").read_text()
    assert page == http_api_page.page(), "run `python -m ops.commands.http_api_page > docs/http-api.md`"


def test_the_page_of_the_http_api_has_every_route() -> None:
    page = (DOCS / "http-api.md").read_text()
    assert routes() == {path for path, _ in http_api_page.SESSION_ROUTES}
    assert all(f"| `{o.method} {o.path}` (`{o.id}`) |" in page for o in OPERATIONS)
    assert f"from 1 to {MAX_LIMIT}" in page


def test_the_page_of_mqtt_is_what_the_types_say() -> None:
    page = (DOCS / "mqtt.md").read_text()
    assert page == mqtt_page.page(), "run `python -m ops.commands.mqtt_page > docs/mqtt.md`"


def test_the_page_of_mqtt_has_every_field_of_every_family() -> None:
    page = (DOCS / "mqtt.md").read_text()
    for family, shape in PAYLOADS.items():
        section = page.partition(f"\n## {family}/")[2].partition("\n## ")[0]
        own = set(shape.__struct_fields__) - set(mqtt_page.EVERY_MESSAGE)
        assert {field for field in own if f"| `{field}`" not in section} == set(), family
    assert all(f"| `{field}` |" in page for field in mqtt_page.EVERY_MESSAGE)
