"""A request's constraints: the grammar of its answer, for vLLM's backend ``guidance``.

``--tool-call-parser midm-parser`` starts the server with that backend where the user named
none (``serving/defaults``). Under another one vLLM constrains ``required`` and named calls in
its own way, as a JSON list, and a strict tool is refused: what the others enforce of a schema
cannot be told.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from midm_vllm.constrained.call_grammar import (
    CallableTool,
    build_call_grammar,
    ends_before_arguments,
    ends_in_arguments,
)
from midm_vllm.constrained.json_grammar import ANY_OBJECT_GRAMMAR
from midm_vllm.constrained.limits import MAX_NODES
from midm_vllm.constrained.tool_schema import RequestSchemas, ToolSchema
from midm_vllm.constants import GRAMMAR_BACKEND, GRAMMAR_BACKEND_VARIABLE, SCHEMA_NODES_VARIABLE
from midm_vllm.serving.continuation import begun_call
from midm_vllm.serving.tool_choice import named_tools

logger = logging.getLogger("vllm.midm_vllm.constraints")

#: llguidance gives up where more than 2,000 ways to go on are open at once: here, tools to call.
MOST_TOOLS = 1000


class UnsupportedSchema(ValueError):
    """A strict tool's schema that cannot be enforced exactly; vLLM answers it with 400."""


class UncallableTools(ValueError):
    """A call is demanded and no tool can be called, or too many; vLLM answers it with 400."""


def has_our_backend() -> bool:
    """Whether the server's grammars are llguidance's."""
    return os.environ.get(GRAMMAR_BACKEND_VARIABLE) == GRAMMAR_BACKEND


@dataclass(frozen=True)
class _Tool:
    name: str
    #: Without its namespace.
    short_name: str
    parameters: Any
    strict: bool | None


def answer_grammar(request: Any, level: int, tokenizer: Any) -> str | None:
    """The grammar of a request's answer (Chat Completions or Responses); None for none.

    ``level`` is ``--tool-strict-level``: 1 holds every call to its form, 2 its arguments to
    the tool's schema. Raises UnsupportedSchema for a tool with ``strict: true`` whose schema
    cannot be enforced exactly.
    """
    if not wants_grammar(request, level):
        return None
    tools, must_call, forced = _choice(request)
    one_call = forced or request.parallel_tool_calls is False
    answer = _answer_format(request)
    limited = not isinstance(request.tool_choice, str)
    if not must_call and getattr(request, "structured_outputs", None) is not None:
        _once("Tool calls are not possible beside a request's own structured_outputs.")
        return None
    if len(tools) > MOST_TOOLS:
        raise UncallableTools(
            f"The request has {len(tools)} tools, and calls can be constrained to {MOST_TOOLS} at "
            "most. Send fewer, or tool_choice \"auto\" and no tool with \"strict\": true."
        )
    special = special_tokens(tokenizer)
    unwritable = _any_of(special)
    schemas = RequestSchemas(int(os.environ.get(SCHEMA_NODES_VARIABLE) or MAX_NODES))
    callable_tools = []
    for tool in tools:
        arguments = ANY_OBJECT_GRAMMAR
        if tool.strict or level >= 2 or ((must_call or limited) and tool.strict is None):
            read = schemas.compile_parameters(tool.parameters).without_control_tokens(unwritable)
            _heed(tool, read)
            arguments = read.grammar
        callable_tools.append(CallableTool(tool.name, arguments))
    begun = begun_call(request)
    if begun:
        _heed_begun(begun, list(zip(tools, callable_tools)), special)
    format_schema = None
    if answer is not None and not must_call:
        read = schemas.compile_answer(answer).without_control_tokens(unwritable)
        for finding in read.findings:
            _once(f"The answer's format is not held to {finding}.")
        format_schema = read.grammar
    return build_call_grammar(
        callable_tools, must_call=must_call, one_call=one_call, answer=format_schema,
        special_tokens=special, partial_call=begun,
    )


def wants_grammar(request: Any, level: int) -> bool:
    """Whether an answer is held to anything; takes no longer than to look at each tool."""
    tools, must_call, forced = _choice(request)
    wanted = must_call or request.parallel_tool_calls is False or level > 0
    return bool(tools) and (
        wanted or forced or not isinstance(request.tool_choice, str)
        or _answer_format(request) is not None or any(tool.strict for tool in tools)
    )


def schemas_of(request: Any) -> list[Any]:
    """The schemas that a request's grammar is made of, as they were sent."""
    return [*(tool.parameters for tool in _choice(request)[0]), _answer_format(request)]


def may_call(request: Any) -> bool:
    """Whether the request's choice leaves the model a tool to call."""
    return bool(_choice(request)[0])


