"""The tests named `test_release_*`, inside releases that each treat a parser in another way.

Those of the installed release run by themselves; `scripts/releases/matrix.py` runs all releases.
Here every run checks what the model is constrained by in three of them.
"""

from __future__ import annotations

import sys

import pytest
from releases import matrix

# The older releases and what they need have no wheels for newer Pythons.
pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != matrix.PYTHON, reason="the releases run on 3.11"
)

RELEASES = ("0.8.5", "0.11.0", "0.18.1", "0.22.1", "0.24.0", "0.33.0")
#: Each prepares requests in another way: another class, no strict level, a JSON schema that
#: takes the place of a grammar.
CONSTRAINING = ("0.24.0", "0.28.0", "0.31.0")


@pytest.fixture(scope="module")
def results() -> dict[str, matrix.Result]:
    return {result.release: result for result in matrix.check_all(RELEASES)}


@pytest.fixture(scope="module")
def constraints() -> dict[str, matrix.Result]:
    return {result.release: result for result in matrix.check_constraints_of(CONSTRAINING)}


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
def test_clients_get_what_the_model_wrote(
    results: dict[str, matrix.Result], release: str
) -> None:
    assert results[release].passed, results[release].output


@pytest.mark.parametrize("release", CONSTRAINING)
def test_the_model_is_constrained_by_what_its_output_is_read_as(
    constraints: dict[str, matrix.Result], release: str
) -> None:
    assert constraints[release].passed, constraints[release].output
