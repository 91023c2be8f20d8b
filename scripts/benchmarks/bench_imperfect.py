"""What a tool parser leaves of outputs that a small model writes imperfectly.

Makes calls with seeded names and arguments, writes each as the model was taught and in the ways
that `midm_vllm.markup.events.Repair` names, and reads one and the same text through vLLM's parser
classes, at once and streamed through vLLM's own glue. An output is right if the client has exactly
the calls that were meant, by name and parsed arguments, and no tag, and no object of a call, as
content; without a call, the text as it was. Left out is what has no agreed meaning: a call with two
names. Where arguments are missing, `{}` is taken as meant.

The ways are those that midm-parser repairs, so that it is right in all says only that it does what
it claims; how often a model writes which way, the table does not know. Needs no model and no
server. The numbers are in docs/guides/monitoring.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import vllm
from benchmarks.vendor_style import VendorStyle
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast
from vllm.parser.abstract_parser import DelegatingParser
from vllm.tool_parsers.abstract_tool_parser import ToolParser
from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser

from midm_vllm.compat.vllm_imports import ChatCompletionRequest
from midm_vllm.serving.tool_parser import MidmToolParser

OPENING, CLOSING = "<tool_call>", "</tool_call>"
NAMES = ("get_weather", "search", "도서관_검색", "send_mail", "convert")
VALUES = (
    "서울", 7, 1.5, True, None, ["a", "나"], {"from": "2026-01-01", "to": None}, "a } b", "",
    'He said "네".', "line\nbreak", "<b>1 < 2</b>",
)  # fmt: skip
KEYS = ("city", "n", "기간", "unit", "options")
DELTA_SIZES = (4, 20)

Calls = list[tuple[str, Any]]


PARSERS: dict[str, type[ToolParser]] = {
    "midm-parser": MidmToolParser,
    "hermes": Hermes2ProToolParser,
    "vendor's approach": VendorStyle,
}


@dataclass(frozen=True)
class Output:
    """A model's output, the calls it means, and the content."""

    text: str
    calls: Calls
    content: str = ""


def written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def call_object(name: str, arguments: Any, key: str = "arguments") -> str:
    return f'{{"name": {written(name)}, "{key}": {written(arguments)}}}'


def indented(name: str, arguments: Any) -> str:
    return json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False, indent=2)


def some_call(source: random.Random) -> tuple[str, Any]:
    keys = source.sample(KEYS, source.randint(1, 4))
    return source.choice(NAMES), {key: source.choice(VALUES) for key in keys}


Way = Callable[[random.Random], Output]


def one(write: Callable[[str, Any], str]) -> Way:
    """A way of writing one call."""

    def make(source: random.Random) -> Output:
        name, arguments = some_call(source)
        return Output(write(name, arguments), [(name, arguments)])

    return make


def two(write: Callable[[str, str], str], key: str = "arguments") -> Way:
    """A way of writing two calls, of which `write` has the objects."""

    def make(source: random.Random) -> Output:
        calls = [some_call(source), some_call(source)]
        objects = (call_object(name, arguments, key) for name, arguments in calls)
        return Output(write(*objects), calls)

    return make


def without_arguments(source: random.Random) -> Output:
    name = source.choice(NAMES)
    rest = source.choice(("", ', "arguments": null', ', "arguments": ""'))
    return Output(f'{OPENING}{{"name": {written(name)}{rest}}}{CLOSING}', [(name, {})])


def prose_around(source: random.Random) -> Output:
    name, arguments = some_call(source)
    before = source.choice(("확인해 보겠습니다.", "Let me look.", "A call stands in <b> tags."))
    text = f"{before}\n{OPENING}{call_object(name, arguments)}{CLOSING}"
    return Output(text, [(name, arguments)], before)


def tag_in_prose(source: random.Random) -> Output:
    text = source.choice((
        f"Calls stand between {OPENING} and {CLOSING}.", f"{OPENING} 태그는 호출을 뜻합니다.",
    ))
    return Output(text, [], text)


def tags_in_strings(source: random.Random) -> Output:
    name, arguments = some_call(source)
    arguments["html"] = source.choice((f"a {CLOSING} b", f"{OPENING}{{}}{CLOSING}"))
    return Output(f"{OPENING}{call_object(name, arguments)}{CLOSING}", [(name, arguments)])


def cut_last_brackets(name: str, arguments: Any) -> str:
    return f"{OPENING}{call_object(name, arguments)[:-2]}{CLOSING}"


