"""The score that each parser leaves of one and the same output, on a real server.

Takes entries of the function-calling leaderboard, writes their right calls as the model was taught
and in ways that small models write them, and has vLLM's server read every output with each parser:
`vllm launch render` reads token ids as `vllm serve` does, at once and chunk by chunk, without a
model. The leaderboard's checker says what of it is right. "vendor-style" is the approach of the
parser that KT published, written here (`vendor_style.py`).

How often a model writes which way, the table does not know; as taught it reads what any parser
should. The numbers are in docs/guides/evaluation.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import vllm
from devtools.checkpoint import build
from devtools.server import run_server
from devtools.setup_env import SCRIPTS, own_environment
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

CHECK = Path(__file__).with_name("bfcl_check.py")
PLUGIN = Path(__file__).parents[1] / "benchmarks" / "vendor_style.py"
OPENING, CLOSING = "<tool_call>", "</tool_call>"
PARSERS: Mapping[str, Sequence[str]] = {
    "midm-parser": (),
    "hermes": ("--enable-auto-tool-choice",),
    "vendor-style": ("--enable-auto-tool-choice", "--tool-parser-plugin", str(PLUGIN)),
}

Call = tuple[str, dict[str, Any]]


def written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def objects(calls: Sequence[Call], key: str = "arguments") -> list[str]:
    return [f'{{"name": {written(name)}, "{key}": {written(value)}}}' for name, value in calls]


def blocks(inner: Sequence[str]) -> str:
    return "\n".join(f"{OPENING}{each}{CLOSING}" for each in inner)


def as_text(calls: Sequence[Call]) -> str:
    return blocks([
        f'{{"name": {written(name)}, "arguments": {written(written(value))}}}'
        for name, value in calls
    ])


WAYS: Mapping[str, Callable[[Sequence[Call]], str]] = {
    "as taught": lambda calls: blocks(objects(calls)),
    "prose around": lambda calls: (
        f"네, 확인해 보겠습니다.\n{blocks(objects(calls))}\n잠시만 기다려 주세요."
    ),
    "tags in a string": lambda calls: blocks(objects(with_tags(calls))),
    "the history's form": lambda calls: (
        "\n".join([OPENING, *objects(calls, "parameters"), CLOSING])
    ),
    "the last tag missing": lambda calls: blocks(objects(calls)).removesuffix(CLOSING),
    "a brace missing": lambda calls: blocks([each[:-1] for each in objects(calls)]),
    "a brace too many": lambda calls: blocks([each + "}" for each in objects(calls)]),
    "arguments as text": as_text,
}


def with_tags(calls: Sequence[Call]) -> list[Call]:
    """The calls with tags at the end of the first call's first text: other calls, well written."""
    (name, arguments), *others = calls
    return [(name, arguments | dict([tagged(calls)])), *others]


def tagged(calls: Sequence[Call]) -> tuple[str, str]:
    """The first text among the first call's arguments, with tags at its end: key and value."""
    texts = ((key, value) for key, value in calls[0][1].items() if isinstance(value, str))
    key, value = next(texts)
    return key, f"{value} {CLOSING}{OPENING}"


@dataclass(frozen=True)
class Reader:
    """A server's parser, and the tokenizer that makes token ids of an output for it."""

    http: httpx.Client
    tokenizer: Tokenizer

    def read(self, text: str, tools: Sequence[Any], chunk: int | None) -> Any:
        """What the client gets, as the leaderboard keeps it: calls, or the content.

        `chunk` is how many tokens come at a time; None is all at once.
        """
        ids = self.tokenizer.encode(text).ids
        request = {"chat_request": {
            "model": "midm", "messages": [{"role": "user", "content": "?"}], "tools": tools,
        }}
        if chunk is None:
            answer = self._post(request | {"generate_response": _generated(ids, "stop")})
            message = answer["choices"][0]["message"]
            return _result(message.get("content"), [
                call["function"] for call in message.get("tool_calls") or []
            ])
        content, calls, state = "", dict[int, dict[str, str]](), None
        for start in range(0, len(ids), chunk):
            finish = "stop" if start + chunk >= len(ids) else None
            answer = self._post(request | {
                "stream": True, "stream_state": state, "prompt_token_ids": [0],
                "generate_chunk": _generated(ids[start:start + chunk], finish),
            })
            state = answer["stream_state"]
            for choice in answer["chunk"]["choices"]:
                content += choice["delta"].get("content") or ""
                for part in choice["delta"].get("tool_calls") or []:
                    call = calls.setdefault(part["index"], {"name": "", "arguments": ""})
                    for key in call:
                        call[key] += part["function"].get(key) or ""
        return _result(content, list(calls.values()))

    def _post(self, body: Mapping[str, Any]) -> Any:
        answer = self.http.post("/v1/chat/completions/derender", json=body)
        answer.raise_for_status()
        return answer.json()


