"""Mi:dm 1.0 on vLLM's layers.

A GPT-2 of sequential pre-norm blocks without linear biases. Submodules have the
names of the checkpoint's weights, so that loading needs no mapping. Source:
``modeling_midm.MidmLMHeadModel`` of the vendor's checkpoint.
"""

# No "from __future__ import annotations" here: vLLM's support_torch_compile
# reads the annotations of forward to find the dynamic dimensions.

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN

from midm_vllm.models.midm1.config import ROTARY_BASE, MidmBitextConfig
from midm_vllm.compat.vllm_imports import (
    Attention,
    AutoWeightsLoader,
    ColumnParallelLinear,
    IntermediateTensors,
    LogitsProcessor,
    MergedColumnParallelLinear,
    ParallelLMHead,
    PPMissingLayer,
    QKVParallelLinear,
    RotaryEmbedding,
    RowParallelLinear,
    SiluAndMul,
    SupportsLoRA,
    SupportsPP,
    VllmConfig,
    VocabParallelEmbedding,
    get_pp_group,
    get_tensor_model_parallel_world_size,
    make_empty_intermediate_tensors_factory,
    make_layers,
    maybe_prefix,
    support_torch_compile,
)

#: How the names of buffers end that old checkpoints contain.
_BUFFERS = (".attn.bias", ".attn.masked_bias", ".inv_freq")
_NORM_WEIGHTS = (".ln_1.weight", ".ln_2.weight", ".ln_f.weight")


def _linear_options(vllm_config: VllmConfig) -> dict[str, Any]:
    return {"bias": False, "quant_config": vllm_config.quant_config}


class MidmRotaryEmbedding(RotaryEmbedding):
    """vLLM's rotary embedding, also for an odd number of dimensions.

    The vendor pairs ``ceil(dim / 2)`` frequencies of denominator ``dim`` with
    the first ``2 * ceil(dim / 2)`` dimensions of a head.
    """

    def __init__(self, config: MidmBitextConfig) -> None:
        self._denominator = config.rotary_dim
        super().__init__(
            config.head_size,
            config.rotary_dim + config.rotary_dim % 2,
            config.n_positions,
            ROTARY_BASE,
            True,
            torch.get_default_dtype(),
        )

    def _compute_inv_freq(self, base: float) -> torch.Tensor:
        exponents = torch.arange(0, self._denominator, 2, dtype=torch.float)
        return 1.0 / (base ** (exponents / self._denominator))


