"""A real vLLM answers real OpenAI clients with Mi:dm's tool calls."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from devtools.chat_completions import (
    RESPONSE_SAYS_CUT_OFF,
    STREAM_SAYS_CUT_OFF,
    answers,
    cut_off_reason,
    expected,
    openai_client,
    request,
    streamed_answers,
)
from devtools.conversations import BY_NAME, CONVERSATIONS, Conversation
from devtools.server import ENGINE_IN_ONE_PROCESS, Server, run_server, serve_arguments

every_conversation = pytest.mark.parametrize(
    "conversation", CONVERSATIONS, ids=lambda conversation: conversation.name
)
CALLING = [conversation for conversation in CONVERSATIONS if conversation.calls]
# Greedy decoding allows one choice only; with one token to sample from, any number.
TWO_CHOICES = {"n": 2, "temperature": 1, "extra_body": {"top_k": 1}}
SHORT_CALLS = ["single_call", "prose_then_call", "parallel_calls_in_one_block"]


@every_conversation
def test_non_streaming_answer_is_complete(
    client: openai.OpenAI, conversation: Conversation
) -> None:
    completion = client.chat.completions.create(**request(conversation))
    assert answers(completion) == [expected(conversation)]


@every_conversation
def test_answer_is_the_same_streamed(client: openai.OpenAI, conversation: Conversation) -> None:
    chunks = client.chat.completions.create(**request(conversation), stream=True)
    assert streamed_answers(chunks) == [expected(conversation)]


@pytest.mark.parametrize("stream", [False, True], ids=["non-streaming", "streaming"])
def test_a_required_answer_ends_where_the_model_ends_its_turn(
    client: openai.OpenAI, stream: bool
) -> None:
    """It ends with a token that is not the tokenizer's own end token, under the grammar too."""
    conversation = BY_NAME["area_call"]
    arguments = request(conversation, tool_choice="required", stream=stream)
    answered = client.chat.completions.create(**arguments)
    [answer] = streamed_answers(answered) if stream else answers(answered)
    assert answer.calls == expected(conversation).calls


