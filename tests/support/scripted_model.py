"""The logits processor behind `scripted_server.py`, loaded by `vllm serve`.

It raises the logit of the next token of the output that a script has for a prompt. A grammar still
decides: what it forbids stays forbidden.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from devtools.checkpoint import END_OF_TURN
from scripted_server import FOLDER, Prompt, Script
from transformers import AutoTokenizer
from vllm.v1.sample.logits_processor import LogitsProcessor

if TYPE_CHECKING:
    from vllm.v1.sample.logits_processor import BatchUpdate

#: More than any logit, also after it is divided by a temperature or a penalty.
RAISE = 1e6


class _Writing:
    """One request: the output it gets, and the tokens that it has so far."""

    def __init__(self, tokenizer: Any, text: str, written: list[int]) -> None:
        self._tokenizer = tokenizer
        self._text, self._written = text, written
        self._ids = self._encode(text)

    def next_token(self) -> int:
        """The token to write next; where a grammar wrote other tokens, of the text that is left."""
        written = self._written
        # Tokens that are still being computed are -1.
        as_planned = all(a in (b, -1) for a, b in zip(written, self._ids))
        if not as_planned or len(written) > len(self._ids):
            so_far = self._tokenizer.decode([token for token in written if token >= 0])
            if self._text.startswith(so_far):
                return self._encode(self._text[len(so_far):])[0]
        return self._ids[min(len(written), len(self._ids) - 1)]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return [*ids, self._tokenizer.convert_tokens_to_ids(END_OF_TURN)]


class ScriptedModel(LogitsProcessor):
    """vLLM's logits processor that follows the script in the folder that FOLDER names."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self._script = Script(Path(os.environ[FOLDER]))
        self._tokenizer = AutoTokenizer.from_pretrained(vllm_config.model_config.tokenizer)
        self._requests: dict[int, _Writing] = {}

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        if batch_update is None:
            return
        for row in batch_update.removed:
            self._requests.pop(row, None)
        for row, _, prompt, written in batch_update.added:
            self._requests[row] = self._begin(prompt or [], written)
        for source, target, direction in batch_update.moved:
            moved, replaced = self._requests.pop(source, None), self._requests.pop(target, None)
            if moved:
                self._requests[target] = moved
            if replaced and direction.name == "SWAP":
                self._requests[source] = replaced

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        for row, request in self._requests.items():
            logits[row, request.next_token()] += RAISE
        return logits

    def _begin(self, prompt: list[int], written: list[int]) -> _Writing:
        text = self._tokenizer.decode(prompt)
        if not written:  # Otherwise the request was preempted, and goes on.
            self._script.record(Prompt(text, tuple(prompt)))
        fitting = (output.text for output in self._script.outputs() if output.fits(text))
        return _Writing(self._tokenizer, next(fitting, "OK"), written)
