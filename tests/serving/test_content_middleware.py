"""The middleware that rewrites requests: what it leaves alone, and what it rejects.

The application behind it answers with what it was sent.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest
from api_requests import HELLO, PNG_URL, anthropic, chat, responses, user
from fastapi import Body, FastAPI, HTTPException, Request
from log_lines import log_lines

from midm_vllm.constants import omitted
from midm_vllm.envs import UNREADABLE_PARTS
from midm_vllm.serving.requests.content_middleware import MIDDLEWARE, ContentMiddleware
from midm_vllm.serving.requests.request_content import RequestContent

pytestmark = pytest.mark.anyio

PICTURE = {"type": "image_url", "image_url": {"url": PNG_URL}}
CHAT = "/v1/chat/completions"


def client(reads_media: bool = False) -> httpx.AsyncClient:
    app = FastAPI()
    media = object() if reads_media else None
    model = SimpleNamespace(multimodal_config=media)
    app.state.vllm_config = SimpleNamespace(model_config=model)

    @app.post("/parsed{path:path}")
    async def parsed(body: Any = Body()) -> Any:
        return body

    @app.post("/forbidden{path:path}")
    async def forbidden() -> None:
        raise HTTPException(401)

    @app.post("/{path:path}")
    async def raw(request: Request) -> Any:
        return (await request.body()).decode("latin-1")

    app.add_middleware(ContentMiddleware)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


USUAL = [
    chat(user("Q"), {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{\"a\": 1}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": [HELLO]}, tool_choice="auto"),
    anthropic(user([HELLO]), {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "tool_use", "id": "c", "name": "look", "input": {"a": 1}}]},
        user([{"type": "tool_result", "tool_use_id": "c", "content": "R"}]),
        system=[{**HELLO, "cache_control": {"type": "ephemeral"}}]),
    responses(
        user([{"type": "input_text", "text": "Q"}]),
        {"type": "reasoning", "id": "r", "summary": [], "content": None},
        {"type": "message", "role": "assistant", "id": "m", "status": "completed", "content": [
            {"type": "output_text", "text": "A", "annotations": [], "logprobs": None}]},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "R"}, tool_choice="auto"),
]


@pytest.mark.parametrize("request_", USUAL, ids=lambda request: request[0])
async def test_what_clients_usually_send_stays_as_it_is(request_: tuple[str, Any]) -> None:
    path, body = request_
    sent = json.dumps(body, ensure_ascii=False, indent=3).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(sent), 100):
            yield sent[start : start + 100]

    async with client() as http:
        answer = await http.post(path, content=pieces())
    assert answer.json() == sent.decode("latin-1")


@pytest.mark.parametrize("sent", [
    b"", b"no JSON", b"[1]", b"\xff", b'{"messages": 5}', b'{"messages": [5, [], "x"]}',
    b'{"input": [5], "messages": {"a": 1}}', b"[" * 100_000,
], ids=lambda sent: repr(sent[:30]))
@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses"])
async def test_what_is_no_conversation_is_left_to_vllm(path: str, sent: bytes) -> None:
    async with client() as http:
        answer = await http.post(path, content=sent)
    assert answer.json() == sent.decode("latin-1")


async def test_a_model_that_reads_images_is_given_them() -> None:
    shown = [HELLO, PICTURE]
    document = {"type": "document", "source": {"type": "text", "data": "page"}}
    async with client(reads_media=True) as http:
        answer = await http.post(f"/parsed{CHAT}", json=chat(user([*shown, document]))[1])
        assert answer.json()["messages"][0]["content"] == [*shown, {"type": "text", "text": "page"}]
        image = {"type": "image", "source": {"type": "url", "url": "x"}}
        for content in ([image], [image, document]):
            result = {"type": "tool_result", "tool_use_id": "c", "content": content}
            answer = await http.post("/parsed/v1/messages", json=anthropic(user([result]))[1])
            [block] = answer.json()["messages"][0]["content"]
            assert block["content"][0] == image


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses"])
async def test_a_server_may_reject_what_the_model_cannot_read(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv(UNREADABLE_PARTS, "reject")
    body = {"messages": [user([HELLO, PICTURE])], "input": [user([HELLO, PICTURE])]}
    async with client() as http:
        answer = await http.post(f"/parsed{path}", json=body)
        assert answer.status_code == 400
        assert "cannot read (image)" in answer.json()["detail"]
        assert f"without {UNREADABLE_PARTS}=reject" in answer.json()["detail"]
        answer = await http.post(f"/parsed{path}", json={"messages": [user([HELLO, None])]})
        assert answer.status_code == 200


async def test_a_body_is_read_when_the_application_asks_for_it() -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("read before the client was let in")
        yield b""

    async with client() as http:
        answer = await http.post(f"/forbidden{CHAT}", content=body())
    assert answer.status_code == 401


async def test_a_large_body_does_not_stall_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    large_is_rewritten, other_is_answered = threading.Event(), threading.Event()
    rewrite = RequestContent.chat

    def slow_rewrite(self: RequestContent, body: dict[str, Any]) -> None:
        if len(body["messages"]) > 1:
            large_is_rewritten.set()
            assert other_is_answered.wait(20)
        rewrite(self, body)

    monkeypatch.setattr(RequestContent, "chat", slow_rewrite)
    large = chat(*[user([PICTURE, {"type": "text", "text": "x" * 1000}])] * 200)[1]
    async with client() as http, anyio.create_task_group() as tasks:
        answers = []

        async def send_large() -> None:
            answers.append(await http.post(f"/parsed{CHAT}", json=large))

        tasks.start_soon(send_large)
        assert await anyio.to_thread.run_sync(large_is_rewritten.wait, 20)
        await http.post(f"/parsed{CHAT}", json=chat(user("Q"))[1])
        other_is_answered.set()
    [answer] = answers
    first = answer.json()["messages"][199]["content"][0]
    assert first == {"type": "text", "text": omitted("image")}


async def test_replacing_is_logged_once() -> None:
    with log_lines(logging.getLogger("vllm.midm_vllm.requests")) as lines:
        async with client() as http:
            for _ in range(3):
                answer = await http.post(f"/parsed{CHAT}", json=chat(user([PICTURE]))[1])
                assert answer.json()["messages"][0]["content"][0]["text"] == omitted("image")
    [line] = lines
    assert "(image)" in line and f"{UNREADABLE_PARTS}=reject" in line


async def test_other_routes_are_left_alone() -> None:
    body = json.dumps({"messages": [user(None)]})
    async with client() as http:
        for path in ("/v1/completions", "/v1/embeddings", "/v1/chat/completions/derender"):
            assert (await http.post(path, content=body)).json() == body
        for path in (CHAT, f"{CHAT}/render", "/v1/messages/count_tokens", f"/prefix{CHAT}"):
            assert (await http.post(path, content=body)).json() != body


def test_middleware_is_named_as_vllm_imports_it() -> None:
    module, _, name = MIDDLEWARE.rpartition(".")
    assert (module, name) == (ContentMiddleware.__module__, ContentMiddleware.__name__)
