"""Other vendors' chat templates with the guard: the same prompts, but for forged tokens."""

from __future__ import annotations

from typing import Any

import pytest
from hostile_conversations import (
    HARMLESS_TEXTS,
    TOKENIZERS,
    harmless_and_hostile,
    hostile_texts,
    special_ids,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from vendor_templates import vendor_templates, written_tokens

from midm_vllm.chat.guard import guarded_template
from midm_vllm.chat.rendering import compile_template

pytestmark = pytest.mark.slow
LEAST_TEMPLATES = 50
#: Conversations that some templates take, and others do not.
SHAPES = [
    ["user"],
    ["system", "user", "assistant", "user"],
    ["user", "thought", "user"],
    ["parts"],
    ["tool", "tool", "user"],
    ["system", "tool", "user", "calls"],
    ["tool", "user", "calls", "assistant", "user"],
    ["user", "role"],
    ["query", "document"],
]
SETTINGS = settings(
    max_examples=30, deadline=None, suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)


def render(template: Any, request: dict[str, Any]) -> str | None:
    """None where the template takes no such conversation."""
    try:
        prompt: str = template.render(
            **request, bos_token="<s>", eos_token="</s>", add_generation_prompt=True
        )
    except Exception:
        return None
    return prompt


def test_each_template_renders_the_same_and_no_text_forges_a_token() -> None:
    templates = vendor_templates()
    assert len(templates) >= LEAST_TEMPLATES
    shapes_rendered = set()
    for name, text in templates.items():
        tokens = written_tokens(text)
        plain, guarded = compile_template(text), compile_template(guarded_template(text, tokens))
        taken = [
            shape for shape in SHAPES
            if render(plain, harmless_and_hostile(shape, ["x"], "wizard")[0]) is not None
        ]
        assert taken, name
        shapes_rendered |= {tuple(shape) for shape in taken}

        @SETTINGS
        @given(
            st.sampled_from(taken), st.lists(HARMLESS_TEXTS, min_size=1, max_size=6),
            hostile_texts(tokens), st.sampled_from(["eot_id", "<|eot_id|>", *tokens]),
        )
        def check(shape: list[str], harmless: list[str], texts: list[str], role: str) -> None:
            _, request = harmless_and_hostile(shape, harmless, "wizard")
            assert render(guarded, request) == render(plain, request), name
            request, hostile = harmless_and_hostile(shape, texts, role)
            wanted, prompt = render(guarded, request), render(guarded, hostile)
            if prompt is None or wanted is None:  # Some take no role or name of that form.
                assert render(plain, hostile) is None, name
                return
            for kind in TOKENIZERS:
                forged = special_ids(prompt, tokens, kind)
                assert forged == special_ids(wanted, tokens, kind), (name, prompt)

        check()
    assert shapes_rendered == {tuple(shape) for shape in SHAPES}
