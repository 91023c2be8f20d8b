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
import os

from midm_vllm.compat.vllm_imports import server_logger
from midm_vllm.constants import TOOL_PARSER_NAME

#: vLLM's switch for its Rust front end.
VLLM_SWITCH = "VLLM_USE_RUST_FRONTEND"
#: Ours: the Rust front end may serve, without our parser.
RUST_SWITCH = "MIDM_VLLM_RUST_FRONTEND"
#: The Rust front end's own parser for ``<tool_call>{…}</tool_call>``.
RUST_TOOL_PARSER = "hermes"


def is_on(switch: str) -> bool:
    """Whether the environment sets a switch; vLLM reads its own as a number."""
    return os.environ.get(switch, "0").strip() not in ("", "0")


def choose_front_end(parsed: argparse.Namespace) -> None:
    """Let the front end serve that can, where ``parsed`` are the arguments with our parser's name.

    Changes ``VLLM_USE_RUST_FRONTEND`` or the parser's name, and says so in vLLM's log; does
    nothing unless ``vllm serve`` was about to start the Rust front end.
    """
    if getattr(parsed, "subparser", None) != "serve" or not is_on(VLLM_SWITCH):
        return
    logger = server_logger(parsed)
    if is_on(RUST_SWITCH):
        parsed.tool_call_parser = RUST_TOOL_PARSER
        logger.warning(
            "Front end: vLLM's Rust one, because of %s=1. It loads no Python parser: its own %s "
            "reads the calls in place of %s, and misses some (docs/front-ends.md says which).",
            RUST_SWITCH,
            RUST_TOOL_PARSER,
            TOOL_PARSER_NAME,
        )
        return
    os.environ[VLLM_SWITCH] = "0"
    logger.warning(
        "Front end: the Python one in spite of %s, because the Rust one loads no Python parser "
        "and %s is one; %s=1 has the Rust one serve with its own parser (%s), which misses some "
        "calls.",
        VLLM_SWITCH,
        TOOL_PARSER_NAME,
        RUST_SWITCH,
        RUST_TOOL_PARSER,
    )
