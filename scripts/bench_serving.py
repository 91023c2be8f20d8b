"""What reading tool calls costs a whole server: the same tokens as plain text and as calls.

Two servers of the small checkpoint, one with `midm-parser` and one with vLLM's `hermes`, answer
the same requests in turn, with many streams at once. Plain text is the same request with
`tool_choice` "none". Client, API server and engine share the machine's cores, so compare the rows
of one run and no others.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import psutil
import vllm
from build_checkpoint import build
from rich.console import Console
from rich.table import Table
from taught_conversations import BY_NAME
from vllm_server import Server, run_server

MODEL = "midm-small"
CONVERSATION = BY_NAME["long_call_with_escapes"]
PARSERS = ("midm-parser", "hermes")
# Server, tool choice; the first row is what the others are compared with.
ROWS = {
    "plain text": ("midm-parser", "none"),
    "midm-parser": ("midm-parser", "auto"),
    "hermes": ("hermes", "auto"),
}


@dataclass
class Totals:
    """Summed up over the rounds of one row; the first call deltas' times are in seconds."""

    tokens: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    first_calls: list[float] = field(default_factory=list)


async def stream(client: httpx.AsyncClient, tool_choice: str, totals: Totals) -> None:
    """One streamed answer, read as lightly as a client can."""
    body: dict[str, Any] = {
        "model": MODEL, "messages": list(CONVERSATION.messages), "tools": list(CONVERSATION.tools),
        "tool_choice": tool_choice, "temperature": 0, "max_completion_tokens": 2000,
        "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    start, first = time.perf_counter(), None
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if first is None and '"tool_calls":[' in line:
                first = time.perf_counter() - start
                totals.first_calls.append(first)
            if '"completion_tokens":' in line:
                usage = json.loads(line.removeprefix("data: "))["usage"]
    totals.tokens += usage["completion_tokens"]


async def measure(server: Server, streams: int, tool_choice: str, totals: Totals) -> None:
    """Run `streams` streams at once and add what they took to the totals."""
    process = psutil.Process(server.process.pid)
    limits = httpx.Limits(max_connections=streams)
    async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=600) as client:
        before, start = sum(process.cpu_times()[:2]), time.perf_counter()
        await asyncio.gather(*(stream(client, tool_choice, totals) for _ in range(streams)))
        totals.seconds += time.perf_counter() - start
        totals.cpu_seconds += sum(process.cpu_times()[:2]) - before


def bench(servers: dict[str, Server], streams: int, rounds: int) -> dict[str, Totals]:
    """The rows' totals; the rows take turns, and the first turns, to warm up, do not count."""
    totals = {row: Totals() for row in ROWS}
    for turn in range(rounds + 1):
        for row, (parser, tool_choice) in ROWS.items():
            counted = totals[row] if turn else Totals()
            asyncio.run(measure(servers[parser], streams, tool_choice, counted))
    return totals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--streams", type=int, nargs="+", default=[16, 64])
    options = parser.parse_args()
    console, checkpoint = Console(), build()
    table = Table(title=f"vLLM {vllm.__version__}, {date.today()}, {options.rounds} rounds")
    for column in ("streams", "answer", "tokens/s", "of plain", "first call", "API-server CPU"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        servers = {}
        for name in PARSERS:
            arguments = [
                "serve", str(checkpoint), "--served-model-name", MODEL, "--enforce-eager",
                "--enable-auto-tool-choice", "--tool-call-parser", name,
            ]  # fmt: skip
            log = Path(folder) / f"{name}.log"
            servers[name] = stack.enter_context(run_server(arguments, log))
        for streams in options.streams:
            measured = bench(servers, streams, options.rounds)
            plain = measured["plain text"].tokens / measured["plain text"].seconds
            for row, totals in measured.items():
                rate = totals.tokens / totals.seconds
                first = statistics.median(totals.first_calls) if totals.first_calls else None
                table.add_row(
                    f"{streams}", row, f"{rate:.0f}", f"{rate / plain:.1%}",
                    f"{first * 1000:.0f} ms" if first else "",
                    f"{totals.cpu_seconds / totals.tokens * 1e6:.0f} µs a token",
                )  # fmt: skip
            table.add_section()
    console.print(table)


if __name__ == "__main__":
    main()
