"""What requests with hostile schemas cost the API server, and its event loop of that.

Each request is prepared and checked as vLLM does it (`preprocess_chat`, then the check of its
sampling parameters), twice. Milliseconds of processor time: of the process (the first time), and
of the event loop's thread (the first and the second time). In the loop nothing else may be read
meanwhile; of the rest it waits for the interpreter's lock alone, 5 ms at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from devtools.cases.heavy_schemas import HEAVY, many, members, nested, text
from devtools.preparing import Prefetching
from rich.console import Console
from rich.table import Table
from vllm.sampling_params import SamplingParams
from vllm.v1.structured_output import backend_guidance

from midm_vllm.compat.vllm_imports import ChatCompletionRequest
from midm_vllm.constants import GRAMMAR_BACKEND
from midm_vllm.serving.constraints import grammar_backend
from midm_vllm.serving.constraints.grammar_prefetch import install_validation_cache

MORE: dict[str, list[Any]] = {
    "1,000 small tools": [members(properties={f"a{i}": text()}) for i in range(1000)],
    "1,000 tools without parameters": [{}] * 1000,
    "1,000 tools of one pattern": [
        members(properties={"a": text(pattern=f"^x{i}[a-z]+$")}) for i in range(1000)],
    "40 deep, in 45 tools": [nested(40)] * 45,
    "196 open objects": [many(196, lambda i: members(
        properties={f"b{i}": text()}, additionalProperties=True))],
}


def request_of(schemas: list[Any]) -> Any:
    """A request that requires a call of one of the tools with these schemas."""
    return ChatCompletionRequest.model_validate({
        "model": "m", "messages": [{"role": "user", "content": "x"}], "tool_choice": "required",
        "tools": [{"type": "function", "function": {"name": f"f{number}", "parameters": schema}}
                  for number, schema in enumerate(schemas)],
    })


async def prepared(preparing: Any, request: Any) -> tuple[float, float, str]:
    """Milliseconds of the process and of this thread, and what the check answers."""
    refused = ""
    of_all, of_loop = time.process_time(), time.thread_time()
    try:
        await preparing.preprocess_chat(request)
        backend_guidance.validate_guidance_grammar(
            SamplingParams(structured_outputs=request.structured_outputs)
        )
    except ValueError as error:
        refused = str(error)[:60]
    return (time.process_time() - of_all) * 1000, (time.thread_time() - of_loop) * 1000, refused


async def run(requests: dict[str, list[Any]], table: Table) -> None:
    preparing = Prefetching()
    await prepared(preparing, request_of([{}]))
    for name, schemas in requests.items():
        whole, first, refused = await prepared(preparing, request_of(schemas))
        _, second, _ = await prepared(preparing, request_of(schemas))
        table.add_row(name, f"{whole:.1f}", f"{first:.1f}", f"{second:.1f}", refused)


def _schemas(content: Any) -> Iterator[Any]:
    """The schemas of tools as an MCP server lists them, at whatever depth."""
    if isinstance(content, dict) and "inputSchema" in content:
        yield content["inputSchema"]
    elif isinstance(content, (dict, list)):
        for each in content.values() if isinstance(content, dict) else content:
            yield from _schemas(each)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tools", type=Path,
                        help="a JSON file of MCP servers' tools, as one request more")
    options = parser.parse_args()
    grammar_backend.observe(
        SimpleNamespace(structured_outputs_config=SimpleNamespace(backend=GRAMMAR_BACKEND))
    )
    install_validation_cache(backend_guidance)
    requests = {name: [schema] for name, schema in HEAVY.items()} | MORE
    if options.tools:
        content = json.loads(options.tools.read_text("utf-8"))
        requests["the file's tools"] = list(_schemas(content))
    gc.collect()
    gc.freeze()  # As vLLM's server does when it has started.
    table = Table("", "the process", "of that the loop", "again, the loop", "refused",
                  title="Milliseconds of processor time")
    asyncio.run(run(requests, table))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
