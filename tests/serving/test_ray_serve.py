"""Ray Serve LLM, as its user starts it: it runs vLLM in its own processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from devtools.checkpoint import REPOSITORY
from devtools.server import free_port
from devtools.setup_env import own_environment
from launcher_contract import ALL_RIGHT, outcomes, running

pytestmark = pytest.mark.slow

EXAMPLES = REPOSITORY / "examples"
#: Ray's own count of CPUs may leave none for the model; on a busy machine its start takes minutes.
RAY = {"RAY_OVERRIDE_RESOURCES": '{"CPU": 8}', "RAY_USAGE_STATS_ENABLED": "0",
       "RAY_raylet_start_wait_time_s": "240"}


def test_ray_serve_llm_with_the_example_s_program(checkpoint: Path, tmp_path: Path) -> None:
    port = free_port()
    engine = {"max_model_len": 4096, "enforce_eager": True}
    command = [str(own_environment("ray-serve")), str(EXAMPLES / "ray_serve_llm.py"),
               str(checkpoint), "--port", str(port), "--cpu", "--engine", json.dumps(engine)]
    with running(command, port, "/v1/models", tmp_path / "ray.log", RAY) as client:
        assert outcomes(client) == ALL_RIGHT
