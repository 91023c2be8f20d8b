"""The grammar backend of the server: which one constrains answers.

It is read from the configuration that vLLM checks each request against: not from the command line,
which only some launchers have. That object is seen where vLLM (from 0.24) makes the renderer that
prepares the engine's requests. Where it says ``auto``, vLLM would take one backend for each request
by its kind, while an engine has one for all: here ``auto`` becomes ``guidance``, which takes this
package's grammars, once midm-parser is loaded.
"""

from __future__ import annotations

import logging
from typing import Any

from midm_vllm import envs
from midm_vllm.compat.vllm_imports import lm_format_enforcer_works
from midm_vllm.constants import GRAMMAR_BACKEND, TOOL_PARSER_NAME

logger = logging.getLogger("vllm.midm_vllm.grammars")

#: The configuration that was seen last.
_observed: list[Any] = []
_is_chosen_here = False


class UnusableArgument(ValueError):
    """An argument with which the server could not answer; the message says what to change."""


def observe(config: Any) -> None:
    """A renderer was made for the engine of this ``VllmConfig``."""
    _observed[:] = [config]
    if _is_chosen_here:
        choose_for(config)


def choose() -> None:
    """Choose the backend of this process's engine, and of engines that are configured later."""
    global _is_chosen_here
    _is_chosen_here = True
    for config in _observed:
        choose_for(config)


def configured_backend() -> str | None:
    """The backend of structured outputs; None where no engine's configuration was seen."""
    return str(_observed[0].structured_outputs_config.backend) if _observed else None


def choose_for(config: Any) -> None:
    """Choose the backend of an engine whose server has midm-parser, unless the user has.

    Raises:
        UnusableArgument: The configured backend does not work.
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
    """Raise UnusableArgument for a backend that would end the engine at its first request."""
    if backend == "lm-format-enforcer" and not lm_format_enforcer_works():
        raise UnusableArgument(
            "The grammar backend lm-format-enforcer, as it is installed, does not work with this "
            f"vLLM: name {GRAMMAR_BACKEND}, xgrammar or outlines in --structured-outputs-config."
        )
