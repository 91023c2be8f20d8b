"""Check midm-vllm on this machine's GPU: right answers first, then what they cost.

With vLLM and this package installed, from a checkout: `python scripts/gpu_check.py`. Each check is
a process of its own with a time limit. Its result is a line of `results.jsonl`, written as soon as
it ends; a table ends the output, and the status is 0 if everything passed. `--device cpu` runs all
of it in small.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from devtools.setup_env import REPOSITORY
from rich.console import Console
from rich.table import Table

VECTORS = REPOSITORY / "tests" / "models" / "checkpoints"
VARIANTS = ("layernorm1p-rotary-glu", "layernorm-partial-rotary-glu")
DTYPES = ("float32", "bfloat16")
OUT = REPOSITORY / ".cache" / "gpu-check"
#: The relative error that a kernel may have in bfloat16.
KERNEL_ERROR = 1e-2
#: Of logits in float32. Products in Triton's attention are tf32 on a GPU: 2.4e-2 on an H200, with
#: every argmax and greedy token equal.
LOGITS_ERROR = MappingProxyType({"cuda": 5e-2, "cpu": 1e-3})
NEW_TOKENS = 16
TRIALS_AT_ONCE = 16
ENVIRONMENT = MappingProxyType({
    "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
    "TOKENIZERS_PARALLELISM": "false",
})


class CheckFailed(Exception):
    """What a check saw is wrong; the message says what."""


def check_kernels(device: str, folder: Path) -> str:
    """vLLM's compiled kernels against plain torch: do they run on this card at all?"""
    import torch
    import vllm._custom_ops as ops
    from torch.nn import functional as F

    torch.manual_seed(0)
    width, inner = 1792, 4608
    x, weight, gated = (torch.randn(*shape, device=device, dtype=torch.bfloat16)
                        for shape in ((33, width), (width,), (33, 2 * inner)))
    normed, activated = torch.empty_like(x), torch.empty_like(gated[:, :inner])
    ops.rms_norm(normed, x, weight, 1e-5)
    torch.ops._C.silu_and_mul(activated, gated)
    gate, up = gated.float().chunk(2, dim=-1)
    errors = {
        name: ((got.float() - wanted).norm() / wanted.norm()).item()
        for name, got, wanted in (
            ("rms_norm", normed, F.rms_norm(x.float(), (width,), weight.float(), 1e-5)),
            ("silu_and_mul", activated, F.silu(gate) * up),
        )
    }
    line = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    if not all(error < KERNEL_ERROR for error in errors.values()):  # NaN is not below it.
        raise CheckFailed(f"relative errors above {KERNEL_ERROR}: {line}")
    return f"relative errors: {line}"


def check_taught(device: str, folder: Path, dtype: str) -> str:
    """The taught conversations, and calls under a grammar that are valid by their schema."""
    from devtools.chat_completions import both, expected, openai_client, request
    from devtools.checkpoint import build
    from devtools.conversations import CONVERSATIONS
    from devtools.server import run_server, serve_arguments

    graphs = ("--no-enforce-eager",) if device == "cuda" else ()
    arguments = serve_arguments(build(), "--dtype", dtype, *graphs)
    with run_server(arguments, folder / f"taught-{dtype}.log", ENVIRONMENT) as server:
        client = openai_client(server)
        wrong = [
            f"{conversation.name}, {'streamed' if streamed else 'not streamed'}: {answer}"
            for conversation in CONVERSATIONS
            for streamed, answer in enumerate(both(client, request(conversation)))
            if answer != expected(conversation)
        ]
        counts, invalid = constrained_calls(client, device)
    if wrong or invalid:
        listed = "\n".join([*wrong, *invalid][:10])
        raise CheckFailed(f"{len(wrong)} answers and {len(invalid)} calls are wrong:\n{listed}")
    return f"{len(CONVERSATIONS)} conversations, streamed and not; {counts}"


