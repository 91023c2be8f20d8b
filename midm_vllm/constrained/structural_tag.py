"""Mi:dm's structural tag: which output xgrammar lets the model write.

A builder for ``vllm.tool_parsers.structural_tag_registry`` (vLLM 0.24 and
later), for the form the vendor's prompt teaches:

    <tool_call>{"name": "…", "arguments": {…}}</tool_call>

Without tools to choose from anything goes; with ``auto``, prose and calls;
with ``required``, one call or more, and nothing else; forced, one call.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from xgrammar.structural_tag import (
    AnyTextFormat,
    GrammarFormat,
    JSONSchemaFormat,
    StructuralTag,
    TagFormat,
    TagsWithSeparatorFormat,
    TriggeredTagsFormat,
)

from midm_vllm.constrained.arguments_grammar import UnsupportedSchema, arguments_grammar
from midm_vllm.markup.tags import CLOSING_TAG, OPENING_TAG

if TYPE_CHECKING:
    from xgrammar.openai_tool_call_schema import FunctionDefinition, FunctionToolParam


def midm_structural_tag(
    tools: list[FunctionToolParam],
    builtin_tools: list[Any],
    tool_choice: str,
    reasoning: bool,
    token_suffix: str = "",
) -> StructuralTag:
    """The structural tag for these tools; ``tool_choice`` is "auto", "required" or "forced".

    Implements ``StructuralTagBuilder`` of vLLM's registry (``token_suffix``
    from 0.29). Raises UnsupportedSchema, which vLLM answers with 400, where a
    strict tool's schema cannot be enforced.
    """
    tags = [_call_tag(tool.function) for tool in tools]
    if tool_choice != "auto":
        return StructuralTag(format=TagsWithSeparatorFormat(
            tags=tags, separator="", at_least_one=True, stop_after_first=tool_choice == "forced"
        ))
    if not tags:
        return StructuralTag(format=AnyTextFormat())
    return StructuralTag(format=TriggeredTagsFormat(triggers=[OPENING_TAG], tags=tags))


def _call_tag(function: FunctionDefinition) -> TagFormat:
    name = json.dumps(function.name, ensure_ascii=False)
    return TagFormat(
        begin=f'{OPENING_TAG}{{"name": {name}, "arguments": ',
        content=_arguments(function),
        end=f"}}{CLOSING_TAG}",
    )


def _arguments(function: FunctionDefinition) -> GrammarFormat | JSONSchemaFormat:
    if function.strict is False:
        return JSONSchemaFormat(json_schema={"type": "object"})
    try:
        return GrammarFormat(grammar=arguments_grammar(function.parameters))
    except UnsupportedSchema as error:
        raise UnsupportedSchema(
            f"The arguments of the tool {function.name!r} cannot be held to its schema: {error}. "
            'Change the schema, or give the tool "strict": false to leave its arguments free.'
        ) from error
