"""What compiling a flat schema needs of the compiler around it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from midm_vllm.constrained.json_schema.findings import Findings


class Context(Protocol):
    findings: Findings
    #: Patterns that were made for the names of further members.
    other_names: set[str]
    #: The model's control tokens, which it cannot write as text.
    control_tokens: Collection[str]
    #: The characters that patterns name one by one.
    pattern_characters: set[str]
    #: Where a member is required that can have no value.
    unsatisfiable_at: str

    def compile_subschema(self, schema: Any, place: str, depth: int) -> Any:
        """Compile the schema of a member or an item."""

    def look_up(self, key: str) -> Any:
        """Return the schema that a normalized ``$ref`` means."""


def control_token_reason(token: str) -> str:
    return f"it has {token} in it, which is a control token of this model's"


def control_token_in(context: Context, text: str) -> str:
    """A control token that a text contains, or an empty text."""
    return next((token for token in context.control_tokens if token in text), "")
