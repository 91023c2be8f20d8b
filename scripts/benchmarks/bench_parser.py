"""What a tool parser costs the API server for each streamed delta; draws docs/benchmarks.md's plot.

Every parser runs inside vLLM's own streaming glue (`Parser.parse_delta`), on the same deltas of
one long call, in one process. The floor is that glue around a parser that only builds the reply,
from plain data; the floor of objects builds it as vLLM's own parsers do.
Measured is the thread's CPU time, in windows spread over the whole stream, and of several rounds
the fastest. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import re
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import vllm
from matplotlib import pyplot
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast
from vllm.entrypoints.generate.base.protocol import DeltaFunctionCall, DeltaToolCall
from vllm.parser.abstract_parser import DelegatingParser
from vllm.tool_parsers.abstract_tool_parser import ToolParser
from vllm.tool_parsers.granite_20b_fc_tool_parser import Granite20bFCToolParser
from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser

from midm_vllm.compat.vllm_imports import ChatCompletionRequest, DeltaMessage
from midm_vllm.serving.tool_parser import MidmToolParser

PLOT = Path(__file__).resolve().parents[2] / "docs" / "parser-cost.svg"
KILOBYTES = (0.3, 3, 12, 48, 192)
DELTA_SIZES = (1, 3, 40)
WINDOWS = 12
WINDOW_DELTAS = 60
LEAST_DELTAS = 300  # in a round: what has fewer is streamed again, or its first deltas run cold
TOOLS = [{"type": "function", "function": {"name": "save", "parameters": {"type": "object"}}}]


class Floor(ToolParser):
    """Reads nothing: every delta is a piece of one call's arguments, the first brings its name."""

    engine_based_streaming = True
    _started = False

    def extract_tool_calls_streaming(
        self, previous_text: str, current_text: str, delta_text: str, *rest: Any
    ) -> DeltaMessage:
        function = {"arguments": delta_text}
        call: Any = {"index": 0, "function": function}
        if not self._started:
            self._started = True
            call |= {"id": uuid4().hex, "type": "function"}
            function["name"] = "save"
        return DeltaMessage(tool_calls=[call])

    def get_remaining_unstreamed_args(self) -> str:
        return ""

    def finish_streaming(self) -> None:
        return None


class FloorOfObjects(Floor):
    """The same, but for how the reply is built."""

    def extract_tool_calls_streaming(self, *arguments: Any) -> DeltaMessage:
        if not self._started:
            return super().extract_tool_calls_streaming(*arguments)
        function = DeltaFunctionCall(arguments=arguments[2])
        return DeltaMessage(tool_calls=[DeltaToolCall(index=0, function=function)])


class VendorStyle(Granite20bFCToolParser):
    """The approach of the parser that KT published: Granite's with another start token."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.bot_token = self.tool_start_token = "<tool_call>"
        self.tool_call_regex = re.compile(r"<tool_call>\s*")


PARSERS: dict[str, type[ToolParser]] = {
    "floor": Floor,
    "floor of objects": FloorOfObjects,
    "midm-parser": MidmToolParser,
    "hermes": Hermes2ProToolParser,
    "vendor's approach": VendorStyle,
}


def call_text(kilobytes: float) -> str:
    """A call whose arguments are `kilobytes` long: prose, numbers, nesting, code with escapes."""
    record = {
        "id": 4127, "이름": "믿음 도서관", "open": True, "area": [84.5, 1e5],
        "note": 'She said "안녕하세요", then left.\n',
        "code": "def area(width, height):\n    return width * height  # 넓이\n",
    }  # fmt: skip
    written = json.dumps(record, ensure_ascii=False)
    records = ", ".join([written] * max(1, round(kilobytes * 1000 / len(written))))
    return f'<tool_call>{{"name": "save", "arguments": {{"records": [{records}]}}}}</tool_call>'


class Stream:
    """One stream through vLLM's glue, as the chat serving class drives it."""

    def __init__(self, parser: type[ToolParser], request: Any, tokenizer: Any) -> None:
        glue = type("Glue", (DelegatingParser,), {"tool_parser_cls": parser})
        self._parser = glue(tokenizer, request.tools)
        self._request = request

    def feed(self, deltas: Sequence[str], tokens: int, finished: bool = False) -> int:
        """Parse `deltas` of `tokens` tokens each; the CPU time that took, in nanoseconds."""
        parse, request = self._parser.parse_delta, self._request
        ids = [7] * tokens
        start = time.thread_time_ns()
        for delta in deltas:
            parse(delta, ids, request, [1], finished=finished)
        return time.thread_time_ns() - start


