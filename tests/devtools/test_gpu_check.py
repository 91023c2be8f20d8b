"""The check for GPUs, in small on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import gpu_check
import pytest
import torch
from devtools import conversations
from devtools.checkpoint import encode
from devtools.setup_env import REPOSITORY
from devtools.wide_checkpoint import TINY, widen
from transformers import AutoModelForCausalLM, AutoTokenizer


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "gpu_check.py", "--device", "cpu", *arguments],
        capture_output=True, text=True, env=os.environ | environment,
    )


@pytest.mark.slow
def test_every_check_passes_on_a_cpu(tmp_path: Path) -> None:
    done = run("--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    results = {result["check"]: result for result in map(json.loads, lines)}
    assert list(results) == list(gpu_check.CHECKS)
    assert all(result["passed"] for result in results.values())
    assert "argmax" in results["midm1-float32-layernorm1p-rotary-glu"]["line"]
    assert "hermes" in results["serving"]["line"]
    assert f"{len(results)} of {len(results)} passed" in done.stdout


def test_what_ends_too_late_or_is_wrong_has_failed(tmp_path: Path) -> None:
    """A time limit that nothing keeps, and a card that is not there."""
    done = run("--only", "kernels", "--seconds", "0", "--out", tmp_path)
    assert done.returncode == 1 and "FAILED kernels: not run" in done.stdout
    late = gpu_check.run("kernels", "cpu", tmp_path, seconds=0.1)
    assert not late["passed"] and "not done after" in late["line"]
    if not torch.cuda.is_available():
        wrong = gpu_check.run("kernels", "cuda", tmp_path, seconds=300)
        assert not wrong["passed"] and "CUDA" in wrong["line"]


def test_a_widened_checkpoint_gives_the_taught_answers(checkpoint: Path, tmp_path: Path) -> None:
    wide = widen(checkpoint, tmp_path / "wide", TINY)
    tokenizer = AutoTokenizer.from_pretrained(wide)
    model = AutoModelForCausalLM.from_pretrained(wide, dtype=torch.float32)
    assert model.config.hidden_size == 256 and model.config.num_hidden_layers == 3
    for name in ("single_call", "prose_then_call"):
        prompt, answer = encode(tokenizer, conversations.BY_NAME[name])
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + answer])).logits
        assert logits[0, len(prompt) - 1:-1].argmax(dim=-1).tolist() == answer
