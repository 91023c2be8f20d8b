"""Compiled schemas, validated with llguidance.

llguidance rejects a schema as a whole. What it rejects is left out, place by place. Validation
takes as long as compiling, so it is skipped where the schema consists of plain keywords.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher, LLParserLimits

from midm_vllm.constrained import limits
from midm_vllm.constrained.json_grammar import ANY_OBJECT, WHITESPACE, Schema
from midm_vllm.constrained.json_schema.findings import Finding
from midm_vllm.constrained.regex.matching import byte_tokenizer

#: A fraction of what vLLM's engine allows, so that reading ends soon, and no mask comes near it.
_LIMITS = LLParserLimits(
    max_grammar_size=25_000, initial_lexer_fuel=500_000, step_lexer_fuel=50_000,
    step_max_items=10_000, max_items_in_row=1000, verbose_errors=False,
)
#: For one string among many.
_LIMITS_OF_A_STRING = LLParserLimits(
    max_grammar_size=2_500, initial_lexer_fuel=20_000, step_lexer_fuel=20_000,
    step_max_items=10_000, max_items_in_row=1000, verbose_errors=False,
)
# Where llguidance's message says where in the grammar it stopped.
_where = re.compile(r"^at [^:]*: (?:failed to compile JSON schema: )?")


def relax_until_accepted(
    root: Schema, text: str, places: Mapping[int, str]
) -> tuple[Schema, list[Finding]]:
    """Leave out of a compiled schema what llguidance rejects.

    Args:
        root: The schema, which is changed.
        text: The same as JSON text.
        places: Where its parts stand in the original, by identity.

    Returns:
        What is left, and what is not.
    """
    findings: list[Finding] = []
    validation = _Validation(len(text))
    reason = validation.error(text)
    while reason and validation.has_budget:
        rejected, reason, holder, key = _innermost_rejected(root, reason, validation)
        place = places.get(id(rejected), "$")
        is_pattern = "pattern" in rejected and "egex" in reason
        findings.append(Finding("pattern" if is_pattern else "schema", place, reason))
        if holder is None:
            return ANY_OBJECT, findings
        holder[key] = {} if not is_pattern else {
            name: value for name, value in rejected.items() if name not in ("pattern", "allOf")
        }
        reason = validation.error(json.dumps(root))
    if reason:
        return ANY_OBJECT, [*findings, Finding("schema", "$", reason)]
    return root, findings


def _innermost_rejected(
    root: Schema, reason: str, validation: _Validation
) -> tuple[Schema, str, Any, Any]:
    """A rejected part, all of whose own parts are accepted; why; and what holds it at which key."""
    rejected, holder, key = root, None, None
    definitions = root.get("$defs", {})
    while validation.has_budget:
        for inner_holder, inner_key in _subschemas(rejected):
            part = inner_holder[inner_key]
            error = validation.error(json.dumps({**part, "$defs": definitions}))
            if error:
                rejected, reason, holder, key = part, error, inner_holder, inner_key
                break
            if not validation.has_budget:
                break
        else:
            break
    return rejected, reason, holder, key


class _Validation:
    """Validates a schema and its parts, for some times the work of doing so once."""

    def __init__(self, characters: int) -> None:
        self._budget = 3 * characters + limits.MAX_VALIDATED_CHARACTERS

    @property
    def has_budget(self) -> bool:
        return self._budget > 0

    def error(self, text: str) -> str:
        """Why llguidance rejects a schema, or an empty text."""
        self._budget -= len(text) + 200
        # What is open at once shows in the first mask only.
        return validation_error(
            text, _LIMITS, with_mask='"$ref"' in text or len(text) > 5000 and '"anyOf"' in text
        )


def validation_error(text: str, limits: LLParserLimits, with_mask: bool = False) -> str:
    """Why llguidance rejects a schema, given as JSON text, or an empty text."""
    # As JSON, and not as Lark around it, whose own reading takes five times as long.
    try:
        grammar = LLMatcher.grammar_from_json_schema(text, defaults=WHITESPACE)
    except ValueError as error:  # It nests deeper than llguidance reads JSON.
        return str(error)
    if with_mask:
        matcher = LLMatcher(byte_tokenizer(), grammar, log_level=0, limits=limits)
        matcher.compute_bitmask()
        message: str = matcher.get_error()
    else:
        message = LLMatcher.validate_grammar(grammar, byte_tokenizer(), limits=limits)
    return _where.sub("", message.splitlines()[0])[:200] if message else ""


def _subschemas(schema: Schema) -> Iterator[tuple[Any, Any]]:
    for keyword in ("properties", "patternProperties", "$defs"):
        holder = schema.get(keyword, {})
        yield from ((holder, key) for key in holder if isinstance(holder[key], dict))
    for keyword in ("anyOf", "allOf", "prefixItems"):
        holder = schema.get(keyword, [])
        yield from (
            (holder, key) for key in range(len(holder)) if isinstance(holder[key], dict)
        )
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield schema, keyword


_OF_STRINGS = frozenset(("pattern", "format", "allOf"))
_BOUNDS = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
_PLAIN = _OF_STRINGS | _BOUNDS | {
    "type", "enum", "properties", "required", "additionalProperties", "patternProperties", "items",
    "minItems", "maxItems", "anyOf", "minLength", "maxLength",
}


def skips_validation(root: Schema, text: str, nodes: int, other_names: Collection[str]) -> bool:
    """Whether llguidance certainly accepts a compiled schema, by what it consists of.

    Args:
        root: The schema.
        text: The same as JSON text.
        nodes: What it cost.
        other_names: Patterns that were made for the names of further members.
    """
    return (
        nodes <= limits.MAX_UNVALIDATED_NODES
        and len(text) <= limits.MAX_UNVALIDATED_CHARACTERS
        and _is_plain(root, other_names)
    )


def _is_plain(schema: Any, other_names: Collection[str]) -> bool:
    if isinstance(schema, bool):
        return True
    if not schema.keys() <= _PLAIN or not schema.get("patternProperties", {}).keys() <= other_names:
        return False
    if "enum" in schema:
        return bool(schema.keys() <= {"enum", "type"})
    bounds = [schema[key] for key in schema if key in _BOUNDS]
    if bounds and not (
        all(isinstance(each, int) and abs(each) < limits.MAX_UNVALIDATED_BOUND for each in bounds)
        and (len(bounds) == 1 or bounds[1] - bounds[0] > 1)
    ):
        return False
    if not _OF_STRINGS.isdisjoint(schema) and not (
        schema.get("type") == "string" and _is_string_accepted(json.dumps(schema))
    ):
        return False
    return all(_is_plain(holder[key], other_names) for holder, key in _subschemas(schema))


@lru_cache(maxsize=2000)
def _is_string_accepted(text: str) -> bool:
    return not validation_error(text, _LIMITS_OF_A_STRING)
