"""Every change that this package makes to vLLM and Transformers, and what is lost without it.

To add one, write a function that gets the module and changes it, and a row of :data:`PATCHES`: the
target, the modules that have held it (the newest first), the function, the loss as the end of the
sentence "Without this change …", and the releases if only some need it. Import what the change
calls inside the function, so that processes without the target do not pay for it. Keep the
function free of checks: a missing target or an exception becomes a warning in the log, and
``tests/package/test_patches.py`` removes each target in turn.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import sys
from collections.abc import Callable
from pkgutil import resolve_name
from types import FunctionType, ModuleType
from typing import Any

from midm_vllm.compat.capabilities import has
from midm_vllm.compat.patching import Patch
from midm_vllm.compat.vllm_imports import (
    APP_STATE_MODULES,
    ARGUMENT_PARSER_MODULES,
    CHAT_TEMPLATE_REGISTRY,
    GUIDANCE_BACKEND,
    ONLINE_RENDERER,
    RENDERER_BASE,
    RENDERING_SERVER,
    SERVING_CHAT_MODULES,
    SERVING_MESSAGES_MODULES,
    TOOL_PARSER_MODULES,
)
from midm_vllm.constants import TOOL_PARSER_NAME
from midm_vllm.models.registration import MODEL_PATCHES
from midm_vllm.serving.constraints import grammar_backend


#: Marks what has been changed.
_COMPLETED = "completed_for_midm"


def _register_tool_parser(module: ModuleType) -> None:
    if has("parser grammars"):
        place = "midm_vllm.serving.tool_parser", "MidmToolParser"
    else:
        place = "midm_vllm.serving.tool_parser_pre_0_24", "OlderMidmToolParser"
    manager = module.ToolParserManager
    if has("lazy parsers"):
        manager.register_lazy_module(TOOL_PARSER_NAME, *place)
    else:
        # Who imports this package of vLLM gets all of vLLM's parsers imported with it.
        manager.register_module(TOOL_PARSER_NAME, module=resolve_name(":".join(place)))


def _complete_arguments(module: ModuleType) -> None:
    """Complete what the outermost of vLLM's argument parsers returns."""
    parser_class = module.FlexibleArgumentParser
    is_parsing = False

    def completing(parse: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(parse)
        def parse_and_complete(
            self: argparse.ArgumentParser,
            args: list[str] | None = None,
            namespace: argparse.Namespace | None = None,
        ) -> Any:
            nonlocal is_parsing
            if is_parsing:
                return parse(self, args, namespace)
            from midm_vllm.serving.server_defaults import complete_arguments, offer_parser

            is_parsing = True
            try:
                offer_parser(self)
                result = parse(self, args, namespace)
            finally:
                is_parsing = False
            parsed = result[0] if isinstance(result, tuple) else result
            complete_arguments(parsed, self, sys.argv[1:] if args is None else args)
            return result

        return parse_and_complete

    if not hasattr(parser_class, _COMPLETED):  # Both modules may hold the class.
        setattr(parser_class, _COMPLETED, True)
        parser_class.parse_args = completing(parser_class.parse_args)
        parser_class.parse_known_args = completing(parser_class.parse_known_args)


def _complete_state(module: ModuleType) -> None:
    """Complete the arguments of launchers that make them without vLLM's argument parser.

    Ray Serve LLM imports the function before vLLM loads its plugins. So the function itself is
    changed, and not the attribute of its module.
    """
    init_app_state = module.init_app_state
    if hasattr(init_app_state, _COMPLETED):  # Both modules may hold the function.
        return
    signature = inspect.signature(init_app_state)
    original = FunctionType(
        init_app_state.__code__, init_app_state.__globals__, init_app_state.__name__,
        init_app_state.__defaults__, init_app_state.__closure__,
    )
    original.__kwdefaults__ = init_app_state.__kwdefaults__

    async def complete_and_init(arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        from midm_vllm.serving.server_defaults import complete_state

        complete_state(signature.bind(*arguments, **named).arguments["args"])
        return await original(*arguments, **named)

    setattr(init_app_state, _COMPLETED, complete_and_init)
    init_app_state.__signature__ = signature
    init_app_state.__code__ = _init_app_state.__code__
    init_app_state.__defaults__ = init_app_state.__kwdefaults__ = None


async def _init_app_state(*arguments: Any, **named: Any) -> Any:
    # This code runs in vLLM's function, where the name is the function's own.
    completed = init_app_state.completed_for_midm  # type: ignore[name-defined]  # noqa: F821
    return await completed(arguments, named)


def _observe_engine(module: ModuleType) -> None:
    initialize = module.BaseRenderer.__init__

    @functools.wraps(initialize)
    def initialize_and_observe(self: Any, *arguments: Any, **named: Any) -> None:
        initialize(self, *arguments, **named)
        grammar_backend.observe(self.config)

    module.BaseRenderer.__init__ = initialize_and_observe


def _change(function: str) -> Callable[[ModuleType], None]:
    """The function ``module:name`` of this package, imported when the change is made."""
    return lambda module: resolve_name(f"midm_vllm.{function}")(module)


_prefetch = _change("serving.constraints.grammar_prefetch:install_prefetch")
_PREFETCH_LOSS = "a new, large tool schema delays the server's other streams by some 0.1 s"

PATCHES: tuple[Patch, ...] = (
    Patch(
        "ToolParserManager", TOOL_PARSER_MODULES, _register_tool_parser,
        "vLLM does not know --tool-call-parser midm-parser",
    ),
    Patch(
        "FlexibleArgumentParser.parse_args", ARGUMENT_PARSER_MODULES, _complete_arguments,
        "midm-parser needs --enable-auto-tool-choice, and --chat-template for checkpoints whose "
        "template has no tool support",
    ),
    Patch(
        "init_app_state", APP_STATE_MODULES, _complete_state,
        "launchers that embed vLLM need enable_auto_tool_choice=True and a chat_template for "
        "midm-parser",
    ),
    Patch(
        "BaseRenderer.__init__", (RENDERER_BASE,), _observe_engine,
        "midm-parser cannot see the server's grammar backend: it rejects strict tools, and "
        "required and named calls are constrained by vLLM's own JSON schema",
        since="0.24",
    ),
    Patch(
        "OnlineRenderer.preprocess_chat", (ONLINE_RENDERER,), _prefetch, _PREFETCH_LOSS,
        since="0.25",
    ),
    Patch(
        "OpenAIServingRender.preprocess_chat", (RENDERING_SERVER,), _prefetch, _PREFETCH_LOSS,
        since="0.24", until="0.24",
    ),
    Patch(
        "validate_guidance_grammar", (GUIDANCE_BACKEND,),
        _change("serving.constraints.grammar_prefetch:install_validation_cache"),
        "the grammar of the same tools is checked anew with every request",
        since="0.24",
    ),
    Patch(
        "OpenAIServingChat._should_check_for_unstreamed_tool_arg_tokens", SERVING_CHAT_MODULES,
        _change("serving.tool_parser_pre_0_24:keep_last_delta"),
        "the last streamed arguments of a call arrive twice, or broken",
        until="0.22", required=True,
    ),
    Patch(
        "AnthropicServingMessages.messages_full_converter", SERVING_MESSAGES_MODULES,
        _change("serving.requests.messages_api:return_incomplete_calls"),
        "an answer of the Messages API whose call max_tokens cut off is a 400, unless streamed",
        since="0.11.2",
    ),
    Patch(
        "register_chat_template_fallback_path", (CHAT_TEMPLATE_REGISTRY,),
        _change("chat.template_selection:register_template_fallback"),
        "a Mi:dm 2.0 checkpoint without a chat template needs --chat-template",
        since="0.9",
    ),
    *MODEL_PATCHES,
)
