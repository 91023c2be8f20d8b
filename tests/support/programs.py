"""The programs whose commands the pages show, and which options each of them has."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

from devtools.checkpoint import REPOSITORY

OPTION = re.compile(r"(?<![\w-])--[a-zA-Z][\w-]*")
#: Programs of other people: what their options are is theirs to say.
FOREIGN = {"pip", "curl", "docker", "ray", "git", "pre-commit", "ollama", "llama-server", "npm",
           "node", "cargo", "jq", "cd", "export", "source", "kubectl", "uv", "hf", "lms",
           "llama-cli", "cat", "twine", "cmake", "make", "vllm-rs", "helm", "cp", "sed",
           "litellm"}
VLLM = str(Path(sys.executable).with_name("vllm"))


class UnknownProgram(Exception):
    """A page shows a command that nobody can look up; the message says what to do."""


def words(command: str) -> list[str]:
    """The words of a command line, without the environment variables before it."""
    found = shlex.split(command)
    while found and re.fullmatch(r"\w+=.*", found[0]):
        del found[0]
    return found


def help_command(command: str) -> tuple[str, ...] | None:
    """How to ask the program of this command line for its options; None where it is foreign.

    Raises UnknownProgram for one that is none of the repository's and not in FOREIGN.
    """
    program, *arguments = words(command)
    if program in FOREIGN:
        return None
    if program == "vllm":
        if arguments[:2] == ["launch", "render"]:
            return VLLM, "launch", "render", "--help=all"
        return VLLM, arguments[0], "--help=all"
    if program == "midm-vllm":
        told = [word for word in arguments[:1] if not word.startswith("-")]
        return sys.executable, "-m", "midm_vllm", *told, "--help"
    if program in ("python", "python3", ".venv/bin/python") and arguments[:1] != ["-m"]:
        script = REPOSITORY / arguments[0]
        if not script.is_file():
            raise UnknownProgram(f"there is no {arguments[0]}")
        if script.is_relative_to(REPOSITORY / "examples"):
            return None  # They take what they say in their first line, and no options.
        return sys.executable, str(script), "--help"
    if program.startswith((".venv/bin/", "python")):
        return None  # Of the environment's tools: pytest, flake8, mypy.
    if program.startswith("./") and (REPOSITORY / program).is_file():
        return None  # ./scripts/demo and ./scripts/test pass on what they are given.
    raise UnknownProgram(
        f"{program}: a program of the repository is named by its path; one of other people's is "
        f"to be added to FOREIGN in {Path(__file__).name}"
    )


@cache
def options(*help_command: str) -> frozenset[str]:
    """The options a program lists when it is asked for help.

    A script of the repository is read, not asked: it may want packages of an extra.
    """
    if help_command[0] == VLLM:
        asking = _vllm_help()
        assert asking.stdin and asking.stdout
        asking.stdin.write(json.dumps(help_command[1:]) + "\n")
        asking.stdin.flush()
        answered = asking.stdout.readline()
        assert answered, f"{help_command} failed"
        return frozenset(OPTION.findall(json.loads(answered)))
    if help_command[1].endswith(".py"):
        tree = ast.parse(Path(help_command[1]).read_text("utf-8"))
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        return frozenset(text for text in texts if isinstance(text, str) and text[:2] == "--")
    asked = subprocess.run(
        help_command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=REPOSITORY
    )
    assert asked.returncode == 0, asked.stderr
    return frozenset(OPTION.findall(asked.stdout))


@cache
def _vllm_help() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("vllm_help.py"))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )


def said_options(command: str) -> set[str]:
    """The options of a command line; `--stage-9=x` counts as `--stage-9`."""
    return {
        word.partition("=")[0] for word in words(command) if re.fullmatch(r"--[a-zA-Z].*", word)
    }
