"""Load and faults: many clients of all kinds against one server, for as long as you like.

Whole streams, answers at once, streams that the client drops, answers cut off by `max_tokens`,
and broken requests, all at the same time and at random. Halfway the engine is killed, and a new
server takes over. Every answer is compared with what the small checkpoint was taught, byte for
byte; of the API server, the memory is watched. Ends with a report, and with status 1 if anything
was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import openai
import psutil
from devtools.cases import reference_reader
from devtools.chat_completions import Answer, answers, expected, request, streamed_answers
from devtools.checkpoint import build
from devtools.conversations import CONVERSATIONS, Conversation
from devtools.server import Server, run_server, serve_arguments

BROKEN: list[dict[str, Any]] = [
    {"tools": [{"type": "function"}]},
    {"tools": [], "tool_choice": "required"},
    {"tool_choice": {"type": "function", "function": {"name": "nobody"}}},
    {"messages": "no list"},
    {"max_completion_tokens": -1},
    {"temperature": "hot"},
]
MEGABYTE = 1e6
LONGEST_CUT = 40
LONGEST_TOKEN = 16  # characters
SECONDS_TO_DIE = 120.0
KINDS = ("streamed", "at once", "dropped", "cut off", "broken")


@dataclass
class Report:
    """How often each kind of request ended well, what was wrong, and the API server's memory."""

    served: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    megabytes: list[tuple[int, int]] = field(default_factory=list)
    seconds_to_die: float = 0.0

    @property
    def growth(self) -> int:
        """The most that a server's memory grew by after its warm-up, in MB."""
        return max(end - start for start, end in self.megabytes)


class Load:
    """The clients of one server; `killed` is set once its engine is gone."""

    def __init__(self, server: Server, streams: int, report: Report, seed: int) -> None:
        self._server = server
        self._streams = streams
        self._report = report
        self._random = random.Random(seed)
        self._killed = False
        # A connection for each request: one that waits for the next is closed by the server after
        # 5 seconds, now and then just when a busy client uses it again.
        limits = httpx2.Limits(max_connections=streams, max_keepalive_connections=0)
        self._http = httpx2.AsyncClient(limits=limits, timeout=300)
        self._client = openai.AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="none", max_retries=0, http_client=self._http
        )

    async def run(self, seconds: float, kill: bool) -> None:
        """Load the server for `seconds`; then kill its engine, or let the answers end."""
        self._end = time.monotonic() + seconds
        async with self._client, asyncio.TaskGroup() as clients:
            for _ in range(self._streams):
                clients.create_task(self._be_a_client())
            clients.create_task(self._watch_memory(seconds))
            if kill:
                await asyncio.sleep(seconds * 0.9)
                await self._kill_engine()

    async def _be_a_client(self) -> None:
        while not self._killed and time.monotonic() < self._end:
            conversation = self._random.choice(CONVERSATIONS)
            kind = self._random.choices(KINDS, weights=[5, 3, 2, 3, 1])[0]
            try:
                right = await getattr(self, "_" + kind.replace(" ", "_"))(conversation)
            except (openai.APIError, httpx2.HTTPError) as error:
                if not self._killed:
                    cause = f"{error!r} ({error.__cause__!r})"
                    self._report.wrong.append(f"{kind}, {conversation.name}: {cause}")
                    return
                self._report.refused[type(error).__name__] += 1
            else:
                if right:
                    self._report.served[kind] += 1
                elif not self._killed:  # A stream that ends early is what a dead engine leaves.
                    self._report.wrong.append(f"{kind}, {conversation.name}: a wrong answer")

    async def _streamed(self, conversation: Conversation) -> bool:
        return bool(await self._stream(conversation) == expected(conversation))

    async def _stream(self, conversation: Conversation, **more: Any) -> Answer:
        arguments = request(conversation, stream=True, **more)
        stream = await self._client.chat.completions.create(**arguments)
        return streamed_answers([chunk async for chunk in stream])[0]

    async def _at_once(self, conversation: Conversation) -> bool:
        completion = await self._client.chat.completions.create(**request(conversation))
        return bool(answers(completion) == [expected(conversation)])

    async def _dropped(self, conversation: Conversation) -> bool:
        """The client goes away in the middle; what it had by then was right."""
        wanted, chunks = self._random.randint(1, LONGEST_CUT), []
        arguments = request(conversation, stream=True)
        async with await self._client.chat.completions.create(**arguments) as stream:
            async for chunk in stream:
                chunks.append(chunk)
                if len(chunks) == wanted:
                    break
        return begins(streamed_answers(chunks)[0], expected(conversation))

    async def _cut_off(self, conversation: Conversation) -> bool:
        limit = self._random.randint(1, LONGEST_CUT)
        answer = await self._stream(conversation, max_completion_tokens=limit)
        return (answer.content, tuple(answer.calls)) in beginnings(conversation.text)

    async def _broken(self, conversation: Conversation) -> bool:
        """A clear error with a status of 4xx, for what cannot be served."""
        body = request(conversation, **self._random.choice(BROKEN))
        response = await self._http.post(f"{self._server.url}/v1/chat/completions", json=body)
        message = response.json()["error"]["message"]
        return 400 <= response.status_code < 500 and bool(message)

    async def _watch_memory(self, seconds: float) -> None:
        """The API server's memory once all kinds of requests have warmed it up, and at the end."""
        process = psutil.Process(self._server.process.pid)
        await asyncio.sleep(seconds * 0.3)
        start = process.memory_info().rss
        await asyncio.sleep(seconds * 0.5)
        end = process.memory_info().rss
        self._report.megabytes.append((round(start / MEGABYTE), round(end / MEGABYTE)))

    async def _kill_engine(self) -> None:
        """Kill the engine's process: the API server must end, not hang."""
        server = psutil.Process(self._server.process.pid)
        engine = max(server.children(), key=lambda child: child.memory_info().rss)
        self._killed = True
        engine.kill()
        start = time.monotonic()
        await asyncio.to_thread(self._server.process.wait, SECONDS_TO_DIE)
        self._report.seconds_to_die = time.monotonic() - start