def constrained_calls(client: Any, device: str) -> tuple[str, list[str]]:
    """Calls drawn at temperature 1 under each schema, required and strict.

    Returns:
        How many were valid, in words; a line for each that was not.
    """
    import jsonschema
    from devtools.cases.schemas import SCHEMAS
    from devtools.chat_completions import answers
    from devtools.server import MODEL

    names = list(SCHEMAS) if device == "cuda" else list(SCHEMAS)[:4]

    def ask(trial: tuple[str, str]) -> tuple[str, str, str | None]:
        name, mode = trial
        function: dict[str, Any] = {"name": "f", "parameters": SCHEMAS[name]}
        if mode == "strict":  # An explicit False would leave the arguments unconstrained.
            function["strict"] = True
        [answer] = answers(client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "서울 날씨를 알려 줘."}],
            tools=[{"type": "function", "function": function}],
            tool_choice="required" if mode == "required" else "auto",
            temperature=1.0, top_p=1.0, max_completion_tokens=400, extra_body={"top_k": -1},
        ))
        if answer.finish_reason == "length":
            return mode, "cut off", None
        try:
            for called, arguments in answer.calls:
                jsonschema.validate(json.loads(arguments), SCHEMAS[name])
                if called != "f":
                    raise ValueError(f"called {called}")
            if mode == "required" and not answer.calls:
                raise ValueError("no call")
        except (ValueError, jsonschema.ValidationError) as error:
            return mode, "wrong", f"{mode}, {name}: {answer} {str(error)[:200]}"
        return mode, "valid" if answer.calls else "prose", None

    trials = [(name, mode) for mode in ("required", "strict") for name in names]
    with ThreadPoolExecutor(TRIALS_AT_ONCE) as pool:
        done = list(pool.map(ask, trials))
    counts = [
        f"{mode}: " + ", ".join(
            f"{sum(row[:2] == (mode, verdict) for row in done)} {verdict}"
            for verdict in ("valid", "prose", "cut off")
        ) for mode in ("required", "strict")
    ]
    return "; ".join(counts), [wrong for _, _, wrong in done if wrong]


def check_midm1(device: str, folder: Path, variant: str, dtype: Any) -> str:
    """Mi:dm 1.0 against vectors of the vendor's implementation, in float32 or near enough."""
    os.environ.update(ENVIRONMENT, VLLM_ENABLE_V1_MULTIPROCESSING="0")
    import torch
    from devtools.midm1_reference import PlainMidm
    from vllm import LLM, SamplingParams, TokensPrompt

    checkpoint = VECTORS / variant
    vectors = json.loads((checkpoint / "goldens.json").read_text())["prompts"]
    engine: Any = LLM(
        str(checkpoint), dtype=dtype, skip_tokenizer_init=True, logprobs_mode="raw_logits",
        max_logprobs=-1, enforce_eager=device == "cpu", max_num_seqs=16,
    )
    outputs = engine.generate(
        [TokensPrompt(prompt_token_ids=vector["input_ids"]) for vector in vectors],
        SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True, detokenize=False,
                       logprobs=-1, prompt_logprobs=1), use_tqdm=False,
    )
    plain = PlainMidm(json.loads((checkpoint / "config.json").read_text())).load(checkpoint)
    plain.weights = {
        name: weight.to(getattr(torch, dtype)) for name, weight in plain.weights.items()
    }
    equal, positions, greedy, distance, rounding = 0, 0, 0, 0.0, 0.0
    for output, vector in zip(outputs, vectors):
        tokens = list(output.outputs[0].token_ids)
        first = output.outputs[0].logprobs[0]
        logits = torch.tensor([first[token].logprob for token in range(len(first))])
        last = torch.tensor(vector["last_logits"])
        argmax = [max(top, key=lambda token: top[token].logprob)
                  for top in (output.prompt_logprobs or [])[1:]] + tokens[:1]
        equal += sum(map(int.__eq__, argmax, vector["argmax"]))
        positions += len(vector["argmax"])
        greedy += sum(map(int.__eq__, tokens, vector["greedy"]))
        distance = max(distance, (logits - last).abs().max().item())
        with torch.inference_mode():
            rounded = plain(torch.tensor([vector["input_ids"]]))[0, -1].float()
        rounding = max(rounding, (rounded - last).abs().max().item())
    # bfloat16 may be as far away again as its rounded weights are in plain torch.
    exact = dtype == "float32"
    allowed = LOGITS_ERROR[device] if exact else 2 * rounding
    line = (f"argmax {equal} of {positions}, greedy {greedy} of {NEW_TOKENS * len(vectors)}, "
            f"logits within {distance:.1e} (allowed {allowed:.1e})")
    all_equal = equal == positions and greedy == NEW_TOKENS * len(vectors)
    if not distance < allowed or not (all_equal if exact else equal >= 0.9 * positions):
        raise CheckFailed(line)
    return line


def check_serving(device: str, folder: Path) -> str:
    """What reading calls costs a server of Mi:dm 2.0 Mini's size."""
    small = ("--streams", "4", "--rounds", "1")
    return benchmark("bench_serving.py", *(
        ("--mini", "--streams", "1", "64", "--rounds", "3") if device == "cuda" else small
    ))