def refuse_strict(request: Any) -> None:
    """Under a backend that is not ours: raises UnsupportedSchema if a tool is strict."""
    for tool in _choice(request)[0]:
        if tool.strict:
            raise UnsupportedSchema(
                f"The tool {tool.name!r} has \"strict\": true, and this server's grammar backend "
                f"({os.environ.get(GRAMMAR_BACKEND_VARIABLE, 'unknown')}) cannot hold calls to a "
                f"schema exactly. Start it with --structured-outputs-config '{{\"backend\": "
                f"\"{GRAMMAR_BACKEND}\"}}', or leave \"strict\" out."
            )
    _once(
        f"Required and named calls go vLLM's own way, and strict tools are refused: the grammar "
        f"backend is {os.environ.get(GRAMMAR_BACKEND_VARIABLE, 'unknown')}, not {GRAMMAR_BACKEND}."
    )


def _heed(tool: _Tool, read: ToolSchema) -> None:
    if tool.strict and read.findings:
        raise UnsupportedSchema(
            f"The arguments of the tool {tool.name!r} cannot be held to its schema: "
            f"{read.findings[0]}. Change the schema, or give the tool no \"strict\": true to "
            "have all the rest enforced."
        )
    for finding in read.findings:
        _once(f"The arguments of the tool {tool.name!r:.100} are not held to {finding}.")


def _heed_begun(
    begun: str, tools: list[tuple[_Tool, CallableTool]], special: frozenset[str]
) -> None:
    """Arguments that have begun cannot be held to a schema: what they begin with is not read."""
    if any(ends_before_arguments(callable_tool, begun, special) for _, callable_tool in tools):
        return
    meant = [
        tool for tool, callable_tool in tools if ends_in_arguments(callable_tool, begun, special)
    ]
    for tool in meant or [tool for tool, _ in tools]:
        if tool.strict:
            raise UnsupportedSchema(
                f"The last message ends inside a call, and the rest of its arguments cannot be "
                f"held to the schema of the tool {tool.name!r}, which has \"strict\": true. Leave "
                "\"strict\" out, or continue a message that ends before the call."
            )
    _once("A call that ends in the middle of its arguments is continued without constraints.")


@functools.lru_cache(maxsize=1000)
def _once(message: str) -> None:
    logger.warning("%s", message)


def _choice(request: Any) -> tuple[list[_Tool], bool, bool]:
    """The tools that may be called, whether one must be, and whether it is just one."""
    choice = request.tool_choice
    tools = list(_functions(request.tools or ()))
    if choice in ("none", None) or not request.tools:
        return [], False, False
    if isinstance(choice, str):
        chosen, must_call, forced = tools, choice == "required", False
    elif choice.type == "allowed_tools":
        names = [tool.get("name") for tool in choice.tools]
        chosen = [tool for tool in tools if tool.name in names or tool.short_name in names]
        must_call, forced = choice.mode == "required", False
    else:
        name = getattr(getattr(choice, "function", choice), "name", None)
        chosen = [tool for tool in tools if tool.name == name]
        must_call = forced = True
    if must_call and not chosen:
        raise UncallableTools(
            "The tool_choice demands a call, but the model can call none of the tools that it "
            "names: functions and custom tools that have a name it can, hosted ones (web_search, "
            "mcp, ...) it cannot, because nothing here runs them."
        )
    return chosen, must_call, forced


def _functions(tools: Iterable[Any]) -> Iterator[_Tool]:
    """The tools that can be called: functions, and custom tools as functions of one text."""
    for tool in named_tools(tools):
        if tool.kind == "function":
            strict = getattr(tool.function, "strict", None)
            yield _Tool(tool.name, tool.short_name, tool.function.parameters, strict)
        elif tool.kind == "custom" and not tool.is_in_namespace:
            yield _Tool(tool.name, tool.short_name, _CUSTOM, None)


#: How vLLM shows a tool that takes free text.
_CUSTOM = {
    "type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"],
    "additionalProperties": False,
}


def _answer_format(request: Any) -> Any:
    """The schema of the answer, or None."""
    wanted = getattr(request, "response_format", None)
    if wanted is None:
        wanted = getattr(getattr(request, "text", None), "format", None)
    kind = getattr(wanted, "type", None)
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema" or wanted is None:
        return None
    named = getattr(wanted, "json_schema", None)  # Chat Completions has it a level deeper.
    holder = wanted if named is None else named
    return getattr(holder, "schema_", None) or getattr(holder, "json_schema", None)


def special_tokens(tokenizer: Any) -> frozenset[str]:
    """The special tokens of a tokenizer."""
    return _special_tokens(tokenizer) if tokenizer is not None else frozenset()


@functools.lru_cache(maxsize=8)
def _special_tokens(tokenizer: Any) -> frozenset[str]:
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    special = (token.content for token in added if getattr(token, "special", False))
    return frozenset(filter(None, special))  # A checkpoint may list an empty one.


@functools.lru_cache(maxsize=8)
def _any_of(texts: frozenset[str]) -> re.Pattern[str]:
    """Finds one of these texts; of none, nothing."""
    return re.compile("|".join(map(re.escape, sorted(texts))) or "(?!)")
