"""Where vLLM keeps what this package uses, in every release it supports.

The only module with vLLM's layout: everything else imports the names
from here and never falls back by itself. A name is resolved when it is first
asked for, so that importing this module imports nothing of vLLM.

To follow a release that moved something, add the new place at the front of
its row in :data:`PLACES`.
"""

from __future__ import annotations

import importlib
import logging
import sys
from argparse import Namespace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm.entrypoints.generate.base.protocol import (
        DeltaMessage,
        ExtractedToolCallInformation,
        FunctionCall,
        ToolCall,
    )
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.sampling_params import SamplingParams, StructuredOutputsParams
    from vllm.tool_parsers.abstract_tool_parser import ToolParser, ToolParserManager
    from vllm.v1.structured_output.backend_guidance import validate_guidance_grammar

__all__ = [
    "ChatCompletionRequest",
    "DeltaMessage",
    "ExtractedToolCallInformation",
    "FunctionCall",
    "SamplingParams",
    "StructuredOutputsParams",
    "ToolCall",
    "ToolParser",
    "ToolParserManager",
    "validate_guidance_grammar",
]

FIRST_RELEASE = "0.8.5"
LAST_RELEASE = "0.33.0"

#: The releases in which the models have been run.
FIRST_MODEL_RELEASE = "0.26.0"
LAST_MODEL_RELEASE = "0.32.0"

#: The module of the tool parsers' base class: to 0.12 the second, from 0.13 the first.
TOOL_PARSER_MODULES = (
    "vllm.tool_parsers.abstract_tool_parser",
    "vllm.entrypoints.openai.tool_parsers.abstract_tool_parser",
)

#: The module of ``FlexibleArgumentParser``: to 0.11.0 the second, from 0.11.2 the first.
ARGUMENT_PARSER_MODULES = ("vllm.utils.argparse_utils", "vllm.utils")

#: The chat templates for tokenizers that have none: from 0.9.
CHAT_TEMPLATE_REGISTRY = "vllm.transformers_utils.chat_templates.registry"

#: The module of the chat serving class: to 0.14 the second, from 0.15 the first.
SERVING_CHAT_MODULES = (
    "vllm.entrypoints.openai.chat_completion.serving",
    "vllm.entrypoints.openai.serving_chat",
)

#: The module of the class that prepares chat requests: from 0.25, and in 0.24.
ONLINE_RENDERER = "vllm.renderers.online_renderer"
RENDERING_SERVER = "vllm.entrypoints.serve.render.serving"

#: The module of the class that renders prompts for an engine, and has its configuration.
RENDERER_BASE = "vllm.renderers.base"

#: The module of ``init_app_state``: to 0.28 the second, from 0.29 the first.
APP_STATE_MODULES = (
    "vllm.entrypoints.launchers.api_server.app_state",
    "vllm.entrypoints.openai.api_server",
)

#: The module of the Messages API's serving class: 0.11.2 to 0.14 the second, from 0.15 the first.
SERVING_MESSAGES_MODULES = (
    "vllm.entrypoints.anthropic.serving",
    "vllm.entrypoints.anthropic.serving_messages",
)

#: The grammar backend that takes this package's grammars.
GUIDANCE_BACKEND = "vllm.v1.structured_output.backend_guidance"

#: The architectures vLLM knows, and its own Llama.
MODEL_REGISTRY = "vllm.model_executor.models.registry"
LLAMA = "vllm.model_executor.models.llama"

#: What vLLM checks of an architecture's configuration before it starts workers: from 0.9.2.
MODEL_CONFIGURATION_CHECKS = "vllm.model_executor.models.config"

_PROTOCOL = (
    "vllm.entrypoints.generate.base.protocol",  # from 0.29
    "vllm.entrypoints.openai.engine.protocol",  # 0.15 to 0.28
    "vllm.entrypoints.openai.protocol",  # to 0.14
)

#: Name -> the modules that have held it, the newest first.
PLACES: dict[str, tuple[str, ...]] = {
    "ChatCompletionRequest": (
        "vllm.entrypoints.openai.chat_completion.protocol",  # from 0.15
        "vllm.entrypoints.openai.protocol",
    ),
    "DeltaMessage": _PROTOCOL,
    "ExtractedToolCallInformation": _PROTOCOL,
    "FunctionCall": _PROTOCOL,
    "SamplingParams": ("vllm.sampling_params",),
    "StructuredOutputsParams": ("vllm.sampling_params",),  # from 0.11
    "ToolCall": _PROTOCOL,
    "ToolParser": TOOL_PARSER_MODULES,
    "ToolParserManager": TOOL_PARSER_MODULES,
    "OpenAIServingChat": SERVING_CHAT_MODULES,  # for the tests
    "validate_guidance_grammar": (GUIDANCE_BACKEND,),
}

