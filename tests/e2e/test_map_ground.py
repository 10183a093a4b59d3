"""Tests of the console's map on a file of the installation's own, in a real Chromium.

Without the file, the rest of the console works.
"""

from pathlib import Path

import pytest

from tests.e2e.test_console import running
from tests.support.noc_processes import gateways
from tests.support.outside_clients import OutsideClients
from tests.support.pmtiles import MVT, PNG, pmtiles, png, sea


def test_the_map_lies_on_a_file_of_images_or_of_vectors(
    outside: OutsideClients, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    login, password = outside.person("viewer")
    file = tmp_path / "ground.pmtiles"
    file.write_bytes(pmtiles(png(0, 128, 64), kind=PNG))
    with gateways(request.getfixturevalue("stack"), api=True, map_pmtiles_file=str(file)) as one:
        given = {
            "VIGIL_CONSOLE_URL": f"http://{one.fronts[0]}/",
            "VIGIL_LOGIN": login,
            "VIGIL_PASSWORD": password,
        }
        with running("ground.mjs", outside, **given) as page:
            page.expect("images")
            file.write_bytes(pmtiles(sea(), kind=MVT))
            page.order("vectors")
            page.expect("vectors")
            file.unlink()
            page.order("gone")
