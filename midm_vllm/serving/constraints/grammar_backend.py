"""The grammar backend of the server: which one constrains answers.

It is read from the configuration that vLLM checks each request against. Where that says ``auto``,
vLLM would take one backend for each request by its kind, while an engine has one for all: here
``auto`` becomes ``guidance``, which takes this package's grammars, once midm-parser is loaded.
"""

from __future__ import annotations

import logging
from typing import Any

from midm_vllm import envs
from midm_vllm.compat import engine_config
from midm_vllm.compat.vllm_imports import lm_format_enforcer_works
from midm_vllm.constants import GRAMMAR_BACKEND, TOOL_PARSER_NAME

logger = logging.getLogger("vllm.midm_vllm.grammars")


class UnusableBackend(ValueError):
    """The server's grammar backend would end the engine at its first request."""


def takes_grammars() -> bool:
    """Whether the server's backend takes this package's grammars."""
    return engine_config.grammar_backend() == GRAMMAR_BACKEND


def choose_for(config: Any) -> None:
    """Choose the backend of an engine whose server has midm-parser, unless the user has.

    Args:
        config: The ``VllmConfig`` that the engine's requests are checked against.

    Raises:
        UnusableBackend: The configured backend does not work.
    """
    outputs = config.structured_outputs_config
    if outputs.backend == "auto" and envs.serving_defaults():
        outputs.backend = GRAMMAR_BACKEND
        logger.info(
            "Grammar backend: %s, because %s constrains calls with its grammars; "
            "--structured-outputs-config '{\"backend\": …}' names another, %s=0 leaves it to vLLM.",
            GRAMMAR_BACKEND, TOOL_PARSER_NAME, envs.SERVING_DEFAULTS,
        )
    check(outputs.backend)


def check(backend: str) -> None:
    """Raise UnusableBackend for a backend that does not work as it is installed."""
    if backend == "lm-format-enforcer" and not lm_format_enforcer_works():
        raise UnusableBackend(
            "The grammar backend lm-format-enforcer, as it is installed, does not work with this "
            f"vLLM: name {GRAMMAR_BACKEND}, xgrammar or outlines in --structured-outputs-config."
        )


def choose() -> None:
    """Choose the backend of this process's engine, now or when the engine is configured."""
    engine_config.when_observed(choose_for)
