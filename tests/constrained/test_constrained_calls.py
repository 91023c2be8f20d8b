"""Calls that cannot be wrong, by a model that knows nothing: random weights, high temperature."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import jsonschema
import openai
import pytest
from constrained_trials import CHOICES, MODEL, Trial, prove, serve_arguments, trials
from devtools.cases.schemas import SCHEMAS
from devtools.chat_completions import answers, streamed_answers
from devtools.server import ENGINE_IN_ONE_PROCESS, Server, run_server
from tokenizers import Tokenizer

pytestmark = pytest.mark.first

QUESTION = [{"role": "user", "content": "?"}]
REASON = r"the tool \W*f\W* cannot be constrained to its schema: .*contains.* at \$\.a"
UNSUPPORTED = {
    "type": "object", "required": ["a"], "additionalProperties": False,
    "properties": {"a": {"type": "array", "contains": {"type": "null"}, "maxItems": 2,
                         "items": {"type": "boolean"}}},
}


@pytest.fixture(scope="module")
def untrained(
    untrained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("untrained") / "vllm.log"
    arguments = serve_arguments(untrained_checkpoint)
    with run_server(arguments, log, ENGINE_IN_ONE_PROCESS) as running:
        yield running


@pytest.fixture(scope="module")
def client(untrained: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{untrained.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def answered(untrained: Server, untrained_checkpoint: Path) -> list[Trial]:
    """One answer for each schema and way to ask, every other one streamed."""
    chosen = [
        trial for number, trial in enumerate(trials(1)) if trial.streamed == (number // 2 % 2 == 0)
    ]
    return prove(untrained.url, untrained_checkpoint, chosen)


def test_every_answer_that_was_not_cut_off_is_valid_calls(answered: list[Trial]) -> None:
    assert [trial for trial in answered if trial.verdict == "wrong"] == []


def test_answers_of_all_kinds_come_to_an_end(answered: list[Trial]) -> None:
    valid = Counter(trial.choice for trial in answered if trial.verdict == "valid")
    assert all(valid[choice] > len(SCHEMAS) / 2 for choice in CHOICES), valid


def test_required_calls_may_be_several(client: openai.OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": SCHEMAS["enums"]}}
    completion = client.chat.completions.create(
        model=MODEL, messages=QUESTION, tools=[tool], tool_choice="required",  # type: ignore
        # Chance chooses the end behind any call of some 34 tokens: not behind the first, here.
        temperature=1, max_tokens=2000, extra_body={"min_tokens": 60},
    )
    *whole, last = completion.choices[0].message.tool_calls or []
    assert len(whole) >= 1 and completion.choices[0].message.content in (None, "")
    for call in whole:
        assert call.type == "function"
        jsonschema.validate(json.loads(call.function.arguments), SCHEMAS["enums"])


def test_one_of_128_tools_is_called(client: openai.OpenAI) -> None:
    tools: list[Any] = [
        {"type": "function", "function": {"name": f"tool_{number}", "parameters": {
            "type": "object", "properties": {"own": {"const": number}}, "required": ["own"],
        }}} for number in range(128)
    ]
    for stream in (False, True):
        arguments: dict[str, Any] = {
            "model": MODEL, "messages": QUESTION, "tools": tools, "tool_choice": "required",
            "parallel_tool_calls": False, "temperature": 2, "max_tokens": 100,
        }
        if stream:
            [answer] = streamed_answers(client.chat.completions.create(**arguments, stream=True))
        else:
            [answer] = answers(client.chat.completions.create(**arguments))
        [(name, written)] = answer.calls
        assert json.loads(written) == {"own": int(name.removeprefix("tool_"))}
        assert answer.finish_reason == "tool_calls"


def test_a_strict_schema_that_cannot_be_enforced_is_a_400(
    client: openai.OpenAI, untrained: Server
) -> None:
    function = {"name": "f", "parameters": UNSUPPORTED, "strict": True}
    for stream in (False, True):
        for choice in ("auto", "required"):
            with pytest.raises(openai.BadRequestError, match=REASON):
                client.chat.completions.create(
                    model=MODEL, messages=QUESTION, stream=stream, tool_choice=choice,
                    tools=[{"type": "function", "function": function}],
                )
            with pytest.raises(openai.BadRequestError, match=REASON):
                client.responses.create(
                    model=MODEL, input="?", stream=stream, tool_choice=choice,
                    tools=[{"type": "function", **function}],
                )
    assert untrained.is_healthy()


def test_without_strict_it_is_enforced_but_for_that_place_in_all_apis(
    client: openai.OpenAI, untrained: Server
) -> None:
    function = {"name": "f", "parameters": UNSUPPORTED}
    completion = client.chat.completions.create(
        model=MODEL, messages=QUESTION, tool_choice="required", parallel_tool_calls=False,
        tools=[{"type": "function", "function": function}], max_tokens=200,  # type: ignore
    )
    [called] = completion.choices[0].message.tool_calls or []
    assert called.type == "function"
    written = [called.function.arguments]
    response = client.responses.create(
        model=MODEL, input="?", tool_choice="required", parallel_tool_calls=False,
        tools=[{"type": "function", **function}], max_output_tokens=200,  # type: ignore
    )
    written += [item.arguments for item in response.output if item.type == "function_call"]
    messages = anthropic.Anthropic(base_url=untrained.url, api_key="none", max_retries=0)
    message = messages.messages.create(
        model=MODEL, messages=QUESTION, max_tokens=300,  # type: ignore
        tools=[{"name": "f", "input_schema": UNSUPPORTED}], tool_choice={"type": "any"},
    )
    written += [json.dumps(block.input) for block in message.content if block.type == "tool_use"]
    assert len(written) >= 3
    held = {**UNSUPPORTED, "properties": {"a": {
        "type": "array", "maxItems": 2, "items": {"type": "boolean"}}}}
    for arguments in written:
        jsonschema.validate(json.loads(arguments), held)
    line = "Not enforced in the arguments of the tool 'f': 'contains' at $.a"
    assert untrained.log.read_text("utf-8").count(line) == 1


def test_a_tool_that_is_not_strict_may_have_any_schema(client: openai.OpenAI) -> None:
    function = {"name": "f", "parameters": {"type": "nothing"}, "strict": False}
    completion = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=9, tool_choice="required",
        tools=[{"type": "function", "function": function}],  # type: ignore
    )
    assert completion.choices[0].finish_reason == "length"


ANSWER = {"type": "object", "required": ["yes"], "additionalProperties": False,
          "properties": {"yes": {"type": "boolean"}}}
TOOL = {"name": "f", "parameters": SCHEMAS["enums"], "strict": True}
#: Which answers are cut off is chance.
MOST_TRIES = 100


@pytest.fixture(scope="module")
def no_white_space(untrained_checkpoint: Path) -> dict[str, float]:
    """The random network would write as much of it as vLLM's own grammar of a format allows."""
    tokenizer = Tokenizer.from_file(str(untrained_checkpoint / "tokenizer.json"))
    tokens = range(tokenizer.get_vocab_size())
    return {str(token): -100.0 for token in tokens if tokenizer.decode([token]).isspace()}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["auto", "required", "named", "none"])
