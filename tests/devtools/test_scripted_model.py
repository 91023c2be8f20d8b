"""A server with a scripted model writes what the script says, and records its prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from devtools.chat_completions import openai_client
from scripted_server import Output, Script, scripted_server

pytestmark = pytest.mark.slow

TOOL: dict[str, Any] = {"type": "function", "function": {
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                   "required": ["city"], "additionalProperties": False},
}}
CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "서울, Paris"}}</tool_call>'
QUESTION = {"role": "user", "content": "How is the weather?"}


@pytest.fixture(scope="module")
def scripted(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[openai.OpenAI, Script]]:
    folder = tmp_path_factory.mktemp("scripted")
    with scripted_server(checkpoint, folder, "--served-model-name", "m") as (server, script):
        yield openai_client(server), script


def ask(client: openai.OpenAI, messages: list[Any], **more: Any) -> Any:
    completion = client.chat.completions.create(model="m", messages=messages, **more)
    return completion.choices[0]


def test_output_is_chosen_by_prompt_and_results(scripted: tuple[openai.OpenAI, Script]) -> None:
    client, script = scripted
    script.write(Output("a title", contains="title"), Output(CALL, results=0), Output("21도"))
    titled = ask(client, [{"role": "user", "content": "What title?"}])
    assert titled.message.content == "a title"
    [call] = ask(client, [QUESTION], tools=[TOOL], temperature=1.5).message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "서울, Paris"}
    calling = {"role": "assistant", "tool_calls": [call.to_dict()]}
    result = {"role": "tool", "tool_call_id": call.id, "content": "SUNNY"}
    answered = ask(client, [QUESTION, calling, result], tools=[TOOL])
    assert (answered.message.content, answered.finish_reason) == ("21도", "stop")
    *_, last = script.prompts()
    assert "SUNNY<|eot_id|>" in last.text
    assert len(script.prompts()) == 3


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_a_grammar_allows_what_fits_it(
    scripted: tuple[openai.OpenAI, Script], choice: str
) -> None:
    client, script = scripted
    strict = {"type": "function", "function": TOOL["function"] | {"strict": True}}
    script.write(Output(CALL))
    [call] = ask(client, [QUESTION], tools=[strict], tool_choice=choice).message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "서울, Paris"}


def test_a_grammar_forbids_what_does_not_fit(scripted: tuple[openai.OpenAI, Script]) -> None:
    client, script = scripted
    script.write(Output(CALL.replace("city", "town")))
    answer = ask(client, [QUESTION], tools=[TOOL], tool_choice="required", max_tokens=100)
    assert '"town"' not in (answer.message.content or "") + str(answer.message.tool_calls)


def test_requests_beside_each_other_get_their_own_outputs(
    scripted: tuple[openai.OpenAI, Script]
) -> None:
    client, script = scripted
    texts = {f"<{number}>": f"answer {number} " * (1 + number % 5) for number in range(24)}
    script.write(*(Output(text, contains=mark) for mark, text in texts.items()))
    with ThreadPoolExecutor(24) as pool:
        answers = pool.map(
            lambda mark: ask(client, [{"role": "user", "content": mark}]).message.content, texts
        )
        assert list(answers) == list(texts.values())
