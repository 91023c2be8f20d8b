"""The configurations of Mi:dm 1.0, and of Mi:dm 2.0 with ``model_type`` "midm"."""

from __future__ import annotations

from math import gcd
from typing import Any

from transformers import GPT2Config, LlamaConfig

ROTARY_BASE = 10000.0

#: vLLM (0.27.1 to 0.33) pads a vocabulary to a multiple of this before it splits it.
VOCABULARY_PADDING = 64


class MidmBitextConfig(GPT2Config):
    """Mi:dm 1.0's configuration.

    Source: ``configuration_midm.MidmBitextConfig`` of the vendor's checkpoint.

    Args:
        use_absolute_position_embedding: Whether positions have learned embeddings.
        use_rotary_position_embedding: Whether queries and keys are rotated.
        rotary_percentage: The rotated fraction of each head, above 0 and at most 1.
        normalization_type: "layernorm", or "layernorm1p" for weights stored minus 1.
        scale_qk_by_inverse_layer_idx: Whether queries and keys are scaled by layer.
        kwargs: GPT-2's fields (``n_embd``, ``n_head``, ``n_layer``, ...).

    Raises:
        ValueError: The fields contradict each other; the message names them.
    """

    model_type = "midm-bitext-S"
    # GPT-2's defaults leave both scalings off, which check() rejects.
    has_no_defaults_at_init = True

    def __init__(
        self,
        use_absolute_position_embedding: bool = True,
        use_rotary_position_embedding: bool = False,
        rotary_percentage: float = 1.0,
        normalization_type: str = "layernorm",
        scale_qk_by_inverse_layer_idx: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.use_absolute_position_embedding = use_absolute_position_embedding
        self.use_rotary_position_embedding = use_rotary_position_embedding
        self.rotary_percentage = rotary_percentage
        self.normalization_type = normalization_type
        self.scale_qk_by_inverse_layer_idx = scale_qk_by_inverse_layer_idx
        self.check()

    @property
    def head_size(self) -> int:
        """The width of one attention head."""
        return int(self.n_embd) // int(self.n_head)

    @property
    def rotary_dim(self) -> int:
        """The number of a head's dimensions that the rotary frequencies are computed from."""
        return int(self.head_size * self.rotary_percentage)

    @property
    def inner_size(self) -> int:
        """The width of the feed-forward network, or of each half if it is gated."""
        return 4 * int(self.n_embd) if self.n_inner is None else int(self.n_inner)

    @property
    def is_gated(self) -> bool:
        """Whether one half of the feed-forward network gates the other."""
        return bool(self.activation_function == "silu")

    def attention_scale(self, layer: int) -> float:
        """The factor of the attention scores in ``layer``, counted from 0."""
        scale = float(self.head_size**-0.5) if self.scale_attn_weights else 1.0
        return scale / (layer + 1) if self.scale_attn_by_inverse_layer_idx else scale

    def check(self) -> None:
        """Check that a model can be built; the model does so again after ``--hf-overrides``.

        Raises:
            ValueError: It cannot; the message names the fields.
        """
        for field in ("vocab_size", "n_positions", "n_embd", "n_head", "n_layer"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be positive, not {getattr(self, field)}.")
        if self.inner_size < 1:
            raise ValueError(f"n_inner must be positive or null, not {self.n_inner}.")
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd must be a multiple of n_head: {self.n_embd} and {self.n_head} are not."
            )
        if self.normalization_type not in ("layernorm", "layernorm1p"):
            raise ValueError(
                "normalization_type must be 'layernorm' or 'layernorm1p', not "
                f"{self.normalization_type!r}."
            )
        if self.scale_attn_by_inverse_layer_idx == self.scale_qk_by_inverse_layer_idx:
            raise ValueError(
                "Exactly one of scale_attn_by_inverse_layer_idx and "
                "scale_qk_by_inverse_layer_idx must be true; both are "
                f"{str(self.scale_qk_by_inverse_layer_idx).lower()}."
            )
        if self.use_rotary_position_embedding:
            self._check_rotary()
        if getattr(self, "add_cross_attention", False):
            raise ValueError("add_cross_attention must be false: Mi:dm 1.0 has no encoder.")

    def check_tensor_parallel(self, size: int) -> None:
        """Check that vLLM can split the model into equal parts.

        vLLM itself checks the attention heads only. For the other sizes its workers fail
        with an AssertionError that has no message.

        Args:
            size: The number of tensor-parallel ranks.

        Raises:
            ValueError: It cannot; the message lists the sizes that work.
        """
        padded = -(-int(self.vocab_size) // VOCABULARY_PADDING) * VOCABULARY_PADDING
        common = gcd(int(self.n_head), self.inner_size, padded)
        if common % size:
            fitting = [str(ranks) for ranks in range(1, common + 1) if common % ranks == 0]
            raise ValueError(
                f"--tensor-parallel-size {size} does not divide all of n_head ({self.n_head}), "
                f"n_inner ({self.inner_size}) and vocab_size (which vLLM pads to {padded}). "
                f"Sizes that do: {', '.join(fitting)}."
            )

    def _check_rotary(self) -> None:
        sizes = f"n_embd / n_head = {self.head_size}"
        if not 0 < self.rotary_percentage <= 1:
            raise ValueError(
                f"rotary_percentage must be above 0 and at most 1, not {self.rotary_percentage}."
            )
        if self.rotary_dim < 1:
            raise ValueError(
                f"use_rotary_position_embedding is true, but rotary_percentage "
                f"{self.rotary_percentage} of {sizes} leaves no dimension to rotate."
            )
        if self.rotary_dim % 2 and self.rotary_dim == self.head_size:
            raise ValueError(
                f"use_rotary_position_embedding needs pairs of dimensions, but "
                f"rotary_percentage {self.rotary_percentage} of {sizes} is all of an odd number."
            )


class MidmConfig(LlamaConfig):
    """Mi:dm 2.0 re-exported as "midm": Llama's configuration, field for field."""

    model_type = "midm"
