"""Requests of one conversation to the three APIs, and parts of them, as the clients write them."""

from __future__ import annotations

from typing import Any

Json = Any
PNG = "iVBORw0KGgo="
PNG_URL = f"data:image/png;base64,{PNG}"
HELLO = {"type": "text", "text": "hello"}


def chat(*messages: Json, **more: Json) -> tuple[str, Json]:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    return "/v1/chat/completions", {"messages": list(messages), "tools": [tool], **more}


def anthropic(*messages: Json, **more: Json) -> tuple[str, Json]:
    tool = {"name": "look", "input_schema": {"type": "object"}}
    return "/v1/messages", {
        "messages": list(messages), "max_tokens": 50, "tools": [tool], **more
    }


def responses(*items: Json, **more: Json) -> tuple[str, Json]:
    tool = {"type": "function", "name": "look", "parameters": {"type": "object"}}
    return "/v1/responses", {"input": list(items), "tools": [tool], **more}


def user(content: Json) -> Json:
    return {"role": "user", "content": content}


def assistant(content: Json, **more: Json) -> Json:
    return {"role": "assistant", "content": content, **more}


def chat_call(**more: Json) -> Json:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    return assistant(None, tool_calls=[call | more])


def tool_use(**more: Json) -> Json:
    return assistant([{"type": "tool_use", "id": "c1", "name": "look", "input": {}, **more}])


def function_call(**more: Json) -> Json:
    return {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}", **more}
