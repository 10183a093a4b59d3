"""How many random tracks, and from which seeds: `pytest tests/oracle --tracks 100000`."""

import secrets

import pytest

TRACKS_A_SEED = 1_000


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The same seeds every time, and one more that nobody knows yet; its name says it when it fails."""
    if "seed" in metafunc.fixturenames:
        known = range(max(1, -(-metafunc.config.getoption("--tracks") // TRACKS_A_SEED)))
        metafunc.parametrize("seed", [*known, secrets.randbelow(10**9) + 10**6])


@pytest.fixture
def tracks_a_seed() -> int:
    return TRACKS_A_SEED