_LAYERS = "vllm.model_executor.layers"
_LINEAR = (f"{_LAYERS}.linear",)
_MODELS = "vllm.model_executor.models"

#: The same for what the models are built from.
MODEL_PLACES: dict[str, tuple[str, ...]] = {
    "Attention": (
        f"{_LAYERS}.attention",  # from 0.14
        "vllm.attention",
    ),
    "AutoWeightsLoader": (f"{_MODELS}.utils",),
    "ColumnParallelLinear": _LINEAR,
    "IntermediateTensors": ("vllm.sequence",),
    "LogitsProcessor": (f"{_LAYERS}.logits_processor",),
    "MergedColumnParallelLinear": _LINEAR,
    "PPMissingLayer": (f"{_MODELS}.utils",),
    "ParallelLMHead": (f"{_LAYERS}.vocab_parallel_embedding",),
    "QKVParallelLinear": _LINEAR,
    "RotaryEmbedding": (f"{_LAYERS}.rotary_embedding",),
    "RowParallelLinear": _LINEAR,
    "SiluAndMul": (f"{_LAYERS}.activation",),
    "SupportsLoRA": (f"{_MODELS}.interfaces",),
    "SupportsPP": (f"{_MODELS}.interfaces",),
    "VllmConfig": ("vllm.config",),
    "VocabParallelEmbedding": (f"{_LAYERS}.vocab_parallel_embedding",),
    "get_pp_group": ("vllm.distributed",),
    "get_tensor_model_parallel_world_size": ("vllm.distributed",),
    "make_empty_intermediate_tensors_factory": (f"{_MODELS}.utils",),
    "make_layers": (f"{_MODELS}.utils",),
    "maybe_prefix": (f"{_MODELS}.utils",),
    "support_torch_compile": ("vllm.compilation.decorators",),
}


def vllm_version() -> str:
    """The installed vLLM's version, or "(not installed)"."""
    try:
        return version("vllm")
    except PackageNotFoundError:
        return "(not installed)"


def parser_model_name() -> str:
    """The model's name in vLLM's own parser metrics, where this release has such (seen in 0.32).

    Nothing is imported: where vLLM's server has not, there is no name.
    """
    return getattr(sys.modules.get("vllm.parser.metrics"), "_model_name", None) or ""


def lm_format_enforcer_works() -> bool:
    """Whether lm-format-enforcer finds vLLM's tokenizers; 0.11.3 does not in vLLM 0.32."""
    try:
        importlib.import_module("lmformatenforcer.integrations.vllm")
    except ImportError:
        return False
    return True


def server_logger(arguments: Namespace) -> logging.Logger:
    """A logger of vLLM's that is heard as soon as the server's arguments are parsed."""
    import vllm.logger

    # To 0.30 the import sets logging up; from 0.31 vLLM does, with the arguments,
    # but only after it has parsed them. Doing the same twice changes nothing.
    set_up = getattr(vllm.logger, "configure_logging_from_args", None)
    if set_up is not None:
        set_up(arguments)
    logger: logging.Logger = vllm.logger.init_logger("vllm.midm_vllm")
    return logger


def __getattr__(name: str) -> Any:
    first, last = FIRST_RELEASE, LAST_RELEASE
    places = PLACES.get(name)
    if places is None:
        first, last = FIRST_MODEL_RELEASE, LAST_MODEL_RELEASE
        places = MODEL_PLACES.get(name)
    if places is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for place in places:
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            # That this place is not there is another release's layout; that
            # something is missing which this place needs is an error.
            if error.name is None or not f"{place}.".startswith(f"{error.name}."):
                raise
            continue
        if hasattr(module, name):
            value = globals()[name] = getattr(module, name)
            return value
    raise ImportError(
        f"midm-vllm does not find {name!r} in vLLM {vllm_version()} (looked in "
        f"{', '.join(places)}). It is known to work with vLLM {first} to "
        f"{last}: install one of these, or look for a newer midm-vllm. If there is none "
        "yet, please report this line on midm-vllm's issue tracker."
    )
