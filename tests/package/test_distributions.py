"""The distributions are built and described as PyPI wants them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from devtools.setup_env import REPOSITORY, own_environment

pytestmark = pytest.mark.slow


def test_pypi_renders_the_readme_of_the_sdist_and_the_wheel(tmp_path: Path) -> None:
    python = own_environment("release")
    for command in (
        ["build", "--no-isolation", "--outdir", str(tmp_path), str(REPOSITORY)],
        ["twine", "check", "--strict", str(tmp_path / "*")],
    ):
        done = subprocess.run([python, "-m", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2
