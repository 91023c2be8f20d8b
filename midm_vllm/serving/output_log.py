"""Logs imperfect outputs, if ``MIDM_VLLM_LOG_IMPERFECT`` is the number of characters to log."""

from __future__ import annotations

import json
import logging
from functools import cache

from midm_vllm import envs
from midm_vllm.markup.explain import explain

logger = logging.getLogger("vllm.midm_vllm.output")


@cache
def log_limit() -> int:
    """How many characters of an imperfect output to log; warns once per process if any."""
    limit = envs.log_imperfect()
    if limit:
        logger.warning(
            "%s=%d: up to so many characters of every imperfect output are logged. They are your "
            "users' text: unset it where the log must not hold that.", envs.LOG_IMPERFECT, limit,
        )
    return limit


def output_log() -> OutputLog | None:
    """A log for one output; None where outputs are not logged."""
    return OutputLog() if log_limit() else None


class OutputLog:
    """Keeps the beginning of one output, in case that it proves to be imperfect."""

    def __init__(self) -> None:
        self._left = log_limit()
        self._texts: list[str] = []

    def keep(self, text: str) -> None:
        """Keep the output's next text."""
        if self._left >= 0:
            self._texts.append(text[: self._left])
            self._left -= len(text)

    def write(self) -> None:
        """Log what was kept, as JSON on one line: what each piece was read as, and the calls.

        A text that the limit cut is explained as if it had ended there.
        """
        if not self._texts:
            return
        explanation = explain("".join(self._texts))
        self._texts.clear()
        logger.info("Imperfect output: %s", json.dumps({
            "pieces": [
                {"read_as": piece.read_as, "text": piece.text, "call": piece.call}
                for piece in explanation.pieces
            ],
            "calls": [
                {"name": call.name, "complete": call.complete, "repairs": call.repairs,
                 "added": call.added}
                for call in explanation.calls
            ],
            "logged_in_part": self._left < 0,
        }, ensure_ascii=False))
