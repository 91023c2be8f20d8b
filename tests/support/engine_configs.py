"""An engine's configuration, as far as midm-parser looks at it, without the engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from midm_vllm.serving.constraints import grammar_backend


def configuration(backend: str) -> Any:
    return SimpleNamespace(structured_outputs_config=SimpleNamespace(backend=backend))


def serve_with(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on this process serves an engine that has this grammar backend."""
    monkeypatch.setattr(grammar_backend, "_observed", [])
    grammar_backend.observe(configuration(backend))
