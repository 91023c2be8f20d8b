"""Options of a request that touch tool calls in odd places, streaming and non-streaming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from devtools.chat_completions import answers, both, request, streamed_answers
from devtools.conversations import BY_NAME
from devtools.server import MODEL, Server
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from tokenizers import Tokenizer


@pytest.mark.parametrize(
    ("stop", "arguments"),
    [("서울", '{"city": "'), ("unit", '{"city": "서울", "'), ('": "섭', '{"city": "서울", "unit')],
)
def test_a_stop_string_inside_arguments_ends_them_there(
    client: openai.OpenAI, stop: str, arguments: str
) -> None:
    once, streamed = both(client, request(BY_NAME["single_call"], stop=[stop]))
    assert once == streamed
    assert (once.calls, once.content) == ([("get_weather", arguments)], "")
    assert once.finish_reason == "tool_calls"


def test_a_stop_string_before_a_call_leaves_what_was_written(client: openai.OpenAI) -> None:
    arguments = request(BY_NAME["single_call"], stop=["_weather"])
    once, streamed = both(client, arguments)
    assert once == streamed
    assert (once.calls, once.content) == ([], '<tool_call>{"name": "get')


@pytest.mark.parametrize("name", ["single_call", "prose_then_call", "call_without_arguments"])
def test_logprobs_come_for_every_token_of_a_call(client: openai.OpenAI, name: str) -> None:
    arguments = request(BY_NAME[name], logprobs=True, top_logprobs=1)
    completion = client.chat.completions.create(**arguments)
    assert completion.usage is not None and completion.choices[0].logprobs is not None
    tokens = [entry.token for entry in completion.choices[0].logprobs.content or ()]
    assert len(tokens) == completion.usage.completion_tokens
    streamed = [
        entry.token
        for chunk in client.chat.completions.create(**arguments, stream=True)
        for choice in chunk.choices if choice.logprobs is not None
        for entry in choice.logprobs.content or ()
    ]
    assert streamed == tokens


@pytest.mark.parametrize(
    ("choice", "at_once"),
    [("auto", "tool_calls"), ("required", "length"),
     ({"type": "function", "function": {"name": "get_weather"}}, "length")],
    ids=str,
)
def test_a_truncated_call_has_finish_reason_length_except_non_streaming_with_auto(
    client: openai.OpenAI, choice: Any, at_once: str
) -> None:
    """vLLM 0.32's chat serving sets "tool_calls" for any call of a non-streaming answer with
    `auto`, and asks the reason only with `required`. No parser is told why an output ended.
    """
    arguments = request(BY_NAME["single_call"], tool_choice=choice, max_completion_tokens=20)
    once, streamed = both(client, arguments)
    assert (streamed.content, streamed.calls) == (once.content, once.calls)
    assert len(once.calls) == 1
    assert (once.finish_reason, streamed.finish_reason) == (at_once, "length")


def test_a_named_call_ends_with_stop(client: openai.OpenAI) -> None:
    """As OpenAI's API has it: "tool_calls" only where the model chose to call."""
    choice = {"type": "function", "function": {"name": "get_weather"}}
    once, streamed = both(client, request(BY_NAME["single_call"], tool_choice=choice))
    assert once == streamed
    assert (len(once.calls), once.finish_reason) == (1, "stop")


EOT = "<|eot_id|>"


@pytest.mark.parametrize("name", [EOT, f"날씨 {EOT}"])
def test_a_tool_whose_name_holds_a_control_token_can_be_called(
    client: openai.OpenAI, name: str
) -> None:
    """The grammar wants it written with escapes: its tokens cannot be written as text."""
    tool = {"type": "function", "function": {"name": name, "parameters": {}}}
    once, streamed = both(
        client, request(BY_NAME["single_call"], tools=[tool], tool_choice="required")
    )
    assert once == streamed
    assert once.calls[0] == (name, "{}")


@pytest.mark.parametrize("schema", [
    {"properties": {"a": {"enum": [f"x{EOT}", "y"]}}},
    {"properties": {EOT: {"type": "null"}}},
    {"properties": {"a": {"type": "string", "pattern": r"^<\|eot_id\|>$"}}},
], ids=["value", "name", "pattern"])
def test_a_schema_with_a_control_token_is_rejected_if_strict_and_else_not_enforced(
    client: openai.OpenAI, schema: dict[str, Any]
) -> None:
    schema |= {"type": "object", "required": list(schema["properties"])}
    function = {"name": "get_weather", "parameters": schema}
    arguments = request(BY_NAME["single_call"], tool_choice="required")
    arguments |= {"tools": [{"type": "function", "function": function}]}
    once, streamed = both(client, arguments)
    assert once == streamed and once.calls[0][0] == "get_weather"
    function["strict"] = True
    with pytest.raises(openai.BadRequestError, match="a control token of this model's"):
        client.chat.completions.create(**arguments)


def test_an_argument_of_100_kilobytes_arrives_whole(
    render_server: Server, checkpoint: Path
) -> None:
    """Through vLLM's HTTP server without an engine, which parses any tokens."""
    arguments = '{"content": "' + r'행 \"인용\" \n' * 6_500 + '"}'
    assert len(arguments.encode()) > 100_000
    text = f'<tool_call>{{"name": "write_file", "arguments": {arguments}}}</tool_call>'
    token_ids = Tokenizer.from_file(str(checkpoint / "tokenizer.json")).encode(text).ids
    chat_request = {
        "model": MODEL, "messages": [{"role": "user", "content": "?"}],
        "tools": [{"type": "function", "function": {"name": "write_file"}}],
    }

    def derender(ids: list[int], finish_reason: str | None, **more: Any) -> Any:
        chosen = {"index": 0, "finish_reason": finish_reason, "token_ids": ids}
        generated = {"request_id": "r", "choices": [chosen]}
        name = "generate_chunk" if more else "generate_response"
        response = httpx.post(
            f"{render_server.url}/v1/chat/completions/derender", timeout=300,
            json={name: generated, "chat_request": chat_request, **more},
        )
        assert response.status_code == 200, response.text
        return response.json()

    [once] = answers(ChatCompletion.model_validate(derender(token_ids, "stop")))
    assert once.calls == [("write_file", arguments)]
    state, chunks, size = None, [], len(token_ids) // 8 + 1
    for start in range(0, len(token_ids), size):
        last = start + size >= len(token_ids)
        body = derender(
            token_ids[start:start + size], "stop" if last else None,
            stream=True, stream_state=state, prompt_token_ids=[0],
        )
        state = body["stream_state"]
        chunks.append(ChatCompletionChunk.model_validate(body["chunk"]))
    [streamed] = streamed_answers(chunks)
    assert streamed.calls == once.calls
