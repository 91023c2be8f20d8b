"""Mi:dm 1.0's tokenizer against what the vendor's own class does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from midm_vllm.plugin import register

FOLDER = Path(__file__).parent / "checkpoints" / "tokenizer"
GOLDENS: dict[str, Any] = json.loads((FOLDER / "goldens.json").read_text("utf-8"))


def load(folder: Path, **options: Any) -> Any:
    register()
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, **options)


TOKENIZER = load(FOLDER)
REPAIRING = load(FOLDER, restore_whitespace=True)

SPECIALS = ["</s>", "<unk>", "<pad>", "<extra_id_0>", "<extra_id_99>"]
TEXTS = st.lists(
    st.text(max_size=12)
    | st.text("안녕하세요 the\n\t.<>/s[!]_", max_size=12)
    | st.sampled_from([*SPECIALS, "<s>", "<[!newline]>", "<extra_id_100>", "▁", "  "])
).map("".join)


def test_the_checkpoints_remote_code_is_not_used() -> None:
    config = json.loads((FOLDER / "tokenizer_config.json").read_text())
    assert config["auto_map"]["AutoTokenizer"]
    assert type(TOKENIZER).__module__ == "midm_vllm.models.midm1.tokenizer"
    trusting = load(FOLDER, trust_remote_code=True)
    assert type(trusting).__module__ == "midm_vllm.models.midm1.tokenizer"


def test_the_vocabulary_is_the_vendors() -> None:
    meta = GOLDENS["meta"]
    assert (TOKENIZER.vocab_size, len(TOKENIZER)) == (meta["vocab_size"], meta["len_tokenizer"])
    assert len(TOKENIZER.get_vocab()) == len(TOKENIZER)
    for name in ("bos", "eos", "unk", "pad"):
        assert getattr(TOKENIZER, f"{name}_token") == meta[f"{name}_token"]
        assert getattr(TOKENIZER, f"{name}_token_id") == meta[f"{name}_token_id"]
    for token, number in meta["extra_id_ids"].items():
        assert TOKENIZER.convert_tokens_to_ids(token) == number
        assert TOKENIZER.convert_ids_to_tokens(number) == token


@pytest.mark.parametrize("case", GOLDENS["cases"], ids=lambda case: case["name"])
def test_a_text_is_encoded_and_decoded_as_by_the_vendor(case: dict[str, Any]) -> None:
    assert TOKENIZER.tokenize(case["text"]) == case["tokens"]
    for specials in ("with_special", "no_special"):
        ids = case[f"input_ids_{specials}"]
        encoded = TOKENIZER(case["text"], add_special_tokens=specials == "with_special")
        assert encoded["input_ids"] == ids
        for skip in (False, True):
            name = f"decode_{specials}_ids" + "_skip_special" * skip
            assert TOKENIZER.decode(ids, skip_special_tokens=skip) == case[name]
            assert TOKENIZER.decode(
                ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False
            ) == case[f"{name}_no_cleanup"]


def test_pairs_are_encoded_as_by_the_vendor() -> None:
    for pair in GOLDENS["pairs"]:
        assert TOKENIZER(pair["text"], pair["text_pair"])["input_ids"] == pair["input_ids"]


def test_ids_are_decoded_as_by_the_vendor() -> None:
    for case in GOLDENS["decode_cases"]:
        assert TOKENIZER.decode(case["ids"]) == case["decode"]
        assert TOKENIZER.decode(case["ids"], skip_special_tokens=True) == (
            case["decode_skip_special"]
        )


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_is_padded_as_by_the_vendor(side: str) -> None:
    batch = GOLDENS["batch_padding"]
    encoded = load(FOLDER, padding_side=side)(batch["texts"], padding=True)
    assert encoded["input_ids"] == batch[side]["input_ids"]
    assert encoded["attention_mask"] == batch[side]["attention_mask"]


@given(TEXTS)
def test_any_text_is_what_sentencepiece_makes_of_it_between_the_specials(text: str) -> None:
    pieces = SentencePieceProcessor(model_file=str(FOLDER / "midm_bitext_tokenizer.model"))
    expected: list[int] = []
    rest = text
    while rest:
        found = [(rest.find(s), s) for s in TOKENIZER.all_special_tokens if s in rest]
        start, special = min(found, default=(len(rest), ""))
        plain = rest[:start].replace("\n", "<[!newline]>").replace("\t", "<[!tab]>")
        expected += pieces.encode(plain)
        expected += [TOKENIZER.convert_tokens_to_ids(special)] if special else []
        rest = rest[start + len(special):]
    assert TOKENIZER.encode(text, add_special_tokens=False) == expected
    ended = expected if expected[-1:] == [2] else [*expected, 2]
    assert TOKENIZER.encode(text) == ended


@given(TEXTS)
def test_newlines_and_tabs_are_restored_on_request_and_nothing_else_changes(text: str) -> None:
    ids = TOKENIZER.encode(text)
    vendors = TOKENIZER.decode(ids)
    assert REPAIRING.encode(text) == ids
    assert REPAIRING.decode(ids) == (
        vendors.replace("<[!newline]>", "\n").replace("<[!tab]>", "\t")
    )


@given(st.lists(st.integers(0, 1599), max_size=30))
@example([6, 158])
@example([6, 6, 158])
@example([158, 6, 158])
def test_the_text_vllm_streams_has_newlines_and_loses_no_piece(ids: list[int]) -> None:
    tokens = TOKENIZER.convert_ids_to_tokens(ids, skip_special_tokens=True)
    text = TOKENIZER.convert_tokens_to_string(tokens)
    assert "<[!newline]>" not in text and "<[!tab]>" not in text
    pieces = [token for token in tokens if token != "<s>"]
    restored = {"<[!newline]>": "\n", "<[!tab]>": "\t"}
    joined = ""
    for piece in pieces:
        # SentencePiece takes the first space for its own, and goes on while there is no text.
        own = not joined and piece.startswith("▁")
        joined += restored.get(piece, piece).replace("▁", " ")[own:]
    assert text == joined


def test_a_saved_tokenizer_is_the_same_one(tmp_path: Path) -> None:
    REPAIRING.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert again.restore_whitespace
    assert again.get_vocab() == TOKENIZER.get_vocab()
    for case in GOLDENS["cases"]:
        assert again(case["text"])["input_ids"] == case["input_ids_with_special"]


def test_the_specials_need_not_be_listed_in_the_checkpoint(tmp_path: Path) -> None:
    model = "midm_bitext_tokenizer.model"
    (tmp_path / model).write_bytes((FOLDER / model).read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "Midm_bitext_Tokenizer"})
    )
    (tmp_path / "config.json").write_text(
        (FOLDER.parent / "layernorm1p-rotary-glu" / "config.json").read_text()
    )
    bare = load(tmp_path)
    assert bare.get_vocab() == TOKENIZER.get_vocab()
    for case in GOLDENS["cases"]:
        assert bare(case["text"])["input_ids"] == case["input_ids_with_special"]


def test_a_checkpoint_without_the_sentencepiece_model_is_reported(tmp_path: Path) -> None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    with pytest.raises(ValueError, match="lacks the SentencePiece model midm_bitext_tokenizer"):
        load(tmp_path)


def test_ids_after_the_pieces_have_no_other_names() -> None:
    for token in ("<extra_id_100>", "<extra_id_00>", "<extra_id_\u0663>", "<extra_id_>"):
        assert TOKENIZER.convert_tokens_to_ids(token) == TOKENIZER.unk_token_id
