"""Tokens per second of Mi:dm 1.0 in vLLM: 16 requests at once, random parameters.

Against the same network in plain torch with a key-value cache, as Transformers
generates without PagedAttention: one request after another, and all of them as
one batch (which they can be only because they are equally long and known at
once). And against vLLM's own Llama of the same shape. Each is loaded in a
process of its own and then waits for its turn in every round, so that what
else the machine does falls on all of them; a ratio is the median over rounds.
On a busy machine the ratio of processor time is the steadier one.
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
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

#: Width, layers, heads, inner width, vocabulary. The second is Mi:dm 1.0's as published.
SHAPES = {
    "100m": (768, 12, 12, 2048, 32000),
    "7b": (4096, 32, 32, 10880, 72192),
}
POSITIONS = 1024
ON_ONE_CARD: dict[str, Any] = {"gpu_memory_utilization": 0.4, "kv_cache_memory_bytes": 4 << 30}
REQUESTS = 16
CONTENDERS = {
    "midm": "Mi:dm 1.0 in vLLM",
    "llama": "vLLM's Llama of equal shape",
    "batch": "plain torch, one batch",
    "serial": "plain torch, one by one",
}


def write_configurations(folder: Path, shape: str) -> None:
    """The two networks' `config.json`; their weights are random, and made by who loads them."""
    from devtools.midm1_reference import DEFAULTS
    from transformers import LlamaConfig

    width, layers, heads, inner, vocabulary = SHAPES[shape]
    llama = LlamaConfig(
        architectures=["LlamaForCausalLM"], dtype="bfloat16", hidden_size=width,
        num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=inner,
        vocab_size=vocabulary, max_position_embeddings=POSITIONS, tie_word_embeddings=True,
    )
    llama.save_pretrained(folder / "llama")
    (folder / "midm").mkdir()
    (folder / "midm" / "config.json").write_text(json.dumps({
        **DEFAULTS, "n_embd": width, "n_layer": layers, "n_head": heads, "n_inner": inner,
        "vocab_size": vocabulary, "n_positions": POSITIONS, "torch_dtype": "bfloat16",
    }))


def make_prompts(options: argparse.Namespace) -> list[list[int]]:
    import random

    chance = random.Random(0)
    vocabulary = SHAPES[options.shape][-1]
    return [[chance.randrange(10, vocabulary) for _ in range(options.prompt_tokens)]
            for _ in range(REQUESTS)]


def vllm_generation(checkpoint: Path, options: argparse.Namespace) -> Callable[[], None]:
    os.environ.update(
        HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL="ERROR",
        VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_KVCACHE_SPACE="2",
    )
    import torch
    from vllm import LLM, SamplingParams, TokensPrompt

    # Contenders share a GPU: the memory of each is given, not measured.
    memory = ON_ONE_CARD if torch.cuda.is_available() else {}
    llm = LLM(
        str(checkpoint), load_format="dummy", skip_tokenizer_init=True,
        enforce_eager=not options.compile, enable_prefix_caching=False, max_num_seqs=REQUESTS,
        **memory,
    )
    sampling = SamplingParams(
        temperature=0, max_tokens=options.new_tokens, ignore_eos=True, detokenize=False
    )
    prompts = [TokensPrompt(prompt_token_ids=ids) for ids in make_prompts(options)]

    def generate() -> None:
        llm.generate(prompts, sampling, use_tqdm=False)

    return generate


def plain_generation(
    checkpoint: Path, options: argparse.Namespace, at_once: int
) -> Callable[[], None]:
    from devtools.midm1_reference import PlainMidm

    plain = PlainMidm(json.loads((checkpoint / "config.json").read_text())).randomize(0)
    plain.weights = {name: weight.bfloat16() for name, weight in plain.weights.items()}
    prompts = make_prompts(options)

    def generate() -> None:
        for start in range(0, REQUESTS, at_once):
            plain.generate(prompts[start:start + at_once], options.new_tokens)

    return generate


def serve_rounds(contender: str, folder: Path, options: argparse.Namespace) -> None:
    """A contender's process: after one round to warm up, one for each line of stdin."""
    if contender in ("midm", "llama"):
        generate = vllm_generation(folder / contender, options)
    else:
        at_once = REQUESTS if contender == "batch" else 1
        generate = plain_generation(folder / "midm", options, at_once)
    generate()
    seconds = folder / f"{contender}.seconds"
    for _ in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        generate()
        spent = {"wall": time.perf_counter() - start, "CPU": time.process_time() - used}
        seconds.write_text(json.dumps(spent))
        print(contender, flush=True)


class Contender:
    """A process that generates when told to, and is told to one at a time."""

    def __init__(self, name: str, folder: Path) -> None:
        self.seconds = folder / f"{name}.seconds"
        self.process = subprocess.Popen(
            [sys.executable, *sys.argv, "--only", name, "--folder", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        assert self.process.stdin and self.process.stdout
        self.told, self.said = self.process.stdin, self.process.stdout

    def run(self) -> dict[str, float]:
        """The seconds of one round, by the clock and on the processor."""
        self.told.write("go\n")
        self.told.flush()
        # vLLM prints too, and less when it has warmed up: the last word is ours.
        while self.said.readline().strip() not in CONTENDERS:
            if self.process.poll() is not None:
                sys.exit(f"A contender ended with status {self.process.returncode}.")
        spent: dict[str, float] = json.loads(self.seconds.read_text())
        return spent

    def end(self) -> None:
        self.told.close()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="with vLLM's torch.compile")
    parser.add_argument("--shape", choices=SHAPES, default="100m")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS),
                        help="midm, and whom to compare it with")
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        serve_rounds(options.only, options.folder, options)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_configurations(folder, options.shape)
        contenders = {name: Contender(name, folder) for name in options.contenders}
        try:
            for contender in contenders.values():
                contender.run()  # Waits until it is loaded and warm.
            rounds = [
                {name: contender.run() for name, contender in contenders.items()}
                for _ in range(options.rounds)
            ]
        finally:
            for contender in contenders.values():
                contender.end()
    report(rounds, REQUESTS * options.new_tokens)


def report(rounds: list[dict[str, dict[str, float]]], tokens: int) -> None:
    """Print, for each contender, its best rate and Mi:dm's speed as a multiple of its own."""
    print(
        f"vLLM {version('vllm')}, torch {version('torch')}, {os.cpu_count()} cores, "
        f"{len(rounds)} rounds of {REQUESTS} requests at once"
    )
    times_as_fast = {}
    for name in rounds[0]:
        best = tokens / min(s[name]["wall"] for s in rounds)
        print(f"{CONTENDERS[name]:28} {best:6.0f} tokens/s at best")
        for measure in ("wall", "CPU"):
            ratios = sorted(s[name][measure] / s["midm"][measure] for s in rounds)
            print(
                f"    Mi:dm 1.0 in vLLM is {median(ratios):.2f} times as fast by {measure} time "
                f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
            )
            times_as_fast[name, measure] = median(ratios)
    others = [name for name in rounds[0] if name != "midm"]
    print("Mi:dm 1.0, times as fast: " + ", ".join(
        f"{times_as_fast[name, 'wall']:.2f} of {CONTENDERS[name]}" for name in others
    ))


if __name__ == "__main__":
    main()
