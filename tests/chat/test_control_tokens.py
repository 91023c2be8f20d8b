"""Which tokens steer a checkpoint: told from its tokenizer's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from devtools.checkpoint import FIRST_TOKENS, LAST_TOKENS

from midm_vllm.chat.control_tokens import control_tokens

ENTRIES = [
    {"id": 9, "content": "[INST]", "special": True},
    {"id": 10, "content": "  ", "special": False},
    {"id": 11, "content": "", "special": True},
    {"id": 2, "content": "<|end_of_text|>", "special": True},
]
BY_ID = {"added_tokens_decoder": {str(e["id"]): {**e, "id": None} for e in ENTRIES}}


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer_config.json": BY_ID},
        {"tokenizer_config.json": {}, "tokenizer.json": {"added_tokens": ENTRIES}},
        {"tokenizer.json": {"added_tokens": ENTRIES}},
    ],
    ids=["Transformers 4", "Transformers 5", "no configuration"],
)
def test_special_tokens_in_the_order_of_their_ids(
    tmp_path: Path, files: dict[str, object]
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content), "utf-8")
    assert control_tokens(str(tmp_path)) == ["<|end_of_text|>", "[INST]"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"added_tokens": [5]}', '{"added_tokens": []}'])
def test_files_that_list_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text, "utf-8")
    assert control_tokens(str(tmp_path)) is None


def test_a_checkpoint_out_of_reach(tmp_path: Path) -> None:
    assert control_tokens(str(tmp_path / "nowhere")) is None


def test_what_transformers_wrote(checkpoint: Path) -> None:
    assert control_tokens(str(checkpoint)) == FIRST_TOKENS + LAST_TOKENS