def test_a_format_and_tools_go_together(
    client: openai.OpenAI, no_white_space: dict[str, float], choice: str, stream: bool
) -> None:
    named = {"type": "function", "function": {"name": "f"}}
    arguments: dict[str, Any] = {
        "model": MODEL, "messages": QUESTION, "temperature": 1, "max_tokens": 300,
        "tools": [{"type": "function", "function": TOOL}], "parallel_tool_calls": False,
        "tool_choice": named if choice == "named" else choice,
        "response_format": {"type": "json_schema",
                            "json_schema": {"name": "answer", "schema": ANSWER}},
        "logit_bias": no_white_space,
    }
    whole: list[Any] = []
    for _ in range(MOST_TRIES):
        if stream:
            got = streamed_answers(client.chat.completions.create(**arguments, stream=True))
        else:
            got = answers(client.chat.completions.create(**arguments))
        whole += [answer for answer in got if answer.finish_reason != "length"]
        if len(whole) == 4:
            break
    assert whole
    for answer in whole:
        for _, written in answer.calls:
            jsonschema.validate(json.loads(written), SCHEMAS["enums"])
        if answer.content:
            jsonschema.validate(json.loads(answer.content), ANSWER)
    called = {bool(answer.calls) for answer in whole}
    assert called <= {"auto": {True, False}, "none": {False}}.get(choice, {True})
    assert all(bool(answer.calls) != bool(answer.content) for answer in whole)


def test_the_format_of_responses_goes_with_tools(client: openai.OpenAI) -> None:
    whole = 0
    for _ in range(MOST_TRIES):
        response = client.responses.create(
            model=MODEL, input="?", max_output_tokens=300, temperature=1,
            tools=[{"type": "function", **TOOL}],  # type: ignore
            text={"format": {"type": "json_schema", "name": "answer", "schema": ANSWER}},
        )
        if response.status == "incomplete":
            continue
        for item in response.output:
            if item.type == "function_call":
                jsonschema.validate(json.loads(item.arguments), SCHEMAS["enums"])
        if response.output_text:
            jsonschema.validate(json.loads(response.output_text), ANSWER)
        whole += 1
        if whole == 4:
            break
    assert whole
