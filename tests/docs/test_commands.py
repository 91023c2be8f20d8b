"""The commands, options and variables that the pages name exist."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from devtools.checkpoint import REPOSITORY
from devtools.server import MODEL, Server
from documents import commands, inline, name, pages
from programs import OPTION, VLLM, help_command, options, said_options, words

import midm_vllm
from midm_vllm import envs

pytestmark = pytest.mark.first

#: Options of programs other than vLLM's server and the repository's, in running text.
OTHERS = {"--no-deps", "--target", "--upgrade", "--env", "--volume", "--gpus", "--ipc", "--user",
          "--build-arg", "--follow",
          # Of coding agents, NVIDIA Dynamo, pip and twine.
          "--system-prompt", "--provider", "--model", "--tool-format", "--edit-format",
          "--dyn-structural-tag", "--group", "--strict", "--ignore-scripts"}


@pytest.mark.parametrize("page", pages(), ids=name)
def test_commands_are_there_with_their_options(page: Path) -> None:
    for command in commands(page):
        asked = help_command(command)
        if asked is not None:
            assert said_options(command) <= options(*asked), command


@pytest.fixture(scope="module")
def known() -> frozenset[str]:
    """What running text may name: the server's options, and those of the repository's programs."""
    known = set(options(VLLM, "serve", "--help=all")) | OTHERS
    for page in pages():
        for command in commands(page):
            known |= options(*asked) if (asked := help_command(command)) else said_options(command)
    # pytest's own options are in its configuration.
    for script in (*REPOSITORY.glob("scripts/**/*"), REPOSITORY / "tests" / "conftest.py"):
        if script.is_file() and "__pycache__" not in script.parts:
            known |= set(OPTION.findall(script.read_text("utf-8")))
    return frozenset(known)


@pytest.mark.parametrize("page", pages(), ids=name)
def test_options_in_running_text_exist(page: Path, known: frozenset[str]) -> None:
    for token in inline(page):
        if token.type != "code_inline":
            continue
        if re.match(r"midm-vllm |vllm |python \S+\.py", token.content):
            asked = help_command(token.content)
            there = options(*asked) if asked else frozenset(OPTION.findall(token.content))
        else:
            there = known
        assert set(OPTION.findall(token.content)) <= there, f"`{token.content}`"


@pytest.mark.parametrize("page", pages(), ids=name)
def test_variables_exist(page: Path) -> None:
    import vllm.envs

    ours = "\n".join(
        file.read_text("utf-8") for file in Path(midm_vllm.__file__).parent.rglob("*.py")
    )
    for variable in re.findall(r"\b(?:MIDM_)?VLLM_[A-Z0-9_]+\b", page.read_text("utf-8")):
        if variable.startswith("MIDM_"):
            assert variable in ours, f"{variable}: the package reads no such variable"
        else:
            assert variable in vllm.envs.environment_variables, f"{variable}: vLLM has none"


def test_the_reference_lists_every_variable_of_the_package() -> None:
    ours = {value for value in vars(envs).values() if str(value).startswith("MIDM_")}
    page = (REPOSITORY / "docs" / "reference" / "configuration.md").read_text("utf-8")
    listed = re.findall(r"^\| `(MIDM_\w+)` \|", page, re.MULTILINE)
    assert set(listed) == ours
    assert len(listed) == len(ours)


@pytest.mark.parametrize("page", pages(), ids=name)
def test_named_files_exist(page: Path) -> None:
    """`scripts/x.py` and the like in running text, from the repository's root."""
    for token in inline(page):
        if token.type == "code_inline" and re.fullmatch(
            r"(?:midm_vllm|scripts|tests|examples|docs)/[\w./-]*", token.content
        ):
            assert (REPOSITORY / token.content).exists(), token.content


CURLS = [
    pytest.param(command, id=f"{name(page)}-{number}")
    for page in pages()
    for number, command in enumerate(commands(page))
    if command.startswith("curl ") and "localhost:8000" in command
]


@pytest.mark.parametrize("command", CURLS)
def test_curl_gets_an_answer(command: str, server: Server) -> None:
    told = command.replace("http://localhost:8000", "localhost:8000")
    told = told.replace("localhost:8000", server.url)
    told = re.sub(r'"model": "[^"]*"', f'"model": "{MODEL}"', told)
    answered = subprocess.run(
        [*words(told), "--silent", "--show-error", "--fail-with-body"],
        capture_output=True, text=True,
    )
    assert answered.returncode == 0, answered.stdout + answered.stderr
    for line in answered.stdout.splitlines():
        event = line.removeprefix("data: ")
        if event and event != "[DONE]" and not line.startswith("event:"):
            assert json.loads(event)
