"""Run vLLM engines one after another in this process; JSON jobs in, JSON results out.

A process of its own because an engine in it binds threads and changes global
state; several engines in it because each then starts in seconds.

A job: `engine` (arguments of `vllm.LLM`), `batches` (lists of prompts, each a
list of token ids; the prompts of one batch run at once), `lora` (an adapter's
folder, or absent). Its result: per prompt `tokens` (greedy), `logits` (of the
first of them) and `argmax` (behind each prompt token but the last; empty with
`lora`); or `error`, where the engine failed.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

# Before vLLM is imported.
os.environ.update(
    HF_HUB_OFFLINE="1",
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_LOGGING_LEVEL="WARNING",
    VLLM_NO_USAGE_STATS="1",
)

from vllm import LLM, SamplingParams  # noqa: E402
from vllm.distributed import (  # noqa: E402
    destroy_distributed_environment,
    destroy_model_parallel,
)
from vllm.lora.request import LoRARequest  # noqa: E402

NEW_TOKENS = 16


def run(job: dict[str, Any]) -> dict[str, Any]:
    options = {
        "dtype": "float32",
        "enforce_eager": True,
        "kv_cache_memory_bytes": 1 << 26,  # Each engine fills it with zeros.
        "logprobs_mode": "raw_logits",
        "max_logprobs": -1,
        "skip_tokenizer_init": True,
        **job["engine"],
    }
    gc.freeze()  # vLLM collects eight times an engine: a third of its time goes with that.
    try:
        llm = LLM(**options)
        try:
            return {"batches": [_generate(llm, job, prompts) for prompts in job["batches"]]}
        finally:
            del llm
    except (ValueError, RuntimeError) as error:
        return {"error": str(error)}
    finally:
        destroy_model_parallel()
        destroy_distributed_environment()
        gc.collect()


def _generate(
    llm: LLM, job: dict[str, Any], prompts: list[list[int]]
) -> list[dict[str, Any]]:
    lora = LoRARequest("adapter", 1, job["lora"]) if "lora" in job else None
    sampling = SamplingParams(
        temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True, detokenize=False, logprobs=-1,
        # vLLM's LoRA on CPUs cannot do both.
        prompt_logprobs=None if lora else 1,
    )
    outputs = llm.generate(
        [{"prompt_token_ids": prompt} for prompt in prompts],
        sampling, lora_request=lora, use_tqdm=False,
    )
    return [_facts(output) for output in outputs]


def _facts(output: Any) -> dict[str, Any]:
    first = output.outputs[0].logprobs[0]
    return {
        "tokens": list(output.outputs[0].token_ids),
        "logits": [first[token].logprob for token in range(len(first))],
        "argmax": [
            max(top, key=lambda token: top[token].logprob)
            for top in (output.prompt_logprobs or [])[1:]
        ],
    }


if __name__ == "__main__":
    jobs = json.loads(Path(sys.argv[1]).read_text())
    results = {name: run(job) for name, job in jobs.items()}
    Path(sys.argv[2]).write_text(json.dumps(results))
