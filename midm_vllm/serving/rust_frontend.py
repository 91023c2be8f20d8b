"""Chooses vLLM's Python or Rust front end for ``--tool-call-parser midm-parser``.

The Rust front end (``VLLM_USE_RUST_FRONTEND=1 vllm serve``) loads no Python parser and ends when
it gets the name of one. vLLM reads that variable again after it has parsed its arguments, and all
its processes inherit it. So it is changed here, when the arguments have been parsed.
"""

from __future__ import annotations

import argparse

from midm_vllm import envs
from midm_vllm.compat.vllm_imports import server_logger
from midm_vllm.constants import DOCUMENTATION_URL, TOOL_PARSER_NAME

#: The Rust front end's own parser for ``<tool_call>{…}</tool_call>``.
RUST_TOOL_PARSER = "hermes"


def choose_front_end(parsed: argparse.Namespace) -> None:
    """Turn the Rust front end off, or with ``MIDM_VLLM_RUST_FRONTEND=1`` use its own parser.

    Does nothing unless ``vllm serve`` was about to start the Rust front end with midm-parser.
    """
    if getattr(parsed, "subparser", None) != "serve" or not envs.vllm_rust_frontend():
        return
    logger = server_logger(parsed)
    if envs.rust_frontend():
        parsed.tool_call_parser = RUST_TOOL_PARSER
        logger.warning(
            "Front end: vLLM's Rust one, because of %s=1. It loads no Python parser: its own %s "
            "reads the calls in place of %s, and misses some. See %s/reference/rust-front-end.md.",
            envs.RUST_FRONTEND, RUST_TOOL_PARSER, TOOL_PARSER_NAME, DOCUMENTATION_URL,
        )
        return
    envs.use_python_frontend()
    logger.warning(
        "Front end: the Python one in spite of %s, because the Rust one loads no Python parser "
        "and %s is one; %s=1 has the Rust one serve with its own parser (%s), which misses some "
        "calls.",
        envs.VLLM_RUST_FRONTEND, TOOL_PARSER_NAME, envs.RUST_FRONTEND, RUST_TOOL_PARSER,
    )