#: No taught conversation has these arguments: only the schema can bring them about.
UNTAUGHT: dict[str, Any] = {
    "type": "object",
    "properties": {"area": {"enum": ["untaught place", "another one"]}},
    "required": ["area"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("stream", [False, True], ids=["non-streaming", "streaming"])
@pytest.mark.parametrize("demand", ["required", "named", "strict"])
def test_required_calls_follow_a_schema_that_the_model_was_not_trained_on(
    client: openai.OpenAI, demand: str, stream: bool
) -> None:
    conversation = BY_NAME["area_call"]
    name = conversation.calls[0].name
    function = {"name": name, "parameters": UNTAUGHT, "strict": demand == "strict" or None}
    named = {"type": "function", "function": {"name": name}}
    arguments = request(conversation) | {
        "tools": [{"type": "function", "function": function}],
        "tool_choice": named if demand == "named" else "required",
        "parallel_tool_calls": False,
        "stream": stream,
    }
    answered = client.chat.completions.create(**arguments)
    [answer] = streamed_answers(answered) if stream else answers(answered)
    [(called, called_with)] = answer.calls
    assert called == name and answer.content == ""
    assert json.loads(called_with)["area"] in UNTAUGHT["properties"]["area"]["enum"]


def test_arguments_arrive_while_the_model_writes_them(client: openai.OpenAI) -> None:
    conversation = BY_NAME["long_call_with_escapes"]
    chunks = list(client.chat.completions.create(**request(conversation), stream=True))
    with_arguments = [
        chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.tool_calls
    ]
    # Hundreds of tokens; how many come in one chunk depends on how busy the server is.
    assert len(with_arguments) > 10


@pytest.mark.parametrize("conversation", CALLING, ids=lambda conversation: conversation.name)
def test_with_tool_choice_none_the_text_is_the_users_markup_included(
    client: openai.OpenAI, conversation: Conversation
) -> None:
    arguments = request(conversation, tool_choice="none")
    once = answers(client.chat.completions.create(**arguments))
    streamed = streamed_answers(client.chat.completions.create(**arguments, stream=True))
    assert once == streamed
    assert once[0].content == conversation.text
    assert (once[0].calls, once[0].finish_reason) == ([], "stop")


@pytest.mark.parametrize("name", SHORT_CALLS)
def test_truncated_anywhere_streaming_and_non_streaming_agree(
    client: openai.OpenAI, name: str
) -> None:
    """Wherever max_tokens cuts the answer off, both ways say the same of it."""
    conversation = BY_NAME[name]
    whole = client.chat.completions.create(**request(conversation))
    assert whole.usage is not None
    for limit in range(1, whole.usage.completion_tokens):
        arguments = request(conversation, max_completion_tokens=limit)
        [once] = answers(client.chat.completions.create(**arguments))
        chunks = client.chat.completions.create(**arguments, stream=True)
        [streamed] = streamed_answers(chunks)
        assert (streamed.content, streamed.calls) == (once.content, once.calls)
        assert streamed.finish_reason == cut_off_reason(streamed, STREAM_SAYS_CUT_OFF)
        assert once.finish_reason == cut_off_reason(once, RESPONSE_SAYS_CUT_OFF)


def test_ids_are_unique_over_requests_and_choices(client: openai.OpenAI) -> None:
    arguments = request(BY_NAME["parallel_calls_in_one_block"]) | TWO_CHOICES
    ids = [
        id
        for answer in answers(client.chat.completions.create(**arguments))
        + streamed_answers(client.chat.completions.create(**arguments, stream=True), choices=2)
        for id in answer.ids
    ]
    assert len(set(ids)) == len(ids) == 8


def test_each_of_several_choices_is_read_by_itself(client: openai.OpenAI) -> None:
    conversation = BY_NAME["prose_then_call"]
    arguments = request(conversation) | TWO_CHOICES
    assert answers(client.chat.completions.create(**arguments)) == [expected(conversation)] * 2
    chunks = client.chat.completions.create(**arguments, stream=True)
    assert streamed_answers(chunks, choices=2) == [expected(conversation)] * 2


def test_usage_is_streamed_when_requested(client: openai.OpenAI) -> None:
    arguments = request(BY_NAME["single_call"])
    once = client.chat.completions.create(**arguments)
    *_, last = client.chat.completions.create(
        **arguments, stream=True, stream_options={"include_usage": True}
    )
    assert last.choices == [] and last.usage is not None and once.usage is not None
    assert last.usage.completion_tokens == once.usage.completion_tokens
    assert last.usage.prompt_tokens == once.usage.prompt_tokens


@pytest.mark.anyio
async def test_streams_at_the_same_time_do_not_touch_each_other(server: Server) -> None:
    conversations = [CONVERSATIONS[number % len(CONVERSATIONS)] for number in range(16)]

    async def stream(
        client: openai.AsyncOpenAI, conversation: Conversation
    ) -> list[openai.types.chat.ChatCompletionChunk]:
        chunks = await client.chat.completions.create(**request(conversation), stream=True)
        return [chunk async for chunk in chunks]

    async with openai.AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key="none", max_retries=0
    ) as client:
        streams = await asyncio.gather(*(stream(client, one) for one in conversations))
    for conversation, chunks in zip(conversations, streams):
        assert streamed_answers(chunks) == [expected(conversation)]


@pytest.mark.slow
def test_deltas_of_speculative_decoding_lose_nothing(checkpoint: Path, tmp_path: Path) -> None:
    speculation = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 3}
    arguments = serve_arguments(checkpoint, "--speculative-config", json.dumps(speculation))
    with run_server(arguments, tmp_path / "vllm.log", ENGINE_IN_ONE_PROCESS) as running:
        client = openai_client(running)
        for conversation in CONVERSATIONS:
            chunks = client.chat.completions.create(**request(conversation), stream=True)
            assert streamed_answers(chunks) == [expected(conversation)], conversation.name
