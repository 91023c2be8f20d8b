"""What Mi:dm's structural tag lets the model write, asked of vLLM's own parser class."""

from __future__ import annotations

from typing import Any

import pytest
import xgrammar
from openai.types.responses import ToolChoiceAllowed
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.parser.abstract_parser import DelegatingParser
from vllm.tool_parsers.tool_strict_level import ToolStrictLevel
from xgrammar.testing import _is_grammar_accept_string

from midm_vllm.plugin import register
from midm_vllm.serving.tool_parser import MidmToolParser

register()  # As vLLM does in each of its processes.

PROSE = "날씨를 <b>보겠습니다</b>.\n"
GOOD = '<tool_call>{"name": "날씨", "arguments": {"city": "서울"}}</tool_call>'
BAD_ARGUMENTS = '<tool_call>{"name": "날씨", "arguments": {"city": 1}}</tool_call>'
BAD_NAME = '<tool_call>{"name": "weather", "arguments": {"city": "서울"}}</tool_call>'
OTHER = '<tool_call>{"name": "a\\"b\\\\", "arguments": {}}</tool_call>'
CUT = '<tool_call>{"name": "날씨", "arguments": {"city": "서울"}'
#: All that an answer may be, by a name for the table below.
ANSWERS = {
    "prose": PROSE, "call": GOOD, "prose and call": PROSE + GOOD, "two calls": GOOD + OTHER,
    "bad arguments": BAD_ARGUMENTS, "bad name": BAD_NAME, "unfinished": CUT,
}


def tools(**strict: bool | None) -> list[dict[str, Any]]:
    weather = {
        "name": "날씨",
        "parameters": {"type": "object", "properties": {"city": {"$ref": "#/$defs/City"}},
                       "required": ["city"], "$defs": {"City": {"type": "string"}}},
        **strict,
    }
    return [{"type": "function", "function": weather},
            {"type": "function", "function": {"name": 'a"b\\', **strict}}]


def grammar_of(request: Any, level: ToolStrictLevel = ToolStrictLevel.AUTO) -> Any:
    """The grammar that vLLM would hand to its engine; None if it asks for none."""
    class Parser(DelegatingParser):
        tool_parser_cls = MidmToolParser
        tool_strict_level = level

    adjusted = Parser(tokenizer=None, tools=request.tools).adjust_request(request)
    if adjusted.structured_outputs is None:
        return None
    return xgrammar.Grammar.from_structural_tag(adjusted.structured_outputs.structural_tag)


def allowed(grammar: Any) -> set[str]:
    return {name for name, text in ANSWERS.items() if _is_grammar_accept_string(grammar, text)}


def chat(**more: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.model_validate(
        {"messages": [{"role": "user", "content": "?"}], "tools": tools(), **more}
    )


AUTO, FUNCTION, PARAMETER = ToolStrictLevel
NAMED = {"type": "function", "function": {"name": "날씨"}}
FREE = {"prose", "call", "prose and call", "two calls"}


@pytest.mark.parametrize(
    ("level", "choice", "strict", "expected"),
    [
        (AUTO, "auto", {"strict": True}, FREE),
        (AUTO, "required", {}, {"call", "two calls"}),
        (AUTO, "required", {"strict": True}, {"call", "two calls"}),
        (AUTO, "required", {"strict": False}, {"call", "two calls", "bad arguments"}),
        (AUTO, NAMED, {}, {"call"}),
        (FUNCTION, "auto", {}, FREE | {"bad arguments"}),
        (FUNCTION, "auto", {"strict": True}, FREE),
        (FUNCTION, "required", {}, {"call", "two calls"}),
        (PARAMETER, "auto", {}, FREE),
        (PARAMETER, "auto", {"strict": False}, FREE),
        (PARAMETER, "required", {"strict": False}, {"call", "two calls"}),
        (PARAMETER, NAMED, {}, {"call"}),
    ],
    ids=str,
)
def test_the_choice_and_the_level_decide_what_can_be_written(
    level: ToolStrictLevel, choice: Any, strict: dict[str, bool], expected: set[str]
) -> None:
    request = chat(tools=tools(**strict), tool_choice=choice)
    assert allowed(grammar_of(request, level)) == expected


@pytest.mark.parametrize("strict", [{}, {"strict": False}])
def test_without_a_strict_tool_auto_is_free(strict: dict[str, bool]) -> None:
    assert grammar_of(chat(tools=tools(**strict), tool_choice="auto")) is None


def test_none_is_free() -> None:
    assert grammar_of(chat(tool_choice="none"), PARAMETER) is None


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("auto", {"prose", "call", "prose and call"}), ("required", {"call"}), (NAMED, {"call"})],
    ids=str,
)
def test_without_parallel_calls_there_is_one_at_most(choice: Any, expected: set[str]) -> None:
    request = chat(
        tools=tools(strict=True), tool_choice=choice, parallel_tool_calls=False
    )
    assert allowed(grammar_of(request)) == expected


