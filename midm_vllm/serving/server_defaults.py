"""What ``--tool-call-parser midm-parser`` implies for the rest of vLLM's arguments.

vLLM has no place where a tool parser states defaults for the server, so this completes the
arguments, in the first of two places that they pass (``midm_vllm/patches.py``):

* where vLLM's argument parser returns them: every command of vLLM, with ``--config FILE`` too, and
  launchers that parse vLLM's options. What the user specified is known there, and what is returned
  is what all processes of the server are started with;
* where the server is built from them (``init_app_state``): launchers that make the arguments in
  Python. A default looks like the same value specified there.

Arguments that name another parser are left alone. ``MIDM_VLLM_SERVING_DEFAULTS=0`` turns the
defaults off. The grammar backend is chosen elsewhere (``serving/constraints/grammar_backend``).
"""

from __future__ import annotations

import argparse
import codecs
import locale
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midm_vllm import envs
from midm_vllm.compat.vllm_imports import server_logger
from midm_vllm.constants import TOOL_PARSER_NAME
from midm_vllm.serving.constraints.grammar_backend import UnusableArgument, check
from midm_vllm.serving.rust_frontend import choose_front_end

if TYPE_CHECKING:
    from midm_vllm.chat.checkpoint_files import CheckpointFiles

#: What ``--chat-template`` takes for the packaged template.
PACKAGED_TEMPLATE_NAME = "midm"
#: What vLLM's reasoning parsers look for in the whole prompt: in a text it would end a thought.
THOUGHT_TOKENS = ("<think>", "</think>")
#: The attribute of arguments that have been completed.
_COMPLETED = "completed_for_midm"


def complete_arguments(
    parsed: argparse.Namespace, parser: argparse.ArgumentParser, args: list[str]
) -> None:
    """Complete the parsed arguments; end the program, as the parser does, if one cannot work."""
    if getattr(parsed, "tool_call_parser", None) != TOOL_PARSER_NAME:
        return
    has_model = _names_model(parsed, parser, args)
    files = None
    try:
        check(_backend(parsed))
        if envs.serving_defaults():
            is_choice_specified = _is_specified("enable_auto_tool_choice", parser, args)
            files = _complete(parsed, is_choice_specified, has_model, server_logger(parsed))
    except UnusableArgument as error:
        parser.error(str(error))
    # Not a default: without it the Rust front end, and the server with it, would end.
    choose_front_end(parsed)
    if parsed.tool_call_parser == TOOL_PARSER_NAME:
        _guard_template(parsed, files, server_logger(parsed))
        _add_middleware(parsed)
        if has_model:
            setattr(parsed, _COMPLETED, True)


def _add_middleware(args: Any) -> None:
    """Have requests rewritten that vLLM or the model cannot take."""
    from midm_vllm.serving.requests.content_middleware import MIDDLEWARE

    # ``vllm snapshot`` ends where there is middleware.
    if envs.serving_defaults() and getattr(args, "subparser", None) != "snapshot":
        middleware = getattr(args, "middleware", None)
        if isinstance(middleware, list) and MIDDLEWARE not in middleware:
            args.middleware = [*middleware, MIDDLEWARE]


def complete_state(args: Any) -> None:
    """Complete the arguments that a server is built from, unless that was done before.

    Raises:
        UnusableArgument: The server could not answer with an argument.
    """
    is_ours = getattr(args, "tool_call_parser", None) == TOOL_PARSER_NAME
    if is_ours and not getattr(args, _COMPLETED, False):
        logger = logging.getLogger("vllm.midm_vllm")
        files = _complete(args, False, True, logger) if envs.serving_defaults() else None
        _guard_template(args, files, logger)


def _complete(
    args: Any, is_choice_specified: bool, has_model: bool, logger: logging.Logger
) -> CheckpointFiles | None:
    """Returns the checkpoint's files, where they can be read."""
    if not args.enable_auto_tool_choice and not is_choice_specified:
        args.enable_auto_tool_choice = True
        logger.info(
            "Auto tool choice: on, because %s answers no request with tools without it; "
            "--no-enable-auto-tool-choice or %s=0 leaves it off.",
            TOOL_PARSER_NAME, envs.SERVING_DEFAULTS,
        )
    return _complete_template(args, has_model, logger)


def _complete_template(
    args: Any, has_model: bool, logger: logging.Logger
) -> CheckpointFiles | None:
    from midm_vllm.chat.checkpoint_files import CheckpointFiles
    from midm_vllm.chat.rendering import PACKAGED_TEMPLATE
    from midm_vllm.chat.template_selection import choose_template_among

    if args.chat_template == PACKAGED_TEMPLATE_NAME:
        args.chat_template = str(PACKAGED_TEMPLATE)
    elif args.chat_template is not None:
        _check_template_file(args.chat_template, logger)
    if not has_model:
        return None  # vLLM's default model is not what is served: no checkpoint can be read.
    files = CheckpointFiles(*_tokenizer(args))  # Of a hub that does not answer, once.
    if args.chat_template is None:
        choice = choose_template_among(files)
        args.chat_template = choice.path
        logger.info(
            "Chat template: %s, because %s; --chat-template FILE names another, "
            "--chat-template %s the packaged one, %s=0 leaves the choice to vLLM.",
            f"the packaged one ({choice.path})" if choice.path else "the checkpoint's own",
            choice.reason, PACKAGED_TEMPLATE_NAME, envs.SERVING_DEFAULTS,
        )
        if not choice.known:
            return None  # Its other files cannot be read either.
    return files


