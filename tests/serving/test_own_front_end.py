"""A front end that configures vLLM itself and starts no engine, as NVIDIA Dynamo's does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from devtools.checkpoint import REPOSITORY
from devtools.server import ENVIRONMENT

pytestmark = pytest.mark.slow


def test_a_front_end_of_its_own_reads_no_model_s_files_and_gets_grammars(checkpoint: Path) -> None:
    program = REPOSITORY / "tests" / "support" / "own_front_end.py"
    environment = {**ENVIRONMENT, **os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, program, checkpoint], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        # vLLM's default model is not what is served, so nothing is chosen by its files.
        "auto tool choice": True, "template": None, "template's arguments": None,
        "auto": [], "required": ["grammar"], "named": ["grammar"], "strict": ["grammar"],
    }
