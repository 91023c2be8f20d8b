"""What ``--tool-call-parser midm-parser`` implies for the rest of vLLM's arguments.

vLLM has no place where a tool parser states defaults for the server, so this
completes the parsed arguments, and hooks ``FlexibleArgumentParser.parse_args``
to do so: every front end (``vllm serve``, ``vllm launch render``, the API server
module, each with ``--config FILE``) parses with it, in every release; the plugin
is loaded before it is called, because vLLM loads plugins while it builds the
parser; and the namespace it returns is what all API server processes, engine
cores and workers are started with, so one hook in one process is enough.
Later hooks (the engine's arguments, the API server's state) sit in other places
in other releases, and do not know what the user said and what is a default.

Arguments that name another parser pass through untouched. The environment
variable ``MIDM_VLLM_SERVING_DEFAULTS=0`` turns the defaults off.
"""

from __future__ import annotations

import argparse
import codecs
import functools
import locale
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midm_vllm.compat.vllm_imports import lm_format_enforcer_works, server_logger
from midm_vllm.constants import GRAMMAR_BACKEND, GRAMMAR_BACKEND_VARIABLE, TOOL_PARSER_NAME
from midm_vllm.serving.rust_frontend import choose_front_end

if TYPE_CHECKING:
    from midm_vllm.chat.checkpoint_files import CheckpointFiles

ENVIRONMENT_SWITCH = "MIDM_VLLM_SERVING_DEFAULTS"


