"""A checkpoint's control tokens, as its tokenizer's files list them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def control_tokens(read: Callable[[str], str | None]) -> list[str] | None:
    """The special tokens of a checkpoint in the order of their ids; None where it lists none.

    ``read`` gives the text of one of the checkpoint's files, None if it lacks it.
    They are what ``control_tokens`` of the packaged template wants. Transformers
    lists them in ``tokenizer_config.json`` (``added_tokens_decoder``), from its
    release 5 on in ``tokenizer.json`` alone (``added_tokens``). Added tokens that
    are not special are words like others: nothing is steered with them.
    """
    config = _object(read("tokenizer_config.json")).get("added_tokens_decoder")
    if isinstance(config, dict):
        added = [{**entry, "id": int(id)} for id, entry in config.items()]
    else:
        added = _object(read("tokenizer.json")).get("added_tokens") or []
    special = [entry for entry in added if entry["special"]]
    return [entry["content"] for entry in sorted(special, key=lambda e: e["id"])] or None


def _object(text: str | None) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(text) if text else {}
    return parsed
