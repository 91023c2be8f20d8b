"""What vLLM's Rust front end reads of the taught answers, where our parser reads them all.

One server for each `--tool-strict-level`, with the front end asked for by MIDM_VLLM_RUST_FRONTEND.
Every taught conversation is asked at once and streamed: as a client asks by default, with every
tool `strict`, and, where a call is the taught answer, with `tool_choice` "required". Held by a
grammar the model cannot always say what it was taught: then any call the tools allow counts as
read, as long as nothing of the markup is in the content.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
from devtools.checkpoint import build
from devtools.conversations import CONVERSATIONS, Conversation
from devtools.rust_frontend import fetch
from devtools.server import Server, run_server
from jsonschema import Draft202012Validator
from rich.console import Console
from rich.table import Table

MODEL = "midm"
WAYS = ("auto", "strict", "required")
LEVELS = ("auto", "function", "parameter")
#: One answer: its content, its calls (name, arguments) and its finish reason.
Answer = tuple[str, list[tuple[str, str]], str | None]


def environment() -> dict[str, str]:
    """The variables that have the Rust front end serve, asked for and found."""
    return {
        "VLLM_USE_RUST_FRONTEND": "1",
        "VLLM_RUST_FRONTEND_PATH": str(fetch()),
        "MIDM_VLLM_RUST_FRONTEND": "1",
    }


def body(conversation: Conversation, way: str) -> dict[str, Any]:
    """The request that asks for a conversation's answer in one of the `WAYS`."""
    tools = copy.deepcopy(list(conversation.tools))
    if way == "strict":
        for tool in tools:
            tool["function"]["strict"] = True
    asked: dict[str, Any] = {"model": MODEL, "messages": list(conversation.messages)}
    if tools:
        asked["tools"] = tools
    if way == "required":
        asked["tool_choice"] = "required"
    return asked | {"temperature": 0, "max_completion_tokens": 700}


def ask(server: Server, request: dict[str, Any], stream: bool) -> Answer | str:
    """The answer, or what the server says is wrong with the request."""
    response = httpx.post(
        f"{server.url}/v1/chat/completions", json=request | {"stream": stream}, timeout=300
    )
    if response.is_error:
        return f"{response.status_code}: {response.text}"
    if not stream:
        [choice] = response.json()["choices"]
        message = choice["message"]
        calls = [
            (call["function"]["name"], call["function"]["arguments"])
            for call in message.get("tool_calls") or []
        ]
        return message.get("content") or "", calls, choice["finish_reason"]
    return _streamed(response.text)


def _streamed(lines: str) -> Answer | str:
    content, calls, reason = "", list[tuple[str, str]](), None
    for line in lines.splitlines():
        if not line.startswith("data: {"):
            continue
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            return f"error: {event['error']}"
        for choice in event["choices"]:
            reason = choice.get("finish_reason") or reason
            content += choice.get("delta", {}).get("content") or ""
            for entry in choice.get("delta", {}).get("tool_calls") or []:
                function = entry["function"]
                if entry["index"] == len(calls):
                    calls.append(("", ""))
                name, arguments = calls[entry["index"]]
                calls[entry["index"]] = (
                    name + (function.get("name") or ""),
                    arguments + (function.get("arguments") or ""),
                )
    return content, calls, reason


def verdict(conversation: Conversation, answer: Answer | str, held: bool) -> str:
    """"read", or what is wrong; `held`: a grammar may have kept the model from its answer."""
    if isinstance(answer, str):
        return "no answer: " + answer[:60]
    content, calls, reason = answer
    taught = [(call.name, call.arguments) for call in conversation.calls]
    right = content == (conversation.content or "") and calls == taught
    if right and reason == ("tool_calls" if taught else "stop"):
        return "read"
    if calls == taught and content.strip() == (conversation.content or ""):
        return "whitespace in the content"
    if held and calls and "<tool_call>" not in content and _allowed(conversation, calls):
        same = _values(calls) == _values(taught)
        if same and content.strip() in ("", conversation.content):
            # Where a grammar lets no prose or no odd spacing pass, that is not the reader's doing.
            return "whitespace in the content" if content.strip() != content else "read"
        return "another call, valid"
    if calls == taught:
        return "markup in the content"
    if len(calls) < len(taught):
        return f"{len(calls)} of {len(taught)} calls"
    if len(calls) > len(taught):
        return f"{len(calls)} calls where {len(taught)} are"
    if calls:
        return "other arguments"
    return "content differs"


def _values(calls: Sequence[tuple[str, str]]) -> list[tuple[str, Any]]:
    return [(name, json.loads(arguments)) for name, arguments in calls]


def _allowed(conversation: Conversation, calls: Sequence[tuple[str, str]]) -> bool:
    schemas = {
        tool["function"]["name"]: tool["function"]["parameters"] for tool in conversation.tools
    }
    try:
        return all(
            Draft202012Validator(schemas[name]).is_valid(json.loads(arguments))
            for name, arguments in calls
        )
    except (KeyError, ValueError):
        return False


def conversations(way: str) -> Iterator[Conversation]:
    """Those that can be asked this way."""
    for conversation in CONVERSATIONS:
        if way == "auto" or (conversation.tools if way == "strict" else conversation.calls):
            yield conversation


def measure(
    server: Server, way: str, held: bool
) -> tuple[dict[str, tuple[str, str]], dict[str, Answer | str]]:
    """Conversation -> the verdict at once, and streamed; and the answers that were not read."""
    result, unread = {}, {}
    for each in conversations(way):
        request = body(each, way)
        answers = [ask(server, request, stream) for stream in (False, True)]
        once, streamed = (verdict(each, answer, held) for answer in answers)
        result[each.name] = once, streamed
        if once != "read":
            unread[each.name] = answers[0]
    return result, unread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=list(LEVELS))
    parser.add_argument("--chat-template", help="default: what the server chooses")
    options = parser.parse_args()
    console, checkpoint = Console(width=150), build()
    results: dict[str, dict[str, tuple[str, str]]] = {}
    unread: dict[str, dict[str, Answer | str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for level in options.levels:
            arguments = ["serve", str(checkpoint), "--served-model-name", MODEL, "--enforce-eager",
                         "--max-model-len", "4096", "--tool-call-parser", "midm-parser",
                         "--tool-strict-level", level]  # fmt: skip
            if options.chat_template:
                arguments += ["--chat-template", options.chat_template]
            with run_server(arguments, Path(folder) / f"{level}.log", environment()) as server:
                for way in WAYS if level == "auto" else WAYS[:1]:
                    held = level != "auto" or way != "auto"
                    name = f"{level}, {way}"
                    results[name], unread[name] = measure(server, way, held)
    title = f"vLLM {version('vllm')}, {date.today()}: at once; streamed, where it differs"
    table = Table("conversation", *results, title=title)
    for each in CONVERSATIONS:
        row = []
        for column in results.values():
            once, streamed = column.get(each.name, ("", ""))
            row.append(once if once == streamed else f"{once}; {streamed}")
        table.add_row(each.name, *row)
    totals = []
    for column in results.values():
        verdicts = [verdict for pair in column.values() for verdict in pair]
        totals.append(f"{verdicts.count('read')} of {len(verdicts)}")
    table.add_section()
    table.add_row("read", *totals)
    console.print(table)
    for asked, answers in unread.items():
        for name, answer in answers.items():
            console.print(f"{asked}: {name}: {answer!r}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
