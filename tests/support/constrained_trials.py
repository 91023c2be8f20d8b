"""Requests for calls to an untrained checkpoint at temperature 1 and above, and their verdicts.

Whatever it draws, each answer that `max_tokens` did not cut off must be calls whose arguments are
valid by their schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
from devtools.cases.schemas import SCHEMAS, Schema
from openai import OpenAI
from transformers import AutoTokenizer

MODEL = "midm-untrained"
NAME = 'call "it"\\지금'
MAX_TOKENS = 400
TEMPERATURES = (1.0, 1.5, 2.0)
#: How the call is asked for; "strict" leaves the choice to the model.
CHOICES = ("required", "named", "strict")
#: Of the tag's tokens, to be multiplied by the temperature: with it an untrained model comes to
#: write the tag by itself, and goes on writing pieces of it inside the arguments' strings.
TAG_BIAS = 10.0


@dataclass
class Result:
    """What came of one request: the calls' (name, arguments), and all that is not a call."""

    calls: list[tuple[str, str]] = field(default_factory=list)
    content: str = ""
    finish_reason: str | None = None


@dataclass
class Trial:
    """One request, and what is wrong with its answer; None where nothing is."""

    schema: str
    choice: str
    streamed: bool
    temperature: float
    seed: int
    result: Result = field(default_factory=Result)
    fault: str | None = None

    @property
    def verdict(self) -> str:
        if self.result.finish_reason == "length":
            return "cut off"
        if self.choice == "strict" and not self.result.calls:
            return "prose only"
        return "valid" if self.fault is None else "wrong"


def request(trial: Trial, tag_ids: Sequence[int]) -> dict[str, Any]:
    """The arguments of `chat.completions.create` for a trial."""
    function: dict[str, Any] = {"name": NAME, "parameters": SCHEMAS[trial.schema]}
    arguments: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"Call it, {trial.seed}."}],
        "tools": [{"type": "function", "function": function}],
        "temperature": trial.temperature,
        "top_p": 1.0,
        "extra_body": {"top_k": 0},
        "max_tokens": MAX_TOKENS,
        # Without this a model that draws at random goes on calling.
        "parallel_tool_calls": False,
    }
    if trial.choice == "strict":
        function["strict"] = True
        bias = TAG_BIAS * trial.temperature
        arguments |= {"tool_choice": "auto", "logit_bias": {str(id): bias for id in tag_ids}}
    elif trial.choice == "named":
        arguments["tool_choice"] = {"type": "function", "function": {"name": NAME}}
    else:
        arguments["tool_choice"] = "required"
    return arguments


def run(client: OpenAI, trial: Trial, tag_ids: Sequence[int]) -> Trial:
    """Make a trial's request and judge the answer."""
    arguments = request(trial, tag_ids)
    result = trial.result
    if trial.streamed:
        for chunk in client.chat.completions.create(**arguments, stream=True):
            for choice in chunk.choices:
                result.content += choice.delta.content or ""
                result.finish_reason = choice.finish_reason or result.finish_reason
                for delta in choice.delta.tool_calls or ():
                    assert delta.function is not None
                    if delta.function.name:
                        result.calls.append((delta.function.name, ""))
                    name, so_far = result.calls[delta.index]
                    result.calls[delta.index] = (name, so_far + (delta.function.arguments or ""))
    else:
        completion = client.chat.completions.create(**arguments)
        [choice] = completion.choices
        result.content = choice.message.content or ""
        result.finish_reason = choice.finish_reason
        if completion.usage and completion.usage.completion_tokens == MAX_TOKENS:
            # With "auto", vLLM (seen in 0.32) says "tool_calls" of a call that was cut off.
            result.finish_reason = "length"
        for call in choice.message.tool_calls or ():
            assert call.type == "function"
            result.calls.append((call.function.name, call.function.arguments))
    trial.fault = fault(result, trial.choice, SCHEMAS[trial.schema])
    return trial


def fault(result: Result, choice: str, schema: Schema) -> str | None:
    """What is wrong with an answer that was not cut off."""
    if not result.calls:
        return None if choice == "strict" else "no call"
    if choice != "strict" and result.content:
        return f"text beside the calls: {result.content!r}"
    if choice != "required" and len(result.calls) > 1:
        return "more than one call"
    for name, arguments in result.calls:
        if name != NAME:
            return f"another name: {name!r}"
        try:
            jsonschema.validate(json.loads(arguments), schema)
        except (ValueError, jsonschema.ValidationError) as error:
            return f"{arguments!r}: {str(error).splitlines()[0]}"
    return None


def trials(rounds: int) -> Iterator[Trial]:
    """Each schema and choice, streamed and not, at the temperatures in turn."""
    seed = 0
    for _ in range(rounds):
        for schema in SCHEMAS:
            for choice in CHOICES:
                for streamed in (False, True):
                    yield Trial(
                        schema, choice, streamed, TEMPERATURES[seed % len(TEMPERATURES)], seed
                    )
                    seed += 1


def prove(url: str, checkpoint: Path, trials: Iterable[Trial]) -> list[Trial]:
    """Run the trials against the server at `url`, four at a time."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tag_ids = tokenizer.encode('<tool_call>{"', add_special_tokens=False)
    client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda trial: run(client, trial, tag_ids), trials))


def serve_arguments(checkpoint: Path) -> list[str]:
    return ["serve", str(checkpoint), "--served-model-name", MODEL, "--enforce-eager",
            "--max-model-len", "16384", "--tool-call-parser", "midm-parser"]
