"""The figures of a run: `python -m pytest tests/torture/attacks --figures FILE`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.attacks.figures import Figures


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """Where attacks note their figures; printed at the end."""
    file = request.config.getoption("--figures")
    made = Figures(Path(file) if file else None)
    yield made
    print(f"\n{made.markdown()}")
