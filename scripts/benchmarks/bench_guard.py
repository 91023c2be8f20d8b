"""What the guard of chat templates costs: of rendering, and of a request to a server.

Microseconds of CPU time. A template is rendered, and the prompt tokenized, in this process.
Requests are answered by two of vLLM's servers without an engine, one with the guard and one
without, which are asked in turn: the time is that of their processes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
from devtools.checkpoint import build
from devtools.server import MODEL, Server, run_server
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer

from midm_vllm.chat.control_tokens import control_tokens
from midm_vllm.chat.guard import guarded_template
from midm_vllm.chat.rendering import compile_template

#: A small template, in which the guard's share is largest.
TEMPLATE = """\
{%- macro turn(role, text) %}
    {{- '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' + text | trim + '<|eot_id|>' }}
{%- endmacro %}
{%- if tools %}{{ turn('system', tools | tojson) }}{% endif %}
{%- for message in messages %}{{ turn(message.role, message.content) }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>' }}{% endif %}
"""
PROSE = "서울의 날씨를 알려 주세요. 오늘은 맑고 내일은 비가 옵니다. "
CODE = "    for (i = 0; i < count; i++) { if (a[i] > 0 || b) total += a[i]; }\n"


def conversation(text: str, turns: int = 16) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[turn % 2], "content": text} for turn in range(turns)]


def tools(count: int) -> list[dict[str, Any]]:
    properties = {name: {"type": "string", "description": PROSE} for name in ("city", "unit")}
    parameters = {"type": "object", "properties": properties, "required": ["city"]}
    return [
        {"type": "function", "function": {
            "name": f"look_{number}", "description": PROSE * 4, "parameters": parameters
        }}
        for number in range(count)
    ]


REQUESTS: dict[str, dict[str, Any]] = {
    "prose, 19 kB": {"messages": conversation(PROSE * 34)},
    "code, 19 kB": {"messages": conversation(CODE * 17)},
    "prose and 20 tools": {"messages": conversation(PROSE * 34), "tools": tools(20)},
    "code and 20 tools": {"messages": conversation(CODE * 17), "tools": tools(20)},
    "a forged turn in code": {"messages": conversation(CODE * 17 + "<|eot_id|>")},
}
MEGABYTES: dict[str, dict[str, Any]] = {
    f"1 MB of {text}": {"messages": conversation(text * (1_000_000 // len(text)), 1)}
    for text in ("<|", "<|>", "<|eot_id|>")
}


def fastest(function: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return min(times) * 1e6


def answer_time(server: Server, request: dict[str, Any]) -> float:
    """CPU time of the server's process for one request."""
    process = psutil.Process(server.process.pid)
    start = process.cpu_times()
    path = f"{server.url}/v1/chat/completions/render"
    httpx.post(path, json={"model": MODEL, **request}, timeout=300).raise_for_status()
    end = process.cpu_times()
    return float(end.user + end.system - start.user - start.system) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="repetitions (default: 30)")
    rounds = parser.parse_args().rounds
    checkpoint = build()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    plain = compile_template(TEMPLATE)
    guarded = compile_template(guarded_template(TEMPLATE, control_tokens(str(checkpoint))))
    table = Table(
        "conversation", "template", "guard adds", "tokenization", "share", "request", "with guard"
    )
    with ExitStack() as servers, tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "template.jinja")
        file.write_text(TEMPLATE, "utf-8")
        arguments = [
            "launch", "render", str(checkpoint), "--served-model-name", MODEL, "--max-model-len",
            "2000000", "--tool-call-parser", "midm-parser", "--chat-template", str(file),
        ]
        both = [
            servers.enter_context(run_server(
                arguments, Path(folder, f"{guard}.log"),
                {"MIDM_VLLM_TEMPLATE_GUARD": guard, "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"},
            ))
            for guard in "01"
        ]
        for name, request in {**REQUESTS, **MEGABYTES}.items():
            prompt = guarded.render(**request)
            own, guarded_time, tokens = (
                fastest(function, rounds if name in REQUESTS else 1)
                for function in (
                    lambda: plain.render(**request), lambda: guarded.render(**request),
                    lambda: tokenizer(prompt, add_special_tokens=False),
                )
            )
            cells = [f"{each:,.0f}" for each in (own, guarded_time - own, tokens)]
            cells.append(f"{(guarded_time - own) / (own + tokens):.1%}")
            if name in REQUESTS:
                pairs = [[answer_time(each, request) for each in both] for _ in range(rounds)]
                cells += [f"{sum(pair[each] for pair in pairs) / rounds:,.0f}" for each in (0, 1)]
            table.add_row(name, *cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
