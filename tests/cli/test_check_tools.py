"""``midm-vllm doctor --tools FILE``: which parts of each tool's schema are enforced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from midm_vllm.cli.app import app
from midm_vllm.cli.check_tools import NoTools, examine_tools, read_tools
from midm_vllm.envs import SCHEMA_NODES

GOOD: Any = {"type": "object", "required": ["city"], "additionalProperties": False,
             "properties": {"city": {"type": "string", "maxLength": 5}}}
PART: Any = {"type": "object", "properties": {
    "tags": {"type": "array", "contains": {"type": "null"}, "items": {"type": "string"}}}}


def chat(name: str, parameters: Any, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


def doctor(folder: Path, tools: Any) -> Result:
    file = folder / "tools.json"
    file.write_text(tools if isinstance(tools, str) else json.dumps(tools), "utf-8")
    return CliRunner().invoke(app, ["doctor", "--tools", str(file)], env={"COLUMNS": "200"})


def test_a_tool_that_is_fully_constrained(tmp_path: Path) -> None:
    done = doctor(tmp_path, [chat("get_weather", GOOD, strict=True)])
    assert done.exit_code == 0
    assert 'ok       "get_weather": fully constrained to its schema' in done.output
    assert "enforced: additionalProperties, maxLength, properties, required, type" in done.output
    assert "nodes of a request." in done.output


def test_a_tool_that_is_constrained_in_part(tmp_path: Path) -> None:
    done = doctor(tmp_path, [chat("search", PART)])
    assert done.exit_code == 0
    assert 'warning  "search": constrained to part of its schema; with "strict": true it' in (
        done.output
    )
    assert "not enforced: 'contains' at $.tags: a grammar cannot look for an item" in done.output
    assert "enforced: items, properties, type" in done.output


def test_a_strict_tool_that_would_be_rejected_is_a_problem(tmp_path: Path) -> None:
    done = doctor(tmp_path, [chat("search", PART, strict=True)])
    assert done.exit_code == 1
    assert 'problem  "search": rejected with HTTP 400' in done.output


FORMS = {
    "Chat Completions": [chat("f", PART)],
    "Responses": [{"type": "function", "name": "f", "parameters": PART}],
    "MCP": {"tools": [{"name": "f", "inputSchema": PART}]},
    "an MCP server's answer": {"jsonrpc": "2.0", "id": 1, "result": {
        "tools": [{"name": "f", "inputSchema": PART}]}},
    "Anthropic": [{"name": "f", "input_schema": PART}],
    "a request": {"model": "m", "messages": [], "tools": [chat("f", PART)]},
}


@pytest.mark.parametrize("tools", FORMS.values(), ids=FORMS)
def test_all_forms_of_a_list_are_read(tools: Any) -> None:
    [tool] = read_tools(json.dumps(tools))
    assert (tool.name, tool.parameters) == ("f", PART)


BAD = {
    "no JSON": ("{", "not JSON"),
    "too deep": ("[" * 100_000, "nested too deeply"),
    "a text": ('"tools"', "expected a list of tools"),
    "no tools": ("[]", "expected a list of tools"),
    "a list of texts": ('["f"]', "tool 1 is not an object"),
    "no name": ('[{"inputSchema": {}}]', 'tool 1 has no "name"'),
    "no function": ('[{"type": "web_search"}]', "tool 1 is not a function but 'web_search'"),
}


@pytest.mark.parametrize(("text", "reason"), BAD.values(), ids=BAD)
def test_a_file_without_tools_is_rejected(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(NoTools, match=reason):
        read_tools(text)
    done = doctor(tmp_path, text)
    assert done.exit_code == 2 and reason in done.output.replace("\n", " ")


def test_an_invalid_schema_still_enforces_an_object() -> None:
    [finding, _] = examine_tools(read_tools(json.dumps([chat("f", ["no schema"])])))
    assert "not enforced: 'schema' at $" in finding.text
    assert finding.text.endswith("enforced: that the arguments are a JSON object")


def test_a_tool_without_parameters_has_no_arguments() -> None:
    [finding, _] = examine_tools(read_tools('[{"name": "f"}]'))
    assert finding.text.endswith("enforced: that there are no arguments")


def test_a_format_without_effect_is_reported() -> None:
    schema = {"type": "object", "properties": {"tel": {"type": "string", "format": "phone"}}}
    [finding, _] = examine_tools(read_tools(json.dumps([chat("f", schema)])))
    assert finding.text.endswith("no effect: 'format': 'phone'")


def test_the_tools_share_the_nodes_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SCHEMA_NODES, "100")
    large = {"type": "object", "properties": {f"m{i}": {"type": "null"} for i in range(200)}}
    *_, last = examine_tools(read_tools(json.dumps([chat("f", large), chat("g", GOOD)])))
    assert "of the 100 nodes" in last.text and SCHEMA_NODES in last.text
