"""A request's constraints: the grammar of its answer, for vLLM's backend ``guidance``.

``grammar_backend`` says whether the server has that backend. Under another one vLLM constrains
``required`` and named calls by its own JSON schema. A strict tool is rejected there,
because it is unknown which part of a schema the other backends enforce.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

from midm_vllm import envs
from midm_vllm.constants import GRAMMAR_BACKEND
from midm_vllm.constrained.call_grammar import (
    CallableTool,
    build_call_grammar,
    ends_before_arguments,
    ends_in_arguments,
)
from midm_vllm.constrained.json_grammar import ANY_OBJECT_GRAMMAR
from midm_vllm.constrained.limits import MAX_NODES
from midm_vllm.constrained.tool_schema import RequestSchemas, ToolSchema
from midm_vllm.serving.constraints.grammar_backend import configured_backend
from midm_vllm.serving.requests.continuation import partial_call
from midm_vllm.serving.requests.tool_choice import Tool, ToolChoice, UncallableTools

logger = logging.getLogger("vllm.midm_vllm.constraints")

#: llguidance gives up with more than 2,000 alternatives at a time: here, tools to call.
MAX_TOOLS = 1000


class UnsupportedSchema(ValueError):
    """A strict tool's schema that cannot be enforced exactly; vLLM answers it with 400."""


def answer_grammar(
    request: Any, choice: ToolChoice, level: int, tokenizer: Any
) -> str | None:
    """Build the grammar of a request's answer, of Chat Completions or Responses.

    Args:
        request: The request.
        choice: Its tool choice.
        level: ``--tool-strict-level``: 1 constrains every call to its form, 2 its arguments to
            the tool's schema.
        tokenizer: The model's, for its special tokens.

    Returns:
        The grammar in llguidance's Lark; None where the answer is not constrained.

    Raises:
        UnsupportedSchema: A strict tool's schema cannot be enforced exactly.
        UncallableTools: There are too many tools.
    """
    if not needs_grammar(request, choice, level):
        return None
    answer = _answer_format(request)
    if not choice.must_call and getattr(request, "structured_outputs", None) is not None:
        _warn_once("Tool calls are not possible beside a request's own structured_outputs.")
        return None
    if len(choice.tools) > MAX_TOOLS:
        raise UncallableTools(
            f"The request has {len(choice.tools)} tools, and calls can be constrained to "
            f"{MAX_TOOLS} at most. Send fewer, or tool_choice \"auto\" and no tool with "
            "\"strict\": true."
        )
    special = special_tokens(tokenizer)
    schemas = RequestSchemas(envs.schema_nodes(MAX_NODES), special)
    callable_tools = []
    for tool in choice.tools:
        arguments = ANY_OBJECT_GRAMMAR
        is_asked = (choice.must_call or choice.is_limited) and tool.strict is None
        if tool.strict or level >= 2 or is_asked:
            schema = schemas.compile(tool.parameters)
            _report_unenforced(tool, schema)
            arguments = schema.grammar
        callable_tools.append(CallableTool(tool.name, arguments))
    partial = partial_call(request)
    if partial:
        _check_partial_call(partial, list(zip(choice.tools, callable_tools)), special)
    format_schema = None
    if answer is not None and not choice.must_call:
        schema = schemas.compile(answer, is_arguments=False)
        for finding in schema.findings:
            _warn_once(f"Not enforced in the answer's format: {finding}.")
        format_schema = schema.grammar
    return build_call_grammar(
        callable_tools, must_call=choice.must_call,
        one_call=choice.is_named or request.parallel_tool_calls is False, answer=format_schema,
        special_tokens=special, partial_call=partial,
    )


def needs_grammar(request: Any, choice: ToolChoice, level: int) -> bool:
    """Whether an answer is constrained at all; takes no longer than to look at each tool."""
    return bool(choice.tools) and (
        choice.must_call or choice.is_limited or level > 0
        or request.parallel_tool_calls is False
        or _answer_format(request) is not None or any(tool.strict for tool in choice.tools)
    )


def schemas_of(request: Any, choice: ToolChoice) -> list[Any]:
    """The schemas that a request's grammar is built from, as they were sent."""
    return [*(tool.parameters for tool in choice.tools), _answer_format(request)]


def reject_strict(choice: ToolChoice) -> None:
    """Raise UnsupportedSchema if a tool is strict, under a backend that does not take grammars."""
    backend = configured_backend()
    for tool in choice.tools:
        if not tool.strict:
            continue
        if backend is None:
            raise UnsupportedSchema(
                f"The tool {tool.name!r} has \"strict\": true, but midm-parser cannot see the "
                "grammar backend of this server's engine. Its log says why. Leave \"strict\" out."
            )
        raise UnsupportedSchema(
            f"The tool {tool.name!r} has \"strict\": true, but this server's grammar backend "
            f"({backend}) cannot constrain calls to a schema exactly. Start the server with "
            f"--structured-outputs-config '{{\"backend\": \"{GRAMMAR_BACKEND}\"}}' (in Python: "
            f"structured_outputs_config={{\"backend\": \"{GRAMMAR_BACKEND}\"}}), or leave "
            "\"strict\" out."
        )
    if choice.must_call:
        _warn_once(
            "Required and named calls are constrained by vLLM's JSON schema, and strict tools are "
            f"rejected: the grammar backend is {backend or 'unknown'}, not {GRAMMAR_BACKEND}."
        )


def _report_unenforced(tool: Tool, schema: ToolSchema) -> None:
    if tool.strict and schema.findings:
        raise UnsupportedSchema(
            f"The arguments of the tool {tool.name!r} cannot be constrained to its schema: "
            f"{schema.findings[0]}. Change the schema, or give the tool no \"strict\": true to "
            "have all the rest enforced."
        )
    for finding in schema.findings:
        _warn_once(f"Not enforced in the arguments of the tool {tool.name!r:.100}: {finding}.")


def _check_partial_call(
    partial: str, tools: list[tuple[Tool, CallableTool]], special: frozenset[str]
) -> None:
    """Raise UnsupportedSchema where the partial call may be one of a strict tool.

    Arguments that have begun cannot be constrained: what they begin with is not parsed.
    """
    if any(ends_before_arguments(callable_tool, partial, special) for _, callable_tool in tools):
        return
    meant = [
        tool for tool, callable_tool in tools if ends_in_arguments(callable_tool, partial, special)
    ]
    for tool in meant or [tool for tool, _ in tools]:
        if tool.strict:
            raise UnsupportedSchema(
                "The last message ends inside a call, and the rest of its arguments cannot be "
                f"constrained to the schema of the tool {tool.name!r}, which has \"strict\": true. "
                "Leave \"strict\" out, or continue a message that ends before the call."
            )
    _warn_once("A call that ends in the middle of its arguments is continued without constraints.")


@functools.lru_cache(maxsize=1000)
def _warn_once(message: str) -> None:
    logger.warning("%s", message)


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


@functools.lru_cache(maxsize=8)
def special_tokens(tokenizer: Any) -> frozenset[str]:
    """The special tokens of a tokenizer; none of None."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    special = (token.content for token in added if getattr(token, "special", False))
    return frozenset(filter(None, special))  # A checkpoint may list an empty one.
