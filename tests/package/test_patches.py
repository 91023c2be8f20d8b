"""A change to vLLM that cannot be made costs its own effect, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from log_lines import log_lines

from midm_vllm.compat import patching
from midm_vllm.compat.patching import Patch, make
from midm_vllm.patches import PATCHES

SUPPORT = Path(__file__).parents[1] / "support"
CALLS = [["a", '{"x": 1}']]
NEEDED = [patch for patch in PATCHES if patch.is_needed()]


def without_target(patch: Patch) -> ModuleType:
    """The module that holds a target, as of a release that has none."""
    name = patch.modules[0]
    module = ModuleType(name)
    vars(module).update(vars(import_module(name)))
    owner = patch.target.partition(".")[0]
    delattr(module, owner)
    return module


@pytest.mark.parametrize("patch", NEEDED, ids=lambda patch: patch.target)
def test_a_missing_target_is_one_warning_that_names_the_loss(
    patch: Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patching, "failed", {})
    with log_lines(patching.logger) as lines:
        make(patch, without_target(patch))
    [line] = lines
    assert patch.target in line and patch.loss in line
    assert list(patching.failed.values()) == [patch.loss]


@pytest.mark.parametrize("patch", NEEDED, ids=lambda patch: patch.target)
def test_the_installed_release_has_each_target(patch: Patch) -> None:
    with log_lines(patching.logger) as lines:
        make(replace(patch, apply=lambda module: None), import_module(patch.modules[0]))
    assert not lines


def test_a_change_that_fails_is_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patching, "failed", {})

    def fail(module: ModuleType) -> None:
        raise TypeError("something else")

    with log_lines(patching.logger) as lines:
        make(replace(NEEDED[0], apply=fail), import_module(NEEDED[0].modules[0]))
    assert len(lines) == 1 and "TypeError: something else" in lines[0]


def test_midm_parser_is_rejected_where_it_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patching, "failed", {})
    monkeypatch.setattr(patching, "_lost", [])
    patching.check_required()
    make(replace(NEEDED[0], required=True), without_target(NEEDED[0]))
    with pytest.raises(RuntimeError, match=f"{NEEDED[0].target} could not be changed"):
        patching.check_required()


@pytest.mark.parametrize("version, needed", [
    ("0.22.1", True), ("0.23.0", False), ("0.8.4", False), ("0.1.dev9+gabc", False), ("x", False),
])
def test_a_change_for_old_releases_is_not_missed_in_newer_ones(
    monkeypatch: pytest.MonkeyPatch, version: str, needed: bool
) -> None:
    monkeypatch.setattr(patching, "vllm_version", lambda: version)
    [old] = [patch for patch in PATCHES if patch.until == "0.22"]
    assert old.is_needed() == needed


def answers_without(*targets: str) -> dict[str, Any]:
    folders = [str(SUPPORT), *sys.path]
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "lost_changes.py"), *targets],
        capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))},
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


def test_hermes_is_served_where_no_change_can_be_made() -> None:
    answers = answers_without(*(patch.target for patch in PATCHES))
    assert answers["hermes"] == CALLS
    assert "midm-parser" in answers["midm-parser"]  # It says that it knows no such parser.
    assert any("does not know --tool-call-parser midm-parser" in line for line in answers["log"])


@pytest.mark.slow
@pytest.mark.parametrize("patch", NEEDED, ids=lambda patch: patch.target)
def test_without_one_change_the_rest_works(patch: Patch) -> None:
    answers = answers_without(patch.target)
    assert answers["hermes"] == CALLS
    if patch.target == "ToolParserManager":
        assert "midm-parser" in answers["midm-parser"]
        return
    assert answers["midm-parser"] == CALLS and answers["required"] == CALLS
    if patch.target == "BaseRenderer.__init__":
        assert "cannot see the grammar backend" in answers["strict"]
    else:
        assert answers["strict"] == CALLS
