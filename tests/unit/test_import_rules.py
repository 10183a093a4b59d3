"""Tests of imports: which folder may import what, and that pure files are pure."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = sorted(p for top in ("services", "gateway", "ops", "bench") for p in (PROJECT / top).rglob("*.py"))
DOMAINS = {"directory", "telemetry", "location", "alerts", "notifications"}
PEER = "bench/pipelines/peer/"
PURE_FOLDERS = (
    "services/contracts/",
    "services/geofencing/",
    "services/alerts/escalation/",
    "services/platform/files/",
    "gateway/mqtt/decoding/",
    "gateway/noc/api/operations/",
)
"""Folders in which every file is pure. Elsewhere a file is pure when its docstring says "Pure."."""
DECLARATIONS = "gateway/noc/api/operations/"
"""Folder of declarations without a branch: one test of all of them compares them with the RPCs."""
NOT_PURE_BUT_TYPES = {"services/platform/config.py"}
"""Files that a pure file may import for their types."""
MAY_IMPORT = {
    "contracts": set(),
    "platform": {"contracts"},
    "supervision": {"platform"},
    "outgoing": {"contracts", "platform"},
    "geofencing": {"contracts", "platform"},
    "feed": {"contracts", "platform"},
    "ingestion": {"contracts", "platform"},
    "retention": {"contracts", "platform"},
    "messaging": {"contracts", "platform", "supervision"},
}
"""Packages of `services` below the domains, and the other packages that each may import.

A domain may import all of these, and no other domain.
"""
IMPURE_STANDARD = {"time", "os", "logging", "socket", "secrets", "uuid", "subprocess", "threading", "pathlib"}
IMPURE_LIBRARIES = {"requests", "eventlet", "sqlalchemy", "structlog", "redis", "kombu", "nameko"}
OF_THE_CLOCK = {"now", "utcnow", "today"}
PURE_SENTENCE = re.compile(r"(?<=[.?!] )Pure[.:]")
"""The sentence that declares a module pure.

