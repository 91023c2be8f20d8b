"""A checkpoint's control tokens, as its tokenizer's files list them."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from midm_vllm.chat.checkpoint_files import CheckpointFiles, CheckpointUnreachable


def control_tokens(
    checkpoint: str, revision: str | None = None, token: str | bool | None = None
) -> list[str] | None:
    """The special tokens of ``checkpoint`` in the order of their ids: no text may hold one.

    ``checkpoint`` is a folder or a name on the hub. None where its files list no
    special token or cannot be read. Transformers lists them in
    ``tokenizer_config.json`` (``added_tokens_decoder``), from its release 5 on in
    ``tokenizer.json`` alone (``added_tokens``). Added tokens that are not special
    are words like others: nothing is steered with them.
    """
    return control_tokens_among(CheckpointFiles(checkpoint, revision, token))


def control_tokens_among(
    files: CheckpointFiles, besides: Collection[str] = ()
) -> list[str] | None:
    """The same of a checkpoint whose files are being read for more than this.

    Args:
        besides: Tokens that count as special ones if the tokenizer has added them.
    """
    try:
        config = _object(files.read("tokenizer_config.json")).get("added_tokens_decoder")
        if config:
            added = [{**entry, "id": int(id)} for id, entry in config.items()]
        else:
            added = _object(files.read("tokenizer.json")).get("added_tokens") or []
        special = [
            entry for entry in added
            if (entry["special"] or entry["content"] in besides) and entry["content"] != ""
        ]
        tokens = [entry["content"] for entry in sorted(special, key=lambda e: e["id"])]
    except (
        CheckpointUnreachable, ValueError, TypeError, KeyError, AttributeError, RecursionError
    ):
        return None  # Whoever loads the tokenizer will tell what is wrong.
    return tokens if tokens and all(isinstance(token, str) for token in tokens) else None


def _object(text: str | None) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(text) if text else {}
    return read
