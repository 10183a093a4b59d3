"""Tests of the layout: sizes of folders, import cycles, names of files, and the mirror in tests/unit.

`python -m tests.unit.test_layout` prints the counts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
TOPS = ("services", "gateway", "ops", "bench")
MAX_CHILDREN = 16
MAX_ARROWS = {
    "services": 40,
    "services/location": 36,
    "services/directory": 5,
    "services/alerts": 32,
    "services/messaging": 36,
    "gateway/noc": 8,
    "gateway/mqtt": 21,
    "ops": 46,
}
"""Most arrows between the children of a folder: pairs of children where one imports the other."""
WORDS = {
    "geofence": "services/geofencing",
    "escalation": "services/alerts/escalation",
    "on_call": "services/alerts/escalation/on_call.py",
    "dead_letter": "services/messaging/dead_letter_queue.py",
    "websocket": "gateway/noc/websocket",
    "outbox": "services/ingestion/transactional_outbox.py",
    "offline": "services/telemetry/offline.py",
    "confirmation": "services/geofencing/rule/confirmation.py",
    "retry": "services/notifications/retry_policy.py",
    "circuit_breaker": "services/notifications/circuit_breaker.py",
    "translation": "services/notifications/texts/translations.py",
    "what_if": "services/geofencing/rule/what_if.py",
    "encryption": "services/feed/encryption.py",
    "rate_limit": "gateway/mqtt/rate_limit.py",
    "login_limit": "gateway/noc/auth/login_limit.py",
    "cache": "services/location/zone_cache.py",
    "logging": "services/platform/logging.py",
    "database": "services/platform/database.py",
    "user": "services/directory/users",
    "report": "services/alerts/response_report.py",
    "hash_chain": "services/alerts/evidence/hash_chain.py",
    "sql": "services/alerts/sql.py",
    "access_control": "gateway/mqtt/access_control.py",
    "provider": "services/notifications/providers.py",
    "session": "gateway/noc/websocket/session.py",
}
"""Words that a newcomer searches for among the names of files, and the place of each."""
OF_NO_MODULE = ("docs", "grafana", "prometheus", "migrations")
"""Folders of tests/unit for parts that are not Python modules."""
IMPORT = re.compile(rf"^ *from ((?:{'|'.join(TOPS)})[.\w]*) import (\w[\w, ]*)$", re.MULTILINE)
OF_SEVERAL_MODULES = {
    "test_air.py",
    "test_class_names.py",
    "test_cluster_compose.py",
    "test_import_rules.py",
    "test_layout.py",
    "test_prose.py",
    "test_user_texts.py",
    "bench/test_main.py",
    "gateway/mqtt/test_worst_inputs.py",
    "services/messaging/test_exports.py",
}


@cache
def sources() -> tuple[Path, ...]:
    return tuple(sorted(path for top in TOPS for path in (PROJECT / top).rglob("*.py")))


def name_of(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def importing(path: Path) -> Iterator[ast.ImportFrom]:
    """Yield the imports of a file, except those for type checkers alone."""
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom):
            yield node
        waiting += ast.iter_child_nodes(node)


@cache
def imports() -> Mapping[str, frozenset[str]]:
    """Return the files of Vigil that each file imports, by name."""
    found: dict[str, frozenset[str]] = {}
    for path in sources():
        own = set()
        for node in importing(path):
            for alias in node.names:
                parts = (node.module or "").split(".")
                for place in (Path(*parts, f"{alias.name}.py"), Path(*parts).with_suffix(".py")):
                    if parts[0] in TOPS and (PROJECT / place).exists():
                        own.add(place.as_posix())
                        break
        found[name_of(path)] = frozenset(own)
    return found


def folders() -> list[str]:
    return [
        *TOPS,
        *(
            name_of(path)
            for top in TOPS
            for path in sorted((PROJECT / top).rglob("*"))
            if (path / "__init__.py").exists()
        ),
    ]


def children(folder: str) -> list[str]:
    """Return the packages and modules directly in a folder."""
    return sorted(
        path.name
        for path in (PROJECT / folder).iterdir()
        if (path / "__init__.py").exists() or (path.suffix == ".py" and path.name != "__init__.py")
    )


def arrows(folder: str) -> set[tuple[str, str]]:
    """Return the pairs of children of a folder where the first imports the second."""
    depth = len(Path(folder).parts)

    def child(name: str) -> str | None:
        parts = Path(name).parts
        inside = parts[:depth] == Path(folder).parts and parts[depth] != "__init__.py"
        return parts[depth] if inside else None

    pairs = ((child(name), child(other)) for name, others in imports().items() for other in others)
    return {(one, two) for one, two in pairs if one and two and one != two}


def cycle(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return a cycle among arrows; [] when there is none."""
    graph: dict[str, set[str]] = {}
    for one, two in pairs:
        graph.setdefault(one, set()).add(two)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def places(word: str) -> list[str]:
    """Return the files and packages whose name has a word."""
    named = [Path(name) for name in (*imports(), *folders())]
    return sorted(path.as_posix() for path in named if word.rstrip("e") in path.stem)