def _check_template_file(template: Any, logger: logging.Logger) -> None:
    """Raise UnusableArgument where vLLM could not read the file, minutes later."""
    try:
        text = Path(template).read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise UnusableArgument(
            f"--chat-template {template} is not UTF-8 text: save it as UTF-8."
        ) from None
    except (OSError, ValueError):
        return  # A template itself, and no path; or vLLM reports what is wrong.
    if not text.isascii() and not _files_are_utf8():
        raise UnusableArgument(
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


def _files_are_utf8() -> bool:
    """Whether vLLM, which opens a template's file without naming an encoding, reads UTF-8."""
    return codecs.lookup(locale.getpreferredencoding(False)).name == "utf-8"


def _guard_template(args: Any, files: CheckpointFiles | None, logger: logging.Logger) -> None:
    """Give vLLM the template's text, with the guard against control tokens in texts."""
    from midm_vllm.chat.control_tokens import control_tokens_among
    from midm_vllm.chat.guard import CannotBeGuarded, guarded_template, is_guarded
    from midm_vllm.chat.rendering import PACKAGED_TEMPLATE, ascii_template
    from midm_vllm.chat.template_selection import own_template

    if args.chat_template == str(PACKAGED_TEMPLATE) and not _files_are_utf8():
        args.chat_template = ascii_template()  # vLLM would misread the file.
    given = args.chat_template
    if not envs.serving_defaults() or given is files is None:
        return
    thoughts = THOUGHT_TOKENS if getattr(args, "reasoning_parser", None) else ()
    tokens = None if files is None else control_tokens_among(files, thoughts)
    try:
        text = own_template(files) if files and given is None else Path(given).read_text("utf-8")
    except (OSError, ValueError):
        text = given  # The text itself; or vLLM reports what is wrong with the file.
    specified = getattr(args, "default_chat_template_kwargs", None) or {}
    try:
        if envs.template_guard():
            if text is None:
                raise CannotBeGuarded("the checkpoint has no template, or several")
            args.chat_template = guarded_template(
                text,
                specified.get("control_tokens", tokens),
                may_allow=envs.allow_control_tokens() or "allow_control_tokens" in specified,
            )
        elif text is not None and is_guarded(text):
            args.chat_template = f"{{%- set allow_control_tokens = true -%}}\n{text}"
    except CannotBeGuarded as error:
        logger.warning(
            "The chat template is used as it is, because it cannot be guarded: %s. A text of a "
            "conversation that holds a control token can forge a turn. --chat-template %s names "
            "the packaged template, %s=0 silences this.",
            error, PACKAGED_TEMPLATE_NAME, envs.TEMPLATE_GUARD,
        )


def _tokenizer(args: Any) -> tuple[str, str | None, str | bool | None]:
    """Where the tokenizer comes from: folder or name, revision, the hub's token."""
    return (
        getattr(args, "tokenizer", None) or getattr(args, "model_tag", None) or args.model,
        getattr(args, "tokenizer_revision", None) or getattr(args, "revision", None),
        getattr(args, "hf_token", None),
    )


def _names_model(
    parsed: argparse.Namespace, parser: argparse.ArgumentParser, args: list[str]
) -> bool:
    """Whether the user named the model; a launcher may take it from elsewhere, later."""
    if getattr(parsed, "model_tag", None) or getattr(parsed, "tokenizer", None):
        return True
    model = getattr(parsed, "model", None)
    defaults = [each.get_default("model") for each in _parsers(parser)]
    return model is not None and (
        model not in defaults or _is_specified("model", parser, args)
    )


def _backend(parsed: argparse.Namespace) -> str:
    """The grammar backend that the arguments name."""
    config = getattr(parsed, "structured_outputs_config", None)  # From 0.11.
    backend = config.get("backend") if isinstance(config, dict) else getattr(
        config, "backend", None
    )
    return str(backend or "auto")


def _is_specified(dest: str, parser: argparse.ArgumentParser, args: list[str]) -> bool:
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
    mentioned = [arg.partition("=")[0] for arg in args if arg.startswith("--") and arg != "--"]
    if "--config" in args:
        import yaml

        with open(args[args.index("--config") + 1], encoding="utf-8") as file:
            mentioned += [f"--{key}" for key in yaml.safe_load(file)]
    # argparse takes any unambiguous beginning of an option for the option.
    return any(
        option.startswith(each.replace("_", "-")) for each in mentioned for option in options
    )


def offer_parser(parser: argparse.ArgumentParser) -> None:
    """Add midm-parser to the choices: vLLM 0.10.0 lists them before it loads plugins."""
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
