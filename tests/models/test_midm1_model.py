"""Mi:dm 1.0 in a real vLLM, against the vendor's vectors and a plain torch network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from midm1_reference import PlainMidm
from safetensors.torch import save_file

DATA = Path(__file__).parent / "checkpoints"
VARIANTS = ("layernorm1p-rotary-glu", "layernorm-partial-rotary-glu")
NEW_TOKENS = 16
SMALL = {"n_embd": 128, "n_head": 4, "n_layer": 3, "n_positions": 128, "n_inner": 200}

# Between them every field of the configuration has each of its values.
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "absolute positions alone": {
        "use_absolute_position_embedding": True,
        "use_rotary_position_embedding": False,
        "normalization_type": "layernorm",
        "activation_function": "gelu_new",
        "n_inner": None,
        "tie_word_embeddings": False,
        "vocab_size": 333,
        "scale_attn_weights": False,
        "scale_attn_by_inverse_layer_idx": True,
        "scale_qk_by_inverse_layer_idx": False,
    },
    "both positions, odd rotary": {
        "use_absolute_position_embedding": True,
        "rotary_percentage": 0.35,  # 11 of 32 dimensions
        "activation_function": "relu",
        "vocab_size": 321,
        "layer_norm_epsilon": 0.01,
        "scale_attn_by_inverse_layer_idx": True,
        "scale_qk_by_inverse_layer_idx": False,
    },
    "nearly all rotary, unscaled scores": {
        "rotary_percentage": 0.97,  # 31 of 32 dimensions
        "activation_function": "gelu",
        "vocab_size": 320,
        "scale_attn_weights": False,
        "reorder_and_upcast_attn": True,
    },
    "no positions": {
        "use_rotary_position_embedding": False,
        "activation_function": "tanh",
        "vocab_size": 1000,
    },
}

PROMPTS = [
    torch.randint(4, 300, (length,), generator=torch.Generator().manual_seed(length)).tolist()
    for length in (1, 2, 7, 31, 64, 100)
]


def goldens(variant: str) -> list[dict[str, Any]]:
    prompts: list[dict[str, Any]] = json.loads((DATA / variant / "goldens.json").read_text())[
        "prompts"
    ]
    return prompts


class Engines:
    """A process of its own, under way, in which `run_engines.py` does the jobs."""

    def __init__(self, jobs: dict[str, Any], folder: Path, **environment: str) -> None:
        self.folder = folder
        (folder / "jobs.json").write_text(json.dumps(jobs))
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).parents[1] / "support" / "run_engines.py"),
                 str(folder / "jobs.json"), str(folder / "results.json")],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
                stdout=log, stderr=subprocess.STDOUT,
            )

    def results(self) -> dict[str, Any]:
        """What it made of the jobs, once it has ended."""
        status = self.process.wait()
        assert status == 0, (self.folder / "log").read_text(errors="replace")[-6000:]
        results: dict[str, Any] = json.loads((self.folder / "results.json").read_text())
        return results


def outputs(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The outputs of a job's first batch."""
    assert "error" not in result, result["error"]
    batch: list[dict[str, Any]] = result["batches"][0]
    return batch


def difference(logits: list[float], expected: list[float] | torch.Tensor) -> float:
    assert len(logits) == len(expected)
    return (torch.tensor(logits) - torch.as_tensor(expected)).abs().max().item()


