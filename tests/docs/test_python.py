"""The Python of the pages runs: against a real server where it talks to one.

A page's blocks run in their order, in one namespace, and begin with what `given` has for them. A
block that cannot run here (another program, a GPU) says so: its info string is `python not-here`;
it must be Python all the same.
"""

from __future__ import annotations

import ast
import doctest
from pathlib import Path
from typing import Any

import pytest
from devtools.server import MODEL
from documents import Block, blocks, name, pages

from midm_vllm.chat import PACKAGED_TEMPLATE

#: What stands for a server and a model where the reader puts his own.
SERVER = "http://localhost:8000"
MODELS = ('"K-intelligence/Midm-2.0-Mini-Instruct"', '"MODEL"', '"…"')
OUTPUT = '네. <tool_call>{"name": "get_weather", "arguments": {"city": "서울"}}</tool_call>'
TOOL = {"type": "function", "function": {
    "name": "get_weather", "parameters": {"type": "object", "properties": {
        "city": {"type": "string"}}, "required": ["city"]}}}


def given() -> dict[str, Any]:
    """What pages speak of without making it, apart from what needs the checkpoint."""
    return {
        "__name__": "__main__",
        "deltas": [OUTPUT[at : at + 4] for at in range(0, len(OUTPUT), 4)],
        "path": PACKAGED_TEMPLATE,
        "messages": [{"role": "user", "content": "서울 날씨를 알려 줘."}],
        "tools": [TOOL],
    }


def runs_here(block: Block) -> bool:
    return "not-here" not in block.info.split()


@pytest.mark.parametrize("page", [page for page in pages() if blocks(page, "python")], ids=name)
def test_python_runs(page: Path, request: pytest.FixtureRequest) -> None:
    namespace = given()
    for block in blocks(page, "python"):
        tree = ast.parse(block.text, str(block))
        if not runs_here(block):
            continue
        text = block.text
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        if "tokenizer" in names and "tokenizer" not in namespace:
            from transformers import AutoTokenizer

            folder = request.getfixturevalue("checkpoint")
            namespace["tokenizer"] = AutoTokenizer.from_pretrained(folder)
        if SERVER in text or ("client" in names and "client" not in namespace):
            namespace.setdefault("client", request.getfixturevalue("client"))
            text = text.replace(SERVER, request.getfixturevalue("server").url)
        for model in MODELS:
            text = text.replace(model, f'"{MODEL}"')
        exec(compile(text, str(block), "exec"), namespace)


@pytest.mark.parametrize("page", [page for page in pages() if blocks(page, "pycon")], ids=name)
def test_sessions_give_what_they_show(page: Path) -> None:
    text = "\n".join(block.text for block in blocks(page, "pycon"))
    session = doctest.DocTestParser().get_doctest(text, given(), name(page), str(page), 0)
    result = doctest.DocTestRunner(verbose=False).run(session)
    assert result.attempted and not result.failed