With a colon, time and identity come in as arguments.
"""
ONLY_IN = {
    "nameko": (
        "services/messaging/",
        "ops/run.py",
        "ops/servers/queues/declared.py",
        "bench/pipelines/naive.py",
    ),
    "paho": ("gateway/mqtt/client.py", "bench/pipelines/naive.py"),
    "vigil_device": ("ops/simulation/phones.py",),
    "redis": (
        "services/platform/redis_client.py",
        "services/feed/stream.py",
        "gateway/noc/auth/login_limit.py",
        "gateway/noc/auth/quotas.py",
        "gateway/noc/auth/tickets.py",
        "gateway/noc/api/idempotency.py",
        "ops/checks/dependencies.py",
        "ops/watchdog/standing.py",
    ),
    "jwt": ("gateway/noc/auth/tokens.py",),
    "argon2": ("services/directory/users/passwords.py",),
    "wsproto": ("gateway/noc/websocket/rfc6455.py",),
    "requests": (
        "services/outgoing/client.py",
        # The client's errors, and the objects that plugins get in its place.
        "services/notifications/channels/http_client.py",
        "services/notifications/channels/fcm.py",
        "services/notifications/channels/apprise.py",
    ),
    "urllib3": ("services/outgoing/client.py",),
    "urllib.request": ("ops/checks/health.py", "ops/hosting/liveness.py"),
    "http.client": ("ops/local/servers.py",),
    "aio_pika": ("bench/pipelines/peer/gateway.py", "bench/pipelines/peer/store.py"),
    "aiomqtt": ("bench/pipelines/peer/gateway.py", "bench/pipelines/peer/store.py"),
    "asyncpg": ("bench/pipelines/peer/store.py",),
    "uvloop": ("bench/pipelines/peer/gateway.py", "bench/pipelines/peer/store.py"),
    "websockets": ("bench/pipelines/peer/store.py",),
    "twilio": (),
    "httpx": (),
    "aiohttp": (),
    "firebase_admin": (),
    "smtplib": ("services/notifications/channels/smtp.py",),
    "google": ("services/notifications/channels/fcm.py",),
    "apprise": ("services/notifications/channels/apprise.py",),
    "pybreaker": ("services/notifications/circuit_breaker.py",),
    "tenacity": ("services/notifications/delivery.py",),
    "jinja2": ("services/notifications/texts/templates.py",),
    "phonenumbers": ("services/outgoing/contact_addresses.py",),
}


def name_of(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_files(path: Path) -> Iterator[str]:
    """Yield the files of Vigil that a file imports."""
    for imported in imports_of(path):
        place = PROJECT / imported.replace(".", "/")
        if imported.split(".")[0] in ("services", "gateway", "ops", "bench") and (
            place.with_suffix(".py").exists()
        ):
            yield name_of(place.with_suffix(".py"))


def imports_whole(path: Path, module: str) -> bool:
    """Return whether a file has `import uuid`, which gives access to everything in the module."""
    return any(
        alias.name == module
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    )


def says_that_it_is_pure(path: Path) -> bool:
    return PURE_SENTENCE.search(ast.get_docstring(ast.parse(path.read_text())) or "") is not None


PURE = sorted(
    name_of(path)
    for path in SOURCES
    if path.name != "__init__.py" and (name_of(path).startswith(PURE_FOLDERS) or says_that_it_is_pure(path))
)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_imports_only_what_its_folder_may(path: Path) -> None:
    name, imports = name_of(path), set(imports_of(path))
    tops = {imported.split(".")[0] for imported in imports}
    for library, homes in ONLY_IN.items():
        used = any(i == library or i.startswith(f"{library}.") for i in imports)
        assert not used or name.startswith(homes), f"{library} is imported outside of {homes}"
    if name.startswith("services/"):
        assert not tops & {"gateway", "ops", "bench"}
    if name.startswith("gateway/"):
        assert not tops & {"ops", "bench"}
    if name != "services/platform/database.py" and not name.startswith("bench/"):
        assert "sqlalchemy.create_engine" not in imports


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p).count("/") > 1], ids=name_of)
def test_a_package_of_services_imports_only_those_below_it(path: Path) -> None:
    top, package, *_ = name_of(path).split("/")
    if top != "services":
        return
    allowed = MAY_IMPORT.get(package, set(MAY_IMPORT))
    used = {name.split("/")[1] for name in own_files(path) if name.startswith("services/")}
    assert used - {package} <= allowed, f"{package} may import {sorted(allowed)} only"


def test_every_package_of_services_is_a_domain_or_has_its_rule() -> None:
    packages = {path.parent.name for path in (PROJECT / "services").glob("*/__init__.py")}
    assert packages == DOMAINS | set(MAY_IMPORT)


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p).startswith(PEER)], ids=name_of)
def test_the_plain_peer_of_the_bench_uses_nothing_of_vigil_s(path: Path) -> None:
    tops = ("services", "gateway", "ops", "bench", "vigil_device")
    own = {i for i in imports_of(path) if i.split(".")[0] in tops}
    assert all(i.startswith(PEER.replace("/", ".")) for i in own), own


@pytest.mark.parametrize("name", PURE)
def test_a_pure_file_has_no_clock_no_chance_and_no_wire(name: str) -> None:
    for imported in imports_of(PROJECT / name):
        top = imported.split(".")[0]
        # The type of an identity is not an identity. The module's own name comes with it.
        if top != "uuid" or imported not in ("uuid", "uuid.UUID") or imports_whole(PROJECT / name, "uuid"):
            assert top not in IMPURE_STANDARD | IMPURE_LIBRARIES, f"{name} imports {imported}"
    for other in own_files(PROJECT / name):
        assert other in PURE or other in NOT_PURE_BUT_TYPES, f"{name} imports {other}, which is not pure"


@pytest.mark.parametrize("name", PURE)
def test_a_pure_file_reads_no_clock(name: str) -> None:
    for node in ast.walk(ast.parse((PROJECT / name).read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in OF_THE_CLOCK, f"{name}, line {node.lineno}: {node.func.attr}()"


def test_enough_files_are_pure_and_each_pure_folder_is_there() -> None:
    assert len(PURE) > 140
    assert all(any(name.startswith(folder) for name in PURE) for folder in PURE_FOLDERS)


@pytest.mark.parametrize("name", [name for name in PURE if not name.startswith(DECLARATIONS)])
def test_a_pure_file_has_its_test(name: str) -> None:
    path = Path(name)
    assert (PROJECT / "tests" / "unit" / path.parent / f"test_{path.name}").exists()


def test_every_file_that_may_import_a_library_is_there_and_does() -> None:
    for library, homes in ONLY_IN.items():
        for home in homes:
            files = [path for path in SOURCES if name_of(path).startswith(home)]
            used = {imported for path in files for imported in imports_of(path)}
            assert any(i == library or i.startswith(f"{library}.") for i in used), (
                f"{home} does not import {library}"
            )


def test_the_project_speaks_of_itself_alone() -> None:
    forbidden = ["/work/" + "main", "../" + "shared", "pypi." + "org", "registry.npmjs" + ".org"]
    skip = {
        "__pycache__",
        "vigil.egg-info",
        ".venv",
        ".venv-peer",
        ".vigil",
        ".git",
        "node_modules",
        ".ruff_cache",
        ".mypy_cache",
        ".hypothesis",
    }
    for path in PROJECT.rglob("*"):
        if path.is_file() and not skip & set(path.relative_to(PROJECT).parts) and path.suffix != ".png":
            text = path.read_text(errors="replace")
            assert not any(word in text for word in forbidden), f"{name_of(path)} speaks of the workplace"
