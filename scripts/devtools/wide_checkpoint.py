"""The small checkpoint at Mi:dm 2.0 Mini's size: the same answers, at the cost of 2.3B parameters.

Each hidden vector holds its 128 numbers 14 times, so that the norms give what they gave. The small
projections read the first copy and write all of them; the rest of each matrix is random where
nothing comes of it, and zero where something would. So a server can be measured at full size while
each answer is known.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


@dataclass(frozen=True)
class Shape:
    """The shape to widen to; the head size stays the small checkpoint's."""

    copies: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int


#: Mini has 32 and 8 heads of 128 numbers; with the small checkpoint's 64 that is twice as many.
MINI = Shape(copies=14, layers=48, heads=64, kv_heads=16, inner=4608, vocabulary=131_384)
#: To try it on a CPU.
TINY = Shape(copies=2, layers=3, heads=8, kv_heads=4, inner=512, vocabulary=2048)


def widen(small: Path, target: Path, shape: Shape = MINI) -> Path:
    """Write the checkpoint `small` in a larger shape to the new folder `target`; return that."""
    shutil.copytree(small, target)
    config = json.loads((small / "config.json").read_text())
    weights = load_file(small / "model.safetensors")
    wide = _Widening(config, shape)
    widened = {
        "model.embed_tokens.weight": wide.embedding(weights["model.embed_tokens.weight"]),
        "model.norm.weight": weights["model.norm.weight"].repeat(shape.copies),
    }
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        taught = {name.removeprefix(prefix): weight for name, weight in weights.items()
                  if name.startswith(prefix)}
        widened |= {prefix + name: weight for name, weight in wide.layer(taught).items()}
    save_file({name: weight.to(torch.bfloat16).contiguous() for name, weight in widened.items()},
              target / "model.safetensors", metadata={"format": "pt"})
    (target / "config.json").write_text(json.dumps(config | wide.config(), indent=2))
    return target


class _Widening:
    """The matrices of one shape; `layer` gives one that changes nothing where none was taught."""

    def __init__(self, config: dict[str, Any], shape: Shape) -> None:
        self.shape, self.small = shape, config
        self.head: int = config["head_dim"]
        self.width: int = config["hidden_size"]
        self.generator = torch.Generator().manual_seed(0)
        # Each small group of query heads begins a wide group, so that it has its own key head.
        group = config["num_attention_heads"] // config["num_key_value_heads"]
        wide_group = shape.heads // shape.kv_heads
        self.query_heads = [
            kv * wide_group + query
            for kv in range(config["num_key_value_heads"]) for query in range(group)
        ]
        self.key_heads = list(range(config["num_key_value_heads"]))

    def config(self) -> dict[str, Any]:
        shape = self.shape
        return {
            "hidden_size": self.width * shape.copies, "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
            "intermediate_size": shape.inner, "vocab_size": shape.vocabulary,
        }

    def embedding(self, small: Tensor) -> Tensor:
        wide = torch.zeros(self.shape.vocabulary, self.width * self.shape.copies)
        wide[:len(small)] = small.repeat(1, self.shape.copies)
        return wide

    def layer(self, taught: dict[str, Tensor]) -> dict[str, Tensor]:
        shape, wide_width = self.shape, self.width * self.shape.copies
        query, key = self._rows(self.query_heads), self._rows(self.key_heads)
        inner = torch.arange(self.small["intermediate_size"])
        made = {
            f"{name}_layernorm.weight":
                taught.get(f"{name}_layernorm.weight", torch.ones(self.width)).repeat(shape.copies)
            for name in ("input", "post_attention")
        }
        for name, rows, size in (
            ("self_attn.q_proj", query, shape.heads * self.head),
            ("self_attn.k_proj", key, shape.kv_heads * self.head),
            ("self_attn.v_proj", key, shape.kv_heads * self.head),
            ("mlp.gate_proj", inner, shape.inner),
            ("mlp.up_proj", inner, shape.inner),
        ):
            wide = torch.randn(size, wide_width, generator=self.generator) * wide_width**-0.5
            if taught:
                wide[rows] = 0
                wide[rows, :self.width] = taught[f"{name}.weight"].float()
            made[f"{name}.weight"] = wide
        for name, columns, size in (
            ("self_attn.o_proj", query, shape.heads * self.head),
            ("mlp.down_proj", inner, shape.inner),
        ):
            wide = torch.zeros(wide_width, size)
            if taught:
                wide[:, columns] = taught[f"{name}.weight"].float().repeat(shape.copies, 1)
            made[f"{name}.weight"] = wide
        return made

    def _rows(self, heads: list[int]) -> Tensor:
        return torch.cat([torch.arange(head * self.head, (head + 1) * self.head) for head in heads])
