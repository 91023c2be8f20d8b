"""Registers Mi:dm's models, configurations and tokenizer with vLLM and Transformers.

Each function runs when the registry in question is imported, and only then
imports what it registers.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from midm_vllm.compat.patching import Patch
from midm_vllm.compat.vllm_imports import (
    CHAT_TEMPLATE_REGISTRY,
    LLAMA,
    MODEL_CONFIGURATION_CHECKS,
    MODEL_REGISTRY,
)

_MIDM1 = "MidmLMHeadModel"


def _register_configurations(module: ModuleType) -> None:
    from midm_vllm.models.midm1.config import MidmBitextConfig, MidmConfig

    for config in (MidmBitextConfig, MidmConfig):
        module.AutoConfig.register(config.model_type, config, exist_ok=True)


def _register_tokenizer(module: ModuleType) -> None:
    # By the name in tokenizer_config.json, because that takes precedence over the
    # checkpoint's remote code; a class from AutoTokenizer.register does not.
    registry = getattr(module, "REGISTERED_TOKENIZER_CLASSES", None)
    if registry is None:  # Transformers 4, which no supported release uses
        return
    from midm_vllm.models.midm1.tokenizer import Midm_bitext_Tokenizer

    registry[Midm_bitext_Tokenizer.__name__] = Midm_bitext_Tokenizer


def _register_networks(module: ModuleType) -> None:
    register = module.ModelRegistry.register_model
    register(_MIDM1, f"midm_vllm.models.midm1.model:{_MIDM1}")
    register("MidmForCausalLM", f"{LLAMA}:LlamaForCausalLM")


def _register_check(module: ModuleType) -> None:
    class TensorParallelCheck(module.VerifyAndUpdateConfig):  # type: ignore[name-defined]
        """Runs in vLLM's first process, before a worker starts."""

        @staticmethod
        def verify_and_update_config(vllm_config: Any) -> None:
            ranks = vllm_config.parallel_config.tensor_parallel_size
            vllm_config.model_config.hf_config.check_tensor_parallel(ranks)

    checks = getattr(module, "MODELS_CONFIG_MAP", None)
    if checks is not None:
        checks[_MIDM1] = TensorParallelCheck


def _register_chat_template(module: ModuleType) -> None:
    from midm_vllm.chat.rendering import MIDM1_MODEL_TYPE, MIDM1_TEMPLATE, PACKAGED_TEMPLATE

    register = module.register_chat_template_fallback_path
    register(MIDM1_MODEL_TYPE, MIDM1_TEMPLATE)
    register("midm", PACKAGED_TEMPLATE)


MODEL_PATCHES: tuple[Patch, ...] = (
    Patch(
        "AutoConfig.register", ("transformers.models.auto.configuration_auto",),
        _register_configurations, "Mi:dm 1.0 needs --trust-remote-code",
    ),
    Patch(
        "AutoTokenizer", ("transformers.models.auto.tokenization_auto",), _register_tokenizer,
        "Mi:dm 1.0 needs --trust-remote-code",
    ),
    Patch(
        "ModelRegistry.register_model", (MODEL_REGISTRY,), _register_networks,
        "vLLM does not know Mi:dm 1.0's architecture",
    ),
    Patch(
        "VerifyAndUpdateConfig", (MODEL_CONFIGURATION_CHECKS,), _register_check,
        "Mi:dm 1.0 with an impossible --tensor-parallel-size fails later, in a worker",
        since="0.9.2",
    ),
    Patch(
        "register_chat_template_fallback_path", (CHAT_TEMPLATE_REGISTRY,),
        _register_chat_template, "Mi:dm 1.0 needs --chat-template", since="0.9",
    ),
)
