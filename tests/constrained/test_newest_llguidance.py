"""The newest llguidance, which vLLM may not allow yet: reported, not demanded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = ("test_tool_schema.py", "test_lookahead.py", "test_formats.py", "test_soundness.py")


@pytest.mark.slow
def test_schemas_are_compiled_for_the_newest_llguidance(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*pip, tmp_path, "--upgrade", "llguidance"], check=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    version = "import llguidance; from importlib.metadata import version; " \
              "print(llguidance.__file__, version('llguidance'))"
    imported = subprocess.run(
        [sys.executable, "-c", version], env=environment, check=True, capture_output=True, text=True
    ).stdout.split()
    assert imported[0].startswith(str(tmp_path))
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         *(str(HERE / test) for test in TESTS)],
        env=environment, capture_output=True, text=True,
    )
    *_, summary = run.stdout.strip().splitlines()
    assert " passed" in summary, run.stdout + run.stderr
    if run.returncode:
        failed = [line for line in run.stdout.splitlines() if line.startswith("FAILED")]
        pytest.xfail(f"llguidance {imported[1]}: {summary}; {'; '.join(failed)[:1000]}")