@pytest.mark.parametrize("folder", folders())
def test_a_folder_has_few_children(folder: str) -> None:
    assert len(children(folder)) <= MAX_CHILDREN, children(folder)


@pytest.mark.parametrize("folder", folders())
def test_the_children_of_a_folder_import_each_other_in_one_direction(folder: str) -> None:
    assert cycle(arrows(folder)) == []


@pytest.mark.parametrize("folder", MAX_ARROWS)
def test_a_folder_has_few_arrows_between_its_children(folder: str) -> None:
    assert len(arrows(folder)) <= MAX_ARROWS[folder], sorted(arrows(folder))


def test_no_files_import_each_other() -> None:
    assert cycle((name, other) for name, others in imports().items() for other in others) == []


def test_a_cycle_is_noticed() -> None:
    assert cycle([("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")])
    assert cycle([("a", "b"), ("b", "c"), ("a", "c")]) == []


@pytest.mark.parametrize(("word", "place"), WORDS.items(), ids=list(WORDS))
def test_a_search_by_file_name_leads_to_the_right_place(word: str, place: str) -> None:
    found = places(word)
    assert place in found
    assert len(found) <= 12, "so many that the right one is hard to see"


def modules_of(test: Path) -> Path:
    """Return the module that a file of tests/unit is about, by its place and name."""
    return PROJECT / test.parent / test.name.removeprefix("test_")


def unit_tests() -> list[Path]:
    unit = PROJECT / "tests" / "unit"
    return [path.relative_to(unit) for path in sorted(unit.rglob("test_*.py"))]


@pytest.mark.parametrize("test", unit_tests(), ids=str)
def test_a_unit_test_stands_where_its_module_stands(test: Path) -> None:
    if test.parts[0] in OF_NO_MODULE or test.as_posix() in OF_SEVERAL_MODULES:
        return
    assert modules_of(test).exists(), f"no module {modules_of(test).relative_to(PROJECT)}"


@pytest.mark.parametrize("top", (*TOPS, "tests"))
def test_every_path_that_code_builds_from_the_project_is_there(top: str) -> None:
    texts = {path: path.read_text() for path in (PROJECT / top).rglob("*.py")}
    built = {
        (name_of(path), "/".join(re.findall(r'"([^"]+)"', chain)))
        for path, text in texts.items()
        for chain in re.findall(r'\bPROJECT((?: / "[^".][^"]*")+)', text)
    }
    assert {(name, place) for name, place in built if not (PROJECT / place).exists()} == set()


@pytest.mark.parametrize("top", (*TOPS, "tests", "sdk"))
def test_every_import_of_vigil_is_there_in_strings_too(top: str) -> None:
    """Check also the programs that tests write as strings, which no type checker reads."""
    missing = [
        (name_of(path), module, name)
        for path in (PROJECT / top).rglob("*.py")
        for module, names in IMPORT.findall(path.read_text())
        for name in re.split(r",\s*", names)
        if not is_importable(Path(*module.split(".")), name.split(" as ")[0].strip())
    ]
    assert missing == []


def is_importable(place: Path, name: str) -> bool:
    """Return whether a module, or the folder of a package, has a name."""
    for file in (PROJECT / place.with_suffix(".py"), PROJECT / place / "__init__.py"):
        if file.exists() and re.search(rf"\b{re.escape(name)}\b", file.read_text()):
            return True
    return any((PROJECT / place / child).exists() for child in (name, f"{name}.py"))


def test_a_missing_import_is_found() -> None:
    assert is_importable(Path("ops/hosting"), "liveness")
    assert is_importable(Path("ops/hosting/liveness"), "finding")
    assert not is_importable(Path("ops"), "alive")
    assert not is_importable(Path("services/nothing"), "finding")


def test_every_exception_of_the_mirror_is_there() -> None:
    assert {name for name in OF_SEVERAL_MODULES if not (PROJECT / "tests" / "unit" / name).exists()} == set()
    assert all((PROJECT / "tests" / "unit" / name).is_dir() for name in OF_NO_MODULE)


if __name__ == "__main__":
    print(f"{len(sources())} files")
    for shown in folders():
        print(f"{shown:<36} {len(children(shown)):>3} children {len(arrows(shown)):>3} arrows")
