"""Random schemas: what the grammar accepts is valid, or a finding says why it may not be."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from grammar_texts import draw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from midm_vllm.constrained.json_schema.keywords import KEYWORDS
from midm_vllm.constrained.tool_schema import ToolSchema, compile_parameters, compile_schema

EXAMPLES = 250
NAMES = st.sampled_from(["a", "b", "도시", 'q"\\', "a\nb"])
VALUES = st.sampled_from([
    None, True, False, 0, 1, 1.0, -3, 2.5, "", "a", "ab", "서울", '"', [], [1], [1, 1], ["a"], {},
    {"a": 1}, {"b": "a"}, {"a": 1, "b": 2}, {"도시": None, "a": []},
])
PATTERNS = st.sampled_from([
    "^a", "b$", "^[^a]*$", r"^\d{1,3}$", r"^\w+$", r"^\S*$", "a|b", '^[^"\\\\]+$', "^(?=.*b)a*b*$",
    "^[가-힣]{1,2}$", r"^[\s\S]?$", ".", r"^\W$", "^(a|\\n)*$", "^(?!a)", "^a(?!b)", r"^[^\S]$",
])
COUNTS = st.integers(0, 3)
FORMATS = st.sampled_from(["date", "ipv4", "email", "no format", "regex"])
REFERENCES = st.sampled_from([
    "#/$defs/D", "#/$defs/E", "inner", "inner#/$defs/D", "http://host/inner#here", "#missing",
])
VALIDATORS = {
    "http://json-schema.org/draft-07/schema#": jsonschema.Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": jsonschema.Draft201909Validator,
    "https://json-schema.org/draft/2020-12/schema": jsonschema.Draft202012Validator,
}


#: jsonschema's own of draft 2019-09 does not see that `additionalProperties` evaluates members.
DRAFT_2019 = jsonschema.validators.extend(jsonschema.Draft201909Validator, {
    "unevaluatedProperties": jsonschema.Draft202012Validator.VALIDATORS["unevaluatedProperties"],
})


def objects(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional={
        "type": st.just("object"),
        "properties": st.dictionaries(NAMES, children, max_size=3),
        "required": st.lists(NAMES, unique=True, max_size=2),
        "additionalProperties": st.one_of(st.booleans(), children),
        "unevaluatedProperties": st.one_of(st.booleans(), children),
        "patternProperties": st.dictionaries(PATTERNS, children, max_size=2),
        "propertyNames": st.one_of(
            st.fixed_dictionaries({"enum": st.lists(NAMES, min_size=1, unique=True)}),
            st.fixed_dictionaries({"pattern": PATTERNS}), children,
        ),
        "minProperties": COUNTS,
        "maxProperties": COUNTS,
        "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=2), max_size=2),
        "dependentSchemas": st.dictionaries(NAMES, children, max_size=1),
        "dependencies": st.dictionaries(NAMES, children, max_size=1),
    })


def combined(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(children, min_size=1, max_size=3)
    arrays = st.fixed_dictionaries({}, optional={
        "type": st.just("array"), "items": children, "prefixItems": some, "minItems": COUNTS,
        "maxItems": COUNTS, "uniqueItems": st.booleans(), "contains": children,
        "minContains": COUNTS, "maxContains": COUNTS, "unevaluatedItems": children,
    })
    beside = st.fixed_dictionaries({}, optional={
        "anyOf": some, "oneOf": some, "allOf": some, "not": children, "if": children,
        "then": children, "else": children,
    })
    return st.one_of(
        objects(children), arrays, beside,
        st.tuples(objects(children), beside).map(lambda pair: {**pair[0], **pair[1]}),
        st.tuples(arrays, beside, LEAVES.filter(lambda leaf: isinstance(leaf, dict))).map(
            lambda parts: {**parts[0], **parts[1], **parts[2]}
        ),
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
        "exclusiveMaximum": st.sampled_from([2, 7.25, 1e16]),
        "multipleOf": st.sampled_from([0.5, 3]),
    }),
    st.fixed_dictionaries({}, optional={
        "type": st.just("string"), "minLength": COUNTS, "maxLength": COUNTS, "pattern": PATTERNS,
        "format": FORMATS,
    }),
    st.fixed_dictionaries({"$ref": REFERENCES}),
)
SCHEMAS = st.recursive(LEAVES, combined, max_leaves=6)
INSTANCES = st.recursive(VALUES, lambda children: st.one_of(
    st.lists(children, max_size=3), st.dictionaries(NAMES, children, max_size=3),
), max_leaves=5)


def refers_in_place(schema: Any) -> bool:
    """Whether a schema refers to another with no member or item between.

    `jsonschema` would follow it for ever where it leads back to itself: the standard gives that no
    meaning.
    """
    if not isinstance(schema, dict):
        return False
    beside = [schema[each] for each in ("not", "if", "then", "else") if each in schema]
    for keyword in ("anyOf", "oneOf", "allOf"):
        beside += schema.get(keyword, ())
    for keyword in ("dependentSchemas", "dependencies"):
        beside += schema.get(keyword, {}).values()
    return "$ref" in schema or any(map(refers_in_place, beside))


def document(root: Any, here: Any, inner: Any, draft: str) -> Any:
    """A schema with definitions, and with another resource that has definitions of its own."""
    here, inner = (True if refers_in_place(each) else each for each in (here, inner))
    is_alone = not isinstance(root, dict) or "$ref" in root
    written = {
        "$schema": draft, "$id": "http://host/outer", **({"allOf": [root]} if is_alone else root),
        "$defs": {"D": here, "E": {"$id": "inner", "allOf": [inner], "$defs": {
            "D": {"type": "integer"}, "H": {"$anchor": "here", "type": ["string", "null"]},
        }}},
    }
    text = json.dumps(written)
    return json.loads(text.replace("$defs", "definitions") if "draft-07" in draft else text)


def validator(schema: Any, draft: str) -> Any:
    # Patterns are JavaScript's, where these classes are ASCII alone; jsonschema asks Python.
    text = json.dumps(schema, ensure_ascii=False)
    for shorthand, characters in ((r"\\w", "[A-Za-z0-9_]"), (r"\\W", "[^A-Za-z0-9_]"),
                                  (r"\\d", "[0-9]")):
        text = text.replace(shorthand, characters)
    if "2019-09" in draft:  # Beside `unevaluatedItems` jsonschema fails at booleans.
        text = text.replace('"items": false', '"items": {"not": {}}')
        text = text.replace('"items": true', '"items": {}')
    if "2019-09" in draft and "$recursiveRef" not in text:
        return DRAFT_2019(json.loads(text))
    return VALIDATORS[draft](json.loads(text))


checked: Counter[str] = Counter()


def check(compiled: ToolSchema, judge: Any, instances: list[Any], seed: int) -> None:
    """Texts that are drawn from the grammar, and instances that it accepts, are valid."""
    grammar = f"start: whole\nwhole: %json {compiled.grammar}"
    # Most schemas are not validated before the engine gets them.
    assert not LLMatcher.validate_grammar(grammar, LLTokenizer("byte"))
    checked["schemas"] += 1
    if not compiled.is_exact:
        return
    checked["exact"] += 1
    source = random.Random(seed)
    texts = [text for _ in range(4) if (text := draw(grammar, source, 60)) is not None]
    texts += [
        text for each in instances
        if compiled.accepts(text := json.dumps(each, ensure_ascii=False))
    ]
    checked["texts"] += len(texts)
    for text in texts:
        assert judge.is_valid(json.loads(text)), text


@settings(max_examples=EXAMPLES, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))
@given(SCHEMAS, SCHEMAS, SCHEMAS, st.sampled_from(sorted(VALIDATORS)),
       st.lists(INSTANCES, max_size=8), st.integers(0, 2**32), st.booleans())
def check_random_schemas(
    root: Any, here: Any, inner: Any, draft: str, instances: list[Any], seed: int, is_member: bool
) -> None:
    if is_member:
        root = {"type": "object", "properties": {"x": root}, "required": ["x"]}
        instances = [{"x": each} for each in instances]
    schema = document(root, here, inner, draft)
    judge = validator(schema, draft)
    check(compile_schema(schema), judge, instances, seed)
    arguments = compile_parameters(schema)
    check(arguments, judge, instances, seed)
    assert not any(arguments.accepts(json.dumps(each)) for each in ([], None, "a", 1))
    for compiled in (arguments, compile_schema(schema)):
        assert not any("could not be compiled" in str(each) for each in compiled.findings)


def test_a_schema_without_findings_is_never_wider() -> None:
    checked.clear()
    check_random_schemas()
    assert checked["exact"] > EXAMPLES / 3, checked
    assert checked["texts"] > EXAMPLES, checked


#: Every kind of schema that keywords below have in them.
PARTS: list[Any] = [
    True, False, {"type": "integer"}, {"type": ["string", "null"]}, {"const": 1},
    {"enum": ["a", 2]},
    {"minimum": 1}, {"maxLength": 1}, {"pattern": "^a"}, {"required": ["a"]}, {"minItems": 1},
    {"properties": {"b": {"type": "integer"}}}, {"patternProperties": {"^a": {"type": "null"}}},
    {"items": {"type": "string"}}, {"prefixItems": [{"type": "null"}]}, {"$ref": "#/$defs/D"},
    {"additionalProperties": {"type": "integer"}}, {"maxProperties": 1},
]
NUMBERS = [-2.25, -2, -0.5, 0, 0.1, 0.5, 1, 2, 2.25, 3]
#: A random value of each kind of keyword; of some, of the keyword itself.
KINDS: dict[str, Callable[[random.Random], Any]] = {
    "schema": lambda source: source.choice(PARTS),
    "schemas": lambda source: source.choices(PARTS, k=source.randint(1, 3)),
    "named": lambda source: {
        name: source.choice(PARTS) for name in source.sample(["a", "b", "^a", "도시"], 2)},
    "names": lambda source: source.sample(["a", "b", "도시"], source.randint(0, 2)),
    "types": lambda source: source.sample(
        ["null", "boolean", "integer", "number", "string", "array", "object"], 2),
    "count": lambda source: source.randint(0, 3),
    "number": lambda source: source.choice(NUMBERS),
    "step": lambda source: source.choice([0.25, 0.5, 2, 3]),
    "values": lambda source: source.sample(SOME_VALUES, 3),
    "value": lambda source: source.choice(SOME_VALUES),
    "flag": lambda source: source.choice([True, False]),
    "reference": lambda source: source.choice(["#/$defs/D", "#/$defs/E"]),
    "pattern": lambda source: source.choice(["^a", "b$", r"^\d+$", r"\S", "^(?!a)", "^[^a]*$"]),
    "format": lambda source: source.choice(["date", "ipv4", "email", "uuid", "regex"]),
    "$recursiveRef": lambda source: "#",
    "dependentRequired": lambda source: {"a": source.choice([["b"], ["a", "도시"], []])},
}
SOME_VALUES: list[Any] = [
    None, True, 0, 1, 2.5, "", "a", "ab", "b", [], [1], [None, "a"], [1, 1], {}, {"a": 1},
    {"a": None, "b": 2}, {"도시": "a"}, {"b": "x"}, {"^a": 1, "a": 1},
]
SOME_INSTANCES = [*SOME_VALUES, *NUMBERS, -0.1, 1.5, 2.1, "12", "2024-02-29", [[], {}, "a"]]
#: Normalized to others before pairs are looked at, or not enforced.
ENFORCED = sorted(name for name, row in KEYWORDS.items() if row.kind != "not enforced")


def check_pair(pair: tuple[str, str], source: random.Random) -> None:
    drafts = [
        draft for draft, number in zip(sorted(VALIDATORS), (7, 2019, 2020))
        if all(KEYWORDS[each].first <= number <= KEYWORDS[each].last for each in pair)
    ]
    draft = source.choice(drafts or sorted(VALIDATORS))
    member = {
        keyword: KINDS[keyword if keyword in KINDS else KEYWORDS[keyword].kind](source)
        for keyword in pair
    }
    if isinstance(member.get("items"), bool):
        member.pop("additionalItems", None)  # It means nothing there, and jsonschema fails at it.
    text = json.dumps({
        "$schema": draft, "type": "object", "properties": {"x": member}, "required": ["x"],
        "$defs": {"D": {"type": ["integer", "array", "object"]},
                  "E": {"properties": {"a": {"type": "integer"}}, "required": ["b"]}},
    })
    schema = json.loads(text.replace("$defs", "definitions") if "draft-07" in draft else text)
    judge = validator(schema, draft)
    check(compile_parameters(schema), judge, [{"x": each} for each in SOME_INSTANCES],
          source.getrandbits(32))


@pytest.mark.parametrize("share", [0.15, pytest.param(1, marks=pytest.mark.slow)])
def test_no_pair_of_keywords_is_wider(share: float) -> None:
    checked.clear()
    source = random.Random(0)
    pairs = list(itertools.combinations(ENFORCED, 2))
    assert len(pairs) > 800
    pairs = source.sample(pairs, round(share * len(pairs)))
    for pair in pairs:
        check_pair(pair, source)
    assert checked["exact"] > len(pairs) / 2, checked
    assert checked["texts"] > 3 * len(pairs), checked
