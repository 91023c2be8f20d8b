"""The files of deploy/, read: Dockerfiles as instructions, YAML as what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from devtools.checkpoint import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
DOCKERFILES = (DEPLOY / "Dockerfile", DEPLOY / "mcp" / "Dockerfile")
COMPOSE = DEPLOY / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes"
PRODUCTION_STACK = KUBERNETES / "production-stack.yaml"
KUSTOMIZATION = KUBERNETES / "kustomization.yaml"


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """The instructions, in their order: the word in capitals, and what stands behind it."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text("utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    split = [line.strip().partition(" ") for line in lines if line.strip()]
    return [(word.upper(), rest.strip()) for word, _, rest in split]


def last(dockerfile: Path, word: str) -> str:
    """What the last instruction of this name says."""
    return [rest for each, rest in instructions(dockerfile) if each == word][-1]


def health_command(dockerfile: Path) -> list[str]:
    """The command of the HEALTHCHECK."""
    command: list[str] = json.loads(last(dockerfile, "HEALTHCHECK").partition("CMD ")[2])
    return command


def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))
    return read


def resources() -> dict[str, dict[str, Any]]:
    """What the kustomization names, by kind; each kind is there once."""
    named = yaml.safe_load(KUSTOMIZATION.read_text("utf-8"))["resources"]
    read = [yaml.safe_load((KUBERNETES / name).read_text("utf-8")) for name in named]
    by_kind = {each["kind"]: each for each in read}
    assert len(by_kind) == len(read)
    return by_kind


def production_stack() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(PRODUCTION_STACK.read_text("utf-8"))
    return read
