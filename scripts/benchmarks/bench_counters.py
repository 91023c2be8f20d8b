"""What counting costs: the same outputs through vLLM's glue, counted and not, in turns.

Both are `midm-parser`; the one that does not count has a tally in its place that does nothing.
An output is streamed by the one and then by the other, thousands of times, so that what else the
machine does falls on both; measured is the thread's CPU time. The figures are in
docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import time
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import vllm
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast
from vllm.parser.abstract_parser import DelegatingParser

from midm_vllm.compat.vllm_imports import ChatCompletionRequest
from midm_vllm.markup.events import Event
from midm_vllm.serving import tool_parser
from midm_vllm.serving.metrics import OutputTally
from midm_vllm.serving.tool_parser import MidmToolParser

DELTA_SIZES = (1, 3, 40)
RECORD = {"id": 4127, "이름": "믿음 도서관", "area": [84.5, 1e5], "note": 'She said "네".\n'}


class NoTally:
    """In the counters' place. (That a piece of arguments is kept, 30 ns, is in both.)"""

    log = None

    def __init__(self, request: Any) -> None:
        self.arguments = deque[str](maxlen=0)

    def add(self, events: Iterable[Event]) -> None:
        """Count nothing."""

    def finish(self, events: Iterable[Event]) -> None:
        """Count nothing."""


def call(characters: int, closing: str = "}}</tool_call>") -> str:
    """A call whose arguments are about so long."""
    written = json.dumps(RECORD, ensure_ascii=False)
    records = ", ".join([written] * max(1, round(characters / len(written))))
    return f'<tool_call>{{"name": "save", "arguments": {{"records": [{records}]{closing}'


OUTPUTS = {
    "text, 400 characters": "서울은 맑고, 부산은 흐립니다. " * 22,
    "a call of 100": call(100),
    "a call of 300": call(300),
    "three calls of 300": "\n".join([call(300)] * 3),
    "a call of 3,000": call(3000),
    "a call of 12,000": call(12_000),
    "a call of 300, a brace missing": call(300, "}</tool_call>"),
}


def stream(parser: Any, deltas: Sequence[str], ids: list[int], request: Any) -> int:
    """The nanoseconds of CPU that an output takes."""
    last = len(deltas) - 1
    began = time.thread_time_ns()
    for number, delta in enumerate(deltas):
        parser.parse_delta(delta, ids, request, [1], finished=number == last)
    return time.thread_time_ns() - began


def compare(text: str, size: int, seconds: float, request: Any) -> tuple[float, float, float]:
    """Microseconds of an output that is not counted, those counting adds, and the ratio.

    The medians of pairs.
    """
    glue = type("Glue", (DelegatingParser,), {"tool_parser_cls": MidmToolParser})
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>")), unk_token="<unk>"
    )
    deltas = [text[start : start + size] for start in range(0, len(text), size)]
    ids = [7] * max(1, size // 3)
    pairs: list[tuple[int, int]] = []
    until = time.monotonic() + seconds
    gc.disable()
    while time.monotonic() < until or len(pairs) < 5:
        spent = dict[type, int]()
        order = (OutputTally, NoTally) if len(pairs) % 2 else (NoTally, OutputTally)
        for tally in order:
            setattr(tool_parser, "OutputTally", tally)
            parser = glue(tokenizer, request.tools)
            spent[tally] = stream(parser, deltas, ids, request)
        pairs.append((spent[OutputTally], spent[NoTally]))
        if len(pairs) % 200 == 0:
            gc.collect()
    gc.enable()
    setattr(tool_parser, "OutputTally", OutputTally)
    return (
        statistics.median(without for _, without in pairs) / 1000,
        statistics.median(counted - without for counted, without in pairs) / 1000,
        statistics.median(counted / without for counted, without in pairs),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--seconds", type=float, default=4, help="for each output and size, %(default)s"
    )
    options = parser.parse_args()
    tool = {"type": "function", "function": {"name": "save", "parameters": {"type": "object"}}}
    request = ChatCompletionRequest.model_validate({
        "model": "midm", "messages": [{"role": "user", "content": "?"}], "tools": [tool],
    })
    table = Table(title="An output: µs without counting, µs that counting adds, ratio")
    for column in ("output", *(f"deltas of {size}" for size in DELTA_SIZES)):
        table.add_column(column, justify="left" if column == "output" else "right")
    for name, text in OUTPUTS.items():
        cells = (
            "{:,.0f} {:+.1f} {:.3f}".format(*compare(text, size, options.seconds, request))
            for size in DELTA_SIZES
        )
        table.add_row(name, *cells)
    console = Console(width=110)
    console.print(f"vLLM {vllm.__version__}, Python {platform.python_version()}, {date.today()}")
    console.print(table)


if __name__ == "__main__":
    main()
