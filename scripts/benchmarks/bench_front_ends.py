"""What a streamed token costs in vLLM's Rust front end and in its Python one, side by side.

Two servers of the small checkpoint, one with the Python front end and `midm-parser`, one with the
Rust front end and its own parser (`hermes`), answer the same requests in turn, with many streams
at once. Every answer must be the taught one to the last character. The front end's CPU is that of
the process that listens: the API server, or `vllm-rs`. Client, front end and engine share the
machine's cores, so compare the rows of one run and no others.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
from datetime import date
from pathlib import Path

import httpx
import psutil
import vllm
from benchmarks.bench_serving import MODEL, PAUSE_SECONDS, Row, count, median_and_range, stream
from devtools.checkpoint import build
from devtools.rust_frontend import fetch
from devtools.server import Server, run_server
from rich.console import Console
from rich.table import Table

PYTHON, RUST = "Python, midm-parser", "Rust, hermes"


def front_end(server: Server) -> psutil.Process:
    """The process of the server that answers the clients."""
    main = psutil.Process(server.process.pid)
    for child in main.children(recursive=True):
        if child.name() == "vllm-rs":
            return child
    return main


async def measure(server: Server, streams: int, row: Row) -> None:
    """Run `streams` streams at once and add what they took to the row."""
    await asyncio.sleep(PAUSE_SECONDS)
    process = front_end(server)
    loop = asyncio.get_running_loop()
    limits = httpx.Limits(max_connections=streams)
    async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=600) as client:
        before, start = sum(process.cpu_times()[:2]), loop.time()
        answers = await asyncio.gather(*(stream(client, {}, row) for _ in range(streams)))
        seconds, cpu = loop.time() - start, sum(process.cpu_times()[:2]) - before
    tokens = sum(count(lines) for lines in answers)
    row.rates.append(tokens / seconds)
    row.cpu.append(cpu / tokens * 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--streams", type=int, nargs="+", default=[16, 64])
    options = parser.parse_args()
    console, checkpoint = Console(width=110), build()
    rust = {
        "VLLM_USE_RUST_FRONTEND": "1",
        "VLLM_RUST_FRONTEND_PATH": str(fetch()),
        "MIDM_VLLM_RUST_FRONTEND": "1",
    }
    table = Table(title=f"vLLM {vllm.__version__}, {date.today()}, {options.rounds} rounds")
    for column in ("streams", "front end", "tokens/s", "of Python's", "its CPU, µs a token"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        servers: dict[str, Server] = {}
        for name, environment in ((PYTHON, {"VLLM_USE_RUST_FRONTEND": "0"}), (RUST, rust)):
            arguments = ["serve", str(checkpoint), "--served-model-name", MODEL,
                         "--enforce-eager", "--tool-call-parser", "midm-parser"]  # fmt: skip
            log = Path(folder) / f"{len(servers)}.log"
            servers[name] = stack.enter_context(run_server(arguments, log, environment))
        for streams in options.streams:
            rows = {name: Row() for name in servers}
            for turn in range(options.rounds + 1):
                for name, server in servers.items():
                    # The first turn, to warm up, does not count.
                    asyncio.run(measure(server, streams, rows[name] if turn else Row()))
            python = statistics.median(rows[PYTHON].rates)
            for name, row in rows.items():
                table.add_row(
                    f"{streams}", name, median_and_range(row.rates),
                    f"{statistics.median(row.rates) / python:.0%}", median_and_range(row.cpu),
                )  # fmt: skip
            table.add_section()
    console.print(table)


if __name__ == "__main__":
    main()