def _generated(ids: Sequence[int], finish: str | None) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish, "token_ids": list(ids)}
    return {"request_id": "r", "choices": [choice]}


def _result(content: str | None, calls: Sequence[Mapping[str, str]]) -> Any:
    return [{call["name"]: call["arguments"]} for call in calls] or content or ""


def in_leaderboard(*arguments: str, told: Any = None) -> Any:
    """The answer of bfcl_check.py, in the leaderboard's environment."""
    done = subprocess.run(
        [own_environment("bfcl"), CHECK, *arguments], input=json.dumps(told), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
    )
    return json.loads(done.stdout)


def readings(
    parser: str, entries: Sequence[Mapping[str, Any]], checkpoint: Path, log: Path, chunk: int
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """For each way what one parser makes of it, at once and then streamed: groups to check."""
    arguments = ["launch", "render", str(checkpoint), "--served-model-name", "midm",
                 "--max-model-len", "32768", "--tool-call-parser", parser, *PARSERS[parser]]
    categories = list(dict.fromkeys(entry["category"] for entry in entries))
    with run_server(arguments, log) as server, httpx.Client(base_url=server.url) as http:
        reader = Reader(http, Tokenizer.from_file(str(checkpoint / "tokenizer.json")))
        for way, write in WAYS.items():
            yield way, [
                {
                    "category": category,
                    "results": [
                        {"id": each["id"],
                         "result": reader.read(write(each["calls"]), each["tools"], size)}
                        for each in entries if each["category"] == category
                    ],
                    "changed": {
                        each["id"]: dict([tagged(each["calls"])])
                        for each in entries if each["category"] == category
                    } if way == "tags in a string" else {},
                }
                for size in (None, chunk) for category in categories
            ]


def scores(
    entries: Sequence[Mapping[str, Any]], chunk: int, parsers: Sequence[str] = tuple(PARSERS)
) -> dict[str, dict[str, tuple[float, float]]]:
    """Per way and parser, how many in a hundred are right: at once, and streamed."""
    checkpoint = build()
    table: dict[str, dict[str, tuple[float, float]]] = {way: {} for way in WAYS}
    for parser in parsers:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "vllm.log"
            read = list(readings(parser, entries, checkpoint, log, chunk))
        groups = [group for _, of_way in read for group in of_way]
        wrong = iter(in_leaderboard("check", told=groups))
        for way, of_way in read:
            counts = [len(next(wrong)) for _ in of_way]
            half = len(counts) // 2
            table[way][parser] = (
                100 - 100 * sum(counts[:half]) / len(entries),
                100 - 100 * sum(counts[half:]) / len(entries),
            )
    return table


def cell(right: Sequence[float]) -> str:
    return " / ".join(f"{per_cent:.0f}" for per_cent in right)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=10, help="entries of a category, %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--chunk", type=int, default=8, help="tokens of a delta, %(default)s")
    options = parser.parse_args()
    entries = in_leaderboard("entries", str(options.count), str(options.seed))
    found = scores(entries, options.chunk)
    table = Table(title=f"Right, in per cent: at once / streamed by {options.chunk} tokens")
    for column in ("written", *PARSERS):
        table.add_column(column, justify="left" if column == "written" else "right")
    for way, of_parser in found.items():
        table.add_row(way, *map(cell, of_parser.values()))
    table.add_section()
    table.add_row("all, equally often", *(
        cell([sum(found[way][parser][mode] for way in WAYS) / len(WAYS) for mode in (0, 1)])
        for parser in PARSERS
    ))
    console = Console(width=100)
    console.print(
        f"vLLM {vllm.__version__}, Python {platform.python_version()}, {date.today()}: "
        f"{len(entries)} entries, each in {len(WAYS)} ways, seed {options.seed}"
    )
    console.print(table)


if __name__ == "__main__":
    main()
