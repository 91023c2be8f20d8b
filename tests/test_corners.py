"""Options of a request that touch tool calls in odd places, streamed and at once."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from chat import answers, request, streamed_answers
from taught_conversations import BY_NAME


def both(client: openai.OpenAI, arguments: dict[str, Any]) -> tuple[Any, Any]:
    [once] = answers(client.chat.completions.create(**arguments))
    [streamed] = streamed_answers(client.chat.completions.create(**arguments, stream=True))
    return once, streamed


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
def test_a_call_cut_off_says_length_but_at_once_with_auto(
    client: openai.OpenAI, choice: Any, at_once: str
) -> None:
    """vLLM 0.32's chat serving sets "tool_calls" for any call of an answer at once with
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
