"""Checkpoints that think before they answer: `--reasoning-parser deepseek_r1` beside ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from devtools.chat_completions import openai_client
from devtools.server import MODEL
from scripted_server import Output, Script, scripted_server
from transformers import AutoModelForCausalLM, AutoTokenizer

pytestmark = pytest.mark.slow

ARGUMENTS = '{"city": "서울"}'
CALL = f'<tool_call>{{"name": "get_weather", "arguments": {ARGUMENTS}}}</tool_call>'
#: It mentions a call, as thoughts do, and thinks on.
THOUGHT = f"I may write {CALL}, or ask. <tool_call> it is, of get_weather."
TOOL: dict[str, Any] = {"type": "function", "function": {
    "name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
        "additionalProperties": False,
    },
}}
STRICT = {"type": "function", "function": TOOL["function"] | {"strict": True}}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
#: How a request may ask for the call.
REQUESTS: dict[str, dict[str, Any]] = {
    "auto": {"tools": [TOOL]},
    "strict": {"tools": [STRICT]},
    "one call": {"tools": [TOOL], "parallel_tool_calls": False},
    "required": {"tools": [TOOL], "tool_choice": "required"},
    "named": {"tools": [STRICT], "tool_choice": NAMED},
}


@pytest.fixture(scope="module")
def thinking_checkpoint(
    untrained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The small checkpoint with the tokens of a thought, as fine-tuners add them."""
    folder = tmp_path_factory.mktemp("thinking") / "checkpoint"
    tokenizer = AutoTokenizer.from_pretrained(untrained_checkpoint)
    tokenizer.add_tokens(["<think>", "</think>"])
    model = AutoModelForCausalLM.from_pretrained(untrained_checkpoint, dtype=torch.float32)
    model.resize_token_embeddings(len(tokenizer))
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def thinking(
    thinking_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[openai.OpenAI, Script]]:
    arguments = ("--reasoning-parser", "deepseek_r1", "--enable-prompt-tokens-details",
                 "--served-model-name", MODEL, "--max-model-len", "4096")
    folder = tmp_path_factory.mktemp("scripted")
    with scripted_server(thinking_checkpoint, folder, *arguments) as (server, script):
        yield openai_client(server), script


@dataclass
class Answer:
    reasoning: str = ""
    content: str = ""
    calls: list[list[str]] = field(default_factory=list)
    finish_reason: str | None = None
    cached: int = 0


def ask(client: openai.OpenAI, stream: bool, messages: list[Any], **more: Any) -> Answer:
    """The answer, streamed or not, in one form to compare."""
    answer = Answer()
    arguments = {"model": MODEL, "messages": messages, "max_tokens": 400, **more}
    if stream:
        chunks = client.chat.completions.create(
            **arguments, stream=True, stream_options={"include_usage": True}
        )
    else:
        chunks = [client.chat.completions.create(**arguments)]
    for chunk in chunks:
        for choice in chunk.choices:
            part = choice.delta if stream else choice.message
            answer.reasoning += getattr(part, "reasoning", None) or ""
            answer.content += part.content or ""
            for call in part.tool_calls or []:
                if call.id:
                    answer.calls.append([call.function.name, ""])
                answer.calls[-1][1] += call.function.arguments or ""
            answer.finish_reason = choice.finish_reason or answer.finish_reason
        if chunk.usage and chunk.usage.prompt_tokens_details:
            answer.cached = chunk.usage.prompt_tokens_details.cached_tokens or 0
    return answer


QUESTION = [{"role": "user", "content": "How is the weather in Seoul? " * 10}]


@pytest.mark.parametrize("begins", [True, False], ids=["<think>", "no <think>"])
@pytest.mark.parametrize("stream", [False, True], ids=["non-streaming", "streaming"])
@pytest.mark.parametrize("name", REQUESTS)
def test_a_call_after_a_thought_is_read(
    thinking: tuple[openai.OpenAI, Script], name: str, stream: bool, begins: bool
) -> None:
    client, script = thinking
    script.write(Output(f"{'<think>' if begins else ''}{THOUGHT}</think>{CALL}"))
    for _ in range(2):  # The second time, the prompt is in the prefix cache.
        answer = ask(client, stream, QUESTION, **REQUESTS[name])
        # vLLM leaves the first tag in where a delta has more tokens than that.
        assert answer.reasoning.removeprefix("<think>") == THOUGHT
        [(called, arguments)] = answer.calls
        assert (called, json.loads(arguments)) == ("get_weather", json.loads(ARGUMENTS))
        assert not answer.content.strip()
    assert answer.cached >= 100
    # The whole history can be sent again.
    calling = {"role": "assistant", "content": None, "reasoning": THOUGHT, "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": called, "arguments": arguments}}]}
    result = {"role": "tool", "tool_call_id": "c", "content": "21"}
    script.write(Output(f"{THOUGHT}</think>21 degrees."))
    answer = ask(client, stream, [*QUESTION, calling, result], tools=REQUESTS[name]["tools"])
    assert (answer.reasoning, answer.content.strip()) == (THOUGHT, "21 degrees.")
    assert not answer.calls and answer.cached >= 100


@pytest.mark.parametrize("stream", [False, True], ids=["non-streaming", "streaming"])
@pytest.mark.parametrize("name", ["strict", "required", "named"])
def test_the_grammar_holds_after_the_thought_alone(
    thinking: tuple[openai.OpenAI, Script], name: str, stream: bool
) -> None:
    client, script = thinking
    wrong = CALL.replace("city", "town")
    script.write(Output(f"{wrong}, {THOUGHT}</think>{wrong}"))
    answer = ask(client, stream, QUESTION, **REQUESTS[name])
    assert answer.reasoning == f"{wrong}, {THOUGHT}"
    assert all('"town"' not in arguments for _, arguments in answer.calls)


@pytest.mark.parametrize("stream", [False, True], ids=["non-streaming", "streaming"])
def test_an_answer_without_a_call_is_content(
    thinking: tuple[openai.OpenAI, Script], stream: bool
) -> None:
    client, script = thinking
    script.write(Output(f"{THOUGHT}</think>No call."))
    answer = ask(client, stream, QUESTION, **REQUESTS["auto"])
    assert (answer.reasoning, answer.content, answer.calls) == (THOUGHT, "No call.", [])


@pytest.mark.parametrize("stream", [False, True], ids=["non-streaming", "streaming"])
@pytest.mark.parametrize("name", ["auto", "required"])
def test_what_users_say_cannot_end_the_thought(
    thinking: tuple[openai.OpenAI, Script], name: str, stream: bool
) -> None:
    """vLLM looks for the end of a thought in the whole prompt."""
    client, script = thinking
    messages = [{"role": "user", "content": "What does </think> mean?"}]
    script.write(Output(f"{THOUGHT}</think>{CALL}"))
    answer = ask(client, stream, messages, **REQUESTS[name])
    assert answer.reasoning == THOUGHT
    assert [call for call, _ in answer.calls] == ["get_weather"]
