from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from devtools.checkpoint import (
    CHAT_TEMPLATE, END_OF_TURN, REPOSITORY, NotLearned, _answer_logits, _batches, _shared, build,
    encode,
)
from devtools.conversations import BY_NAME, CONVERSATIONS
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> PreTrainedTokenizerFast:
    loaded = AutoTokenizer.from_pretrained(checkpoint)
    assert isinstance(loaded, PreTrainedTokenizerFast)
    return loaded


def test_a_checkpoint_that_did_not_learn_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(NotLearned, match="After 1 steps .* Nothing was written"):
        build(tmp_path, steps=1)


def test_what_prompts_begin_with_is_computed_once_and_comes_to_the_same(
    checkpoint: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    taught = [BY_NAME[name] for name in ("single_call", "parallel_calls_english")]
    [(ids, labels)] = _batches([encode(tokenizer, each) for each in taught])
    assert _shared(ids, labels) > 50
    together = _answer_logits(model, ids, labels)
    alone = [
        _answer_logits(model, ids[row:row + 1], labels[row:row + 1])
        for row in (0, 1)
    ]
    for of_both, of_each in zip(together, zip(*alone)):
        torch.testing.assert_close(of_both, torch.cat(of_each))


def test_where_nobody_watches_it_says_little(tmp_path: Path) -> None:
    once = "from devtools import checkpoint; checkpoint.SEEDS = (22,); checkpoint.main()"
    ended = subprocess.run(
        [sys.executable, "-c", once, "--steps", "100", "--cache", str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "scripts")},
        capture_output=True, text=True,
    )
    assert ended.returncode == 1
    told = ended.stderr.replace("\r", "\n").splitlines()
    assert any(line.startswith("Teaching the small checkpoint: step 100 of 100") for line in told)
    assert len(told) <= 10
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_built_once(tmp_path: Path) -> None:
    first = build(tmp_path, trained=False)
    written = (first / "model.safetensors").stat()
    assert build(tmp_path, trained=False) == first
    assert (first / "model.safetensors").stat() == written
    assert list(tmp_path.iterdir()) == [first]


def test_a_build_is_bit_identical_to_the_next(tmp_path: Path) -> None:
    first, second = (build(tmp_path / name, trained=False) for name in ("first", "second"))
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()


def test_its_shape_is_minis_in_small(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["num_key_value_heads"] < config["num_attention_heads"]
    assert config["num_attention_heads"] * config["head_dim"] != config["hidden_size"]
    assert config["tie_word_embeddings"]
    assert config["dtype"] == "bfloat16"
    assert config["max_position_embeddings"] == 32768


def test_its_ends_and_its_sampling_are_the_vendors(
    checkpoint: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    assert tokenizer.convert_tokens_to_ids(["<|begin_of_text|>", "<|end_of_text|>"]) == [0, 2]
    ends = [2, tokenizer.convert_tokens_to_ids("<|eot_id|>")]
    assert json.loads((checkpoint / "config.json").read_text())["eos_token_id"] == ends
    generation = json.loads((checkpoint / "generation_config.json").read_text())
    assert generation["eos_token_id"] == ends
    assert (generation["temperature"], generation["top_k"], generation["top_p"]) == (0.8, 20, 0.75)


def test_its_tokenizer_is_built_as_the_vendors(checkpoint: Path) -> None:
    description = json.loads((checkpoint / "tokenizer.json").read_text())
    split, byte_level = description["pre_tokenizer"]["pretokenizers"]
    assert (split["type"], split["behavior"], split["invert"]) == ("Split", "Removed", True)
    assert (byte_level["type"], byte_level["add_prefix_space"], byte_level["use_regex"]) == (
        "ByteLevel", False, False
    )
    assert description["model"]["type"] == "BPE"


def test_its_tokenizer_leaves_the_first_token_to_the_chat_template(
    tokenizer: PreTrainedTokenizerFast
) -> None:
    assert tokenizer.encode("서울") == tokenizer.encode("서울", add_special_tokens=False)


@pytest.mark.parametrize("text", ["한글과 漢字, emoji 😀\tand\n\n  code\\n", "\x00 <|x|> ﷽"])
def test_its_tokenizer_gives_any_text_back(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_its_chat_template_is_the_packages(checkpoint: Path) -> None:
    packaged = CHAT_TEMPLATE.read_text(encoding="utf-8")
    assert (checkpoint / "chat_template.jinja").read_text(encoding="utf-8") == packaged


def test_the_long_call_has_an_argument_of_300_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    (call,) = BY_NAME["long_call_with_escapes"].calls
    content = json.loads(call.arguments)["content"]
    assert len(tokenizer.encode(content)) >= 300


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_greedy_decoding_gives_back_every_answer(
    checkpoint: Path, tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype
) -> None:
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype)
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    for conversation in CONVERSATIONS:
        prompt, answer = encode(tokenizer, conversation)
        ids = torch.tensor([prompt + answer])
        with torch.no_grad():
            greedy = model(input_ids=ids).logits[0].argmax(dim=-1)
        # With every choice right after a right beginning, decoding step by step is right too.
        assert greedy[len(prompt) - 1:-1].tolist() == answer, conversation.name
        assert tokenizer.decode(answer[:-1]) == conversation.text
        assert answer[-1] == end