def install(parser_class: Any) -> None:
    """Wrap ``parse_args`` of vLLM's class ``FlexibleArgumentParser``."""
    parse_args = parser_class.parse_args
    if hasattr(parse_args, "completes_for_midm"):
        return  # A copy of this package that was imported before has done it.

    @functools.wraps(parse_args)
    def parse_and_complete(
        self: argparse.ArgumentParser,
        args: list[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> argparse.Namespace:
        _offer_parser(self)
        parsed: argparse.Namespace = parse_args(self, args, namespace)
        if getattr(parsed, "tool_call_parser", None) == TOOL_PARSER_NAME:
            said = sys.argv[1:] if args is None else args
            _choose_grammar_backend(parsed, self, said)
            if os.environ.get(ENVIRONMENT_SWITCH) != "0":
                _complete(parsed, self, said)
            # Not a default: without it the Rust front end, and the server with it, would end.
            choose_front_end(parsed)
            _give_text_where_vllm_cannot_read_it(parsed)
        return parsed

    parse_and_complete.completes_for_midm = True  # type: ignore[attr-defined]
    parser_class.parse_args = parse_and_complete


def _complete(
    parsed: argparse.Namespace, parser: argparse.ArgumentParser, args: list[str]
) -> None:
    from midm_vllm.chat.checkpoint_files import CheckpointFiles
    from midm_vllm.chat.rendering import PACKAGED_TEMPLATE
    from midm_vllm.chat.template_selection import choose_template_among

    files = CheckpointFiles(*_tokenizer(parsed))  # Of a hub that does not answer, once.
    logger = server_logger(parsed)
    if not parsed.enable_auto_tool_choice and not _is_said(
        "enable_auto_tool_choice", parser, args
    ):
        parsed.enable_auto_tool_choice = True
        logger.info(
            "Auto tool choice: on, because %s answers no request with tools without it; "
            "--no-enable-auto-tool-choice or %s=0 leaves it off.",
            TOOL_PARSER_NAME,
            ENVIRONMENT_SWITCH,
        )
    if parsed.chat_template == "midm":
        parsed.chat_template = str(PACKAGED_TEMPLATE)
    elif parsed.chat_template is not None:
        _check_template_file(parsed.chat_template, parser, logger)
    elif parsed.chat_template is None:
        choice = choose_template_among(files)
        parsed.chat_template = choice.path
        logger.info(
            "Chat template: %s, because %s; --chat-template FILE names another, "
            "--chat-template midm the packaged one, %s=0 leaves the choice to vLLM.",
            f"the packaged one ({choice.path})" if choice.path else "the checkpoint's own",
            choice.reason,
            ENVIRONMENT_SWITCH,
        )
        if not choice.known:
            return  # Its other files would be asked for in vain, too.
    if parsed.chat_template in (None, str(PACKAGED_TEMPLATE)):
        _give_control_tokens(parsed, files)


def _check_template_file(
    template: Any, parser: argparse.ArgumentParser, logger: logging.Logger
) -> None:
    """Ends the program where vLLM could not read the file, minutes later and with a traceback."""
    try:
        text = Path(template).read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        parser.error(f"--chat-template {template} is not UTF-8 text: save it as UTF-8.")
    except (OSError, ValueError):
        return  # A template itself, and no path; or vLLM says what is wrong.
    if not text.isascii() and not _files_are_utf8():
        parser.error(
            f"--chat-template {template} is UTF-8 text, but vLLM would read it as this locale's "
            f"{locale.getpreferredencoding(False)}: set PYTHONUTF8=1."
        )
    if text.startswith("\ufeff"):
        logger.warning(
            "--chat-template %s begins with a byte order mark (U+FEFF), and so will each prompt: "
            "save it without one.", template,
        )
    elif not text.strip():
        logger.warning("--chat-template %s is empty, and so will be each prompt.", template)


def _give_text_where_vllm_cannot_read_it(parsed: argparse.Namespace) -> None:
    """Name no file whose text vLLM would misread; its Rust front end reads UTF-8 anywhere."""
    from midm_vllm.chat.rendering import PACKAGED_TEMPLATE, ascii_template

    is_python = parsed.tool_call_parser == TOOL_PARSER_NAME
    if is_python and parsed.chat_template == str(PACKAGED_TEMPLATE) and not _files_are_utf8():
        parsed.chat_template = ascii_template()


def _files_are_utf8() -> bool:
    """Whether vLLM, which opens a template's file without a word on its encoding, reads UTF-8."""
    return codecs.lookup(locale.getpreferredencoding(False)).name == "utf-8"


def _give_control_tokens(parsed: argparse.Namespace, files: CheckpointFiles) -> None:
    """Let the template guard the checkpoint's own special tokens, in place of all that look so.

    Older releases have no default arguments of templates; there it goes by the form.
    """
    from midm_vllm.chat.control_tokens import control_tokens_among

    if not hasattr(parsed, "default_chat_template_kwargs"):
        return
    said = parsed.default_chat_template_kwargs or {}
    if "control_tokens" not in said:
        tokens = control_tokens_among(files)
        if tokens is not None:
            parsed.default_chat_template_kwargs = {**said, "control_tokens": tokens}


def _tokenizer(parsed: argparse.Namespace) -> tuple[str, str | None, str | bool | None]:
    """Where the tokenizer comes from: folder or name, revision, the hub's token."""
    return (
        parsed.tokenizer or getattr(parsed, "model_tag", None) or parsed.model,
        parsed.tokenizer_revision or parsed.revision,
        getattr(parsed, "hf_token", None),
    )


def _choose_grammar_backend(
    parsed: argparse.Namespace, parser: argparse.ArgumentParser, args: list[str]
) -> None:
    """Have ``guidance`` write the grammars, unless the user said otherwise, and tell all processes.

    vLLM holds one backend for an engine, and ``auto`` lets the first request decide which.
    """
    if not hasattr(parsed, "tool_strict_level"):
        return  # Before 0.24, where vLLM asks a parser for no grammar.
    config = getattr(parsed, "structured_outputs_config", None)
    backend = _field(config, "backend", "auto")
    said = _is_said("structured_outputs_config", parser, args) and any(
        "backend" in arg for arg in args
    )
    if backend == "auto" and not said and os.environ.get(ENVIRONMENT_SWITCH) != "0":
        backend = GRAMMAR_BACKEND
        if isinstance(config, dict):
            config["backend"] = backend
        elif config is None:
            parsed.structured_outputs_config = {"backend": backend}
        else:
            config.backend = backend
        server_logger(parsed).info(
            "Grammars: by %s, which holds calls to their tools' schemas exactly; "
            "--structured-outputs-config '{\"backend\": …}' names another, %s=0 leaves it to vLLM.",
            backend,
            ENVIRONMENT_SWITCH,
        )
    if backend == "lm-format-enforcer" and not lm_format_enforcer_works():
        # Its first request would end the engine.
        parser.error(
            "The grammar backend lm-format-enforcer, as it is installed, does not work with this "
            f"vLLM: name {GRAMMAR_BACKEND}, xgrammar or outlines in --structured-outputs-config."
        )
    os.environ[GRAMMAR_BACKEND_VARIABLE] = backend


def _field(config: Any, name: str, default: str) -> str:
    value = config.get(name) if isinstance(config, dict) else getattr(config, name, None)
    return str(value or default)


def _is_said(dest: str, parser: argparse.ArgumentParser, args: list[str]) -> bool:
    """Whether the command line or its config file mentions the argument at all.

    The namespace does not tell a default from a choice, and vLLM drops a
    ``false`` of the config file before it parses.
    """
    options = {
        option
        for each in _parsers(parser)
        for option, action in each._option_string_actions.items()
        if action.dest == dest
    }
    mentioned = [arg for arg in args if arg.startswith("--") and arg != "--"]
    if "--config" in args:
        import yaml

        with open(args[args.index("--config") + 1], encoding="utf-8") as file:
            mentioned += [f"--{key}" for key in yaml.safe_load(file)]
    # argparse takes any unambiguous beginning of an option for the option.
    return any(
        option.startswith(said.replace("_", "-")) for said in mentioned for option in options
    )


def _offer_parser(parser: argparse.ArgumentParser) -> None:
    # vLLM 0.10.0 lists the choices before it loads the plugins that add to them.
    for each in _parsers(parser):
        for action in each._actions:
            if action.dest == "tool_call_parser" and action.choices is not None:
                if TOOL_PARSER_NAME not in action.choices:
                    action.choices = [*action.choices, TOOL_PARSER_NAME]


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                yield from _parsers(subparser)