def assert_golden(results: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(results) == len(expected)
    for result, golden in zip(results, expected):
        assert result["tokens"] == golden["greedy"]
        assert result["argmax"] == golden["argmax"][:-1]
        assert result["tokens"][0] == golden["argmax"][-1]
        assert difference(result["logits"], golden["last_logits"]) < 1e-3


@torch.inference_mode()
def assert_equals_plain(
    results: list[dict[str, Any]], plain: PlainMidm, prompts: list[list[int]]
) -> None:
    assert len(results) == len(prompts)
    for result, prompt in zip(results, prompts):
        logits = plain(torch.tensor([prompt]))[0]
        assert difference(result["logits"], logits[-1]) < 1e-3
        if result["argmax"]:
            assert result["argmax"] == logits[:-1].argmax(dim=-1).tolist()
        assert result["tokens"] == plain.generate([prompt], NEW_TOKENS)[0].tolist()


def plain_network(name: str) -> PlainMidm:
    seed = list(CONFIGURATIONS).index(name)
    return PlainMidm({**SMALL, **CONFIGURATIONS[name]}).randomize(seed)


def adapted(plain: PlainMidm, adapter: Path) -> PlainMidm:
    """Write a LoRA adapter of every linear layer; return the network it makes."""
    rank, alpha = 4, 8
    modules = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    generator = torch.Generator().manual_seed(5)
    weights = {}
    merged = PlainMidm(plain.config)
    merged.weights = dict(plain.weights)
    for layer in range(plain.config["n_layer"]):
        for module in modules:
            name = f"transformer.h.{layer}.{module}"
            out, width = plain.shapes[name + ".weight"]
            a = torch.randn(rank, width, generator=generator) * width**-0.5
            b = torch.randn(out, rank, generator=generator) * rank**-0.5
            weights[f"base_model.model.{name}.lora_A.weight"] = a
            weights[f"base_model.model.{name}.lora_B.weight"] = b
            merged.weights[name + ".weight"] = (
                plain.weights[name + ".weight"] + alpha / rank * b @ a
            )
    adapter.mkdir()
    save_file(weights, adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": alpha,
        "target_modules": ["c_attn", "c_proj", "c_fc"], "bias": "none",
    }))
    return merged


#: See `quantized`.
INT8_RANGE = 63


def quantized(plain: PlainMidm, checkpoint: Path) -> PlainMidm:
    """Write an INT8 checkpoint (compressed-tensors); return the network of its weights.

    The weights take 7 of the 8 bits. A processor without VNNI adds two products of 8 bits in 16,
    which saturates where both weights are near the end of their range: a fault of such processors'
    INT8, not of the network, and this test is of the network.
    """
    plain.config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True},
            "input_activations": {
                "num_bits": 8, "type": "int", "strategy": "token", "symmetric": True,
                "dynamic": True,
            },
        }},
    }
    rounded = PlainMidm(plain.config)
    rounded.weights = dict(plain.weights)
    scales = {}
    for name, weight in list(plain.weights.items()):
        if ".c_" not in name:
            continue
        scale = weight.abs().amax(dim=1, keepdim=True) / INT8_RANGE
        plain.weights[name] = (weight / scale).round().to(torch.int8)
        scales[name + "_scale"] = scale
        rounded.weights[name] = plain.weights[name] * scale
    plain.save(checkpoint, **scales)
    return rounded


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("midm1")


@pytest.fixture(scope="session")
def with_adapter(folder: Path) -> PlainMidm:
    return adapted(PlainMidm(SMALL | {"vocab_size": 320}).randomize(9), folder / "adapter")


@pytest.fixture(scope="session")
def in_int8(folder: Path) -> PlainMidm:
    return quantized(PlainMidm(SMALL | {"vocab_size": 320}).randomize(8), folder / "int8")


@pytest.fixture(scope="module")
def results(engines: Engines) -> dict[str, Any]:
    return engines.results()


