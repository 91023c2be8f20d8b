"""The tests named `test_release_*`, inside releases that each treat a parser in another way.

Those of the installed release run by themselves; `scripts/releases/matrix.py` runs all releases.
"""

from __future__ import annotations

import sys

import pytest
from releases import matrix

pytestmark = [
    pytest.mark.slow,
    # The older releases and what they need have no wheels for newer Pythons.
    pytest.mark.skipif(sys.version_info[:2] != matrix.PYTHON, reason="the releases run on 3.11"),
]

RELEASES = ("0.8.5", "0.11.0", "0.18.1", "0.22.1", "0.24.0", "0.33.0")


@pytest.fixture(scope="module")
def results() -> dict[str, matrix.Result]:
    return {result.release: result for result in matrix.check_all(RELEASES)}


@pytest.mark.parametrize("release", RELEASES)
def test_clients_get_what_the_model_wrote(
    results: dict[str, matrix.Result], release: str
) -> None:
    assert results[release].passed, results[release].output