def windows(text: str, size: int) -> Iterator[tuple[bool, list[str]]]:
    """The stream's deltas of `size` characters, in runs: measured windows, jumps between them."""
    deltas = [text[start : start + size] for start in range(0, len(text), size)]
    stride = max(WINDOW_DELTAS, len(deltas) // WINDOWS)
    for start in range(0, len(deltas), stride):
        middle = start + WINDOW_DELTAS
        yield True, deltas[start:middle]
        if rest := "".join(deltas[middle : start + stride]):
            yield False, [rest]


def cost(parser: type[ToolParser], text: str, size: int, request: Any, tokenizer: Any) -> float:
    """Microseconds of CPU per delta, over the whole stream."""
    stream = Stream(parser, request, tokenizer)
    nanoseconds = count = 0
    for measured, deltas in windows(text, size):
        spent = stream.feed(deltas, max(1, size // 3))
        if measured:
            nanoseconds += spent
            count += len(deltas)
    return nanoseconds / count / 1000


def measure(rounds: int) -> dict[tuple[str, int, float], float]:
    """Parser, delta size, kilobytes -> microseconds; the parsers take turns in every round."""
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>")), unk_token="<unk>"
    )
    request = ChatCompletionRequest.model_validate(
        {"messages": [{"role": "user", "content": "?"}], "tools": TOOLS, "tool_choice": "auto"}
    )
    costs: dict[tuple[str, int, float], float] = {}
    gc.disable()
    for _ in track(range(rounds), "Measuring"):
        for kilobytes in KILOBYTES:
            text = call_text(kilobytes)
            for size in DELTA_SIZES:
                repeats = max(1, LEAST_DELTAS * size // len(text))
                for name, parser in list(PARSERS.items()) * repeats:
                    key = name, size, kilobytes
                    spent = cost(parser, text, size, request, tokenizer)
                    costs[key] = min(spent, costs.get(key, spent))
        gc.collect()
    return costs


def print_table(costs: dict[tuple[str, int, float], float], console: Console) -> None:
    table = Table(title="Microseconds of CPU per delta (in brackets: times the floor)")
    for column in ("arguments", "delta", *PARSERS):
        table.add_column(column, justify="right")
    for size in DELTA_SIZES:
        for kilobytes in KILOBYTES:
            floor = costs["floor", size, kilobytes]
            cells = (costs[name, size, kilobytes] for name in PARSERS)
            table.add_row(
                f"{kilobytes:g} kB", f"{size}", *(f"{us:.1f} ({us / floor:.2f})" for us in cells)
            )
        table.add_section()
    console.print(table)


def draw(costs: dict[tuple[str, int, float], float], file: Path) -> None:
    """Plot the cost against the arguments' length, one panel for each size of delta."""
    pyplot.rcParams.update({"svg.hashsalt": "midm-vllm", "font.size": 9})
    figure, panels = pyplot.subplots(
        1, len(DELTA_SIZES), figsize=(9, 3.2), sharey=True, layout="constrained"
    )
    for size, panel in zip(DELTA_SIZES, panels):
        for name in PARSERS:
            points = [costs[name, size, kilobytes] for kilobytes in KILOBYTES]
            panel.loglog(KILOBYTES, points, "--" if name.startswith("floor") else "o-", label=name)
        panel.set_title(f"deltas of {size} character{'s' * (size > 1)}")
        panel.set_xlabel("arguments, kB")
        panel.set_xticks(KILOBYTES, [f"{kilobytes:g}" for kilobytes in KILOBYTES])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("µs of CPU per delta")
    panels[0].legend()
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--plot", type=Path, default=PLOT, help="default: %(default)s")
    options = parser.parse_args()
    console = Console(width=120)
    costs = measure(options.rounds)
    console.print(
        f"vLLM {vllm.__version__}, Python {platform.python_version()}, {date.today()}, "
        f"{options.rounds} rounds"
    )
    print_table(costs, console)
    draw(costs, options.plot)
    console.print(f"Drew {options.plot}.")


if __name__ == "__main__":
    main()
