"""Which front end of vLLM's answers ``--tool-call-parser midm-parser``: Python's, or the Rust one.

vLLM's Rust front end (``VLLM_USE_RUST_FRONTEND=1 vllm serve``) loads no Python parser and ends at
once when it is given the name of one. It is started long after vLLM's command line has parsed the
arguments, by a process that asks ``VLLM_USE_RUST_FRONTEND`` anew, and whose children inherit its
environment: so what is set here, when the arguments have been parsed, is what every process sees.

By default the Python front end serves, with our parser. With ``MIDM_VLLM_RUST_FRONTEND=1`` too the
Rust one does, and its own parser for the same tags reads the calls: it reads fewer of them.
"""

from __future__ import annotations

import argparse

from midm_vllm import envs
from midm_vllm.compat.vllm_imports import server_logger
from midm_vllm.constants import DOCUMENTATION_URL, TOOL_PARSER_NAME

#: The Rust front end's own parser for ``<tool_call>{…}</tool_call>``.
RUST_TOOL_PARSER = "hermes"


def choose_front_end(parsed: argparse.Namespace) -> None:
    """Let the front end serve that can, where ``parsed`` are the arguments with our parser's name.

    Changes ``VLLM_USE_RUST_FRONTEND`` or the parser's name, and says so in vLLM's log; does
    nothing unless ``vllm serve`` was about to start the Rust front end.
    """
    if getattr(parsed, "subparser", None) != "serve" or not envs.vllm_rust_frontend():
        return
    logger = server_logger(parsed)
    if envs.rust_frontend():
        parsed.tool_call_parser = RUST_TOOL_PARSER
        logger.warning(
            "Front end: vLLM's Rust one, because of %s=1. It loads no Python parser: its own %s "
            "reads the calls in place of %s, and misses some. See %s/front-ends.md.",
            envs.RUST_FRONTEND,
            RUST_TOOL_PARSER,
            TOOL_PARSER_NAME,
            DOCUMENTATION_URL,
        )
        return
    envs.use_python_frontend()
    logger.warning(
        "Front end: the Python one in spite of %s, because the Rust one loads no Python parser "
        "and %s is one; %s=1 has the Rust one serve with its own parser (%s), which misses some "
        "calls.",
        envs.VLLM_RUST_FRONTEND,
        TOOL_PARSER_NAME,
        envs.RUST_FRONTEND,
        RUST_TOOL_PARSER,
    )
