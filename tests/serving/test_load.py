"""A minute of load and faults: clients that come, go and err, and an engine that dies."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.load_test import KINDS, load_and_faults

pytestmark = pytest.mark.slow

MEGABYTES = 50


def test_no_answer_is_wrong_under_load_and_the_memory_stays(
    checkpoint: Path, tmp_path: Path
) -> None:
    report = load_and_faults(checkpoint, seconds=60, streams=64, folder=tmp_path)
    assert report.wrong == []
    assert set(report.served) == set(KINDS)
    assert report.growth < MEGABYTES
