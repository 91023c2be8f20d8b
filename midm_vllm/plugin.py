"""The entry point ``vllm.general_plugins``: what vLLM calls in every process.

:func:`register` runs in the API server, in each engine core and in each
worker. It imports neither vLLM's parsers nor ours, no model and no torch: each
part registers when vLLM itself imports the registry it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from types import ModuleType

from midm_vllm.compat.import_hooks import Callback, catch_up, when_imported
from midm_vllm.compat.vllm_imports import (
    ARGUMENT_PARSER_MODULES,
    CHAT_PREPARING_MODULES,
    CHAT_TEMPLATE_REGISTRY,
    GUIDANCE_BACKEND,
    SERVING_CHAT_MODULES,
    TOOL_PARSER_PACKAGES,
)
from midm_vllm.models.registration import MODEL_HOOKS
from midm_vllm.constants import TOOL_PARSER_NAME

_registered = False

#: The modules of vLLM and Transformers whose parts have been registered, each when it was imported.
REGISTERED: set[str] = set()


def register() -> None:
    """Register everything this package adds to vLLM; a second call only makes sure of it."""
    global _registered
    if _registered:
        catch_up()
        return
    _registered = True
    for name, callback in hooks():
        when_imported(name, partial(_run, callback))


def hooks() -> Iterator[tuple[str, Callback]]:
    """What is registered when: the module whose import it waits for, and how."""
    for package in TOOL_PARSER_PACKAGES:
        yield f"{package}.abstract_tool_parser", _register_tool_parser
    for module in ARGUMENT_PARSER_MODULES:
        yield module, _install_serving_defaults
    yield CHAT_TEMPLATE_REGISTRY, _register_template_fallback
    for module in SERVING_CHAT_MODULES:
        yield module, _prepare_serving_chat
    for module in CHAT_PREPARING_MODULES:
        yield module, _prepare_chat_requests
    yield GUIDANCE_BACKEND, _skip_known_grammars
    yield from MODEL_HOOKS


def _run(callback: Callback, module: ModuleType) -> None:
    callback(module)
    REGISTERED.add(module.__name__)


def _register_tool_parser(module: ModuleType) -> None:
    if hasattr(module.ToolParser, "engine_based_streaming"):  # from 0.24
        place = "midm_vllm.serving.tool_parser", "MidmToolParser"
    else:
        place = "midm_vllm.serving.tool_parser_pre_0_24", "OlderMidmToolParser"
    manager = module.ToolParserManager
    if hasattr(manager, "register_lazy_module"):  # from 0.11.2
        manager.register_lazy_module(TOOL_PARSER_NAME, *place)
    else:
        # Who imports this package of vLLM gets all of vLLM's parsers imported with it.
        parser = getattr(import_module(place[0]), place[1])
        manager.register_module(TOOL_PARSER_NAME, module=parser)


def _prepare_serving_chat(module: ModuleType) -> None:
    if hasattr(module.OpenAIServingChat, "_should_check_for_unstreamed_tool_arg_tokens"):
        from midm_vllm.serving.tool_parser_pre_0_24 import keep_last_delta  # to 0.22

        keep_last_delta(module.OpenAIServingChat)


def _prepare_chat_requests(module: ModuleType) -> None:
    from midm_vllm.serving.grammar_prefetch import read_ahead

    read_ahead(module)


def _skip_known_grammars(module: ModuleType) -> None:
    from midm_vllm.serving.grammar_prefetch import skip_known_grammars

    skip_known_grammars(module)


def _install_serving_defaults(module: ModuleType) -> None:
    parser = vars(module).get("FlexibleArgumentParser")
    if parser is not None and parser.__module__ == module.__name__:
        from midm_vllm.serving.server_defaults import install

        install(parser)


def _register_template_fallback(module: ModuleType) -> None:
    from midm_vllm.chat.template_selection import register_template_fallback

    register_template_fallback(module)