WAYS: dict[str, Way] = {
    "as taught": one(lambda *call: f"{OPENING}{call_object(*call)}{CLOSING}"),
    "as taught, lines and spaces": one(lambda *call: f"{OPENING}\n{indented(*call)}\n{CLOSING}"),
    "as taught, two blocks": two(lambda a, b: f"{OPENING}{a}{CLOSING}\n{OPENING}{b}{CLOSING}"),
    "prose before": prose_around,
    "tags in strings": tags_in_strings,
    "the tag in an explanation": tag_in_prose,
    "closing_tag_missing": one(lambda *call: f"{OPENING}{call_object(*call)}"),
    "closing_tag_missing, two blocks": two(lambda a, b: f"{OPENING}{a}\n{OPENING}{b}{CLOSING}"),
    "bracket_missing, one": one(lambda *call: f"{OPENING}{call_object(*call)[:-1]}{CLOSING}"),
    "bracket_missing, two": one(cut_last_brackets),
    "bracket_too_many": one(lambda *call: f"{OPENING}{call_object(*call)}}}{CLOSING}"),
    "trailing_comma": one(lambda *call: f"{OPENING}{call_object(*call)[:-1]},}}{CLOSING}"),
    "parameters_key": one(
        lambda name, arguments: f"{OPENING}{call_object(name, arguments, 'parameters')}{CLOSING}"
    ),
    "parameters_key, several_in_block": two(
        lambda a, b: f"{OPENING}\n{a}\n{b}\n{CLOSING}", "parameters"
    ),
    "several_in_block": two(lambda a, b: f"{OPENING}{a}\n{b}{CLOSING}"),
    "array_of_calls": two(lambda a, b: f"{OPENING}[{a}, {b}]{CLOSING}"),
    "arguments_as_text": one(
        lambda name, arguments: f"{OPENING}{call_object(name, written(arguments))}{CLOSING}"
    ),
    "arguments_missing": without_arguments,
    "text_in_block": one(lambda *call: f"{OPENING}{call_object(*call)} 네. {CLOSING}"),
}


class Reading:
    """One parser on one output, at once and streamed, as vLLM drives it."""

    def __init__(self, parser: type[ToolParser], tokenizer: Any) -> None:
        self._glue = type("Glue", (DelegatingParser,), {"tool_parser_cls": parser})
        self._tokenizer = tokenizer
        self._request: Any = ChatCompletionRequest.model_validate({
            "messages": [{"role": "user", "content": "?"}], "tool_choice": "auto",
            "tools": [
                {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
                for name in (*NAMES, "other")
            ],
        })

    def at_once(self, text: str) -> tuple[str, Calls]:
        parser = self._glue(self._tokenizer, self._request.tools)
        result = parser.extract_tool_calls(text, self._request)
        calls = [(call.function.name, call.function.arguments) for call in result.tool_calls]
        return result.content or "", calls

    def streamed(self, text: str, size: int) -> tuple[str, Calls]:
        parser = self._glue(self._tokenizer, self._request.tools)
        content, calls = "", dict[int, list[str]]()
        deltas = [text[start : start + size] for start in range(0, len(text), size)]
        for number, delta in enumerate(deltas):
            last = number == len(deltas) - 1
            message = parser.parse_delta(delta, [7] * max(1, len(delta) // 3), self._request, [1],
                                         finished=last)
            content += (message and message.content) or ""
            for call in (message and message.tool_calls) or []:
                known = calls.setdefault(call.index, ["", ""])
                known[0] += (call.function and call.function.name) or ""
                known[1] += (call.function and call.function.arguments) or ""
        return content, [(name, arguments) for name, arguments in calls.values()]


def is_right(output: Output, content: str, calls: Calls) -> bool:
    try:
        parsed = [(name, json.loads(arguments)) for name, arguments in calls]
    except (TypeError, ValueError):
        return False
    if parsed != output.calls:
        return False
    if not output.calls:
        return content == output.content
    return OPENING not in content and '"name"' not in content and output.content in content


def score(parser: type[ToolParser], outputs: Sequence[Output], tokenizer: Any) -> list[int]:
    """How many outputs are right at once, and streamed in deltas of each size."""
    reading = Reading(parser, tokenizer)
    rights = [0] * (1 + len(DELTA_SIZES))
    for output in outputs:
        rights[0] += is_right(output, *_tried(reading.at_once, output.text))
        for number, size in enumerate(DELTA_SIZES, 1):
            rights[number] += is_right(output, *_tried(reading.streamed, output.text, size))
    return rights


def _tried(read: Callable[..., tuple[str, Calls]], *arguments: Any) -> tuple[str, Calls]:
    try:
        return read(*arguments)
    except Exception:  # A parser that raises has read nothing: the client gets an error.
        return "", [("(raised)", "")]


def rows(count: int, seed: int, tokenizer: Any) -> Iterator[tuple[str, list[list[int]]]]:
    for way, make in WAYS.items():
        source = random.Random(f"{seed} {way}")
        outputs = [make(source) for _ in range(count)]
        yield way, [score(parser, outputs, tokenizer) for parser in PARSERS.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=50, help="outputs of a way, %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()
    logging.disable()  # Parsers log what they cannot read.
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer(
            WordLevel({"<unk>": 0, OPENING: 1, CLOSING: 2}, unk_token="<unk>")
        ),
        unk_token="<unk>",
    )
    sizes = " / ".join(f"by {size}" for size in DELTA_SIZES)
    table = Table(title=f"Outputs read rightly, in per cent: at once / streamed {sizes} characters")
    for column in ("written", *PARSERS):
        table.add_column(column, justify="left" if column == "written" else "right")
    for way, scores in rows(options.count, options.seed, tokenizer):
        cells = (" / ".join(f"{100 * each / options.count:.0f}" for each in score)
                 for score in scores)
        table.add_row(way, *cells)
    console = Console(width=110)
    console.print(
        f"vLLM {vllm.__version__}, Python {platform.python_version()}, {date.today()}: "
        f"{options.count} outputs of each way, seed {options.seed}"
    )
    console.print(table)


if __name__ == "__main__":
    main()
