"""What is said in a log, whichever handlers vLLM and other tests have given it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def log_lines(logger: logging.Logger, level: int = logging.INFO) -> Iterator[list[str]]:
    """The messages of this logger, from this level on, while the block lasts."""
    lines: list[str] = []

    # A filter, since a handler would not outlive vLLM's setting up of the log.
    def keep(record: logging.LogRecord) -> bool:
        lines.append(record.getMessage())
        return True

    before = logger.level
    logger.setLevel(level)
    logger.addFilter(keep)
    try:
        yield lines
    finally:
        logger.removeFilter(keep)
        logger.setLevel(before)
