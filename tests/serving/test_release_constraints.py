"""What the model is constrained by, and who reads what it writes, in whichever release this runs.

A request takes vLLM's own way: the class that prepares it, the parameters that the engine is given,
and their check against the server's grammar backend. The answer is read from what the model can
write then. `scripts/releases/matrix.py` runs this file in every supported release.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from release_serving import Constraint, Serving

from midm_vllm.compat.vllm_imports import ToolParser

pytestmark = pytest.mark.skipif(
    not hasattr(ToolParser, "engine_based_streaming"), reason="grammars of parsers: from 0.24"
)

PARAMETERS = {
    "type": "object",
    "properties": {"x": {"type": "integer"}},
    "required": ["x"],
    "additionalProperties": False,
}
NAMED = {"type": "function", "function": {"name": "a"}}
CALL, OTHER = (
    f'<tool_call>{{"name": "{name}", "arguments": {{"x": 1}}}}</tool_call>' for name in "ab"
)
INVALID = CALL.replace("1", '"1"')
CALLED = [("a", '{"x": 1}')]


def tools(**more: Any) -> list[dict[str, Any]]:
    return [
        {"type": "function", "function": {"name": name, "parameters": PARAMETERS, **more}}
        for name in "ab"
    ]


def ask(
    serving: Serving, text: str, stream: bool, **options: Any
) -> tuple[Constraint, list[tuple[str, str]], str]:
    """What a request is constrained by, and the calls and the content of the answer ``text``."""
    request = serving.request(**{"stream": stream, "tools": tools(), **options})
    constraint = serving.prepare(request)
    if stream:
        [answer] = serving.stream_to(request, list(text))
    else:
        answer = serving.complete_to(request, text)
    return constraint, answer.calls, answer.content


@pytest.fixture(params=[False, True], ids=["complete", "streamed"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=["auto", "guidance"])
def serving(request: pytest.FixtureRequest) -> Iterator[Serving]:
    """A server whose launcher has set nothing, and one whose user names the backend."""
    with closing(Serving(backend=request.param)) as running:
        yield running


@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
def test_required_and_named_calls_are_markup_constrained_by_the_schema(
    serving: Serving, choice: Any, stream: bool
) -> None:
    constraint, calls, content = ask(serving, CALL, stream, tool_choice=choice)
    assert (constraint.kind, constraint.backend) == ("grammar", "guidance")
    assert constraint.accepts(CALL)
    assert constraint.accepts(OTHER) == (choice == "required")
    assert not any(constraint.accepts(text) for text in (INVALID, "text", '[{"name": "a"}]', ""))
    assert (calls, content) == (CALLED, "")


def test_an_automatic_choice_is_not_constrained(serving: Serving, stream: bool) -> None:
    constraint, calls, content = ask(serving, f"So: {CALL}", stream, tool_choice="auto")
    assert constraint == Constraint()
    assert (calls, content) == (CALLED, "So:")


def test_a_strict_tool_is_constrained_by_its_schema(serving: Serving, stream: bool) -> None:
    constraint, calls, content = ask(serving, CALL, stream, tools=tools(strict=True))
    assert (constraint.kind, constraint.backend) == ("grammar", "guidance")
    assert all(constraint.accepts(text) for text in (CALL, OTHER, "text", f"So: {CALL}"))
    assert not constraint.accepts(INVALID)
    assert (calls, content) == (CALLED, "")


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_without_parallel_calls_there_is_one(
    serving: Serving, choice: str, stream: bool
) -> None:
    options = {"tool_choice": choice, "parallel_tool_calls": False}
    constraint, calls, _ = ask(serving, CALL, stream, **options)
    assert (constraint.kind, constraint.backend) == ("grammar", "guidance")
    assert constraint.accepts(CALL) and not constraint.accepts(CALL + CALL)
    assert calls == CALLED


@pytest.fixture
def other() -> Iterator[Serving]:
    """A server whose user names another grammar backend."""
    with closing(Serving(backend="xgrammar")) as running:
        yield running


JSON_CALL = '{"name": "a", "parameters": {"x": 1}}'
JSON = [
    pytest.param("required", f"[{JSON_CALL}]", CALLED, id="required"),
    pytest.param("required", f"\n[ {JSON_CALL},\n{JSON_CALL}]", CALLED * 2, id="two calls"),
    pytest.param(NAMED, '{"x": 1}', CALLED, id="named"),
]


@pytest.mark.parametrize("choice, text, expected", JSON)
def test_under_another_backend_required_and_named_calls_are_json(
    other: Serving, choice: Any, text: str, expected: Any, stream: bool
) -> None:
    constraint, calls, content = ask(other, text, stream, tool_choice=choice)
    assert (constraint.kind, constraint.backend) == ("json", "xgrammar")
    assert (calls, content) == (expected, "")


def test_under_another_backend_a_strict_tool_is_rejected(other: Serving) -> None:
    request = other.request(tools=tools(strict=True))
    with pytest.raises(ValueError, match="grammar backend .xgrammar.*\"backend\": \"guidance\""):
        other.prepare(request)


def test_under_another_backend_an_automatic_choice_is_read_as_markup(
    other: Serving, stream: bool
) -> None:
    constraint, calls, content = ask(other, CALL, stream, tool_choice="auto")
    assert constraint == Constraint()
    assert (calls, content) == (CALLED, "")


@pytest.mark.parametrize("choice, text, expected", [JSON[0], JSON[2]])
def test_json_that_is_cut_off_is_a_call_as_far_as_it_goes(
    other: Serving, choice: Any, text: str, expected: Any
) -> None:
    for end in range(len(text)):
        request = other.request(stream=True, tools=tools(), tool_choice=choice)
        other.prepare(request)
        [answer] = other.stream_to(request, list(text[:end]), finish_reason="length")
        assert "<tool_call>" not in answer.content
        for name, arguments in answer.calls:
            assert name == "a" and '{"x": 1}'.startswith(arguments)


@pytest.mark.parametrize("backend", ["auto", "xgrammar"])
@pytest.mark.parametrize("choice", ["auto", "required", NAMED], ids=["auto", "required", "named"])
def test_vllm_keeps_no_text_of_a_stream(backend: str, choice: Any) -> None:
    """It copies what it keeps with every delta."""
    with closing(Serving(backend=backend)) as serving:
        request = serving.request(stream=True, tools=tools(), tool_choice=choice)
        serving.prepare(request)
        parser = serving.whole_parser(request)
        for text in CALL:
            parser.parse_delta(text, [3], request, prompt_token_ids=[0], finished=False)
        assert parser._stream_state.previous_text == ""
        assert parser._stream_state.previous_token_ids == []
