"""Prompts: the packaged chat templates, and which template serves a checkpoint."""

from midm_vllm.chat.rendering import (
    MIDM1_TEMPLATE,
    PACKAGED_TEMPLATE,
    render_prompt,
    training_template,
)

__all__ = ["MIDM1_TEMPLATE", "PACKAGED_TEMPLATE", "render_prompt", "training_template"]
