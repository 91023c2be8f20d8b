"""``midm-vllm doctor --tools FILE``: what of each tool's schema a server will enforce."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from midm_vllm import envs
from midm_vllm.constrained.json_schema.formats import FORMATS
from midm_vllm.constrained.limits import MAX_NODES
from midm_vllm.constrained.tool_schema import RequestSchemas, ToolSchema
from midm_vllm.constrained.json_schema.keywords import KEYWORDS, subschemas
from midm_vllm.cli.doctor import Finding, Level

#: Where the parameters of a function are: OpenAI, MCP, Anthropic.
_PARAMETERS = ("parameters", "inputSchema", "input_schema")
_EXPECTED = (
    'expected a list of tools (of the OpenAI API, or of an MCP server with "inputSchema"), or an '
    'object with such a list as "tools"'
)


class NoTools(ValueError):
    """The file holds no tools; the message says what is wrong, in a sentence."""


@dataclass(frozen=True)
class Tool:
    """A function as a file describes it."""

    name: str
    parameters: Any
    strict: bool | None


def read_tools(text: str) -> list[Tool]:
    """The tools of a JSON text. Raises NoTools."""
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise NoTools("this is nested too deeply") from error
    except ValueError as error:
        raise NoTools(f"this is not JSON: {error}") from error
    if isinstance(document, dict) and isinstance(document.get("result"), dict):
        document = document["result"]  # The whole answer of an MCP server.
    if isinstance(document, dict):
        document = document.get("tools")
    if not isinstance(document, list) or not document:
        raise NoTools(_EXPECTED)
    return [_tool(number, each) for number, each in enumerate(document, 1)]


def _tool(number: int, described: Any) -> Tool:
    if not isinstance(described, dict):
        raise NoTools(f"tool {number} is no object; {_EXPECTED}")
    function = described.get("function", described)
    kind = described.get("type", "function")
    if kind != "function" or not isinstance(function, dict):
        raise NoTools(f"tool {number} is no function but {kind!r:.40}: nothing of it is enforced")
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise NoTools(f'tool {number} has no "name"; {_EXPECTED}')
    parameters = next((function[key] for key in _PARAMETERS if key in function), None)
    return Tool(name, parameters, function.get("strict"))


def examine_tools(tools: list[Tool]) -> Iterator[Finding]:
    """What a server enforces of each tool, as in one request with all of them."""
    nodes = envs.schema_nodes(MAX_NODES)
    schemas = RequestSchemas(nodes)
    for tool in tools:
        yield _of_tool(tool, schemas.compile_parameters(tool.parameters))
    said = f"The schemas together cost {schemas.spent:,} of the {nodes:,} nodes of a request"
    if not schemas.is_too_large:
        yield Finding(Level.WELL, f"{said}.")
    else:
        yield Finding(
            Level.WARNING,
            f"{said}: what comes last is not enforced where all come together. Send fewer tools "
            f"at once, or start the server with {envs.SCHEMA_NODES} set higher.",
        )


def _of_tool(tool: Tool, read: ToolSchema) -> Finding:
    name = json.dumps(tool.name, ensure_ascii=False)
    enforced, silent = _keywords(tool.parameters)
    for finding in read.findings:
        enforced[finding.keyword] -= 1
    held = "" if read.is_unconstrained else ", ".join(sorted(+enforced))
    lines = [*(f"not enforced: {finding}" for finding in read.findings),
             f"enforced: {held or _least(tool)}",
             *(f"says nothing: {each}" for each in silent)]
    if read.is_exact:
        level, verdict = Level.WELL, "held to its whole schema, strict or not"
    elif tool.strict:
        level = Level.PROBLEM
        verdict = 'refused with 400, because it says "strict": true and something is not enforced'
    else:
        level = Level.WARNING
        verdict = 'held to its schema in part; with "strict": true it would be refused'
    return Finding(level, "\n".join([f"{name}: {verdict}", *lines]))


def _least(tool: Tool) -> str:
    if tool.parameters in (None, {}):
        return "that there are no arguments"
    return "that the arguments are a JSON object"


def _keywords(schema: Any) -> tuple[Counter[str], list[str]]:
    """How often each keyword that means something is said, and the formats that say nothing."""
    met: Counter[str] = Counter()
    silent: dict[str, None] = {}
    level = [schema]
    while level:
        inside: list[Any] = []
        for each in level:
            for keyword, value in each.items() if isinstance(each, dict) else ():
                if keyword == "format" and str(value) not in FORMATS:
                    silent[f"'format': {value!r:.40}"] = None
                elif keyword in KEYWORDS:
                    met[keyword] += 1
                inside += subschemas(keyword, value)
        level = inside
    return met, list(silent)
