"""What a request's grammar lets the model write, asked of vLLM's own parser class."""

from __future__ import annotations

from typing import Any

import pytest
from engine_configs import serve_with
from grammar_texts import allows
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from log_lines import log_lines
from openai.types.responses import ToolChoiceAllowed
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.parser.abstract_parser import DelegatingParser
from vllm.tool_parsers.tool_strict_level import ToolStrictLevel

from midm_vllm.constrained.call_grammar import CallableTool, build_call_grammar
from midm_vllm.constrained.json_grammar import ANY_OBJECT_GRAMMAR
from midm_vllm.markup.tags import CLOSING_TAG, END_TOKENS, OPENING_TAG
from midm_vllm.plugin import register
from midm_vllm.serving.constraints import request_grammar
from midm_vllm.serving.constraints.request_grammar import MAX_TOOLS, _warn_once
from midm_vllm.serving.tool_parser import MidmToolParser

register()  # As vLLM does in each of its processes.


@pytest.fixture(autouse=True)
def _guidance(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a server that was started with the parser's defaults."""
    serve_with("guidance", monkeypatch)


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
    return adjusted.structured_outputs.grammar


def allowed(grammar: Any) -> set[str]:
    return {name for name, text in ANSWERS.items() if allows(grammar, text)}


def chat(**more: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.model_validate(
        {"messages": [{"role": "user", "content": "?"}], "tools": tools(), **more}
    )


AUTO, FUNCTION, PARAMETER = ToolStrictLevel
NAMED = {"type": "function", "function": {"name": "날씨"}}
FREE = {"prose", "call", "prose and call", "two calls"}


def readable(value: object) -> str:
    """A parameter in a test's name: the same in every process, though sets have no order."""
    return " or ".join(sorted(value)) if isinstance(value, set) else str(value)


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
    ids=readable,
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
    ids=readable,
)
def test_without_parallel_calls_there_is_one_at_most(choice: Any, expected: set[str]) -> None:
    request = chat(
        tools=tools(strict=True), tool_choice=choice, parallel_tool_calls=False
    )
    assert allowed(grammar_of(request)) == expected


def test_names_are_written_as_json() -> None:
    assert allows(grammar_of(chat(tool_choice="required")), OTHER)


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
        assert allows(grammar, call) is right


def test_a_tag_inside_a_string_is_part_of_the_string() -> None:
    call = GOOD.replace("서울", '</tool_call><tool_call>{\\"name\\": \\"x\\"}')
    assert allows(grammar_of(chat(tool_choice="required")), call)


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
    assert allows(grammar, OTHER)
    assert request.tool_choice == mode


WEATHER = {"type": "function", **tools()[0]["function"]}
CRM = {"type": "namespace", "name": "crm", "description": "", "tools": [
    {"type": "function", "name": "find", "strict": True, "parameters": {
        "type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}},
    {"type": "custom", "name": "run"},
]}
SQL = {"type": "custom", "name": "run_sql"}
HOSTED: list[dict[str, Any]] = [
    {"type": "web_search"}, {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "file_search", "vector_store_ids": ["v"]}, {"type": "image_generation"},
    {"type": "local_shell"}, {"type": "shell"}, {"type": "apply_patch"}, {"type": "computer"},
    {"type": "mcp", "server_label": "x", "server_url": "http://127.0.0.1/"},
]


def responses(tools: list[Any], choice: Any) -> ResponsesRequest:
    return ResponsesRequest.model_validate({"input": "?", "tools": tools, "tool_choice": choice})


def allowing(mode: str, *tools: dict[str, Any]) -> dict[str, Any]:
    return {"type": "allowed_tools", "mode": mode, "tools": list(tools)}


@pytest.mark.parametrize(
    "choice",
    ["auto", "required", {"type": "function", "name": "find"},
     {"type": "function", "name": "crm__find"}, allowing("required", {"name": "find"}),
     allowing("auto", {"name": "crm__find"})],
    ids=str,
)
def test_a_strict_function_of_a_namespace_is_held_to_its_schema(choice: Any) -> None:
    """vLLM 0.32 shows it to the model as `crm__find`."""
    grammar = grammar_of(responses([CRM], choice))
    call = '<tool_call>{"name": "crm__find", "arguments": {"id": %s}}</tool_call>'
    assert allows(grammar, call % "7") and not allows(grammar, call % '"x"')
    assert not allows(grammar, (call % "7").replace("crm__find", "crm__run"))


@pytest.mark.parametrize("choice", [{"type": "custom", "name": "run_sql"}, "required"], ids=str)
def test_a_custom_tool_takes_one_text(choice: Any) -> None:
    grammar = grammar_of(responses([SQL, *HOSTED], choice))
    call = '<tool_call>{"name": "run_sql", "arguments": {"%s": "x"}}</tool_call>'
    assert allows(grammar, call % "input") and not allows(grammar, call % "sql")


HOSTED_CHOICES = [
    {"type": "web_search_preview"}, {"type": "mcp", "server_label": "x"}, {"type": "shell"},
    {"type": "apply_patch"}, {"type": "image_generation"}, {"type": "file_search"},
    allowing("required", {"type": "web_search"}), allowing("required"),
]


@pytest.mark.parametrize("choice", HOSTED_CHOICES, ids=str)
@pytest.mark.parametrize("backend", ["guidance", "xgrammar"])
def test_a_demand_that_cannot_be_met_is_refused(
    choice: Any, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_with(backend, monkeypatch)
    with pytest.raises(ValueError, match="requires a call, but the model can call none"):
        MidmToolParser(None).adjust_request(responses([WEATHER, *HOSTED], choice))


def test_hosted_tools_alone_leave_the_answer_free() -> None:
    assert grammar_of(responses(HOSTED, "auto")) is None


@pytest.mark.parametrize(
    "allowed", [[], [{"type": "mcp", "server_label": "x"}], [{"name": {}}, {"name": ["x"]}]],
    ids=str,
)
def test_where_no_tool_is_allowed_no_call_is_read(allowed: list[Any]) -> None:
    request = responses([WEATHER], allowing("auto", *allowed))
    assert MidmToolParser(None).adjust_request(request).tool_choice == "none"


UNSUPPORTED = {"type": "object", "required": ["a", "b"], "properties": {
    "a": {"type": "array", "contains": {"type": "null"}}, "b": {"type": "integer"}}}


def unsupported(**strict: bool) -> list[Any]:
    function = {"name": "f", "parameters": UNSUPPORTED, **strict}
    return [{"type": "function", "function": function}]


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_a_strict_schema_that_cannot_be_enforced_is_named_with_its_tool(choice: str) -> None:
    request = chat(tools=unsupported(strict=True), tool_choice=choice)
    with pytest.raises(ValueError, match=r"tool 'f' .*'contains' at \$\.a.*\"strict\""):
        grammar_of(request)


def test_without_strict_it_is_enforced_but_for_that_place_and_said_once() -> None:
    _warn_once.cache_clear()
    with log_lines(request_grammar.logger) as lines:
        for _ in range(3):
            grammar = grammar_of(chat(tools=unsupported(), tool_choice="required"))
    call = '<tool_call>{"name": "f", "arguments": {"a": [1], "b": %s}}</tool_call>'
    assert allows(grammar, call % "1") and not allows(grammar, call % '"x"')
    assert [line for line in lines if "contains" in line] == [
        "Not enforced in the arguments of the tool 'f': 'contains' at $.a: "
        "a grammar cannot look for an item."
    ]


FORMATS = {
    "json_schema": ({"type": "json_schema", "json_schema": {"name": "answer", "schema": {
        "type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}}},
        '{"sum": 3}', '{"sum": "three"}'),
    "json_object": ({"type": "json_object"}, '{"any": ["thing"]}', '["thing"]'),
}


@pytest.mark.parametrize(("format", "right", "wrong"), FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("strict", [{}, {"strict": True}])
def test_an_answer_has_the_format_or_calls(
    format: Any, right: str, wrong: str, strict: dict[str, bool]
) -> None:
    request = chat(tools=tools(**strict), tool_choice="auto", response_format=format)
    grammar = grammar_of(request)
    assert request.response_format is None  # It would win over the grammar.
    assert allows(grammar, right) and not allows(grammar, wrong)
    assert allowed(grammar) - {"bad arguments"} == {"call", "two calls"}


@pytest.mark.parametrize("choice", ["required", NAMED], ids=str)
def test_where_a_call_is_demanded_the_format_is_no_way_out(choice: Any) -> None:
    format, right, _ = FORMATS["json_schema"]
    grammar = grammar_of(chat(tool_choice=choice, response_format=format))
    assert not allows(grammar, right) and allows(grammar, GOOD)


def test_where_no_call_is_wanted_the_format_is_vllms() -> None:
    format, *_ = FORMATS["json_object"]
    request = chat(tool_choice="none", response_format=format)
    assert MidmToolParser(None).adjust_request(request).response_format is not None


def test_the_format_of_responses_too() -> None:
    request = ResponsesRequest.model_validate({
        "input": "?", "tools": [{"type": "function", **tool["function"]} for tool in tools()],
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": {
            "type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}}},
    })
    grammar = grammar_of(request)
    assert request.text is None
    assert allows(grammar, '{"sum": 3}') and allows(grammar, GOOD)
    assert not allows(grammar, '{"sum": "x"}') and not allows(grammar, PROSE)


class Tokens:
    """A tokenizer of bytes, with an end token, 256, and some special ones from 257 on."""
    eos_token_id, bos_token_id = 256, None

    def __init__(self, *special: str, end: str = "</s>") -> None:
        self.tokens = [bytes([code]) for code in range(256)]
        self.tokens += map(str.encode, [end, *special])
        self.special_token_ids = list(range(256, 257 + len(special)))

    def __call__(self, text: Any) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


@pytest.mark.parametrize("special", [(OPENING_TAG,), (OPENING_TAG, CLOSING_TAG)], ids=len)
@pytest.mark.parametrize("must_call", [True, False])
def test_tags_that_are_special_tokens_may_be_written_as_such(
    special: tuple[str, ...], must_call: bool
) -> None:
    tokenizer = LLTokenizer(TokenizerWrapper(Tokens(*special)))
    grammar = build_call_grammar([CallableTool("f")], must_call=must_call, special_tokens=special)
    body = list(b'{"name": "f", "arguments": {}}')
    closing = [258] if len(special) == 2 else list(CLOSING_TAG.encode())
    for tokens in ([257, *body, *closing], [*OPENING_TAG.encode(), *body, *CLOSING_TAG.encode()]):
        matcher = LLMatcher(tokenizer, grammar)
        assert matcher.try_consume_tokens(tokens) == len(tokens), matcher.get_error()
        assert matcher.is_accepting()


@pytest.mark.parametrize("end", END_TOKENS)
@pytest.mark.parametrize("kind", ["required", "one call", "auto", "answer"])
def test_an_output_ends_with_the_token_that_the_model_was_taught_to_end_it_with(
    end: str, kind: str
) -> None:
    """It need not be the tokenizer's own end token, the only one that llguidance knows."""
    [other] = set(END_TOKENS) - {end}
    tokenizer = LLTokenizer(TokenizerWrapper(Tokens(end, end=other)))
    grammar = build_call_grammar(
        [CallableTool("f")], must_call=kind in ("required", "one call"),
        one_call=kind == "one call", answer=ANY_OBJECT_GRAMMAR if kind == "answer" else None,
        special_tokens=END_TOKENS,
    )
    text = list(b'<tool_call>{"name": "f", "arguments": {}}</tool_call>')
    further = {"auto": [list(b"prose")], "answer": [list(b"{}")]}
    for tokens in [text, *further.get(kind, ())]:
        for last in (256, 257):
            matcher = LLMatcher(tokenizer, grammar)
            assert matcher.try_consume_tokens([*tokens, last]) == len(tokens) + 1
            assert not matcher.is_error() and matcher.is_accepting()
    matcher = LLMatcher(tokenizer, grammar)
    assert matcher.try_consume_tokens([*text[:-1], 257]) == len(text) - 1


def test_many_tools_share_the_budget() -> None:
    schema = {"type": "object", "properties": {f"m{i}": {"type": "null"} for i in range(300)}}
    many = [{"type": "function", "function": {"name": f"f{i}", "strict": True,
                                              "parameters": schema}} for i in range(12)]
    grammar_of(chat(tools=many[:3], tool_choice="auto"))
    with pytest.raises(ValueError, match="larger than"):
        grammar_of(chat(tools=many, tool_choice="auto"))


def many_tools(number: int, **parameters: Any) -> list[Any]:
    return [{"type": "function", "function": {"name": f"f{i}", **parameters}}
            for i in range(number)]


def test_tools_are_read_until_the_request_s_nodes_are_used_up() -> None:
    """Each takes time in the server's event loop, however small it is."""
    schema = {"type": "object", "properties": {f"m{i}": {"type": "null"} for i in range(20)}}
    many = many_tools(MAX_TOOLS, parameters=schema)
    grammar = grammar_of(chat(tools=many, tool_choice="required"))
    last = '<tool_call>{"name": "f999", "arguments": {"any": "thing"}}</tool_call>'
    assert allows(grammar, last) and not allows(grammar, last.replace("f999", "f0"))
    many[-1]["function"]["strict"] = True
    with pytest.raises(ValueError, match="'f999' .* nodes"):
        grammar_of(chat(tools=many, tool_choice="required"))


def test_more_tools_than_llguidance_takes_are_refused_where_calls_are_constrained() -> None:
    many = many_tools(MAX_TOOLS + 1)
    assert grammar_of(chat(tools=many, tool_choice="auto")) is None
    with pytest.raises(ValueError, match="1001 tools, and calls can be constrained to 1000"):
        grammar_of(chat(tools=many, tool_choice="required"))


@pytest.mark.parametrize("backend", ["xgrammar", "outlines"])
def test_under_another_backend_calls_go_vllms_way_and_strict_is_refused(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_with(backend, monkeypatch)
    request = MidmToolParser(None).adjust_request(chat(tool_choice="required"))
    assert request.structured_outputs is not None
    assert request.structured_outputs.json is not None
    with pytest.raises(ValueError, match=rf"'날씨' .*{backend}.*guidance"):
        MidmToolParser(None).adjust_request(chat(tools=tools(strict=True), tool_choice="auto"))


def test_without_enforcement_vllm_keeps_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    # As vLLM sets it then, when it imports the class.
    monkeypatch.setattr(MidmToolParser, "supports_required_and_named", True)
    request = MidmToolParser(None).adjust_request(chat(tool_choice="required"))
    assert request.structured_outputs is not None
    assert request.structured_outputs.json is not None


def continuing(begun: str, **more: Any) -> ChatCompletionRequest:
    """A request whose last message ends inside a call."""
    return chat(
        messages=[{"role": "user", "content": "?"}, {"role": "assistant", "content": begun}],
        continue_final_message=True, add_generation_prompt=False, **more,
    )


HEAD = GOOD[:GOOD.index('{"city"')]
CHOICES_WITH_GRAMMAR = [
    {"tool_choice": "required"}, {"tool_choice": NAMED}, {"tools": tools(strict=True)},
]


@pytest.mark.parametrize("more", CHOICES_WITH_GRAMMAR, ids=["required", "named", "strict"])
@pytest.mark.parametrize("cut", range(len(OPENING_TAG), len(HEAD) + 1))
def test_a_call_that_the_request_begins_is_held_to_its_tool(cut: int, more: Any) -> None:
    grammar = grammar_of(continuing(PROSE + GOOD[:cut], **more))
    assert allows(grammar, GOOD[cut:])
    assert not allows(grammar, BAD_ARGUMENTS[cut:])
    assert not allows(grammar, GOOD)
    assert not allows(grammar, PROSE)
    assert allows(grammar, GOOD[cut:] + OTHER) == (more.get("tool_choice") != NAMED)
    assert allows(grammar, GOOD[cut:] + PROSE) == ("tools" in more)


@pytest.mark.parametrize("begun", [GOOD[:len(HEAD) + 4], '<tool_call>{"arguments": {"a'])
def test_arguments_that_the_request_begins_are_free(begun: str) -> None:
    for more in CHOICES_WITH_GRAMMAR[:2]:
        grammar = grammar_of(continuing(begun, **more))
        assert allows(grammar, '"}}</tool_call>')
        assert not allows(grammar, '"}}')
        assert not allows(grammar, PROSE)


@pytest.mark.parametrize("cut", range(len(HEAD) + 1, len(GOOD)))
def test_arguments_that_the_request_begins_may_end_wherever_they_were_cut(cut: int) -> None:
    grammar = grammar_of(continuing(GOOD[:cut], tool_choice="required"))
    assert allows(grammar, GOOD[cut:]) and allows(grammar, GOOD[cut:] + OTHER)
    is_whole = cut >= len(GOOD) - len(CLOSING_TAG)
    assert allows(grammar, f"x{CLOSING_TAG}") != is_whole


@pytest.mark.parametrize("more", CHOICES_WITH_GRAMMAR, ids=["required", "named", "strict"])
@pytest.mark.parametrize("said", ["<tool_call> is a tag.", "<tool_call>{not", "<tool_call>[1"])
def test_a_tag_that_the_request_speaks_of_begins_no_call(said: str, more: Any) -> None:
    grammar = grammar_of(continuing(said, **more))
    assert allows(grammar, GOOD) and not allows(grammar, BAD_ARGUMENTS)
    assert allows(grammar, PROSE) == ("tools" in more)


def test_arguments_that_the_request_begins_are_not_taken_for_strict() -> None:
    with pytest.raises(ValueError, match="ends inside a call.*날씨"):
        grammar_of(continuing(GOOD[:len(HEAD) + 4], tools=tools(strict=True)))
    of_the_other = OTHER[:-len("}}</tool_call>")]
    mixed = [tools(strict=True)[0], tools()[1]]
    assert grammar_of(continuing(of_the_other, tools=mixed))


def test_a_tag_that_is_a_token_ends_what_the_request_begins() -> None:
    special = [OPENING_TAG, CLOSING_TAG]
    tokenizer = LLTokenizer(TokenizerWrapper(Tokens(*special)))
    grammar = build_call_grammar(
        [CallableTool("f")], must_call=True, partial_call='<tool_call>{"name":"f',
        special_tokens=special,
    )
    for tokens in ([*b'"}', 258], list(b'"}</tool_call>')):
        matcher = LLMatcher(tokenizer, grammar)
        assert matcher.try_consume_tokens(tokens) == len(tokens), matcher.get_error()
        assert matcher.is_accepting()
