"""A call that the request's last message begins and the model ends, however it is cut."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from devtools.chat_completions import both, expected, request
from devtools.conversations import BY_NAME
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.openai.responses.utils import should_continue_final_message

from midm_vllm.markup.events import ArgumentText, CallEnded, CallStarted, ContentText, Event
from midm_vllm.markup.accumulator import Output
from midm_vllm.offline import parse
from midm_vllm.serving.requests.continuation import ContinuationReader, partial_call

CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


def asked(content: Any, **more: Any) -> Any:
    message = {"role": "assistant", "content": content}
    return SimpleNamespace(**{"continue_final_message": True, "messages": [message]} | more)


def events(begun: str, rest: str, size: int) -> list[Event]:
    reader = ContinuationReader(begun)
    told: list[Event] = []
    for start in range(0, len(rest), size):
        told += reader.feed(rest[start : start + size])
    return told + reader.finish()


def read(begun: str, rest: str, size: int) -> tuple[str, list[tuple[str, str, bool]]]:
    output = Output()
    output.add(events(begun, rest, size))
    return output.content, [(call.name, call.arguments, call.complete) for call in output.calls]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("cut", range(len("<tool_call>"), len(CALL) - len("</tool_call>") + 1))
def test_a_partial_call_is_reported_whole_wherever_it_was_cut(cut: int, size: int) -> None:
    begun = partial_call(asked(f"Sure. {CALL[:cut]}"))
    assert begun == CALL[:cut]
    assert read(begun, CALL[cut:], size) == ("", [("add", '{"a": 1}', True)])


@pytest.mark.parametrize("status", ["in_progress", "incomplete", "completed", None])
@pytest.mark.parametrize("parts", [True, False])
def test_in_responses_an_incomplete_message_is_continued(status: Any, parts: bool) -> None:
    begun = CALL[:30]
    content: Any = [{"type": "output_text", "text": begun}] if parts else begun
    last = {"type": "message", "role": "assistant", "content": content}
    if status is not None:
        last["status"] = status
    request = ResponsesRequest.model_validate(
        {"input": [{"role": "user", "content": "?"}, last], "tools": []}
    )
    # What vLLM thinks of it decides whether the model goes on.
    assert bool(partial_call(request)) == should_continue_final_message(request.input)
    assert partial_call(request) in (begun, "")


@pytest.mark.parametrize(
    "items", ["?", [{"role": "user", "content": CALL[:30]}], [
        {"type": "function_call_output", "call_id": "a", "output": "", "status": "incomplete"}
    ]], ids=str,
)
def test_in_responses_nothing_else_is(items: Any) -> None:
    assert partial_call(ResponsesRequest.model_validate({"input": items})) == ""


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("begun", "rest"),
    [
        ("<tool_call>", " is how a call begins."),
        ("<tool_call>{", "not JSON}"),
        ('<tool_call>{"name": ', "5}"),
        ('<tool_call>\n{"na', 'me": "add'),
        ("<tool_call> and ", f"then {CALL}"),
    ],
)
def test_what_proves_to_be_no_call_comes_back_without_what_was_begun(
    begun: str, rest: str, size: int
) -> None:
    content, calls = read(begun, rest, size)
    expected = rest.removesuffix(CALL)
    assert content.rstrip() == expected.rstrip()
    assert len(calls) == rest.count(CALL)


def test_a_call_that_was_begun_goes_before_another() -> None:
    assert events(CALL[:20], CALL[20:] + CALL, 1000) == [
        CallStarted(0, "add"), ArgumentText(0, '{"a": 1}'), CallEnded(0),
        CallStarted(1, "add"), ArgumentText(1, '{"a": 1}'), CallEnded(1),
    ]
    assert not any(isinstance(event, ContentText) for event in events(CALL[:20], CALL[20:], 1))


@pytest.mark.parametrize(
    "request_",
    [
        asked("Sure."),
        asked(f"Sure. {CALL}"),
        asked(None),
        asked(CALL[:20], continue_final_message=False),
        SimpleNamespace(messages=[]),
        None,
    ],
    ids=["text", "whole call", "no content", "not continued", "other request", "no request"],
)
def test_nothing_is_begun_where_no_call_is_open(request_: Any) -> None:
    assert partial_call(request_) == ""


def test_a_call_begun_in_parts_is_found() -> None:
    parts = [{"type": "text", "text": "Sure. "}, {"type": "text", "text": CALL[:20]}]
    assert partial_call(asked(parts)) == CALL[:20]


@pytest.mark.parametrize("end", ['{"name": "get', "<tool_call>", '"arguments": {', '"서'])
def test_a_server_reports_the_partial_call_whole(client: openai.OpenAI, end: str) -> None:
    """At once and streamed: what was begun, and what the model adds to it, read as one text.

    The model was taught one way to cut its text into tokens, and goes astray after others.
    """
    taught = BY_NAME["single_call"]
    begun = taught.text[: taught.text.index(end) + len(end)]
    arguments = request(taught)
    arguments["messages"] = [*taught.messages, {"role": "assistant", "content": begun}]
    arguments["extra_body"] = {"continue_final_message": True, "add_generation_prompt": False}
    once, streamed = both(client, arguments)
    assert once == streamed
    added, _ = both(client, arguments | {"tool_choice": "none"})
    whole = parse(begun + added.content)
    assert once.calls == [(call.name, call.arguments) for call in whole.calls]
    assert once.content == whole.content.removeprefix(begun)
    if end == '{"name": "get':
        assert once == expected(taught)


@pytest.mark.parametrize("cut", ["<tool_call>", '{"name": "get', '"arguments": ', "}}", "</tool_"])
def test_a_server_holds_what_must_be_a_call_to_the_one_that_was_begun(
    client: openai.OpenAI, cut: str
) -> None:
    taught = BY_NAME["single_call"]
    begun = taught.text[: taught.text.index(cut) + len(cut)]
    arguments = request(taught, tool_choice="required")
    arguments["messages"] = [*taught.messages, {"role": "assistant", "content": begun}]
    arguments["extra_body"] = {"continue_final_message": True, "add_generation_prompt": False}
    once, streamed = both(client, arguments)
    assert once == streamed
    assert not once.content
    [(name, told), *_] = once.calls
    assert name in {tool["function"]["name"] for tool in taught.tools}
    assert once.finish_reason == "length" or isinstance(json.loads(told), dict)
