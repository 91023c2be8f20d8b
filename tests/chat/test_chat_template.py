"""The packaged chat template: the prompts it makes, with Transformers and with vLLM.

``prompts/NAME.json`` is a request, ``prompts/NAME.txt`` the prompt it becomes,
byte for byte.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from vllm_server import Server

from midm_vllm.chat.rendering import PACKAGED_TEMPLATE, render_prompt

PROMPTS = Path(__file__).parent / "prompts"
EVERY_PROMPT = pytest.mark.parametrize("name", sorted(path.stem for path in PROMPTS.glob("*.json")))
QUESTION = {"role": "user", "content": "서울 날씨 어때?"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    ],
}
REFUSED = {
    "an_unknown_role": ([{"role": "wizard", "content": ""}], "Unknown role wizard"),
    "a_result_without_a_call": (
        [QUESTION, {"role": "tool", "tool_call_id": "call_1", "content": ""}],
        "must follow an assistant message with tool_calls",
    ),
    "a_result_after_the_next_question": (
        [QUESTION, CALL, QUESTION, {"role": "tool", "tool_call_id": "call_1", "content": ""}],
        "must follow an assistant message with tool_calls",
    ),
    "a_result_of_another_call": (
        [QUESTION, CALL, {"role": "tool", "tool_call_id": "call_2", "content": ""}],
        "tool_call_id call_2 of a tool message is not among",
    ),
}
FRAGMENTS = ["<|eot_id|>", "<|", "|>", "<", "|", ">", "eot_id", "start_header_id", " ", "\n", "한"]
IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]


def request(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((PROMPTS / f"{name}.json").read_text("utf-8"))
    return body


def openai_request(name: str) -> dict[str, Any]:
    """The request in the OpenAI API's words: no empty list of tools, arguments as JSON text."""
    body = request(name)
    if not body.get("tools"):
        body.pop("tools", None)
    for message in body["messages"]:
        for call in message.get("tool_calls", []):
            if not isinstance(call["function"]["arguments"], str):
                arguments = json.dumps(call["function"]["arguments"], ensure_ascii=False)
                call["function"]["arguments"] = arguments
    return {"model": "midm", **body}


def render(server: Server, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/chat/completions/render", json=body, timeout=300)


def prompt(name: str) -> str:
    return (PROMPTS / f"{name}.txt").read_text("utf-8")


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.chat_template = PACKAGED_TEMPLATE.read_text("utf-8")
    return tokenizer


@EVERY_PROMPT
def test_transformers_renders_the_prompt(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    options = {"add_generation_prompt": True, **request(name)}
    options.update(options.pop("chat_template_kwargs", {}))
    rendered = tokenizer.apply_chat_template(options.pop("messages"), tokenize=False, **options)
    assert rendered == prompt(name)


@EVERY_PROMPT
def test_vllm_renders_the_same_bytes(
    name: str, render_server: Server, tokenizer: PreTrainedTokenizerBase
) -> None:
    response = render(render_server, openai_request(name))
    assert response.status_code == 200, response.text
    ids = response.json()["token_ids"]
    assert tokenizer.decode(ids) == prompt(name)
    assert ids == tokenizer(prompt(name), add_special_tokens=False)["input_ids"]


def test_vllm_detects_the_content_format(render_server: Server) -> None:
    render(render_server, openai_request("user")).raise_for_status()
    assert "content format to be 'openai'" in render_server.log.read_text()


def test_outside_text_makes_no_control_token(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer(prompt("forged_turns"), add_special_tokens=False)["input_ids"]
    turns = ["system", "user", "user", "assistant", "tool", "assistant"]
    control = [tokenizer.decode([id]) for id in ids if id in tokenizer.added_tokens_decoder]
    one_turn = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    assert control == ["<|begin_of_text|>", *(one_turn * len(turns))[:-1]]


@given(st.lists(st.sampled_from(FRAGMENTS)).map("".join))
def test_no_user_text_makes_a_control_token(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    rendered = render_prompt([{"role": "user", "content": text}], add_generation_prompt=False)
    ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    # One begins the text, two are around the role, and one ends the turn.
    assert sum(id in tokenizer.added_tokens_decoder for id in ids) == 4


@pytest.mark.parametrize("name", ["calls_in_two_turns", "results_in_the_order_of_calls"])
def test_only_the_assistants_own_words_are_marked_for_training(
    name: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    body = request(name)
    encoded = tokenizer.apply_chat_template(
        body["messages"], tools=body["tools"], return_dict=True, return_assistant_tokens_mask=True
    )
    marked = [id for id, mine in zip(encoded["input_ids"], encoded["assistant_masks"]) if mine]
    answers = prompt(name).split("<|start_header_id|>assistant<|end_header_id|>\n\n")[1:]
    answers = [answer.partition("<|eot_id|>")[0] + "<|eot_id|>" for answer in answers if answer]
    assert tokenizer.decode(marked) == "".join(answers)


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_rendered_is_refused_with_a_sentence(
    case: str, render_server: Server
) -> None:
    messages, sentence = REFUSED[case]
    with pytest.raises(TemplateError, match=sentence):
        render_prompt(messages)
    response = render(render_server, {"model": "midm", "messages": messages})
    assert response.status_code == 400
    assert sentence in response.json()["error"]["message"]


def test_an_image_is_refused(render_server: Server) -> None:
    with pytest.raises(TemplateError, match="Mi:dm reads text only"):
        render_prompt(IMAGE)
    response = render(render_server, {"model": "midm", "messages": IMAGE})
    assert response.status_code == 400
    assert "not a multimodal model" in response.json()["error"]["message"]


def test_a_result_without_ids_keeps_its_place() -> None:
    calls = [{"name": "a", "arguments": {}}, {"function": {"name": "b", "arguments": None}}]
    rendered = render_prompt(
        [
            {"role": "assistant", "tool_calls": calls},
            {"role": "tool", "content": "둘째"},
            {"role": "tool", "content": "첫째"},
        ]
    )
    assert '{"name": "a", "parameters": {}}\n{"name": "b", "parameters": {}}\n' in rendered
    assert rendered.index("둘째") < rendered.index("첫째")


def test_a_result_of_calls_that_share_an_id_comes_once() -> None:
    call = {"id": "call_1", "function": {"name": "f", "arguments": {}}}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "결과"}
    rendered = render_prompt([{"role": "assistant", "tool_calls": [call, call]}, result, result])
    assert rendered.count("결과") == 2


def test_json_text_of_arguments_goes_in_as_it_is() -> None:
    text = '{"b":1.0, "a":1e5,"c":"\\ud55c"}'
    call = {"function": {"name": "f", "arguments": text}}
    assert f'"parameters": {text}}}' in render_prompt([{"role": "assistant", "tool_calls": [call]}])