def check_midm1_speed(device: str, folder: Path) -> str:
    """Mi:dm 1.0 at 7B beside vLLM's own Llama of its shape."""
    small = ("--rounds", "1", "--new-tokens", "8", "--prompt-tokens", "16")
    full = ("--shape", "7b", "--compile", "--rounds", "5", "--new-tokens", "128")
    return benchmark(
        "bench_midm1.py", "--contenders", "midm", "llama", *(full if device == "cuda" else small)
    )


def benchmark(name: str, *arguments: str) -> str:
    """Run a benchmark, which fails where its answers are wrong; return its last line."""
    scripts = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(scripts / "benchmarks" / name), *arguments],
        env=os.environ | {"PYTHONPATH": str(scripts)}, stdout=subprocess.PIPE, text=True,
    )
    print(done.stdout)
    if done.returncode:
        raise CheckFailed(f"{name} ended with status {done.returncode}")
    return done.stdout.strip().splitlines()[-1].strip()


Check = Callable[[str, Path], str]
#: Seconds allowed on a GPU, and what to run.
CHECKS: Mapping[str, tuple[float, Check]] = MappingProxyType({
    "kernels": (120, check_kernels),
    **{f"taught-{dtype}": (400, partial(check_taught, dtype=dtype)) for dtype in DTYPES},
    **{f"midm1-{dtype}-{variant}": (240, partial(check_midm1, variant=variant, dtype=dtype))
       for variant in VARIANTS for dtype in DTYPES},
    "serving": (600, check_serving),
    "midm1-speed": (600, check_midm1_speed),
})


def run(name: str, device: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Run a check in a process of its own; return its result."""
    start = time.monotonic()
    log = folder / f"{name}.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", __file__, "--one", name, "--device", device, "--out",
             str(folder)], stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )
        try:
            status = f"ended with status {process.wait(seconds)}"
        except subprocess.TimeoutExpired:
            status = f"not done after {seconds:.0f} seconds"
        finally:
            # What is stopped ends its servers on the way out, which are no part of its group.
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    result = folder / f"{name}.json"
    found = json.loads(result.read_text()) if result.exists() else {
        "passed": False, "line": f"{status}; see {log}"
    }
    return {"check": name, "device": device, "seconds": round(time.monotonic() - start, 1), **found}


def run_one(name: str, device: str, folder: Path) -> None:
    """The process of one check: leave its result in `folder`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    try:
        result = {"passed": True, "line": CHECKS[name][1](device, folder)}
    except Exception as error:
        result = {"passed": False, "line": f"{type(error).__name__}: {error}"}
    (folder / f"{name}.json").write_text(json.dumps(result, ensure_ascii=False))
    sys.stdout.flush()
    os._exit(0)  # Engines in this process hold threads that would keep it.


def machine(device: str) -> str:
    """The card or processor, and the versions that matter."""
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {os.cpu_count()} cores"
    packages = ("vllm", "midm-vllm", "torch", "transformers")
    return ", ".join([name, *(f"{package} {version(package)}" for package in packages)])


def report(results: Sequence[dict[str, Any]], title: str) -> None:
    table = Table(title=title)
    for column in ("check", "result", "s", ""):
        table.add_column(column, overflow="fold")
    for result in results:
        word = "passed" if result["passed"] else "FAILED"
        table.add_row(result["check"], word, f"{result['seconds']:.0f}", result["line"])
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", nargs="+", choices=CHECKS, metavar="NAME", default=list(CHECKS),
                        help=f"of {', '.join(CHECKS)}")
    parser.add_argument("--seconds", type=float, default=3600, help="for everything together")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for results and logs")
    parser.add_argument("--one", choices=CHECKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.one:
        run_one(options.one, options.device, options.out)
    title = machine(options.device)
    print(title, flush=True)
    deadline, results = time.monotonic() + options.seconds, []
    for name in options.only:
        (options.out / f"{name}.json").unlink(missing_ok=True)
        allowed = CHECKS[name][0] * (1 if options.device == "cuda" else 5)
        left = deadline - time.monotonic()
        if left <= 0:
            result = {"check": name, "device": options.device, "seconds": 0.0, "passed": False,
                      "line": f"not run: the {options.seconds:.0f} seconds were over"}
        else:
            result = run(name, options.device, options.out, min(allowed, left))
        results.append(result)
        with (options.out / "results.jsonl").open("a") as file:
            file.write(json.dumps({"machine": title, **result}, ensure_ascii=False) + "\n")
        print(f"{'passed' if result['passed'] else 'FAILED'} {name}: {result['line']}", flush=True)
    report(results, title)
    passed = sum(result["passed"] for result in results)
    print(f"{passed} of {len(results)} passed; logs in {options.out}")
    sys.exit(passed < len(results))


if __name__ == "__main__":
    main()
