"""Mi:dm 1.0's configuration: found without remote code, and strict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from midm_vllm.models.midm1.config import MidmBitextConfig
from midm_vllm.plugin import register

CHECKPOINT = Path(__file__).parent / "checkpoints" / "layernorm1p-rotary-glu"
LEGAL: dict[str, Any] = json.loads((CHECKPOINT / "config.json").read_text())


@pytest.mark.parametrize("trust_remote_code", [None, False, True])
def test_a_checkpoints_remote_configuration_is_not_used(
    trust_remote_code: bool | None
) -> None:
    register()
    from transformers import AutoConfig

    assert LEGAL["auto_map"]["AutoConfig"]
    config = AutoConfig.from_pretrained(CHECKPOINT, trust_remote_code=trust_remote_code)
    assert type(config) is MidmBitextConfig
    sizes = (config.hidden_size, config.num_attention_heads, config.num_hidden_layers)
    assert sizes == (128, 4, 3)
    assert config.max_position_embeddings == 128


def test_a_saved_configuration_is_the_same_one(tmp_path: Path) -> None:
    register()
    from transformers import AutoConfig

    config = MidmBitextConfig(**LEGAL)
    config.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).to_diff_dict() == config.to_diff_dict()


def test_the_vendors_defaults_hold() -> None:
    config = MidmBitextConfig(scale_qk_by_inverse_layer_idx=True)
    assert config.use_absolute_position_embedding and not config.use_rotary_position_embedding
    assert config.normalization_type == "layernorm"
    assert config.rotary_percentage == 1.0
    assert config.tie_word_embeddings
    assert config.inner_size == 4 * config.n_embd


@pytest.mark.parametrize(("changes", "fields"), [
    ({"n_head": 3}, ["n_embd", "n_head"]),
    ({"n_layer": 0}, ["n_layer"]),
    ({"n_inner": -1}, ["n_inner"]),
    ({"normalization_type": "rmsnorm"}, ["normalization_type", "rmsnorm"]),
    ({"scale_attn_by_inverse_layer_idx": True},
     ["scale_attn_by_inverse_layer_idx", "scale_qk_by_inverse_layer_idx", "true"]),
    ({"scale_qk_by_inverse_layer_idx": False},
     ["scale_attn_by_inverse_layer_idx", "scale_qk_by_inverse_layer_idx", "false"]),
    ({"rotary_percentage": 0}, ["rotary_percentage"]),
    ({"rotary_percentage": 1.5}, ["rotary_percentage"]),
    ({"rotary_percentage": 0.01}, ["use_rotary_position_embedding", "rotary_percentage"]),
    ({"n_embd": 60, "n_head": 4}, ["rotary_percentage", "n_embd / n_head = 15"]),
    ({"add_cross_attention": True}, ["add_cross_attention"]),
])
def test_an_impossible_configuration_names_its_fields(
    changes: dict[str, Any], fields: list[str]
) -> None:
    with pytest.raises(ValueError) as error:
        MidmBitextConfig(**LEGAL | changes)
    for field in fields:
        assert field in str(error.value)


@pytest.mark.parametrize("changes", [
    {"rotary_percentage": 0.01, "use_rotary_position_embedding": False},
    {"rotary_percentage": 0.35},
    {"rotary_percentage": 1},
    {"use_absolute_position_embedding": True},
    {"activation_function": "gelu_new", "n_inner": None},
    {"scale_attn_by_inverse_layer_idx": True, "scale_qk_by_inverse_layer_idx": False},
])
def test_a_legal_configuration_is_accepted(changes: dict[str, Any]) -> None:
    config = MidmBitextConfig(**LEGAL | changes)
    assert config.to_dict().items() >= changes.items()


@pytest.mark.parametrize(("changes", "size", "sentence"), [
    ({"n_inner": 201}, 2, r"n_inner \(201\).* Sizes that do: 1\."),
    ({"n_embd": 192, "n_head": 6, "n_inner": 300, "vocab_size": 320}, 3,
     r"pads to 320\)\. Sizes that do: 1, 2\."),
])  # fmt: skip
def test_ranks_that_do_not_divide_the_network_are_rejected_before_a_worker_starts(
    changes: dict[str, Any], size: int, sentence: str, tmp_path: Path
) -> None:
    from vllm.engine.arg_utils import EngineArgs

    (tmp_path / "config.json").write_text(json.dumps(LEGAL | changes))
    arguments = EngineArgs(str(tmp_path), tensor_parallel_size=size, skip_tokenizer_init=True)
    with pytest.raises(ValueError, match=sentence):
        arguments.create_engine_config()


def test_ranks_that_divide_the_network_are_accepted(tmp_path: Path) -> None:
    from vllm.engine.arg_utils import EngineArgs

    (tmp_path / "config.json").write_text(json.dumps(LEGAL | {"vocab_size": 333}))
    arguments = EngineArgs(str(tmp_path), tensor_parallel_size=4, skip_tokenizer_init=True)
    assert arguments.create_engine_config().parallel_config.tensor_parallel_size == 4
