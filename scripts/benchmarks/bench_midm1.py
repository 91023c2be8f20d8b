"""Tokens per second of Mi:dm 1.0 in vLLM: 16 requests at once, about 100M random parameters.

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

WIDTH, LAYERS, HEADS, INNER, VOCABULARY, POSITIONS = 768, 12, 12, 2048, 32000, 1024
REQUESTS = 16
CONTENDERS = {
    "midm": "Mi:dm 1.0 in vLLM",
    "llama": "vLLM's Llama of equal shape",
    "batch": "plain torch, one batch",
    "serial": "plain torch, one by one",
}


def write_checkpoints(folder: Path) -> None:
    from devtools.midm1_reference import PlainMidm
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
    from devtools.midm1_reference import PlainMidm

    plain = PlainMidm(json.loads((checkpoint / "config.json").read_text())).load(checkpoint)
    prompts = make_prompts(options.prompt_tokens)

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
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        serve_rounds(options.only, options.folder, options)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_checkpoints(folder)
        contenders = {name: Contender(name, folder) for name in CONTENDERS}
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
    for name, title in CONTENDERS.items():
        print(f"{title:28} {tokens / min(s[name]['wall'] for s in rounds):6.0f} tokens/s at best")
        for measure in ("wall", "CPU"):
            ratios = sorted(s[name][measure] / s["midm"][measure] for s in rounds)
            print(
                f"    Mi:dm 1.0 in vLLM is {median(ratios):.2f} times as fast by {measure} time "
                f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
            )


if __name__ == "__main__":
    main()
