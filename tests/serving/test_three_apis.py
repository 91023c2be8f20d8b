"""One agent loop, three APIs: Chat Completions, Responses and Messages, streamed and not.

The newest OpenAI and Anthropic clients against a real vLLM. That the model answers as it was
taught says that all three render the same prompt.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from devtools.chat_completions import (
    answers,
    both,
    expected,
    openai_client,
    request,
    streamed_answers,
)
from devtools.conversations import BY_NAME, CONVERSATIONS, Conversation
from devtools.server import ENGINE_IN_ONE_PROCESS, MODEL, Server, run_server, serve_arguments

pytestmark = pytest.mark.first

#: A question, its calls, and the taught answer once the calls' results are there.
LOOPS = [
    ("area_call", "area_answer"),
    ("single_call_english", "answer_after_result_english"),
    ("parallel_calls_in_one_block", "answer_after_results"),
]
every_loop = pytest.mark.parametrize(
    ("asked", "answered"),
    [(BY_NAME[asked], BY_NAME[answered]) for asked, answered in LOOPS],
    ids=[asked for asked, _ in LOOPS],
)


def results(answered: Conversation) -> list[str]:
    return [message["content"] for message in answered.messages if message["role"] == "tool"]


#: Those that end in calls, and begin with a question: a history is written otherwise in each API.
CALLING = pytest.mark.parametrize(
    "conversation",
    [each for each in CONVERSATIONS if each.calls and not results(each)],
    ids=lambda conversation: conversation.name,
)
streamed_and_not = pytest.mark.parametrize(
    "stream", [False, True], ids=["non-streaming", "streaming"]
)


def expected_calls(conversation: Conversation) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in conversation.calls]


# Responses.


def responses_request(conversation: Conversation, **more: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "input": list(conversation.messages),
        "tools": [{"type": "function", **tool["function"]} for tool in conversation.tools],
        "temperature": 0,
        "max_output_tokens": 2000,
        **more,
    }


def respond(client: openai.OpenAI, stream: bool, arguments: dict[str, Any]) -> Any:
    """The response; streamed, it is the one that the events end with, and they agree with it."""
    if not stream:
        return client.responses.create(**arguments)
    events = list(client.responses.create(**arguments, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].type == "response.completed"
    response = events[-1].response
    assert [item_from(events, index) for index in range(len(response.output))] == [
        (item.type, item.arguments if item.type == "function_call" else item.content[0].text)
        for item in response.output
    ]
    return response


def item_from(events: list[Any], index: int) -> tuple[str, str]:
    """The type and the text of one output item, from its events alone, which come in order."""
    mine = [event for event in events if getattr(event, "output_index", None) == index]
    kind = mine[0].item.type
    if kind == "function_call":
        begin, part, end = ["output_item.added"], "function_call_arguments", ["output_item.done"]
    else:
        begin = ["output_item.added", "content_part.added"]
        part, end = "output_text", ["content_part.done", "output_item.done"]
    deltas = [event.delta for event in mine if event.type == f"response.{part}.delta"]
    order = [*begin, *[f"{part}.delta"] * len(deltas), f"{part}.done", *end]
    assert [event.type for event in mine] == [f"response.{name}" for name in order]
    done = next(event for event in mine if event.type == f"response.{part}.done")
    text: str = done.arguments if kind == "function_call" else done.text
    assert "".join(deltas) == text
    return kind, text


def function_calls(response: Any) -> list[Any]:
    return [item for item in response.output if item.type == "function_call"]


@CALLING
@streamed_and_not
def test_responses_give_the_calls(
    client: openai.OpenAI, conversation: Conversation, stream: bool
) -> None:
    response = respond(client, stream, responses_request(conversation))
    calls = function_calls(response)
    assert [(call.name, call.arguments) for call in calls] == expected_calls(conversation)
    assert response.output_text == (conversation.content or "")
    assert len({call.call_id for call in calls}) == len(calls)


@every_loop
@streamed_and_not
def test_responses_run_the_loop_with_the_history_as_input(
    client: openai.OpenAI, asked: Conversation, answered: Conversation, stream: bool
) -> None:
    response = respond(client, stream, responses_request(asked))
    history = [*asked.messages, *(item.model_dump(exclude_none=True) for item in response.output)]
    history += outputs(response, answered)
    response = respond(client, stream, responses_request(asked, input=history))
    assert (response.output_text, function_calls(response)) == (answered.text, [])


def outputs(response: Any, answered: Conversation) -> list[dict[str, Any]]:
    return [
        {"type": "function_call_output", "call_id": call.call_id, "output": result}
        for call, result in zip(function_calls(response), results(answered), strict=True)
    ]


def test_responses_call_only_the_allowed_tools(client: openai.OpenAI) -> None:
    conversation = BY_NAME["single_call_english"]  # With get_weather, and get_time.
    for stream in (False, True):
        for mode in ("required", "auto"):
            response = respond(client, stream, responses_request(
                conversation, parallel_tool_calls=False, tool_choice={
                    "type": "allowed_tools", "mode": mode,
                    "tools": [{"type": "function", "name": "get_time"}],
                },
            ))
            calls = [(call.name, call.arguments) for call in function_calls(response)]
            assert calls == [("get_time", "{}")] or (mode == "auto" and not calls)


CRM = {"type": "namespace", "name": "crm", "description": "", "tools": [
    {"type": "function", "name": "find", "parameters": {
        "type": "object", "properties": {"state": {"enum": ["open"]}}, "required": ["state"]}}]}
HOSTED = [{"type": "web_search"}, {"type": "code_interpreter", "container": {"type": "auto"}},
          {"type": "mcp", "server_label": "x", "server_url": "http://127.0.0.1/"}]


@streamed_and_not
def test_responses_call_a_function_of_a_namespace_beside_hosted_tools(
    client: openai.OpenAI, stream: bool
) -> None:
    response = respond(client, stream, responses_request(
        BY_NAME["single_call"], tools=[CRM, *HOSTED], parallel_tool_calls=False,
        tool_choice={"type": "function", "name": "find"},
    ))
    [call] = function_calls(response)
    assert (call.namespace, call.name, call.arguments) == ("crm", "find", '{"state": "open"}')


@streamed_and_not
@pytest.mark.parametrize("choice", [{"type": "web_search_preview"}, {"type": "shell"}], ids=str)
def test_responses_rejects_a_required_hosted_tool(
    client: openai.OpenAI, stream: bool, choice: Any
) -> None:
    arguments = responses_request(BY_NAME["single_call"], tool_choice=choice)
    arguments["tools"] = [*arguments["tools"], *HOSTED]
    with pytest.raises(openai.BadRequestError, match="nothing here runs them"):
        respond(client, stream, arguments)


@streamed_and_not
def test_responses_continue_half_a_call(client: openai.OpenAI, stream: bool) -> None:
    taught = BY_NAME["single_call"]
    end = '{"name": "get'
    begun = taught.text[: taught.text.index(end) + len(end)]
    last = {"type": "message", "role": "assistant", "status": "incomplete",
            "content": [{"type": "output_text", "text": begun}]}
    response = respond(
        client, stream, responses_request(taught, input=[*taught.messages, last])
    )
    calls = [(call.name, call.arguments) for call in function_calls(response)]
    assert (calls, response.output_text) == (expected_calls(taught), "")


def test_chat_does_not_know_allowed_tools(client: openai.OpenAI) -> None:
    """vLLM 0.32 wants a function in a tool choice that is an object; it says so."""
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}
    with pytest.raises(openai.BadRequestError, match="tool_choice"):
        client.chat.completions.create(**request(BY_NAME["single_call"], tool_choice=choice))


# Messages.


@pytest.fixture(scope="session")
def anthropic_client(server: Server) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)


def messages_request(conversation: Conversation, **more: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "messages": list(conversation.messages),
        "tools": [
            {"name": tool["function"]["name"], "description": tool["function"]["description"],
             "input_schema": tool["function"]["parameters"]}
            for tool in conversation.tools
        ],
        "max_tokens": 2000,
        # The client's newest release has no parameter for it.
        "extra_body": {"temperature": 0},
        **more,
    }


def message(client: anthropic.Anthropic, stream: bool, arguments: dict[str, Any]) -> Any:
    """The message; streamed, it is what the client makes of the events, which come in order."""
    if not stream:
        return client.messages.create(**arguments)
    with client.messages.stream(**arguments) as events:
        types = [
            f"{event.type} {event.index}" if event.type.startswith("content") else event.type
            for event in events
        ]
        final = events.get_final_message()
    raw = [name for name in types if name not in ("text", "input_json")]
    shape = list(dict.fromkeys(raw))
    blocks = [
        f"content_block_{step} {index}"
        for index in range(len(final.content)) for step in ("start", "delta", "stop")
    ]
    assert shape == ["message_start", *blocks, "message_delta", "message_stop"]
    return final


def tool_uses(response: Any) -> list[Any]:
    return [block for block in response.content if block.type == "tool_use"]


def text_of(response: Any) -> str:
    return "".join(block.text for block in response.content if block.type == "text")


@CALLING
@streamed_and_not
def test_messages_give_the_calls(
    anthropic_client: anthropic.Anthropic, conversation: Conversation, stream: bool
) -> None:
    response = message(anthropic_client, stream, messages_request(conversation))
    calls = tool_uses(response)
    assert [(call.name, call.input) for call in calls] == [
        (call.name, json.loads(call.arguments)) for call in conversation.calls
    ]
    assert text_of(response) == (conversation.content or "")
    assert response.stop_reason == "tool_use"


@every_loop
@streamed_and_not
def test_messages_run_the_loop(
    anthropic_client: anthropic.Anthropic, asked: Conversation, answered: Conversation, stream: bool
) -> None:
    response = message(anthropic_client, stream, messages_request(asked))
    turn = [block.model_dump(exclude_none=True) for block in response.content]
    given = [
        {"type": "tool_result", "tool_use_id": call.id, "content": result}
        for call, result in zip(tool_uses(response), results(answered), strict=True)
    ]
    history = [*asked.messages, {"role": "assistant", "content": turn},
               {"role": "user", "content": given}]
    response = message(anthropic_client, stream, messages_request(asked, messages=history))
    assert (text_of(response), response.stop_reason) == (answered.text, "end_turn")


@pytest.mark.parametrize(
    "choice", [{"type": "any"}, {"type": "tool", "name": "get_time"}], ids=lambda one: one["type"]
)
def test_messages_call_when_they_must(
    anthropic_client: anthropic.Anthropic, choice: dict[str, str]
) -> None:
    arguments = messages_request(
        BY_NAME["answer_that_needs_no_tool_english"],
        tool_choice={**choice, "disable_parallel_tool_use": True},
    )
    for stream in (False, True):
        response = message(anthropic_client, stream, arguments)
        [call] = tool_uses(response)
        assert text_of(response) == "" and call.name in ("get_weather", "get_time")


@pytest.mark.parametrize("name", ["single_call", "parallel_calls_in_one_block"])
def test_messages_that_are_cut_off_in_a_call_give_what_there_is_of_it(
    anthropic_client: anthropic.Anthropic, name: str
) -> None:
    arguments = messages_request(BY_NAME[name])
    whole = [(call.name, json.loads(call.arguments)) for call in BY_NAME[name].calls]
    cut_off = []
    for max_tokens in range(5, 60, 5):
        once, streamed = (
            message(anthropic_client, stream, arguments | {"max_tokens": max_tokens})
            for stream in (False, True)
        )
        calls = [(call.name, call.input) for call in tool_uses(once)]
        if once.stop_reason == "tool_use":
            # vLLM, not streamed, takes complete calls for all of the answer.
            assert calls == whole[: len(calls)]
        else:
            assert once.stop_reason == streamed.stop_reason == "max_tokens"
            assert [(call.name, call.input) for call in tool_uses(streamed)] == calls
            cut_off += calls
    assert cut_off and calls == whole


# Chat Completions.


@streamed_and_not
def test_chat_takes_a_null_tool_choice_for_none_given(client: openai.OpenAI, stream: bool) -> None:
    asked = BY_NAME["parallel_calls_in_blocks_of_their_own"]
    null: dict[str, Any] = {"extra_body": {"tool_choice": None}, "stream": stream}

    def answer(**more: Any) -> Any:
        created = client.chat.completions.create(**request(asked, **null, **more))
        return (streamed_answers(created) if stream else answers(created))[0]

    assert answer() == expected(asked)
    [call] = answer(parallel_tool_calls=False).calls
    assert call[0] == expected(asked).calls[0][0]
    schema = {"type": "object", "properties": {"a": {"contains": {"type": "null"}}}}
    strict = {"name": "look", "parameters": schema, "strict": True}
    with pytest.raises(openai.BadRequestError, match="look"):
        answer(tools=[{"type": "function", "function": strict}])


def complete(client: openai.OpenAI, stream: bool, arguments: dict[str, Any]) -> Any:
    """The completion; streamed, it is what the client makes of the chunks."""
    if not stream:
        return client.chat.completions.create(**arguments)
    with client.chat.completions.stream(**arguments) as events:
        return events.get_final_completion()


@every_loop
@streamed_and_not
def test_chat_runs_the_loop(
    client: openai.OpenAI, asked: Conversation, answered: Conversation, stream: bool
) -> None:
    turn = complete(client, stream, request(asked)).choices[0].message
    calls = turn.tool_calls or []
    given = [
        {"role": "tool", "tool_call_id": call.id, "content": result}
        for call, result in zip(calls, results(answered), strict=True)
    ]
    sent = turn.model_dump(exclude_none=True)
    for call in sent["tool_calls"]:
        call["function"].pop("parsed_arguments", None)
    history = [*asked.messages, sent, *given]
    final = complete(client, stream, request(asked, messages=history)).choices[0]
    assert (final.message.content, final.finish_reason) == (answered.text, "stop")


# vLLM's other ways, on one server: its own JSON for calls that must be, and stored responses.


@pytest.fixture(scope="module")
def unenforced(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    arguments = serve_arguments(
        checkpoint, "--no-enable-prefix-caching",
        "--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}',
    )
    environment = {
        **ENGINE_IN_ONE_PROCESS,
        "VLLM_ENFORCE_STRICT_TOOL_CALLING": "0", "VLLM_ENABLE_RESPONSES_API_STORE": "1",
    }
    log = tmp_path_factory.mktemp("unenforced") / "vllm.log"
    with run_server(arguments, log, environment) as running:
        yield openai_client(running)


@every_loop
@streamed_and_not
def test_responses_run_the_loop_from_what_is_stored(
    unenforced: openai.OpenAI, asked: Conversation, answered: Conversation, stream: bool
) -> None:
    """vLLM 0.32 drops the calls of a stored response, so they are sent again with the results.

    Results alone are answered, too, but the model does not see what they are results of.
    """
    response = respond(unenforced, stream, responses_request(asked))
    calls = [call.model_dump(exclude_none=True) for call in function_calls(response)]
    given = outputs(response, answered)
    following = responses_request(asked, previous_response_id=response.id)
    assert respond(unenforced, False, following | {"input": given}).error is None
    response = respond(unenforced, stream, following | {"input": [*calls, *given]})
    assert response.output_text == answered.text


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}], ids=str
)
@streamed_and_not
def test_without_grammars_vllm_forces_calls_its_own_way(
    unenforced: openai.OpenAI, choice: Any, stream: bool
) -> None:
    arguments = request(
        BY_NAME["single_call"], tool_choice=choice, parallel_tool_calls=False,
        max_completion_tokens=400,
    )
    completion = complete(unenforced, stream, arguments)
    call = (completion.choices[0].message.tool_calls or [])[0]
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments).keys() == {"city", "unit"}


@CALLING
def test_without_grammars_auto_is_read_to_the_end_of_the_stream(
    unenforced: openai.OpenAI, conversation: Conversation
) -> None:
    right = expected(conversation)
    assert both(unenforced, request(conversation)) == (right, right)