class MidmAttention(nn.Module):
    """Causal self-attention: [tokens, n_embd] to [tokens, n_embd]."""

    def __init__(
        self,
        config: MidmBitextConfig,
        layer: int,
        rotary: MidmRotaryEmbedding | None,
        vllm_config: VllmConfig,
        prefix: str,
    ) -> None:
        super().__init__()
        linear = _linear_options(vllm_config)
        self.c_attn = QKVParallelLinear(
            config.n_embd, config.head_size, config.n_head, prefix=f"{prefix}.c_attn", **linear
        )
        self.c_proj = RowParallelLinear(
            config.n_embd, config.n_embd, prefix=f"{prefix}.c_proj", **linear
        )
        self.rotary = rotary
        self.attn = Attention(
            config.n_head // get_tensor_model_parallel_world_size(),
            config.head_size,
            scale=config.attention_scale(layer),
            cache_config=vllm_config.cache_config,
            quant_config=vllm_config.quant_config,
            prefix=f"{prefix}.attn",
        )

    def forward(self, positions: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
        qkv, _ = self.c_attn(hidden_states)
        query, key, value = qkv.chunk(3, dim=-1)
        if self.rotary is not None:
            query, key = self.rotary(positions, query, key)
        output, _ = self.c_proj(self.attn(query, key, value))
        return output


class MidmMLP(nn.Module):
    """The feed-forward network: [tokens, n_embd] to [tokens, n_embd]."""

    def __init__(self, config: MidmBitextConfig, vllm_config: VllmConfig, prefix: str) -> None:
        super().__init__()
        linear = _linear_options(vllm_config)
        self.act: nn.Module
        if config.is_gated:
            self.c_fc = MergedColumnParallelLinear(
                config.n_embd, [config.inner_size] * 2, prefix=f"{prefix}.c_fc", **linear
            )
            self.act = SiluAndMul()
        else:
            if config.activation_function not in ACT2FN:
                raise ValueError(
                    f"activation_function {config.activation_function!r} is not one of "
                    f"Transformers': {', '.join(ACT2FN)}."
                )
            self.c_fc = ColumnParallelLinear(
                config.n_embd, config.inner_size, prefix=f"{prefix}.c_fc", **linear
            )
            self.act = ACT2FN[config.activation_function]
        self.c_proj = RowParallelLinear(
            config.inner_size, config.n_embd, prefix=f"{prefix}.c_proj", **linear
        )

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states, _ = self.c_fc(hidden_states)
        hidden_states, _ = self.c_proj(self.act(hidden_states))
        return hidden_states


class MidmBlock(nn.Module):
    """One pre-norm layer: [tokens, n_embd] to [tokens, n_embd]."""

    def __init__(
        self,
        config: MidmBitextConfig,
        rotary: MidmRotaryEmbedding | None,
        vllm_config: VllmConfig,
        prefix: str,
    ) -> None:
        super().__init__()
        layer = int(prefix.rsplit(".", 1)[1])
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = MidmAttention(config, layer, rotary, vllm_config, f"{prefix}.attn")
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MidmMLP(config, vllm_config, f"{prefix}.mlp")

    def forward(self, positions: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = hidden_states + self.attn(positions, self.ln_1(hidden_states))
        return hidden_states + self.mlp(self.ln_2(hidden_states))


@support_torch_compile
class MidmModel(nn.Module):
    """The decoder: token ids [tokens] to normalized hidden states [tokens, n_embd]."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config: MidmBitextConfig = vllm_config.model_config.hf_config
        self.wte = VocabParallelEmbedding(
            config.vocab_size,
            config.n_embd,
            quant_config=vllm_config.quant_config,
            prefix=f"{prefix}.wte",
        )
        self.wpe = (
            nn.Embedding(config.n_positions, config.n_embd)
            if config.use_absolute_position_embedding
            else None
        )
        rotary = MidmRotaryEmbedding(config) if config.use_rotary_position_embedding else None
        self.start_layer, self.end_layer, self.h = make_layers(
            config.n_layer,
            lambda prefix: MidmBlock(config, rotary, vllm_config, prefix),
            prefix=f"{prefix}.h",
        )
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.make_empty_intermediate_tensors = make_empty_intermediate_tensors_factory(
            ["hidden_states"], config.n_embd
        )

    def embed_input_ids(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.wte(input_ids)

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor | IntermediateTensors:
        if get_pp_group().is_first_rank:
            if inputs_embeds is None:
                assert input_ids is not None
                inputs_embeds = self.embed_input_ids(input_ids)
            hidden_states = inputs_embeds
            if self.wpe is not None:
                hidden_states = hidden_states + self.wpe(positions)
        else:
            assert intermediate_tensors is not None
            hidden_states = intermediate_tensors["hidden_states"]
        for block in islice(self.h, self.start_layer, self.end_layer):
            hidden_states = block(positions, hidden_states)
        if not get_pp_group().is_last_rank:
            return IntermediateTensors({"hidden_states": hidden_states})
        return self.ln_f(hidden_states)


class MidmLMHeadModel(nn.Module, SupportsLoRA, SupportsPP):
    """Mi:dm 1.0 with its language-model head, as vLLM loads and runs it.

    Raises:
        ValueError: The configuration is invalid (see :class:`MidmBitextConfig`), or
            the checkpoint lacks weights.
    """

    # Each is one matrix in the checkpoint, and in LoRA adapters.
    packed_modules_mapping = {"c_attn": ["c_attn"], "c_fc": ["c_fc"]}
    embedding_modules = {"wte": "input_embeddings", "lm_head": "output_embeddings"}

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config: MidmBitextConfig = vllm_config.model_config.hf_config
        config.check()
        self.config = config
        self.transformer = MidmModel(
            vllm_config=vllm_config, prefix=maybe_prefix(prefix, "transformer")
        )
        if get_pp_group().is_last_rank:
            self.lm_head = ParallelLMHead(
                config.vocab_size,
                config.n_embd,
                quant_config=vllm_config.quant_config,
                prefix=maybe_prefix(prefix, "lm_head"),
            )
            if config.tie_word_embeddings:
                self.lm_head = self.lm_head.tie_weights(self.transformer.wte)
        else:
            self.lm_head = PPMissingLayer()
        self.logits_processor = LogitsProcessor(config.vocab_size)
        self.make_empty_intermediate_tensors = self.transformer.make_empty_intermediate_tensors

    def embed_input_ids(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.transformer.embed_input_ids(input_ids)

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor | IntermediateTensors:
        return self.transformer(input_ids, positions, intermediate_tensors, inputs_embeds)

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        """Hidden states [tokens, n_embd] to logits [tokens, vocab_size]."""
        return self.logits_processor(self.lm_head, hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Load a checkpoint's weights.

        Returns:
            The names of the parameters that were set.

        Raises:
            ValueError: Weights are missing; the message names them.
        """
        loaded = AutoWeightsLoader(self).load_weights(self._network_weights(weights))
        # Only these, because quantization adds parameters that a checkpoint may lack.
        # vLLM does not check quantized models itself.
        missing = sorted(
            name
            for name, _ in self.named_parameters()
            if name.endswith((".weight", ".bias")) and name not in loaded
        )
        if missing:
            raise ValueError(
                f"The checkpoint lacks {len(missing)} of the weights that its config.json "
                f"requires: {', '.join(missing[:8])}{', ...' if len(missing) > 8 else ''}."
            )
        return loaded

    def _network_weights(
        self, weights: Iterable[tuple[str, torch.Tensor]]
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Drop buffers and the copy of a tied head; convert layernorm1p to layernorm."""
        adds_one = self.config.normalization_type == "layernorm1p"
        for name, weight in weights:
            if name.endswith(_BUFFERS):
                continue
            if self.config.tie_word_embeddings and name.startswith("lm_head."):
                continue
            if adds_one and name.endswith(_NORM_WEIGHTS):
                # In float32, so that the sum is rounded once, to the parameter's type.
                weight = (weight.float() + 1).to(self.transformer.ln_f.weight.dtype)
            yield name, weight
