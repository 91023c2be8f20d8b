"""Engines of Mi:dm 1.0 in a process of their own, and what their outputs have to be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from devtools.midm1_reference import PlainMidm
from safetensors.torch import save_file

DATA = Path(__file__).parents[1] / "models" / "checkpoints"
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
                [sys.executable, str(Path(__file__).with_name("run_engines.py")),
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
