"""Conversations as agents send them, over the three APIs: what of them reaches the model.

The server renders prompts and has no engine (`vllm launch render`). What vLLM or a model that reads
text only cannot take must not fail: it stays in the history, and each later request would fail.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from api_requests import (
    HELLO,
    PNG,
    PNG_URL,
    Json,
    anthropic,
    assistant,
    chat,
    chat_call,
    function_call,
    responses,
    tool_use,
    user,
)
from devtools.server import MODEL, Server
from tokenizers import Tokenizer

from midm_vllm.constants import omitted

IMAGE, AUDIO, VIDEO, DOCUMENT = map(omitted, ("image", "audio", "video", "document"))
CALLED = '<tool_call>\n{"name": "look", "parameters": {}}\n</tool_call>'


def result_in_chat(content: Json) -> tuple[str, Json]:
    result = {"role": "tool", "tool_call_id": "c1", "content": content}
    return chat(user("Q"), chat_call(), result)


def result_in_messages(content: Json) -> tuple[str, Json]:
    result = {"type": "tool_result", "tool_use_id": "c1", "content": content}
    return anthropic(user("Q"), tool_use(), user([result]))


def result_in_responses(content: Json) -> tuple[str, Json]:
    result = {"type": "function_call_output", "call_id": "c1", "output": content}
    return responses(user("Q"), function_call(), result)


#: What holds content: how a request has it, and what the prompt has before it.
HOLDERS: dict[str, tuple[Callable[[Json], tuple[str, Json]], str]] = {
    "chat user": (lambda content: chat(user(content)), "<|user|>"),
    "chat result": (result_in_chat, f"<|user|>Q<|assistant|>{CALLED}<|tool|>"),
    "chat system": (
        lambda content: chat(user("Q"), {"role": "system", "content": content}),
        "<|user|>Q<|system|>",
    ),
    "chat assistant": (
        lambda content: chat(user("Q"), assistant(content)), "<|user|>Q<|assistant|>"
    ),
    "messages user": (lambda content: anthropic(user(content)), "<|user|>"),
    "messages result": (result_in_messages, f"<|user|>Q<|assistant|>{CALLED}<|tool|>"),
    "messages assistant": (
        lambda content: anthropic(user("Q"), assistant(content)), "<|user|>Q<|assistant|>"
    ),
    "responses user": (lambda content: responses(user(content)), "<|user|>"),
    "responses result": (result_in_responses, f"<|user|>Q<|assistant|>{CALLED}<|tool|>"),
    "responses developer": (
        lambda content: responses(user("Q"), {"role": "developer", "content": content}),
        "<|user|>Q<|system|>",
    ),
    "responses assistant": (
        lambda content: responses(user("Q"), assistant(content)), "<|user|>Q<|assistant|>"
    ),
}

ANTHROPIC_IMAGE = {
    "type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}
}
TEXT_DOCUMENT = {"type": "document", "title": "Title", "context": "Context",
                 "source": {"type": "text", "media_type": "text/plain", "data": "page"}}
#: Content that some client sends somewhere, and the text of it.
CONTENTS: dict[str, tuple[Json, str]] = {
    "image": ([HELLO, {"type": "image_url", "image_url": {"url": PNG_URL}}], f"hello\n{IMAGE}"),
    "image alone": ([{"type": "image_url", "image_url": PNG_URL}], IMAGE),
    "image without a type": ([{"image_url": PNG_URL}], IMAGE),
    "image of Messages": ([ANTHROPIC_IMAGE, HELLO], f"{IMAGE}\nhello"),
    "image by url": ([{"type": "image", "source": {"type": "url", "url": "x"}}], IMAGE),
    "image of Responses": ([{"type": "input_image", "image_url": PNG_URL}], IMAGE),
    "image by id": ([{"type": "input_image", "file_id": "f", "detail": "auto"}], IMAGE),
    "screenshot": ([{"type": "computer_screenshot", "image_url": PNG_URL}], IMAGE),
    "audio": ([{"type": "input_audio", "input_audio": {"data": "A", "format": "wav"}}], AUDIO),
    "audio by url": ([{"type": "audio_url", "audio_url": {"url": "x"}}], AUDIO),
    "video": ([{"type": "video_url", "video_url": {"url": "x"}}], VIDEO),
    "file": ([{"type": "file", "file": {"filename": "a.pdf", "file_data": "x"}}], DOCUMENT),
    "file of Responses": ([{"type": "input_file", "file_data": "x", "filename": "a"}], DOCUMENT),
    "file of a container": ([{"type": "container_upload", "file_id": "f"}], DOCUMENT),
    "pdf": (
        [{"type": "document", "source": {
            "type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}],
        DOCUMENT,
    ),
    "document of text": ([TEXT_DOCUMENT], "Title\nContext\npage"),
    "document of parts": (
        [{"type": "document", "source": {"type": "content", "content": [HELLO, ANTHROPIC_IMAGE]}}],
        f"hello\n{IMAGE}",
    ),
    "search result": (
        [{"type": "search_result", "source": "https://x/", "title": "Title", "content": [HELLO],
          "citations": {"enabled": True}}],
        "Title\nhttps://x/\nhello",
    ),
    "name of a tool": ([{"type": "tool_reference", "tool_name": "look"}], "look"),
    "refusal": ([{"type": "refusal", "refusal": "no"}], "no"),
    "text of Responses": ([{"type": "input_text", "text": "hello"}], "hello"),
    "answer of Responses": ([{"type": "output_text", "text": "hello"}], "hello"),
    "two texts": ([HELLO, {"type": "text", "text": "there"}], "hello\nthere"),
    "unknown part": ([{"type": "resource", "uri": "x"}, HELLO],
                     '{"type": "resource", "uri": "x"}\nhello'),
    "unknown data": ([{"type": "blob", "data": "AAAA"}], omitted("data")),
    "string part": (["hello", HELLO], "hello\nhello"),
    "null part": ([None, HELLO], "hello"),
    "number part": ([5, HELLO], "5\nhello"),
    "list part": ([["x"], HELLO], '["x"]\nhello'),
    "empty part": ([{}, HELLO], "hello"),
    "null text": ([{"type": "text", "text": None}, HELLO], "hello"),
    "no text": ([{"type": "text"}, HELLO], "hello"),
    "text that is a number": ([{"type": "text", "text": 5}], "5"),
    "type that is a number": ([{"type": 5}], '{"type": 5}'),
    "type that is an object": ([{"type": {"a": 1}}], '{"type": {"a": 1}}'),
    "part with a cache id": ([{"type": "text", "text": "hello", "uuid": "u"}], "hello"),
    "no part": ([], ""),
    "null": (None, ""),
    "number": (5, "5"),
    "truth": (True, "true"),
    "object": ({"온도": 3}, '{"온도": 3}'),
    "rows": ([{"a": 1}, {"a": 2}], '{"a": 1}\n{"a": 2}'),
    "one part": (HELLO, "hello"),
}
#: What else the histories of the three APIs hold, and the prompt's last turns.
HISTORIES: dict[str, tuple[tuple[str, Json], str]] = {
    "chat: arguments that are an object": (
        chat(user("Q"), chat_call(function={"name": "look", "arguments": {"a": 1}})),
        CALLED.replace("{}", '{"a": 1}'),
    ),
    "chat: arguments that are null": (
        chat(user("Q"), chat_call(function={"name": "look", "arguments": None})), CALLED
    ),
    "chat: a call without an id and a type": (
        chat(user("Q"), assistant("", tool_calls=[{"function": {"name": "look"}}]),
             {"role": "tool", "content": "R"}),
        f"{CALLED}<|tool|>R",
    ),
    "chat: a call of a custom tool": (
        chat(user("Q"), chat_call(type="custom", custom={"name": "look", "input": "x"})),
        CALLED.replace("{}", '{"input": "x"}'),
    ),
    "chat: a function call of before there were tools": (
        chat(user("Q"), assistant(None, function_call={"name": "look", "arguments": "{}"}),
             {"role": "function", "name": "look", "content": "R"}),
        f"{CALLED}<|tool|>R",
    ),
    "chat: an id that is a number": (
        chat(user("Q"), chat_call(id=5), {"role": "tool", "tool_call_id": 5, "content": "R"}),
        f"{CALLED}<|tool|>R",
    ),
    "chat: a name that is null": (chat({**user("Q"), "name": None}), "<|user|>Q"),
    "chat: tool_calls that are null": (
        chat(user("Q"), assistant(None, tool_calls=None), user("R")), "<|user|>R"
    ),
    "chat: a tool choice without tools": (
        chat(user("Q"), tools=None, tool_choice="auto"), "<|user|>Q"
    ),
    "chat: a null message": (chat(user("Q"), None), "<|user|>Q"),
    "chat: no tools": (chat(user("Q"), tools=[], tool_choice="auto"), "<|user|>Q"),
    "messages: input that is null": (anthropic(user("Q"), tool_use(input=None)), CALLED),
    "messages: input that is text": (
        anthropic(user("Q"), tool_use(input='{"a": 1}')), CALLED.replace("{}", '{"a": 1}')
    ),
    "messages: input that is a list": (anthropic(user("Q"), tool_use(input=[1])), CALLED),
    "messages: a call that another server ran": (
        anthropic(user("Q"), assistant([
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}, HELLO,
        ])),
        "<|assistant|>hello",
    ),
    "messages: a result beside text": (
        anthropic(user("Q"), tool_use(), user([
            {"type": "tool_result", "tool_use_id": "c1", "content": [ANTHROPIC_IMAGE]}, HELLO,
        ])),
        f"{CALLED}<|tool|>{IMAGE}<|user|>hello",
    ),
    "messages: documents in the system prompt": (
        anthropic(user("Q"), system=[TEXT_DOCUMENT], tools=[]),
        "<|system|>Title\nContext\npage<|user|>Q",
    ),
    "responses: an answer of two texts": (
        responses(user("Q"), assistant(
            [{"type": "output_text", "text": text, "annotations": []} for text in "ab"],
            type="message",
        )),
        "<|assistant|>a\nb",
    ),
    "responses: an answer that is text and has an id": (
        responses(user("Q"), assistant("a", type="message", id="m", status="completed")),
        "<|assistant|>a",
    ),
    "responses: an empty answer before a call": (
        responses(user("Q"), assistant([], type="message"), function_call()),
        f"<|assistant|>{CALLED}",
    ),
    "responses: an answer whose members are null": (
        responses(user("Q"), assistant(
            [{"type": "output_text", "text": "a", "annotations": None}],
            type="message", id=None, status=None,
        )),
        "<|assistant|>a",
    ),
    "responses: arguments that are an object": (
        responses(user("Q"), function_call(arguments={"a": 1})), CALLED.replace("{}", '{"a": 1}')
    ),
    "responses: no arguments": (responses(user("Q"), function_call(arguments=None)), CALLED),
    "responses: no call_id": (responses(user("Q"), function_call(call_id=None, id="f")), CALLED),
    "responses: no output": (
        responses(user("Q"), function_call(), {"type": "function_call_output", "call_id": "c1"}),
        f"{CALLED}<|tool|>",
    ),
    "responses: an image from a custom tool": (
        responses(
            user("Q"), {"type": "custom_tool_call", "call_id": "c1", "name": "look", "input": "x"},
            {"type": "custom_tool_call_output", "call_id": "c1",
             "output": [{"type": "input_image", "image_url": PNG_URL}]},
        ),
        f'{CALLED.replace("{}", json.dumps({"input": "x"}))}<|tool|>{IMAGE}',
    ),
    "responses: reasoning that another server encrypted": (
        responses(user("Q"), {"type": "reasoning", "id": "r", "encrypted_content": "x"},
                  function_call()),
        CALLED,
    ),
    "responses: a call of a custom tool without input and its result without an id": (
        responses(user("Q"), {"type": "custom_tool_call", "call_id": "c1", "name": "look"},
                  {"type": "custom_tool_call_output", "output": "R"}),
        f'{CALLED.replace("{}", json.dumps({"input": ""}))}<|tool|>R',
    ),
    "responses: reasoning without an id": (
        responses(user("Q"), {"type": "reasoning", "id": None, "summary": []}, function_call()),
        CALLED,
    ),
    "responses: reasoning that is text": (
        responses(user("Q"), {"type": "reasoning", "id": "r", "summary": None, "content": "x"},
                  function_call()),
        CALLED,
    ),
    "responses: an item of a hosted tool": (
        responses(user("Q"), {"type": "web_search_call", "id": "w", "status": "completed"},
                  {"type": "item_reference", "id": "i"}, None, user("R")),
        "<|user|>Q<|user|>R",
    ),
    "responses: null in place of tools": (
        responses(user("Q"), tools=None, tool_choice=None), "<|user|>Q"
    ),
}


def render(server: Server, request: tuple[str, Json]) -> tuple[int, Json]:
    """The status and the JSON of the answer."""
    path, body = request
    sent = urllib.request.Request(
        f"{server.url}{path}/render", json.dumps({"model": MODEL, **body}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(sent) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@cache
def _tokenizer(checkpoint: Path) -> Tokenizer:
    return Tokenizer.from_file(str(checkpoint / "tokenizer.json"))


def turns(server: Server, checkpoint: Path, request: tuple[str, Json]) -> str:
    """The prompt without its list of tools, its turns begun with <|role|>."""
    status, answer = render(server, request)
    assert status == 200, answer
    prompt = _tokenizer(checkpoint).decode(answer["token_ids"], skip_special_tokens=False)
    for old, new in (
        ("<|begin_of_text|>", ""), ("<|start_header_id|>", "<|"), ("<|end_header_id|>\n\n", "|>"),
        ("<|eot_id|>", ""),
    ):
        prompt = prompt.replace(old, new)
    assert prompt.endswith("<|assistant|>")
    prompt = prompt.removesuffix("<|assistant|>")
    return prompt.rpartition("<|system|># 도구 사용 규칙")[2].partition("}}]")[2] or prompt


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("holder", HOLDERS)
def test_content_of_any_kind_reaches_the_model_as_text(
    render_server: Server, checkpoint: Path, holder: str, content: str
) -> None:
    make, before = HOLDERS[holder]
    sent, text = CONTENTS[content]
    assert turns(render_server, checkpoint, make(sent)) == before + text


@pytest.mark.parametrize("history", HISTORIES)
def test_a_history_of_any_shape_is_rendered(
    render_server: Server, checkpoint: Path, history: str
) -> None:
    request, end = HISTORIES[history]
    assert turns(render_server, checkpoint, request).endswith(end)
