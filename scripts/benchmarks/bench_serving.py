"""What reading tool calls costs a whole server: the same tokens as plain text and as calls.

Two servers of the small checkpoint, one with `midm-parser` and one with vLLM's `hermes`, answer
the same requests in turn, with many streams at once. Plain text is the same request with
`tool_choice` "none". Every answer must be the taught one to the last character: a parser that
drops text would send less and seem cheap. Client, API server and engine share the machine's cores,
so compare the rows of one run and no others.

`--mini` measures on a GPU, with CUDA graphs and a network of Mi:dm 2.0 Mini's size.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import psutil
import vllm
from devtools.checkpoint import build
from devtools.conversations import BY_NAME
from devtools.server import Server, run_server
from devtools.wide_checkpoint import widen
from rich.console import Console
from rich.table import Table

MODEL = "midm-small"
CONVERSATION = BY_NAME["long_call_with_escapes"]
PARSERS = ("midm-parser", "hermes")
#: Two servers share a GPU: the memory of each is given, not measured.
ON_ONE_CARD = ["--gpu-memory-utilization", "0.4", "--kv-cache-memory-bytes", "2G",
               "--max-model-len", "8192", "--max-num-seqs", "64"]
# An engine's threads spin for a while after its last token, on the cores of the other server.
PAUSE_SECONDS = 2.0
STRICT_TOOLS = [
    {**tool, "function": {**tool["function"], "strict": True}} for tool in CONVERSATION.tools
]
# Server, and what its requests have besides; the first row is what the others are compared with.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain text": ("midm-parser", {"tool_choice": "none"}),
    "midm-parser": ("midm-parser", {"tool_choice": "auto"}),
    "hermes": ("hermes", {"tool_choice": "auto"}),
    # Under a grammar of prose and calls, and under one of calls alone. They write no needless
    # escapes, of which the taught answer has some: the text differs, its length hardly does.
    "midm-parser, strict": ("midm-parser", {"tool_choice": "auto", "tools": STRICT_TOOLS}),
    "midm-parser, required": ("midm-parser", {"tool_choice": "required"}),
}


@dataclass
class Row:
    """What one row's rounds took.

    Tokens per second and microseconds of API-server CPU per token, of each round; milliseconds to
    the first delta of the call, of each stream, and between two deltas of a stream.
    """

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    first_calls: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)


async def stream(client: httpx.AsyncClient, more: dict[str, Any], row: Row) -> list[str]:
    """The lines of one streamed answer, read as lightly as a client can."""
    body: dict[str, Any] = {
        "model": MODEL, "messages": list(CONVERSATION.messages), "tools": list(CONVERSATION.tools),
        "temperature": 0, "max_completion_tokens": 2000,
        "stream": True, "stream_options": {"include_usage": True}, **more,
    }  # fmt: skip
    first, lines, times = None, [], [time.perf_counter()]
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line:  # Between two events there is an empty line.
                lines.append(line)
                times.append(time.perf_counter())
            if first is None and '"tool_calls":[' in line:
                first = (times[-1] - times[0]) * 1000
                row.first_calls.append(first)
    row.gaps += [(after - before) * 1000 for before, after in zip(times[1:], times[2:])]
    return lines


def count(lines: list[str], is_constrained: bool = False) -> int:
    """The completion tokens of one streamed answer; raises ValueError unless it is complete."""
    text, tokens = "", 0
    for line in lines:
        if not line.startswith("data: {"):
            continue
        chunk = json.loads(line.removeprefix("data: "))
        tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
        for choice in chunk["choices"]:
            text += choice["delta"].get("content") or ""
            for call in choice["delta"].get("tool_calls", []):
                text += call["function"].get("arguments") or ""
    if is_constrained:
        complete = json.loads(text).keys() == json.loads(CONVERSATION.calls[0].arguments).keys()
    else:
        complete = text in (CONVERSATION.text, CONVERSATION.calls[0].arguments)
    if not complete:
        raise ValueError(f"Not the taught answer, so not to be compared: {text}")
    return tokens


async def measure(
    server: Server, streams: int, more: dict[str, Any], row: Row, is_constrained: bool
) -> None:
    """Run `streams` streams at once and add what they took to the row."""
    await asyncio.sleep(PAUSE_SECONDS)
    process = psutil.Process(server.process.pid)
    limits = httpx.Limits(max_connections=streams)
    async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=600) as client:
        before, start = sum(process.cpu_times()[:2]), time.perf_counter()
        answers = await asyncio.gather(
            *(stream(client, more, row) for _ in range(streams))
        )
        seconds = time.perf_counter() - start
        cpu_seconds = sum(process.cpu_times()[:2]) - before
    tokens = sum(count(lines, is_constrained) for lines in answers)
    row.rates.append(tokens / seconds)
    row.cpu.append(cpu_seconds / tokens * 1e6)


def bench(servers: dict[str, Server], streams: int, rounds: int) -> dict[str, Row]:
    """Measure the rows in turn; their first turns, to warm up, do not count."""
    rows = {name: Row() for name in ROWS}
    for turn in range(rounds + 1):
        for name, (parser, more) in ROWS.items():
            row = rows[name] if turn else Row()
            is_constrained = name.endswith(("strict", "required"))
            asyncio.run(measure(servers[parser], streams, more, row, is_constrained))
    return rows


def median_and_range(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--streams", type=int, nargs="+", default=[16, 64])
    parser.add_argument(
        "--mini", action="store_true", help="Mi:dm 2.0 Mini's size and CUDA graphs, on a GPU"
    )
    options = parser.parse_args()
    console, checkpoint = Console(width=None if sys.stdout.isatty() else 140), build()
    table = Table(title=f"vLLM {vllm.__version__}, {date.today()}, {options.rounds} rounds")
    columns = (
        "tokens/s", "of plain", "first call, ms", "between deltas, ms (p99)",
        "API-server CPU, µs a token",
    )  # fmt: skip
    for column in ("streams", "answer", *columns):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        servers, ratios = {}, {}
        engine = ["--enforce-eager"]
        if options.mini:
            checkpoint = widen(checkpoint, Path(folder) / "mini")
            engine = ON_ONE_CARD
        for name in PARSERS:
            arguments = [
                "serve", str(checkpoint), "--served-model-name", MODEL, *engine,
                "--enable-auto-tool-choice", "--tool-call-parser", name,
            ]  # fmt: skip
            log = Path(folder) / f"{name}.log"
            servers[name] = stack.enter_context(run_server(arguments, log))
        for streams in options.streams:
            rows = bench(servers, streams, options.rounds)
            plain = statistics.median(rows["plain text"].rates)
            for name, row in rows.items():
                ratios[f"{name}, {streams} streams"] = statistics.median(row.rates) / plain
                table.add_row(
                    f"{streams}", name, median_and_range(row.rates),
                    f"{statistics.median(row.rates) / plain:.1%}",
                    f"{statistics.median(row.first_calls):.0f}" if row.first_calls else "",
                    f"{statistics.median(row.gaps):.1f} "
                    f"({statistics.quantiles(row.gaps, n=100)[98]:.1f})",
                    median_and_range(row.cpu),
                )  # fmt: skip
            table.add_section()
    console.print(table)
    print("Tokens/s of plain text's: " + "; ".join(
        f"{name} {ratio:.1%}" for name, ratio in ratios.items() if not name.startswith("plain")
    ))


if __name__ == "__main__":
    main()