@pytest.fixture(scope="session")
def engines(
    folder: Path,
    with_adapter: PlainMidm,
    in_int8: PlainMidm,
    checkpoint: Path,
    renamed_checkpoint: Path,
) -> Iterator[Engines]:
    """All that runs on one process, in one process, while other tests run."""
    one, partial = (str(DATA / variant) for variant in VARIANTS)
    golden_prompts = {v: [golden["input_ids"] for golden in goldens(v)] for v in VARIANTS}
    prompts = golden_prompts[VARIANTS[0]]
    jobs: dict[str, Any] = {
        # Chunks of 32 tokens: every prompt above that is cut, and shares its steps.
        "chunked": {
            "engine": {"model": one, "max_num_batched_tokens": 32, "max_num_seqs": 8,
                       "enable_prefix_caching": False},
            "batches": [prompts, *([prompt] for prompt in prompts)],
        },
        "compiled": {"engine": {"model": one, "enforce_eager": False}, "batches": [prompts]},
        "not chunked": {
            "engine": {"model": partial, "enable_chunked_prefill": False},
            "batches": [golden_prompts[VARIANTS[1]]],
        },
        "bfloat16": {"engine": {"model": one, "dtype": "bfloat16"}, "batches": [prompts]},
    }
    for name in CONFIGURATIONS:
        saved = plain_network(name).save(folder / name)
        jobs[name] = {"engine": {"model": str(saved)}, "batches": [PROMPTS]}

    plain = PlainMidm(SMALL | {"vocab_size": 320}).randomize(9)
    jobs["adapter"] = {
        "engine": {"model": str(plain.save(folder / "base")), "enable_lora": True,
                   "max_lora_rank": 8},
        "batches": [PROMPTS],
        "lora": str(folder / "adapter"),
    }
    jobs["int8"] = {"engine": {"model": str(folder / "int8")}, "batches": [PROMPTS]}

    # A .bin with the buffers of old checkpoints and the copy of a tied head.
    old = plain.save(folder / "old")
    (old / "model.safetensors").unlink()
    torch.save(
        {
            **plain.weights,
            "lm_head.weight": plain.weights["transformer.wte.weight"],
            "transformer.h.0.attn.bias": torch.ones(1, 1, 128, 128, dtype=torch.uint8),
            "transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
            "transformer.rotary_pos_emb.inv_freq": torch.ones(16),
        },
        old / "pytorch_model.bin",
    )
    jobs["bin"] = {"engine": {"model": str(old)}, "batches": [PROMPTS]}

    del plain.weights["transformer.h.1.attn.c_proj.weight"]
    lacking = plain.save(folder / "lacking")
    jobs["lacking"] = {"engine": {"model": str(lacking)}, "batches": []}
    plain.randomize(9)
    surplus = plain.save(folder / "surplus", **{"transformer.wpe.weight": torch.ones(128, 128)})
    jobs["surplus"] = {"engine": {"model": str(surplus)}, "batches": []}
    jobs["overridden"] = {
        "engine": {"model": one, "hf_overrides": {"scale_attn_by_inverse_layer_idx": True}},
        "batches": [],
    }

    # Mi:dm 2.0, as it is published and re-exported under its own name.
    for name, model in (("llama", checkpoint), ("midm", renamed_checkpoint)):
        jobs[name] = {
            "engine": {"model": str(model), "max_model_len": 1024},
            "batches": [[[0, 300, 301], [0, *range(400, 420)]]],
        }
    under_way = Engines(jobs, folder)
    try:
        yield under_way
    finally:
        under_way.process.kill()
        under_way.process.wait()


def test_the_vendors_vectors_come_out_with_prompts_in_chunks_and_in_one_batch(
    results: dict[str, Any]
) -> None:
    assert_golden(outputs(results["chunked"]), goldens(VARIANTS[0]))


def test_a_ragged_batch_equals_its_prompts_one_by_one(results: dict[str, Any]) -> None:
    together, *alone = results["chunked"]["batches"]
    assert [result["tokens"] for result in together] == [batch[0]["tokens"] for batch in alone]
    assert [result["argmax"] for result in together] == [batch[0]["argmax"] for batch in alone]


def test_the_vendors_vectors_come_out_with_whole_prompts(results: dict[str, Any]) -> None:
    assert_golden(outputs(results["not chunked"]), goldens(VARIANTS[1]))


def test_the_vendors_vectors_come_out_of_the_compiled_network(results: dict[str, Any]) -> None:
    assert_golden(outputs(results["compiled"]), goldens(VARIANTS[0]))


