"""The figures of a run: `python -m pytest tests/torture/attacks --figures FILE`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.torture.attacks.figures import Figures

FIGURES = pytest.StashKey[Figures]()
FAILED = pytest.StashKey[list[str]]()
NOT_IN_THE_TABLE = "beside_a_long_attack"
"""Name of the same attacks for longer: half an hour of them."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the long form of each attack in a run for the table."""
    if not config.getoption("--figures"):
        return
    left_out = [item for item in items if NOT_IN_THE_TABLE in item.name]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Note a failed test. The table of a run lists it, and the run goes on."""
    report: Any = yield
    if report.failed:
        failed = item.config.stash.setdefault(FAILED, [])
        failed.append(item.name)
        if FIGURES in item.config.stash:
            item.config.stash[FIGURES].write()
    return report


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """Yield the object in which attacks note their figures. It is printed at the end."""
    file = request.config.getoption("--figures")
    failed = request.config.stash.setdefault(FAILED, [])
    made = request.config.stash[FIGURES] = Figures(Path(file) if file else None, failed)
    yield made
    print(f"\n{made.markdown()}")