def begins(part: Answer, whole: Answer) -> bool:
    """Whether `part` is the beginning of `whole`."""
    calls = zip(part.calls, whole.calls)
    return (
        whole.content.startswith(part.content)
        and len(part.calls) <= len(whole.calls)
        and all(ours[0] == theirs[0] and theirs[1].startswith(ours[1]) for ours, theirs in calls)
    )


@functools.cache
def beginnings(text: str) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """What a reader may make of `text`, cut off within LONGEST_CUT tokens: content and calls."""
    readings = (
        reference_reader.read(text[:end])
        for end in range(min(len(text), LONGEST_CUT * LONGEST_TOKEN) + 1)
    )
    return {
        (reading.content, tuple((call.name or "", call.arguments or "") for call in reading.calls))
        for reading in readings
    }


def load_and_faults(checkpoint: Path, seconds: float, streams: int, folder: Path) -> Report:
    """Two servers one after the other, half the time each; the first loses its engine."""
    report = Report()
    for number, kill in enumerate((True, False)):
        log = folder / f"server-{number}.log"
        with run_server(serve_arguments(checkpoint), log) as server:
            asyncio.run(Load(server, streams, report, seed=number).run(seconds / 2, kill))
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600, help="default: %(default)s")
    parser.add_argument("--streams", type=int, default=256, help="default: %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = load_and_faults(build(), options.seconds, options.streams, Path(folder))
    print("Served:", dict(report.served))
    print("Ended with an error when the engine was killed:", dict(report.refused))
    print(f"The server without an engine ended after {report.seconds_to_die:.1f} seconds.")
    print("The API servers' memory after warm-up and at the end, in MB:", report.megabytes)
    print(f"Wrong: {len(report.wrong)}", *report.wrong[:20], sep="\n  ")
    sys.exit(bool(report.wrong))


if __name__ == "__main__":
    main()