def test_names_are_written_as_json() -> None:
    assert _is_grammar_accept_string(grammar_of(chat(tool_choice="required")), OTHER)


def test_a_name_that_begins_another_is_told_apart() -> None:
    functions = [{"name": name, "parameters": {"type": "object", "properties": {
        "a": {"const": name}}, "required": ["a"]}} for name in ("get", "get_all")]
    request = chat(
        tools=[{"type": "function", "function": function} for function in functions],
        tool_choice="required",
    )
    grammar = grammar_of(request)
    for name, value, right in (("get", "get", True), ("get_all", "get", False)):
        call = f'<tool_call>{{"name": "{name}", "arguments": {{"a": "{value}"}}}}</tool_call>'
        assert _is_grammar_accept_string(grammar, call) is right


def test_a_tag_inside_a_string_is_part_of_the_string() -> None:
    call = GOOD.replace("서울", '</tool_call><tool_call>{\\"name\\": \\"x\\"}')
    assert _is_grammar_accept_string(grammar_of(chat(tool_choice="required")), call)


def test_the_request_is_left_as_it_was() -> None:
    request = chat(tool_choice="required")
    before = [tool.model_dump() for tool in request.tools or ()]
    grammar_of(request)
    assert [tool.model_dump() for tool in request.tools or ()] == before


@pytest.mark.parametrize(
    ("mode", "expected"), [("auto", {"prose"}), ("required", set())]
)
def test_only_the_allowed_tools_can_be_called(mode: str, expected: set[str]) -> None:
    """vLLM 0.32 takes `allowed_tools` in Responses, but would constrain and read nothing."""
    request = ResponsesRequest.model_validate({
        "input": "?",
        "tools": [{"type": "function", **tool["function"]} for tool in tools()],
        "tool_choice": {"type": "allowed_tools", "mode": mode,
                        "tools": [{"type": "function", "name": 'a"b\\'}]},
    })
    assert isinstance(request.tool_choice, ToolChoiceAllowed)
    grammar = grammar_of(request)
    assert allowed(grammar) == expected
    assert _is_grammar_accept_string(grammar, OTHER)
    assert request.tool_choice == mode


def test_a_schema_that_cannot_be_enforced_is_named_with_its_tool() -> None:
    function = {"name": "f", "strict": True, "parameters": {
        "type": "object", "properties": {"a": {"type": "integer", "multipleOf": 3}}}}
    request = chat(tools=[{"type": "function", "function": function}], tool_choice="auto")
    with pytest.raises(ValueError, match=r"tool 'f' .*'multipleOf' at \$\.a.*\"strict\": false"):
        grammar_of(request)


def test_without_enforcement_vllm_keeps_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    # As vLLM sets it then, when it imports the class.
    monkeypatch.setattr(MidmToolParser, "supports_required_and_named", True)
    request = MidmToolParser(None).adjust_request(chat(tool_choice="required"))
    assert request.structured_outputs is not None
    assert request.structured_outputs.json is not None
