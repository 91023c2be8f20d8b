"""The ASGI middleware that gives vLLM the conversations that ``request_content`` has rewritten.

``--tool-call-parser midm-parser`` adds it to the server's ``--middleware``, which every vLLM has:
so one place serves all routes and releases, and other parsers' servers do not load it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from midm_vllm import envs
from midm_vllm.constants import omitted
from midm_vllm.serving.requests.request_content import RequestContent

logger = logging.getLogger("vllm.midm_vllm.requests")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: What ``--middleware`` takes.
MIDDLEWARE = f"{__name__}.ContentMiddleware"
#: Longer bodies are rewritten in a thread: in the event loop every stream would wait.
_LARGE_BYTES = 100_000
#: The ends of the paths that take conversations, and their API.
_ROUTES = {
    "/v1/chat/completions": "chat", "/tokenize": "chat", "/invocations": "chat",
    "/v1/messages": "messages", "/v1/messages/count_tokens": "messages",
    "/v1/responses": "responses",
}


class ContentMiddleware:
    """Rewrites requests once the application reads them, that is, after authentication."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self._app = app
        self._has_logged = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request; see ASGI."""
        api = _api(scope)
        if api is None:
            await self._app(scope, receive, send)
            return
        body: bytes | None = None

        async def receive_rewritten() -> Message:
            nonlocal body
            if body is not None:
                return await receive()  # The application waits for the client to leave.
            pieces = []
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return message
                pieces.append(message.get("body", b""))
                if not message.get("more_body"):
                    break
            body = b"".join(pieces)
            if len(body) > _LARGE_BYTES:
                body = await asyncio.to_thread(self._rewrite, body, api, _reads_media(scope))
            else:
                body = self._rewrite(body, api, _reads_media(scope))
            return {"type": "http.request", "body": body}

        await self._app(scope, receive_rewritten, send)

    def _rewrite(self, body: bytes, api: str, reads_media: bool) -> bytes:
        content = RequestContent(reads_media)
        try:
            request = json.loads(body)
            if isinstance(request, dict):
                getattr(content, api)(request)
        except Exception:  # vLLM reports what is wrong with it.
            logger.debug("A request was left as it is.", exc_info=True)
            return body
        if content.omitted:
            self._report(content.omitted)
        return json.dumps(request).encode() if content.changed else body

    def _report(self, found: set[str]) -> None:
        kinds = ", ".join(sorted(found))
        if envs.rejects_unreadable_parts():
            from fastapi import HTTPException  # FastAPI passes it on, and vLLM answers with it.

            raise HTTPException(
                400,
                f"The conversation holds content that this model cannot read ({kinds}), because it "
                "reads text only. Send text in its place, or start the server without "
                f"{envs.UNREADABLE_PARTS}=reject to have a placeholder put there.",
            )
        if not self._has_logged:
            self._has_logged = True
            logger.warning(
                "Requests hold content that the model cannot read (%s). Parts are replaced with "
                "%r and the like, items of other kinds are left out; %s=reject rejects such "
                "requests. This is logged once.",
                kinds, omitted("image"), envs.UNREADABLE_PARTS,
            )


def _api(scope: Message) -> str | None:
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    path = scope["path"].removesuffix("/render")
    return next((api for end, api in _ROUTES.items() if path.endswith(end)), None)


def _reads_media(scope: Message) -> bool:
    """Whether the model reads more than text, according to vLLM's application."""
    state = getattr(scope.get("app"), "state", None)
    config = getattr(getattr(state, "vllm_config", None), "model_config", None)
    return getattr(config, "multimodal_config", None) is not None
