"""Whatever `midm-vllm` is given ends with a sentence and status 0, 1 or 2 (random input)."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from midm_vllm.chat.control_tokens import control_tokens
from midm_vllm.chat.template_selection import choose_template
from midm_vllm.cli.app import app

# Half a surrogate pair is no character, but JSON can say it.
TEXT = st.text(st.characters(categories=["L", "N", "P", "S", "Z", "Cc", "Cs"]), max_size=8)
NUMBERS = st.integers() | st.floats()
WORDS = st.sampled_from([
    "role", "content", "user", "assistant", "tool", "system", "developer", "name", "type", "text",
    "tool_calls", "tool_call_id", "function", "arguments", "parameters", "id", "properties",
    "object", "string", "integer", "required", "enum", "<|eot_id|>", "<tool_call>", "$ref", "#",
])  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | TEXT, inner, max_size=4),
    max_leaves=10,
)
FUNCTIONS = st.fixed_dictionaries(
    {}, optional={"name": WORDS | VALUES, "description": VALUES, "parameters": VALUES,
                  "arguments": VALUES, "strict": VALUES, "inputSchema": VALUES},
)  # fmt: skip
OBJECTS = st.fixed_dictionaries(
    {}, optional={"type": st.just("function") | VALUES, "function": FUNCTIONS | VALUES,
                  "id": VALUES, "text": VALUES, "name": VALUES, "parameters": VALUES},
)  # fmt: skip
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system", "developer"]) | VALUES},
    optional={"content": TEXT | st.lists(OBJECTS, max_size=2) | VALUES,
              "tool_calls": st.lists(OBJECTS, max_size=2) | VALUES, "tool_call_id": VALUES},
)  # fmt: skip
REQUESTS = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, max_size=3) | VALUES},
    optional={"tools": st.lists(OBJECTS, max_size=2) | VALUES,
              "add_generation_prompt": VALUES,
              "chat_template_kwargs": st.fixed_dictionaries(
                  {}, optional={"allow_control_tokens": VALUES}) | VALUES},
)  # fmt: skip
OUTPUTS = st.lists(
    st.sampled_from([
        "<tool_call>", "</tool_call>", '{"name": "f"', '"name": ', '"arguments": ', "{", "}", "[",
        "]", ",", ":", '"', "\\", '"\\ud800"', '"\\udc00', "\\u00", "null", "1e999", "-", "\x00",
    ]) | TEXT.filter(lambda text: text.isprintable()),
    max_size=12,
).map("".join)  # fmt: skip

often = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def ends_well(*arguments: str, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    result = CliRunner().invoke(app, list(arguments), input=data)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.exit_code in (0, 1, 2)
    assert result.exit_code == 0 or result.stderr.strip() or result.stdout.strip()


@pytest.mark.slow
@often
@given(REQUESTS | VALUES)
def test_template_of_any_json(request: Any) -> None:
    ends_well("template", "-", text=json.dumps(request))


@pytest.mark.slow
@often
@given(st.fixed_dictionaries({"tools": st.lists(OBJECTS | FUNCTIONS, max_size=3)}) | VALUES)
def test_tools_of_any_json(tools: Any) -> None:
    ends_well("doctor", "--tools", "-", text=json.dumps(tools))


@pytest.mark.slow
@often
@given(OUTPUTS, st.sampled_from([[], ["--stream"], ["--explain"], ["--explain", "--json"]]))
@example('<tool_call>{"name": "\\ud800", "arguments": {}}</tool_call>', [])
def test_parse_of_any_output(output: str, options: list[str]) -> None:
    ends_well("parse", *options, text=output)


FILES = ("tokenizer_config.json", "tokenizer.json", "config.json", "chat_template.jinja")
TOKENIZER = st.fixed_dictionaries({}, optional={
    "chat_template": VALUES | st.lists(OBJECTS | st.fixed_dictionaries(
        {"name": WORDS | VALUES, "template": VALUES}), max_size=2),
    "added_tokens": VALUES | st.lists(st.fixed_dictionaries(
        {"id": VALUES, "special": VALUES, "content": VALUES}), max_size=2),
    "added_tokens_decoder": VALUES | st.dictionaries(st.sampled_from("012x"), st.fixed_dictionaries(
        {"special": VALUES, "content": VALUES}), max_size=2),
})  # fmt: skip


def choices(folder: Path) -> None:
    choose_template(str(folder))
    tokens = control_tokens(str(folder))
    assert tokens is None or all(isinstance(token, str) for token in tokens)


@pytest.mark.slow
@often
@given(st.dictionaries(st.sampled_from(FILES), TOKENIZER | VALUES, max_size=4))
def test_a_checkpoints_files_may_hold_anything(files: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, value in files.items():
            Path(folder, name).write_text(json.dumps(value), "utf-8")
        choices(Path(folder))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{{" + "(" * 3_000, "\x00", "", "\ufeff{}"],
    ids=["deep", "deep template", "control character", "empty", "byte order mark"],
)  # fmt: skip
def test_a_checkpoints_files_may_be_no_json(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / name).write_text(text, "utf-8")
    choices(tmp_path)
