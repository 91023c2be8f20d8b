"""The packaged chat templates, and the prompt one makes of a conversation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: The packaged template: what ``--chat-template`` of any vLLM and
#: ``tokenizer.chat_template`` of any Transformers accept (as path, as text).
PACKAGED_TEMPLATE = Path(__file__).parent / "templates" / "midm.jinja"

#: Mi:dm 1.0's ``model_type``, and the form of its conversations, which knows no tools.
MIDM1_MODEL_TYPE = "midm-bitext-S"
MIDM1_TEMPLATE = PACKAGED_TEMPLATE.with_name("midm1.jinja")


def render_prompt(
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None = None,
    *,
    add_generation_prompt: bool = True,
    allow_control_tokens: bool = False,
    control_tokens: Sequence[str] | None = None,
) -> str:
    """The prompt the packaged template makes of a conversation, as Transformers renders it.

    ``control_tokens`` are the checkpoint's special tokens, which no text may hold;
    None where they are not known: then whatever has the form of one.

    Raises ``jinja2.TemplateError`` with a sentence for what Mi:dm cannot be asked.
    """
    prompt: str = compile_template(PACKAGED_TEMPLATE.read_text("utf-8")).render(
        messages=messages,
        tools=tools,
        add_generation_prompt=add_generation_prompt,
        allow_control_tokens=allow_control_tokens,
        control_tokens=control_tokens,
    )
    return prompt


def training_template() -> str:
    """The packaged template with ``{% generation %}`` marks around what the assistant wrote.

    Transformers makes a mask for training of them. Other engines do not know them, and neither
    do some of vLLM's probes: it is served without.
    """
    template = PACKAGED_TEMPLATE.read_text("utf-8")
    return re.sub(r"{#- ((?:end)?generation) -#}", r"{%- \1 -%}", template)


def ascii_template() -> str:
    """The packaged template in ASCII, for Jinja2: its texts have escapes for Korean."""
    template = PACKAGED_TEMPLATE.read_text("utf-8")
    return template.encode("ascii", "backslashreplace").decode("ascii")


def compile_template(template: str) -> Any:
    """A Jinja template as Transformers compiles it.

    It is what ``tokenizer.apply_chat_template`` and vLLM compile templates
    with, so its tags and filters are theirs in any release.
    """
    from transformers.utils.chat_template_utils import _compile_jinja_template

    return _compile_jinja_template(template)
