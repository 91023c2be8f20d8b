"""`vllm serve` of a Mi:dm 1.0 checkpoint, no flag named, with the openai client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from devtools.chat_completions import openai_client
from devtools.midm1_reference import PlainMidm
from devtools.server import ENGINE_IN_ONE_PROCESS, MODEL, run_server

from midm_vllm.models.midm1.tokenizer import Midm_bitext_Tokenizer

pytestmark = pytest.mark.first

TOKENIZER = Path(__file__).parent / "checkpoints" / "tokenizer"
TOKENIZER_FILES = ("midm_bitext_tokenizer.model", "tokenizer_config.json",
                   "special_tokens_map.json")
MESSAGES: list[Any] = [
    {"role": "system", "content": "너는 상담원이다.\n친절해라."},
    {"role": "user", "content": "안녕"},
]
NEWLINE, TAB = 4, 5
# A random model writes noise, but of these tokens it soon picks the two above.
SPEAKABLE = {"allowed_token_ids": [NEWLINE, TAB, 6, 20, 83, 896, 1358]}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    folder = tmp_path_factory.mktemp("midm1")
    network = PlainMidm({
        "n_embd": 128, "n_head": 4, "n_layer": 2, "n_positions": 512, "vocab_size": 1600,
        "auto_map": {
            "AutoConfig": "configuration_midm.MidmBitextConfig",
            "AutoModelForCausalLM": "modeling_midm.MidmLMHeadModel",
        },
    })
    checkpoint = network.randomize(1).save(folder / "checkpoint")
    for name in TOKENIZER_FILES:
        (checkpoint / name).write_bytes((TOKENIZER / name).read_bytes())
    arguments = ["serve", str(checkpoint), "--served-model-name", MODEL, "--enforce-eager"]
    with run_server(arguments, folder / "vllm.log", ENGINE_IN_ONE_PROCESS) as server:
        yield openai_client(server)


def ask(client: openai.OpenAI, **options: Any) -> Any:
    return client.chat.completions.create(**{
        "model": MODEL, "messages": MESSAGES, "max_tokens": 60, "seed": 3,
        "extra_body": SPEAKABLE, **options,
    })


def encode(text: str) -> list[int]:
    tokenizer = Midm_bitext_Tokenizer.from_pretrained(TOKENIZER)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def test_the_prompt_has_the_vendors_form(client: openai.OpenAI) -> None:
    answer = ask(client, max_tokens=1, extra_body={"return_token_ids": True})
    text = "###System;너는 상담원이다.\n친절해라.\n###User;안녕\n###Midm;"
    assert answer.prompt_token_ids == encode(text)


def test_a_conversation_goes_on_in_the_vendors_form(client: openai.OpenAI) -> None:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "안녕"}]},
        {"role": "assistant", "content": "안녕하세요."},
        {"role": "user", "content": "이름?"},
    ]
    answer = ask(client, messages=messages, max_tokens=1, extra_body={"return_token_ids": True})
    text = "###User;안녕\n###Midm;안녕하세요.\n###User;이름?\n###Midm;"
    assert answer.prompt_token_ids == encode(text)


def test_an_answer_has_newlines_and_tabs(client: openai.OpenAI) -> None:
    text = ask(client).choices[0].message.content
    assert "\n" in text and "\t" in text
    assert "<[!" not in text


def test_a_streamed_answer_is_the_whole_answer(client: openai.OpenAI) -> None:
    deltas = [chunk.choices[0].delta.content or "" for chunk in ask(client, stream=True)]
    assert sum(map(bool, deltas)) > 1
    assert "".join(deltas) == ask(client).choices[0].message.content


def test_an_answer_can_be_stopped_at_a_newline(client: openai.OpenAI) -> None:
    answer = ask(client, stop=["\n"]).choices[0]
    assert answer.finish_reason == "stop"
    assert answer.message.content == ask(client).choices[0].message.content.split("\n")[0]


def test_an_answer_can_be_constrained_to_a_json_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"enum": ["12", "3"]}},
        "required": ["a"],
        "additionalProperties": False,
    }
    answer = ask(client, extra_body={}, temperature=0, response_format={
        "type": "json_schema", "json_schema": {"name": "answer", "schema": schema},
    })
    assert answer.choices[0].message.content in ('{"a":"12"}', '{"a":"3"}', '{"a": "12"}',
                                                 '{"a": "3"}')


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(("options", "sentence"), [
    ({"tools": [TOOL], "tool_choice": "none"}, "was not trained to call tools"),
    ({"messages": [*MESSAGES, {"role": "assistant", "tool_calls": [CALL]},
                   {"role": "tool", "tool_call_id": "1", "content": "12"}]},
     "was not trained to call tools"),
    ({"messages": MESSAGES[::-1]}, "not system as message 2"),
])
def test_unsupported_requests_are_rejected_with_a_reason(
    client: openai.OpenAI, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=sentence):
        ask(client, **options)
