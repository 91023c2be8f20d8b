"""The demo: an agent answers a Korean question with a tool, over a real vLLM on this machine.

Serves the small checkpoint with the plugin's tool parser, and streams with the `openai` client:
the call's name and arguments as they arrive, a Python function's result, the final answer.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build_checkpoint import REPOSITORY, build
from openai import OpenAI
from rich.console import Console
from taught_conversations import CONVERT_AREA, Message, Tool
from vllm_server import ServerFailed, start_server

MODEL = "midm-small"
QUESTION = "84제곱미터는 몇 평이야?"
LOG = REPOSITORY / ".cache" / "demo-server.log"
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
        "serve", str(checkpoint), "--served-model-name", MODEL, "--enforce-eager",
        "--tool-call-parser", "midm-parser",
    ]
    console.print(f"[dim]vllm {' '.join(arguments)}", soft_wrap=True, highlight=False)
    LOG.parent.mkdir(exist_ok=True)
    with start_server(arguments, LOG) as server:
        console.print(f"[dim]runs as process {server.process.pid}; its log: {LOG}", soft_wrap=True)
        with console.status("Starting vLLM, about half a minute"):
            server.wait_until_ready()
        client = OpenAI(base_url=f"{server.url}/v1", api_key="none")
        run_agent(client, QUESTION, [CONVERT_AREA], console)


def main() -> None:
    for ending in (signal.SIGTERM, signal.SIGHUP):  # The `with` blocks end, as on Ctrl-C.
        signal.signal(ending, lambda number, frame: sys.exit(128 + number))
    try:
        demo(build(), Console())
    except ServerFailed as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
