"""What llguidance refuses of a schema though it was written for it, found by asking llguidance.

It refuses a schema as a whole, and what it refuses is left free: place by place. Asking takes as
long as all the writing. What is written of plain keywords alone is not asked about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from midm_vllm.constrained.compile.compiler import Finding
from midm_vllm.constrained.json_grammar import ANY_OBJECT, WHITESPACE, Schema

#: A fraction of what vLLM's engine allows, so that reading ends soon, and no mask comes near it.
_LIMITS = LLParserLimits(
    max_grammar_size=25_000, initial_lexer_fuel=500_000, step_lexer_fuel=50_000,
    step_max_items=10_000, max_items_in_row=1000, verbose_errors=False,
)
#: For one text among many.
_LIMITS_OF_A_TEXT = LLParserLimits(
    max_grammar_size=2_500, initial_lexer_fuel=20_000, step_lexer_fuel=20_000,
    step_max_items=10_000, max_items_in_row=1000, verbose_errors=False,
)
#: How many characters of a schema's parts llguidance is asked about, to find what it refuses.
_TRIALS = 20_000
#: Larger than this, a schema is asked about whatever it says.
_PLAIN_NODES = 300
_PLAIN_CHARACTERS = 20_000
# Where llguidance's message says where in the grammar it stopped.
_where = re.compile(r"^at [^:]*: (?:failed to compile JSON schema: )?")


@lru_cache(maxsize=1)
def byte_tokenizer() -> LLTokenizer:
    """A tokenizer of bytes, for grammars that no model is to be held to."""
    return LLTokenizer("byte")


def loosened(
    root: Schema, text: str, places: Mapping[int, str]
) -> tuple[Schema, list[Finding]]:
    """The schema, and its ``text`` as JSON, without what llguidance refuses."""
    findings: list[Finding] = []
    trial = _Trial(len(text))
    reason = trial.refusal(text)
    while reason and trial.has_room:
        culprit = root
        reason_there = reason
        descending = True
        while descending and trial.has_room:
            descending = False
            for holder, key in _inside(culprit):
                child = holder[key]
                why = trial.refusal(json.dumps({**child, "$defs": root.get("$defs", {})}))
                if why or not trial.has_room:
                    break
            else:
                break
            if why:
                culprit, reason_there, descending = child, why, True
                where = (holder, key)
        place = places.get(id(culprit), "$")
        is_pattern = "pattern" in culprit and "egex" in reason_there
        findings.append(Finding("pattern" if is_pattern else "schema", place, reason_there))
        if culprit is root:
            return ANY_OBJECT, findings
        left = {key: value for key, value in culprit.items() if key not in ("pattern", "allOf")}
        where[0][where[1]] = left if is_pattern else {}
        reason = trial.refusal(json.dumps(root))
    if reason:
        return ANY_OBJECT, [*findings, Finding("schema", "$", reason)]
    return root, findings


class _Trial:
    """Asks llguidance about a schema and its parts, for some times the work of asking once."""

    def __init__(self, characters: int) -> None:
        self._room = 3 * characters + _TRIALS

    @property
    def has_room(self) -> bool:
        return self._room > 0

    def refusal(self, text: str) -> str:
        """Why llguidance does not take a schema; "" if it does."""
        self._room -= len(text) + 200
        # What is open at once shows in the first mask only.
        return refusal(
            text, _LIMITS, with_mask='"$ref"' in text or len(text) > 5000 and '"anyOf"' in text
        )


def refusal(text: str, limits: LLParserLimits, with_mask: bool = False) -> str:
    """Why llguidance does not take a schema, given as JSON; "" if it does."""
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


def _inside(schema: Schema) -> Iterator[tuple[Any, Any]]:
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


# What need not be asked about.

_TEXT = frozenset(("type", "minLength", "maxLength", "pattern", "format", "allOf"))
_PLAIN = frozenset((
    "type", "enum", "properties", "required", "additionalProperties", "patternProperties", "items",
    "minItems", "maxItems", "anyOf", "minLength", "maxLength", "pattern", "format", "allOf",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
))
_BOUNDS = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
_MOST_DIGITS = 10**9


def is_surely_taken(root: Schema, text: str, nodes: int, other_names: Collection[str]) -> bool:
    """Whether llguidance takes a schema, whose ``text`` it is, by what it is made of.

    ``other_names`` are the patterns for names that are none of an object's own.
    """
    if nodes > _PLAIN_NODES or len(text) > _PLAIN_CHARACTERS:
        return False
    definitions = root.get("$defs")
    if definitions is None:
        return _is_plain(root, other_names)
    if '"anyOf"' in text:  # Where definitions and choices meet, much may be open at once.
        return False
    whole = {key: value for key, value in root.items() if key != "$defs"}
    return all(_is_plain(each, other_names) for each in (whole, *definitions.values()))


def _is_plain(schema: Any, other_names: Collection[str]) -> bool:
    """Whether a schema is made of what llguidance takes, and some value is valid by it."""
    if not isinstance(schema, dict):
        return schema is True
    if "$ref" in schema:
        return len(schema) == 1
    if not schema.keys() <= _PLAIN:
        return False
    if "enum" in schema:
        return schema.keys() <= {"enum", "type"} and bool(schema["enum"]) and (
            "type" not in schema
            or schema["type"] == "string" and all(isinstance(each, str) for each in schema["enum"])
        )
    if "anyOf" in schema:
        return len(schema) == 1 and all(_is_plain(each, other_names) for each in schema["anyOf"])
    if not schema.keys().isdisjoint(_BOUNDS) and not _has_whole_numbers(schema):
        return False
    if "allOf" in schema and schema.get("type") != "string":
        return False
    if "pattern" in schema or "format" in schema or "allOf" in schema:
        # By itself, and once for all schemas that have it.
        said = {key: schema[key] for key in schema if key in _TEXT}
        if not _is_text_taken(json.dumps({**said, "type": "string"})):
            return False
    elif schema.get("minLength", 0) > schema.get("maxLength", schema.get("minLength", 0)):
        return False
    items = schema.get("items", True)
    if schema.get("minItems", 0) > schema.get("maxItems", schema.get("minItems", 0)) or (
        items is not True and not _is_plain(items, other_names)
    ):
        return False
    return _are_members_plain(schema, other_names)


def _are_members_plain(schema: Schema, other_names: Collection[str]) -> bool:
    further = schema.get("additionalProperties", True)
    if further is not False and not _is_plain(further, other_names):
        return False
    patterns = schema.get("patternProperties", {})
    if len(patterns) > 1 or not all(
        pattern in other_names and _is_plain(member, other_names)
        for pattern, member in patterns.items()
    ):
        return False
    members = schema.get("properties", {})
    return all(_is_plain(each, other_names) for each in members.values()) and (
        further is not False or bool(patterns) or members.keys() >= set(schema.get("required", ()))
    )


def _has_whole_numbers(schema: Schema) -> bool:
    """Whether the bounds of numbers are whole, and some whole numbers are between them."""
    bounds = [schema[key] for key in schema if key in _BOUNDS]
    if not all(isinstance(each, int) and abs(each) < _MOST_DIGITS for each in bounds):
        return False
    low = [schema[key] for key in ("minimum", "exclusiveMinimum") if key in schema]
    high = [schema[key] for key in ("maximum", "exclusiveMaximum") if key in schema]
    return not (low and high) or min(high) - max(low) > 1


@lru_cache(maxsize=2000)
def _is_text_taken(text: str) -> bool:
    return not refusal(text, _LIMITS_OF_A_TEXT)
