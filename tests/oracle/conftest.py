"""The number of random tracks and their seeds: `pytest tests/oracle --tracks 100000`."""

import secrets

import pytest

TRACKS_A_SEED = 1_000
UNKNOWN = 10
FOUND = (290703742,)
"""Seeds that once found a difference."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the tests the same seeds every time.

    The long tests get ten more random seeds. On failure, the test's name shows the seed.
    """
    if "seed" in metafunc.fixturenames:
        known = range(max(1, -(-metafunc.config.getoption("--tracks") // TRACKS_A_SEED)))
        unknown = [
            pytest.param(10**6 + secrets.randbelow(10**9), marks=pytest.mark.long) for _ in range(UNKNOWN)
        ]
        metafunc.parametrize("seed", [*known, *FOUND, *unknown])


@pytest.fixture
def tracks_a_seed() -> int:
    return TRACKS_A_SEED
