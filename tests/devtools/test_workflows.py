"""The workflows of CI run what is declared, with actions that nobody can change."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from devtools.setup_env import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_and_name_their_version(workflow: Path) -> None:
    used = re.findall(r"uses: (.+)", workflow.read_text("utf-8"))
    assert used
    for action in used:
        assert action.startswith("./") or re.fullmatch(
            r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action
        ), action


def test_the_unit_tests_run_on_every_declared_python() -> None:
    jobs = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "tests.yml").read_text("utf-8"))
    declared = re.findall(
        r"Programming Language :: Python :: (3\.\d+)", (REPOSITORY / "pyproject.toml").read_text()
    )
    assert jobs["jobs"]["unit"]["strategy"]["matrix"]["python"] == declared


def test_every_file_of_unit_tests_exists(pytestconfig: pytest.Config) -> None:
    [conftest] = [
        plugin for plugin in pytestconfig.pluginmanager.get_plugins() if hasattr(plugin, "UNIT")
    ]
    assert [name for name in conftest.UNIT if not (REPOSITORY / "tests" / name).is_file()] == []


def test_the_unit_tests_have_what_the_package_requires_but_vllm() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    required = {each for each in project["project"]["dependencies"] if not each.startswith("vllm")}
    assert required <= set(project["dependency-groups"]["unit"])
