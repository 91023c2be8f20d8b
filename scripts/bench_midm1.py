"""Tokens per second of Mi:dm 1.0 in vLLM: 16 requests at once, about 100M random parameters.

Against the same network in plain torch with a key-value cache, as Transformers
generates without PagedAttention: one request after another, and all of them as
one batch (which they can be only because they are equally long and known at
once). And against vLLM's own Llama of the same shape. Each in a process of its
own, in turns; the best of the rounds counts, since what else the machine does
only ever takes time away.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

WIDTH, LAYERS, HEADS, INNER, VOCABULARY, POSITIONS = 768, 12, 12, 2048, 32000, 1024
REQUESTS = 16
CONTENDERS = {
    "midm": "Mi:dm 1.0 in vLLM",
    "llama": "vLLM's Llama of equal shape",
    "batch": "plain torch, one batch",
    "serial": "plain torch, one by one",
}


def write_checkpoints(folder: Path) -> None:
    from midm1_reference import PlainMidm
    from transformers import LlamaConfig, LlamaForCausalLM

    midm = PlainMidm({
        "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_inner": INNER,
        "vocab_size": VOCABULARY, "n_positions": POSITIONS, "torch_dtype": "bfloat16",
    }).randomize(0)
    midm.weights = {name: weight.bfloat16() for name, weight in midm.weights.items()}
    midm.save(folder / "midm")
    llama = LlamaForCausalLM(LlamaConfig(
        hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=INNER, vocab_size=VOCABULARY, max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
    ))
    llama.bfloat16().save_pretrained(folder / "llama")
    print(
        f"Parameters: {sum(w.numel() for w in midm.weights.values()) / 1e6:.0f}M in Mi:dm 1.0, "
        f"{llama.num_parameters() / 1e6:.0f}M in the Llama."
    )


def make_prompts(length: int) -> list[list[int]]:
    import random

    chance = random.Random(0)
    return [[chance.randrange(10, VOCABULARY) for _ in range(length)] for _ in range(REQUESTS)]


def vllm_generation(checkpoint: Path, options: argparse.Namespace) -> Callable[[], None]:
    os.environ.update(
        HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL="ERROR",
        VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_KVCACHE_SPACE="2",
    )
    from vllm import LLM, SamplingParams, TokensPrompt

    llm = LLM(
        str(checkpoint), skip_tokenizer_init=True, enforce_eager=not options.compile,
        enable_prefix_caching=False, max_num_seqs=REQUESTS,
    )
    sampling = SamplingParams(
        temperature=0, max_tokens=options.new_tokens, ignore_eos=True, detokenize=False
    )
    prompts = [
        TokensPrompt(prompt_token_ids=ids) for ids in make_prompts(options.prompt_tokens)
    ]

    def generate() -> None:
        llm.generate(prompts, sampling, use_tqdm=False)

    return generate


def plain_generation(
    checkpoint: Path, options: argparse.Namespace, at_once: int
) -> Callable[[], None]:
    from midm1_reference import PlainMidm

    plain = PlainMidm(json.loads((checkpoint / "config.json").read_text())).load(checkpoint)
    prompts = make_prompts(options.prompt_tokens)

    def generate() -> None:
        for start in range(0, REQUESTS, at_once):
            plain.generate(prompts[start:start + at_once], options.new_tokens)

    return generate


def measure(contender: str, folder: Path, options: argparse.Namespace) -> float:
    """Generated tokens per second: the best of the rounds, after one to warm up."""
    if contender in ("midm", "llama"):
        generate = vllm_generation(folder / contender, options)
    else:
        at_once = REQUESTS if contender == "batch" else 1
        generate = plain_generation(folder / "midm", options, at_once)
    seconds: list[float] = []
    for _ in range(options.rounds + 1):
        start = time.perf_counter()
        generate()
        seconds.append(time.perf_counter() - start)
    return REQUESTS * int(options.new_tokens) / min(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each contender's turn")
    parser.add_argument("--turns", type=int, default=2, help="turns of each contender")
    parser.add_argument("--compile", action="store_true", help="with vLLM's torch.compile")
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        rate = measure(options.only, options.folder, options)
        Path(options.folder, "rate").write_text(str(rate))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoints(Path(folder))
        rates: dict[str, list[float]] = {contender: [] for contender in CONTENDERS}
        for _ in range(options.turns):
            for contender in CONTENDERS:
                subprocess.run(
                    [sys.executable, *sys.argv, "--only", contender, "--folder", folder],
                    check=True, stdout=subprocess.DEVNULL,
                )
                rates[contender].append(float(Path(folder, "rate").read_text()))
    report(rates)


def report(rates: dict[str, list[float]]) -> None:
    from importlib.metadata import version

    best = {contender: max(turns) for contender, turns in rates.items()}
    print(f"vLLM {version('vllm')}, torch {version('torch')}, {os.cpu_count()} cores")
    for contender, name in CONTENDERS.items():
        turns = ", ".join(f"{rate:.0f}" for rate in rates[contender])
        print(f"{name:30} {best[contender]:7.0f} tokens/s ({turns})   "
              f"Mi:dm in vLLM is {best['midm'] / best[contender]:.2f} times as fast")


if __name__ == "__main__":
    main()
