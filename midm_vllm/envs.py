"""The environment variables of this package: their names, and what their values mean.

They are read here only, at each call.
"""

from __future__ import annotations

import logging
import os
from functools import cache

#: ``0`` leaves vLLM's own defaults, which ``--tool-call-parser midm-parser`` otherwise completes.
SERVING_DEFAULTS = "MIDM_VLLM_SERVING_DEFAULTS"
#: ``1`` lets vLLM's Rust front end serve, with its own tool parser in place of midm-parser.
RUST_FRONTEND = "MIDM_VLLM_RUST_FRONTEND"
#: How many characters of an imperfect output may be logged; unset or 0: none.
LOG_IMPERFECT = "MIDM_VLLM_LOG_IMPERFECT"
#: How many schema nodes the constraints of one request may cost.
SCHEMA_NODES = "MIDM_VLLM_SCHEMA_NODES"
#: ``reject`` rejects requests with content that the model cannot read, else it is replaced.
UNREADABLE_PARTS = "MIDM_VLLM_UNREADABLE_PARTS"
#: ``0`` leaves chat templates as they are: a text may then hold control tokens.
TEMPLATE_GUARD = "MIDM_VLLM_TEMPLATE_GUARD"
#: ``1`` lets a request turn the guard off with ``allow_control_tokens``.
ALLOW_CONTROL_TOKENS = "MIDM_VLLM_ALLOW_CONTROL_TOKENS"
#: vLLM's own switch for its Rust front end.
VLLM_RUST_FRONTEND = "VLLM_USE_RUST_FRONTEND"

logger = logging.getLogger("vllm.midm_vllm.envs")


def serving_defaults() -> bool:
    """Whether the parser's name decides the server's other defaults."""
    return os.environ.get(SERVING_DEFAULTS) != "0"


def rust_frontend() -> bool:
    """Whether vLLM's Rust front end may serve without midm-parser."""
    return _is_on(RUST_FRONTEND)


def vllm_rust_frontend() -> bool:
    """Whether ``vllm serve`` is about to start its Rust front end."""
    return _is_on(VLLM_RUST_FRONTEND)


def use_python_frontend() -> None:
    """Turn vLLM's Rust front end off, in this process and in those that it starts."""
    os.environ[VLLM_RUST_FRONTEND] = "0"


def template_guard() -> bool:
    """Whether chat templates keep control tokens out of the texts of a conversation."""
    return os.environ.get(TEMPLATE_GUARD) != "0"


def allow_control_tokens() -> bool:
    """Whether a request may turn the guard of the chat template off."""
    return _is_on(ALLOW_CONTROL_TOKENS)


def log_imperfect() -> int:
    """How many characters of an imperfect output may be logged."""
    return _number(LOG_IMPERFECT, 0)


def schema_nodes(default: int) -> int:
    """How many schema nodes the constraints of one request may cost."""
    return _number(SCHEMA_NODES, default) or default


def rejects_unreadable_parts() -> bool:
    """Whether a request is rejected for content that the model cannot read."""
    return os.environ.get(UNREADABLE_PARTS) == "reject"


def _is_on(name: str) -> bool:
    # vLLM reads its own switch as a number.
    return os.environ.get(name, "0").strip() not in ("", "0")


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, "").strip()
    if value.isdecimal():
        return int(value)
    if value:
        _warn(name, value, default)
    return default


@cache
def _warn(name: str, value: str, default: int) -> None:
    logger.warning("%s=%s is not a number: %d is used. Set it to a number.", name, value, default)
