"""Ask `AsyncLLM`, vLLM's engine embedded in a program, for each taught answer; print what is read.

    python async_engine_calls.py CHECKPOINT NAME...

All at once, each as a stream of deltas, which `midm_vllm.offline` reads while they come. A line of
JSON for each name, in their order: content, calls, and how often the calls grew.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

os.environ.update(HF_HUB_OFFLINE="1", VLLM_CPU_KVCACHE_SPACE="1", VLLM_NO_USAGE_STATS="1")

from devtools.conversations import BY_NAME  # noqa: E402
from vllm import SamplingParams  # noqa: E402
from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: E402
from vllm.sampling_params import RequestOutputKind  # noqa: E402
from vllm.v1.engine.async_llm import AsyncLLM  # noqa: E402

from midm_vllm.chat import render_prompt  # noqa: E402
from midm_vllm.offline import parse_stream  # noqa: E402


async def ask(engine: AsyncLLM, name: str) -> str:
    taught = BY_NAME[name]
    prompt = render_prompt(list(taught.messages), list(taught.tools))
    sampling = SamplingParams(temperature=0, max_tokens=700, output_kind=RequestOutputKind.DELTA)
    deltas = [
        output.outputs[0].text async for output in engine.generate(prompt, sampling, name)
    ]
    *growing, last = parse_stream(deltas)
    return json.dumps({
        "content": last.content,
        "calls": [[call.name, call.arguments] for call in last.calls],
        "complete": all(call.complete for call in last.calls),
        "steps": len({str([(call.name, call.arguments) for call in each.calls])
                      for each in growing}),
    })  # fmt: skip


async def main(checkpoint: str, *names: str) -> None:
    engine = AsyncLLM.from_engine_args(
        AsyncEngineArgs(checkpoint, enforce_eager=True, max_model_len=4096)
    )
    try:
        print(*await asyncio.gather(*(ask(engine, name) for name in names)), sep="\n")
    finally:
        engine.shutdown()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
