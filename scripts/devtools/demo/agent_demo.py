"""The demo: an agent answers a Korean question with a tool, over a real vLLM on this machine.

Serves the small checkpoint with the plugin's tool parser, and streams with the `openai` client:
the call's name and arguments as they arrive, a Python function's result, the final answer.

`--save-svg FILE` writes what the terminal showed as a picture, too: `docs/demo.svg` is such a one.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devtools.checkpoint import REPOSITORY, build
from devtools.conversations import CONVERT_AREA, Message, Tool
from devtools.server import ServerFailed, start_server
from openai import OpenAI
from rich.cells import cell_len
from rich.console import Console

MODEL = "midm-small"
QUESTION = "84제곱미터는 몇 평이야?"
LOG = REPOSITORY / ".cache" / "demo-server.log"
PICTURE_COLUMNS = 88
PICTURE_FONTS = "Fira Code, D2Coding, Noto Sans Mono CJK KR"
SQUARE_METRES = {"제곱미터": 1.0, "평": 400 / 121}  # One 평 is a square of six 자, 20/11 m.


def convert_area(value: float, from_unit: str, to_unit: str) -> dict[str, Any]:
    """The tool: an area in another unit, to two digits."""
    converted = value * SQUARE_METRES[from_unit] / SQUARE_METRES[to_unit]
    return {"value": round(converted, 2), "unit": to_unit}


FUNCTIONS: dict[str, Callable[..., dict[str, Any]]] = {"convert_area": convert_area}


@dataclass
class ToolCall:
    """A call as its deltas have told it so far."""

    id: str
    name: str
    arguments: str = ""

    def as_message(self) -> Message:
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }


def stream_turn(
    client: OpenAI, messages: list[Any], tools: Sequence[Any], console: Console
) -> list[ToolCall]:
    """Stream one answer of the model to the console and to `messages`; return its calls."""
    content = ""
    calls: dict[int, ToolCall] = {}
    stream = client.chat.completions.create(
        model=MODEL, messages=messages, tools=tools, temperature=0, stream=True
    )
    for chunk in stream:
        for choice in chunk.choices:
            if choice.delta.content:
                _show(console, choice.delta.content, "bold green")
                content += choice.delta.content
            for delta in choice.delta.tool_calls or ():
                function = delta.function
                if function and delta.id and function.name:
                    calls[delta.index] = ToolCall(delta.id, function.name)
                    _show(console, f"{function.name} ", "bold magenta")
                if function and function.arguments:
                    calls[delta.index].arguments += function.arguments
                    _show(console, function.arguments, "magenta")
    console.print()
    answer: Message = {"role": "assistant", "content": content or None}
    if calls:
        answer["tool_calls"] = [call.as_message() for call in calls.values()]
    messages.append(answer)
    return list(calls.values())


def run_agent(client: OpenAI, question: str, tools: Sequence[Tool], console: Console) -> None:
    """Answer the question, running tools for as long as the model calls them."""
    messages: list[Message] = [{"role": "user", "content": question}]
    console.print(f"\n[dim]user      [/] {question}")
    _show(console, "assistant  ", "dim")
    while calls := stream_turn(client, messages, tools, console):
        for call in calls:
            result = FUNCTIONS[call.name](**json.loads(call.arguments))
            text = json.dumps(result, ensure_ascii=False)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": text})
            _show(console, "tool       ", "dim")
            _show(console, f"{text}\n", "cyan")
        _show(console, "assistant  ", "dim")


def _show(console: Console, text: str, style: str) -> None:
    """Print a piece of a line at once, as it is."""
    console.print(text, style=style, end="", markup=False, highlight=False, soft_wrap=True)


def demo(checkpoint: Path, console: Console) -> None:
    """Serve `checkpoint` and run the agent against it."""
    arguments = [
        "serve", os.path.relpath(checkpoint), "--served-model-name", MODEL, "--enforce-eager",
        "--tool-call-parser", "midm-parser",
    ]
    command = f"vllm {' '.join(arguments)}".replace(" --enforce", " \\\n    --enforce")
    _show(console, f"{command}\n", "dim")
    LOG.parent.mkdir(exist_ok=True)
    log = os.path.relpath(LOG)
    with start_server(arguments, LOG) as server:
        _show(console, f"runs as process {server.process.pid}; its log: {log}\n", "dim")
        # On another console, which nothing records.
        with Console(stderr=True).status("Starting vLLM, about half a minute"):
            server.wait_until_ready()
        client = OpenAI(base_url=f"{server.url}/v1", api_key="none")
        run_agent(client, QUESTION, [CONVERT_AREA], console)


def save_svg(console: Console, file: Path) -> None:
    """Write what the (recording) console showed as an SVG."""
    drawn = console.export_svg(title="./scripts/demo")
    # Nothing from the network, fonts that have Hangul, and Latin letters as wide as they are.
    drawn = re.sub(r"@font-face\s*{[^}]*}\s*|font-variant-east-asian:[^;]*;\s*", "", drawn)
    drawn = drawn.replace("Fira Code, monospace", f"{PICTURE_FONTS}, monospace")
    drawn = re.sub(r'x="([^"]+)" y="([^"]+)" textLength="([^"]+)"([^>]*)>([^<]*)', _in_cells, drawn)
    file.write_text(drawn, "utf-8")


def _in_cells(text: re.Match[str]) -> str:
    """Place each character of a text with Hangul by itself, a syllable in two cells.

    rich (15.0) gives the text's length alone, and viewers spread the letters over it unevenly.
    """
    x, y, length, attributes, drawn = text.groups()
    shown = html.unescape(drawn)
    if cell_len(shown) == len(shown):
        return text[0]
    cell = float(length) / len(shown)
    places, at = [], float(x)
    for letter in shown:
        places.append(f"{at:g}")
        at += cell * cell_len(letter)
    return f'x="{" ".join(places)}" y="{y}"{attributes}>{drawn}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save-svg", type=Path, metavar="FILE", help="a picture of the session")
    picture: Path | None = parser.parse_args().save_svg
    console = Console(record=True, width=PICTURE_COLUMNS) if picture else Console()
    for ending in (signal.SIGTERM, signal.SIGHUP):  # The `with` blocks end, as on Ctrl-C.
        signal.signal(ending, lambda number, frame: sys.exit(128 + number))
    try:
        demo(build(), console)
        if picture:
            save_svg(console, picture)
    except ServerFailed as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
