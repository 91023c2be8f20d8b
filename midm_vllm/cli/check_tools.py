"""``midm-vllm doctor --tools FILE``: which parts of each tool's schema a server enforces."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from midm_vllm import envs
from midm_vllm.constrained.json_schema.formats import FORMATS
from midm_vllm.constrained.limits import MAX_NODES
from midm_vllm.constrained.tool_schema import RequestSchemas, ToolSchema
from midm_vllm.constrained.json_schema.keywords import KEYWORDS, subschemas
from midm_vllm.cli.doctor import Finding, ok, problem, warning
from midm_vllm.serving.requests.tool_choice import Tool

#: Where the parameters of a function are: OpenAI, MCP, Anthropic.
_PARAMETERS = ("parameters", "inputSchema", "input_schema")
_EXPECTED = (
    'expected a list of tools (of the OpenAI API, or of an MCP server with "inputSchema"), or an '
    'object with such a list as "tools"'
)


class NoTools(ValueError):
    """The file has no list of tools; the message says why."""


def read_tools(text: str) -> list[Tool]:
    """Read the tools of a JSON text, in any of the forms of :data:`_EXPECTED`.

    Raises:
        NoTools: The text has no such list.
    """
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
        raise NoTools(f"tool {number} is not an object; {_EXPECTED}")
    function = described.get("function", described)
    kind = described.get("type", "function")
    if kind != "function" or not isinstance(function, dict):
        raise NoTools(f"tool {number} is not a function but {kind!r:.40}, and not enforced")
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise NoTools(f'tool {number} has no "name"; {_EXPECTED}')
    parameters = next((function[key] for key in _PARAMETERS if key in function), None)
    return Tool(name, name, "function", parameters, function.get("strict"))


def examine_tools(tools: list[Tool]) -> Iterator[Finding]:
    """Yield what a server enforces of each tool, and what the tools of one request cost."""
    nodes = envs.schema_nodes(MAX_NODES)
    schemas = RequestSchemas(nodes)
    for tool in tools:
        yield _of_tool(tool, schemas.compile(tool.parameters))
    cost = f"The schemas together cost {schemas.spent:,} of the {nodes:,} nodes of a request"
    if schemas.is_too_large:
        yield warning(
            f"{cost}: in a request with all of them, the last ones are not enforced. Send fewer "
            f"tools in a request, or start the server with a higher {envs.SCHEMA_NODES}."
        )
    else:
        yield ok(f"{cost}.")


def _of_tool(tool: Tool, compiled: ToolSchema) -> Finding:
    met, ineffective = _keywords(tool.parameters)
    for finding in compiled.findings:
        met[finding.keyword] -= 1
    enforced = "" if compiled.is_unconstrained else ", ".join(sorted(+met))
    if compiled.is_exact:
        finding_of, verdict = ok, "fully constrained to its schema, strict or not"
    elif tool.strict:
        finding_of = problem
        verdict = 'rejected with HTTP 400: "strict" is true, and part of its schema is not enforced'
    else:
        finding_of = warning
        verdict = 'constrained to part of its schema; with "strict": true it would be rejected'
    return finding_of("\n".join([
        f"{json.dumps(tool.name, ensure_ascii=False)}: {verdict}",
        *(f"not enforced: {finding}" for finding in compiled.findings),
        f"enforced: {enforced or _least(tool)}",
        *(f"no effect: {each}" for each in ineffective),
    ]))


def _least(tool: Tool) -> str:
    if tool.parameters in (None, {}):
        return "that there are no arguments"
    return "that the arguments are a JSON object"


def _keywords(schema: Any) -> tuple[Counter[str], list[str]]:
    """Count the keywords that can be enforced; list the formats that have no effect."""
    met: Counter[str] = Counter()
    ineffective: dict[str, None] = {}
    level = [schema]
    while level:
        inside: list[Any] = []
        for each in level:
            for keyword, value in each.items() if isinstance(each, dict) else ():
                if keyword == "format" and str(value) not in FORMATS:
                    ineffective[f"'format': {value!r:.40}"] = None
                elif keyword in KEYWORDS:
                    met[keyword] += 1
                inside += subschemas(keyword, value)
        level = inside
    return met, list(ineffective)
