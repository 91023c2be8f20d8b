"""Random schemas: what the grammar lets through is valid, or a finding says why it may not be."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
from grammar_texts import draw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from midm_vllm.constrained.tool_schema import compile_parameters

NAMES = st.sampled_from(["a", "b", "도시", 'q"\\', "a\nb"])
VALUES = st.sampled_from([None, True, 0, 1, 1.0, 2.5, "", "a", "서울", '"', [], [1], {}, {"a": 1}])
PATTERNS = st.sampled_from([
    "^a", "b$", "^[^a]*$", r"^\d{1,3}$", r"^\w+$", r"^\S*$", "a|b", '^[^"\\\\]+$', "^(?=.*b)a*b*$",
    "^[가-힣]{1,2}$", r"^[\s\S]?$", ".", r"^\W$", "^(a|\\n)*$",
])
COUNTS = st.integers(0, 3)


def objects(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional={
        "type": st.just("object"),
        "properties": st.dictionaries(NAMES, children, max_size=3),
        "required": st.lists(NAMES, unique=True, max_size=2),
        "additionalProperties": st.one_of(st.booleans(), children),
        "patternProperties": st.dictionaries(PATTERNS, children, max_size=1),
        "propertyNames": st.one_of(
            st.fixed_dictionaries({"enum": st.lists(NAMES, min_size=1, unique=True)}),
            st.fixed_dictionaries({"pattern": PATTERNS}),
        ),
        "minProperties": COUNTS,
        "maxProperties": COUNTS,
        "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=2), max_size=2),
    })


def combined(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(children, min_size=1, max_size=3)
    arrays = st.fixed_dictionaries({"type": st.just("array")}, optional={
        "items": children, "prefixItems": some, "minItems": COUNTS, "maxItems": COUNTS,
        "uniqueItems": st.booleans(),
    })
    beside = st.fixed_dictionaries({}, optional={
        "anyOf": some, "oneOf": some, "allOf": some, "not": children, "if": children,
        "then": children, "else": children,
    })
    return st.one_of(
        objects(children), arrays, beside,
        st.tuples(objects(children), beside).map(lambda pair: {**pair[0], **pair[1]}),
    )


LEAVES = st.one_of(
    st.booleans(),
    st.fixed_dictionaries({"type": st.sampled_from(
        ["null", "boolean", "integer", "number", "string", ["string", "null"]]
    )}),
    st.fixed_dictionaries({"enum": st.lists(VALUES, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"const": VALUES}),
    st.fixed_dictionaries({}, optional={
        "type": st.sampled_from(["integer", "number"]), "minimum": st.sampled_from([-1.5, 0, 3]),
        "exclusiveMaximum": st.sampled_from([2, 7.25]), "multipleOf": st.sampled_from([0.5, 3]),
    }),
    st.fixed_dictionaries({"type": st.just("string")}, optional={
        "minLength": COUNTS, "maxLength": COUNTS, "pattern": PATTERNS,
    }),
    st.just({"$ref": "#/$defs/D"}),
)
SCHEMAS = st.recursive(LEAVES, combined, max_leaves=6)


def refers_to_itself(definition: Any) -> bool:
    """Whether D refers to D with no member or item between: the standard gives it no meaning.

    `jsonschema` would follow it for ever.
    """
    if not isinstance(definition, dict):
        return False
    beside = [definition[each] for each in ("not", "if", "then", "else") if each in definition]
    for keyword in ("anyOf", "oneOf", "allOf"):
        beside += definition.get(keyword, ())
    return "$ref" in definition or any(map(refers_to_itself, beside))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(SCHEMAS, SCHEMAS, st.integers(0, 2**32))
def test_a_schema_without_findings_is_never_wider(member: Any, shared: Any, seed: int) -> None:
    schema = {
        "type": "object", "properties": {"x": member}, "required": ["x"],
        "$defs": {"D": True if refers_to_itself(shared) else shared},
    }
    read = compile_parameters(schema)
    # Most schemas are not tried before the engine gets them.
    assert not LLMatcher.validate_grammar(f"start: whole\nwhole: %json {read.grammar}")
    if not read.is_exact:
        return
    source = random.Random(seed)
    # Patterns are JavaScript's, where \w is ASCII alone; jsonschema asks Python.
    ascii_words = json.dumps(schema, ensure_ascii=False).replace(r"\\w", "[A-Za-z0-9_]")
    validator = jsonschema.Draft202012Validator(json.loads(ascii_words))
    for _ in range(6):
        text = draw(f"start: arguments\narguments: %json {read.grammar}", source, 60)
        if text is not None:
            assert validator.is_valid(json.loads(text)), text
