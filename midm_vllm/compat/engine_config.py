"""The configuration of the engine that this process sends its requests to.

vLLM checks each request against this object, so it is what counts: not the command line, which
only some launchers have, and not the environment. It is seen where vLLM makes the renderer that
prepares the engine's requests (``BaseRenderer``), in every launcher from vLLM 0.24.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_observed: list[Any] = []
_observers: list[Callable[[Any], None]] = []


def observe(config: Any) -> None:
    """A renderer was made for the engine of this ``VllmConfig``; the newest one counts."""
    _observed[:] = [config]
    for observer in _observers:
        observer(config)


def when_observed(observer: Callable[[Any], None]) -> None:
    """Call ``observer(config)`` for the configuration that was seen, and for those to come."""
    if observer not in _observers:
        _observers.append(observer)
    for config in _observed:
        observer(config)


def grammar_backend() -> str | None:
    """The backend of structured outputs; None where no engine's configuration was seen."""
    if not _observed:
        return None
    return str(_observed[0].structured_outputs_config.backend)
