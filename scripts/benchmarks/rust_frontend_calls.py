"""What vLLM's Rust front end reads of the trained answers, all of which midm-parser reads.

One server for each `--tool-strict-level`, with the front end requested by MIDM_VLLM_RUST_FRONTEND.
Every conversation is requested non-streaming and streaming: as a client does by default, with every
tool `strict`, and, where the trained answer is a call, with `tool_choice` "required". Under a
grammar the model cannot always write the trained answer: then any call that the tools allow counts
as read, as long as no markup is in the content.
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

from devtools.chat_completions import (
    Answer,
    answers,
    expected,
    openai_client,
    request,
    streamed_answers,
)
from devtools.checkpoint import build
from devtools.conversations import CONVERSATIONS, Conversation
from devtools.rust_frontend import fetch
from devtools.server import MODEL, Server, run_server
from jsonschema import Draft202012Validator
from openai import APIError
from rich.console import Console
from rich.table import Table

WAYS = ("auto", "strict", "required")
LEVELS = ("auto", "function", "parameter")


def environment() -> dict[str, str]:
    """The variables that have the Rust front end serve, asked for and found."""
    return {
        "VLLM_USE_RUST_FRONTEND": "1",
        "VLLM_RUST_FRONTEND_PATH": str(fetch()),
        "MIDM_VLLM_RUST_FRONTEND": "1",
    }


def body(conversation: Conversation, way: str) -> dict[str, Any]:
    """The request for a conversation's answer in one of the `WAYS`."""
    more: dict[str, Any] = {"max_completion_tokens": 700}
    if way == "required":
        more["tool_choice"] = "required"
    asked = copy.deepcopy(request(conversation, **more))
    if way == "strict":
        for tool in asked.get("tools", ()):
            tool["function"]["strict"] = True
    return asked


def ask(server: Server, asked: dict[str, Any], stream: bool) -> Answer | str:
    """The answer, or what is wrong with it or with the request."""
    create: Any = openai_client(server).chat.completions.create
    try:
        [answer] = (streamed_answers if stream else answers)(create(**asked, stream=stream))
    except (APIError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"
    return answer


def verdict(conversation: Conversation, answer: Answer | str, constrained: bool) -> str:
    """"read", or what is wrong; a grammar may keep the model from the trained answer."""
    if isinstance(answer, str):
        return "no answer: " + answer[:60]
    right = expected(conversation)
    if answer == right:
        return "read"
    content, calls = answer.content, answer.calls
    if calls == right.calls and content.strip() == right.content:
        return "whitespace in the content"
    if constrained and calls and "<tool_call>" not in content and _allowed(conversation, calls):
        same = _values(calls) == _values(right.calls)
        if same and content.strip() in ("", conversation.content):
            # Where a grammar lets no prose or no odd spacing pass, that is not the reader's doing.
            return "whitespace in the content" if content.strip() != content else "read"
        return "another call, valid"
    if calls == right.calls:
        return "markup in the content"
    if len(calls) < len(right.calls):
        return f"{len(calls)} of {len(right.calls)} calls"
    if len(calls) > len(right.calls):
        return f"{len(calls)} calls where {len(right.calls)} are"
    return "other arguments" if calls else "content differs"


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
    server: Server, way: str, constrained: bool
) -> tuple[dict[str, tuple[str, str]], dict[str, Answer | str]]:
    """Conversation -> the verdict non-streaming and streaming; and the answers not read."""
    result, unread = {}, {}
    for each in conversations(way):
        got = [ask(server, body(each, way), stream) for stream in (False, True)]
        once, streamed = (verdict(each, answer, constrained) for answer in got)
        result[each.name] = once, streamed
        if once != "read":
            unread[each.name] = got[0]
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
                    constrained = level != "auto" or way != "auto"
                    name = f"{level}, {way}"
                    results[name], unread[name] = measure(server, way, constrained)
    title = f"vLLM {version('vllm')}, {date.today()}: non-streaming; streaming, if it differs"
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
    for asked, not_read in unread.items():
        for name, answer in not_read.items():
            console.print(f"{asked}: {name}: {answer!r}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
