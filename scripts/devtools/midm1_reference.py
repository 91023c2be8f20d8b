"""Mi:dm 1.0 as a plain torch module: no vLLM, no Transformers, no PagedAttention.

What the tests compare vLLM's model with in configurations for which there are
no vectors of the vendor's, what the benchmark runs against it, and what writes
random checkpoints for both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

DEFAULTS: Mapping[str, Any] = {
    "architectures": ["MidmLMHeadModel"],
    "model_type": "midm-bitext-S",
    "activation_function": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "layer_norm_epsilon": 1e-5,
    "n_inner": None,
    "normalization_type": "layernorm1p",
    "pad_token_id": 3,
    "rotary_percentage": 1.0,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
    "scale_qk_by_inverse_layer_idx": True,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
    "use_absolute_position_embedding": False,
    "use_rotary_position_embedding": True,
}

ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "tanh": torch.tanh,
}

#: Keys and values of one layer so far, each [heads, positions, head size].
Cache = list[tuple[torch.Tensor, torch.Tensor]]


class PlainMidm(nn.Module):
    """The network of one `config.json`, without positions beyond `n_positions`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        c = self.config = {**DEFAULTS, **config}
        width, layers = c["n_embd"], c["n_layer"]
        inner = c["n_inner"] or 4 * width
        self.gated = c["activation_function"] == "silu"
        names: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (c["vocab_size"], width)}
        if c["use_absolute_position_embedding"]:
            names["transformer.wpe.weight"] = (c["n_positions"], width)
        for i in range(layers):
            h = f"transformer.h.{i}."
            for norm in ("ln_1", "ln_2"):
                names[f"{h}{norm}.weight"] = names[f"{h}{norm}.bias"] = (width,)
            names[h + "attn.c_attn.weight"] = (3 * width, width)
            names[h + "attn.c_proj.weight"] = (width, width)
            names[h + "mlp.c_fc.weight"] = (2 * inner if self.gated else inner, width)
            names[h + "mlp.c_proj.weight"] = (width, inner)
        names["transformer.ln_f.weight"] = names["transformer.ln_f.bias"] = (width,)
        if not c["tie_word_embeddings"]:
            names["lm_head.weight"] = (c["vocab_size"], width)
        self.shapes = names
        self.weights: dict[str, torch.Tensor] = {}

    def randomize(self, seed: int) -> PlainMidm:
        """Weights large enough that every part of the network shows in the logits."""
        generator = torch.Generator().manual_seed(seed)
        one = 0.0 if self.config["normalization_type"] == "layernorm1p" else 1.0
        for name, shape in self.shapes.items():
            noise = torch.randn(shape, generator=generator)
            is_norm = ".ln_" in name and name.endswith(".weight")
            deviation = shape[-1] ** -0.5 if len(shape) == 2 else 0.3
            self.weights[name] = noise * deviation + (one if is_norm else 0.0)
        return self

    def load(self, checkpoint: Path) -> PlainMidm:
        """The weights of a `model.safetensors`; buffers stay away."""
        stored = load_file(checkpoint / "model.safetensors")
        self.weights = {name: stored[name] for name in self.shapes}
        return self

    def save(self, checkpoint: Path, **extra: torch.Tensor) -> Path:
        """Write `config.json` and `model.safetensors`, `extra` tensors with it."""
        checkpoint.mkdir(parents=True, exist_ok=True)
        (checkpoint / "config.json").write_text(json.dumps(self.config, indent=2))
        save_file({**self.weights, **extra}, checkpoint / "model.safetensors")
        return checkpoint

    def forward(self, ids: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        """Logits [batch, positions, vocabulary] of `ids` [batch, positions].

        A `cache` from the call before holds what came before; it is extended.
        """
        c, w = self.config, self.weights
        start = cache[0][0].shape[-2] if cache else 0
        positions = torch.arange(start, start + ids.shape[1])
        x = w["transformer.wte.weight"][ids]
        if c["use_absolute_position_embedding"]:
            x = x + w["transformer.wpe.weight"][positions]
        for i in range(c["n_layer"]):
            h = f"transformer.h.{i}."
            x = x + self._attend(i, self._norm(h + "ln_1", x), positions, cache)
            y = F.linear(self._norm(h + "ln_2", x), w[h + "mlp.c_fc.weight"])
            if self.gated:
                gate, up = y.chunk(2, dim=-1)
                y = F.silu(gate) * up
            else:
                y = ACTIVATIONS[c["activation_function"]](y)
            x = x + F.linear(y, w[h + "mlp.c_proj.weight"])
        head = "transformer.wte" if c["tie_word_embeddings"] else "lm_head"
        return F.linear(self._norm("transformer.ln_f", x), w[head + ".weight"])

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        weight = self.weights[name + ".weight"]
        if self.config["normalization_type"] == "layernorm1p":
            weight = weight + 1
        bias = self.weights[name + ".bias"]
        return F.layer_norm(x, weight.shape, weight, bias, self.config["layer_norm_epsilon"])

    def _attend(
        self, layer: int, x: torch.Tensor, positions: torch.Tensor, cache: Cache | None
    ) -> torch.Tensor:
        c = self.config
        size = c["n_embd"] // c["n_head"]
        h = f"transformer.h.{layer}.attn."
        qkv = F.linear(x, self.weights[h + "c_attn.weight"]).chunk(3, dim=-1)
        q, k, v = (part.view(*x.shape[:2], c["n_head"], size).transpose(1, 2) for part in qkv)
        if c["use_rotary_position_embedding"]:
            q, k = self._rotate(q, positions), self._rotate(k, positions)
        if cache is not None:
            if layer < len(cache):
                k = torch.cat((cache[layer][0], k), dim=-2)
                v = torch.cat((cache[layer][1], v), dim=-2)
                cache[layer] = (k, v)
            else:
                cache.append((k, v))
        scale = size**-0.5 if c["scale_attn_weights"] else 1.0
        if c["scale_attn_by_inverse_layer_idx"]:
            scale /= layer + 1
        y = F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[-2] > 1, scale=scale)
        return F.linear(y.transpose(1, 2).flatten(2), self.weights[h + "c_proj.weight"])

    def _rotate(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        c = self.config
        count = int(c["n_embd"] // c["n_head"] * c["rotary_percentage"])
        frequencies = 10000.0 ** -(torch.arange(0, count, 2) / count)
        angles = torch.outer(positions.float(), frequencies).repeat(1, 2)
        width = angles.shape[-1]
        turned, rest = x[..., :width], x[..., width:]
        first, second = turned.chunk(2, dim=-1)
        crossed = torch.cat((-second, first), dim=-1)
        turned = turned * angles.cos().to(x.dtype) + crossed * angles.sin().to(x.dtype)
        return torch.cat((turned, rest), dim=-1)

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Sequence[int]], count: int) -> torch.Tensor:
        """Greedy tokens [batch, count] behind prompts of one length, with a key-value cache."""
        cache: Cache = []
        ids = torch.tensor(prompts)
        tokens = []
        for _ in range(count):
            ids = self(ids, cache)[:, -1:].argmax(dim=-1)
            tokens.append(ids)
        return torch.cat(tokens, dim=1)
