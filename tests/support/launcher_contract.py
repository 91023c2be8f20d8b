"""What a client gets through a launcher or a gateway: each kind of request, streamed and not.

The schemas that constrained requests use forbid the taught answer. An answer that conforms to them
therefore shows that the server enforced the schema.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import openai
from devtools.chat_completions import Answer, answers, expected, request
from devtools.conversations import BY_NAME, GET_WEATHER
from devtools.server import ENVIRONMENT, start_process

#: Answered as they were taught, with calls or without.
TAUGHT = ("single_call", "parallel_calls_in_one_block", "prose_then_call", "area_answer")
#: Taught are city 서울 and unit 섭씨.
FORBIDS_THE_TAUGHT_CALL = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "unit": {"type": "string", "enum": ["화씨", "fahrenheit"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
CHOICES: Mapping[str, Any] = {
    "required": "required",
    "named": {"type": "function", "function": {"name": "get_weather"}},
    "strict": "auto",
}
RIGHT = "right"
#: What `outcomes` returns where everything is as it should be.
ALL_RIGHT = {
    f"{kind}{streamed}": RIGHT
    for kind in ("auto", *CHOICES)
    for streamed in ("", ", streamed")
}


@contextmanager
def running(
    command: Sequence[str], port: int, health: str, log: Path, environment: Mapping[str, str]
) -> Iterator[openai.OpenAI]:
    """A client of a launcher or gateway that runs for as long as the block."""
    variables = {**ENVIRONMENT, **os.environ, **environment}
    name = Path(command[0]).name
    with start_process(name, command, port, log, variables, health=health) as server:
        server.wait_until_ready()
        key = environment.get("LITELLM_MASTER_KEY", "none")
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
            yield client


def outcomes(client: openai.OpenAI, taught: Sequence[str] = TAUGHT) -> dict[str, str]:
    """For each kind of request `RIGHT`, or what is wrong with its answer.

    `taught` names the conversations that requests of the kind "auto" are about.
    """
    found = {}
    for streamed, suffix in ((False, ""), (True, ", streamed")):
        found[f"auto{suffix}"] = _taught_outcome(client, taught, streamed)
        for kind, choice in CHOICES.items():
            found[f"{kind}{suffix}"] = _constrained_outcome(client, kind, choice, streamed)
    return found


def _taught_outcome(client: openai.OpenAI, taught: Sequence[str], streamed: bool) -> str:
    for name in taught:
        try:
            got = _answer(client, request(BY_NAME[name]), streamed)
        except openai.APIError as error:
            return f"{name}: {error}"
        if got != expected(BY_NAME[name]):
            return f"{name}: {got}"
    return RIGHT


def _constrained_outcome(client: openai.OpenAI, kind: str, choice: Any, streamed: bool) -> str:
    tool = copy.deepcopy(GET_WEATHER)
    tool["function"]["parameters"] = FORBIDS_THE_TAUGHT_CALL
    if kind == "strict":
        tool["function"]["strict"] = True
    asked = request(BY_NAME["single_call"], tools=[tool], tool_choice=choice)
    try:
        got = _answer(client, asked | {"max_completion_tokens": 300}, streamed)
    except openai.APIError as error:
        return str(error)
    if not got.calls:
        return f"no call: {got}"
    for name, arguments in got.calls:
        if name != "get_weather":
            return f"calls {name}"
        try:
            jsonschema.validate(json.loads(arguments), FORBIDS_THE_TAUGHT_CALL)
        except (ValueError, jsonschema.ValidationError):
            return f"invalid: {arguments}"
    return RIGHT


def _answer(client: openai.OpenAI, arguments: dict[str, Any], streamed: bool) -> Answer:
    if not streamed:
        [answer] = answers(client.chat.completions.create(**arguments))
        return answer
    answer = Answer()
    # As clients add it up. `streamed_answers` asks for more, which gateways rewrite.
    for chunk in client.chat.completions.create(**arguments, stream=True):
        for choice in chunk.choices:
            answer.content += choice.delta.content or ""
            answer.finish_reason = choice.finish_reason or answer.finish_reason
            for entry in choice.delta.tool_calls or []:
                if entry.index == len(answer.calls):
                    answer.calls.append(("", ""))
                name, written = answer.calls[entry.index]
                if entry.function is not None:
                    name += entry.function.name or ""
                    written += entry.function.arguments or ""
                answer.calls[entry.index] = (name, written)
    return answer
