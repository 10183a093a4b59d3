"""Tests that docs/http-api.md is what its generator makes, and is complete."""

from __future__ import annotations

import ast

from gateway.noc.api.operation import MAX_LIMIT
from gateway.noc.api.operations.all_operations import OPERATIONS
from gateway.noc.api.routes import PREFIX
from ops.commands import http_api_page
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
