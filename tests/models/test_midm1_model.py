"""Mi:dm 1.0 in a real vLLM, against the vendor's vectors and a plain torch network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from devtools.midm1_reference import PlainMidm
from midm1_engines import (
    CONFIGURATIONS,
    DATA,
    NEW_TOKENS,
    PROMPTS,
    SMALL,
    VARIANTS,
    Engines,
    adapted,
    assert_equals_plain,
    assert_golden,
    difference,
    goldens,
    outputs,
    plain_network,
    quantized,
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("midm1")


@pytest.fixture(scope="session")
def with_adapter(folder: Path) -> PlainMidm:
    return adapted(PlainMidm(SMALL | {"vocab_size": 320}).randomize(9), folder / "adapter")


@pytest.fixture(scope="session")
def in_int8(folder: Path) -> PlainMidm:
    # vLLM 0.32's INT8 kernel for AMX accepts only multiples of 32, and no float32.
    shape = SMALL | {"vocab_size": 320, "n_inner": 192}
    return quantized(PlainMidm(shape).randomize(8), folder / "int8")


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
    jobs["int8"] = {
        "engine": {"model": str(folder / "int8"), "dtype": "bfloat16"}, "batches": [PROMPTS]
    }

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


def test_the_vendors_vectors_are_reproduced_with_prompts_in_chunks_and_in_one_batch(
    results: dict[str, Any]
) -> None:
    assert_golden(outputs(results["chunked"]), goldens(VARIANTS[0]))


def test_a_ragged_batch_equals_its_prompts_one_by_one(results: dict[str, Any]) -> None:
    together, *alone = results["chunked"]["batches"]
    assert [result["tokens"] for result in together] == [batch[0]["tokens"] for batch in alone]
    assert [result["argmax"] for result in together] == [batch[0]["argmax"] for batch in alone]


def test_the_vendors_vectors_are_reproduced_with_whole_prompts(results: dict[str, Any]) -> None:
    assert_golden(outputs(results["not chunked"]), goldens(VARIANTS[1]))


def test_the_compiled_network_reproduces_the_vendors_vectors(results: dict[str, Any]) -> None:
    assert_golden(outputs(results["compiled"]), goldens(VARIANTS[0]))


@pytest.fixture(scope="module")
def of_two_ranks(folder: Path, with_adapter: PlainMidm) -> dict[str, Any]:
    jobs: dict[str, Any] = {
        variant: {
            "engine": {"model": str(DATA / variant)},
            "batches": [[golden["input_ids"] for golden in goldens(variant)]],
        }
        for variant in VARIANTS
    }
    for name in VOCABULARIES_OF_NO_EQUAL_PARTS:
        saved = plain_network(name).save(folder / "ranks" / name)
        jobs[name] = {"engine": {"model": str(saved)}, "batches": [PROMPTS]}
    base = PlainMidm(SMALL | {"vocab_size": 320}).randomize(9).save(folder / "ranks" / "base")
    jobs["adapter"] = {
        "engine": {"model": str(base), "enable_lora": True, "max_lora_rank": 8},
        "batches": [PROMPTS],
        "lora": str(folder / "adapter"),
    }
    for job in jobs.values():
        job["engine"]["tensor_parallel_size"] = 2
    binding = {"VLLM_CPU_OMP_THREADS_BIND": "0|1", "TORCH_COMPILE_DISABLE": "1"}
    return Engines(jobs, folder / "ranks", **binding).results()


VOCABULARIES_OF_NO_EQUAL_PARTS = ("absolute positions alone", "both positions, odd rotary")


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_vendors_vectors_are_reproduced_by_two_tensor_parallel_ranks(
    of_two_ranks: dict[str, Any], variant: str
) -> None:
    assert_golden(outputs(of_two_ranks[variant]), goldens(variant))


@pytest.mark.slow
@pytest.mark.parametrize("name", VOCABULARIES_OF_NO_EQUAL_PARTS)
def test_two_ranks_share_a_vocabulary_of_any_size(
    of_two_ranks: dict[str, Any], name: str
) -> None:
    assert_equals_plain(outputs(of_two_ranks[name]), plain_network(name), PROMPTS)


@pytest.mark.slow
def test_a_lora_adapter_applies_on_two_ranks(
    of_two_ranks: dict[str, Any], with_adapter: PlainMidm
) -> None:
    assert_equals_plain(outputs(of_two_ranks["adapter"]), with_adapter, PROMPTS)


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


def test_a_surplus_weight_is_named(results: dict[str, Any]) -> None:
    assert "wpe" in results["surplus"]["error"]


def test_a_contradiction_that_an_override_makes_is_named(results: dict[str, Any]) -> None:
    error = results["overridden"]["error"]
    assert "scale_attn_by_inverse_layer_idx and scale_qk_by_inverse_layer_idx" in error


def test_mi_dm_2_re_exported_under_its_own_name_is_the_same_network(
    results: dict[str, Any]
) -> None:
    assert outputs(results["midm"]) == outputs(results["llama"])