@pytest.mark.slow
def test_the_vendors_vectors_come_out_of_two_tensor_parallel_ranks(
    tmp_path: Path
) -> None:
    jobs = {
        variant: {
            "engine": {"model": str(DATA / variant), "tensor_parallel_size": 2},
            "batches": [[golden["input_ids"] for golden in goldens(variant)]],
        }
        for variant in VARIANTS
    }
    binding = {"VLLM_CPU_OMP_THREADS_BIND": "0|1", "TORCH_COMPILE_DISABLE": "1"}
    results = Engines(jobs, tmp_path, **binding).results()
    for variant in VARIANTS:
        assert_golden(outputs(results[variant]), goldens(variant))


@torch.inference_mode()
def test_bfloat16_is_as_close_as_bfloat16_can_be(results: dict[str, Any]) -> None:
    config = json.loads((DATA / VARIANTS[0] / "config.json").read_text())
    plain = PlainMidm(config).load(DATA / VARIANTS[0])
    plain.weights = {name: weight.bfloat16() for name, weight in plain.weights.items()}
    for result, golden in zip(outputs(results["bfloat16"]), goldens(VARIANTS[0])):
        rounded = plain(torch.tensor([golden["input_ids"]]))[0, -1].float()
        unavoidable = difference(rounded.tolist(), golden["last_logits"])
        assert difference(result["logits"], golden["last_logits"]) < 2 * unavoidable
        assert len(result["tokens"]) == NEW_TOKENS


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_any_legal_configuration_equals_the_plain_network(
    name: str, results: dict[str, Any]
) -> None:
    assert_equals_plain(outputs(results[name]), plain_network(name), PROMPTS)


@pytest.mark.first
@pytest.mark.usefixtures("engines")
def test_the_plain_network_gives_the_vendors_vectors() -> None:
    for variant in VARIANTS:
        config = json.loads((DATA / variant / "config.json").read_text())
        plain = PlainMidm(config).load(DATA / variant)
        for golden in goldens(variant):
            with torch.inference_mode():
                logits = plain(torch.tensor([golden["input_ids"]]))[0]
            assert logits.argmax(dim=-1).tolist() == golden["argmax"]
            assert difference(logits[-1].tolist(), golden["last_logits"]) < 1e-3


def test_a_lora_adapter_of_every_linear_layer_applies(
    results: dict[str, Any], with_adapter: PlainMidm
) -> None:
    assert_equals_plain(outputs(results["adapter"]), with_adapter, PROMPTS)


@torch.inference_mode()
def test_a_quantized_checkpoint_runs(results: dict[str, Any], in_int8: PlainMidm) -> None:
    for result, prompt in zip(outputs(results["int8"]), PROMPTS):
        expected = in_int8(torch.tensor([prompt]))[0, -1]
        # Activations are rounded to 8 bits as well.
        likeness = torch.corrcoef(torch.stack((torch.tensor(result["logits"]), expected)))[0, 1]
        assert likeness > 0.999


def test_an_old_bin_checkpoint_with_buffers_and_a_tied_heads_copy_loads(
    results: dict[str, Any]
) -> None:
    plain = PlainMidm(SMALL | {"vocab_size": 320}).randomize(9)
    assert_equals_plain(outputs(results["bin"]), plain, PROMPTS)


def test_a_missing_weight_is_named(results: dict[str, Any]) -> None:
    error = results["lacking"]["error"]
    assert "The checkpoint lacks 1 of the weights" in error
    assert "transformer.h.1.attn.c_proj.weight" in error


def test_a_weight_the_network_has_no_place_for_is_named(results: dict[str, Any]) -> None:
    assert "wpe" in results["surplus"]["error"]


def test_a_contradiction_that_an_override_makes_is_named(results: dict[str, Any]) -> None:
    error = results["overridden"]["error"]
    assert "scale_attn_by_inverse_layer_idx and scale_qk_by_inverse_layer_idx" in error


def test_mi_dm_2_re_exported_under_its_own_name_is_the_same_network(
    results: dict[str, Any]
) -> None:
    assert outputs(results["midm"]) == outputs(results["llama"])
