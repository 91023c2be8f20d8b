"""A tool's schema as a grammar: nothing invalid gets through, and what cannot be had is refused."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
import xgrammar
from constrained_schemas import SCHEMAS
from xgrammar.testing import _is_grammar_accept_string

from midm_vllm.constrained.arguments_grammar import UnsupportedSchema, arguments_grammar

Schema = dict[str, Any]


def one(member: Any, **more: Any) -> Schema:
    """A schema with one member, `a`."""
    return {"type": "object", "properties": {"a": member}, "required": ["a"],
            "additionalProperties": False, **more}


def allows(schema: Schema | None, text: str) -> bool:
    grammar = xgrammar.Grammar.from_ebnf(arguments_grammar(schema))
    accepted: bool = _is_grammar_accept_string(grammar, text)
    return accepted


MORE: dict[str, Schema] = {
    "any value": one({}, properties={"a": {}, "b": {"enum": [0]}}),
    "choice of a type": one({"type": "string", "enum": ["a", 1, None]}),
    "choice with a limit": one({"enum": [1, 2, 3], "minimum": 2}),
    "required but not described": {
        "type": "object", "properties": {"a": {"type": "null"}}, "required": ["a", "b"],
        "additionalProperties": {"type": "boolean"},
    },
    "further members of a type": {
        "type": "object", "additionalProperties": {"type": "boolean"}, "maxProperties": 2,
    },
    "number of members": {
        "type": "object", "properties": {name: {"type": "null"} for name in "abcde"},
        "required": ["c"], "additionalProperties": False, "minProperties": 2, "maxProperties": 3,
    },
    "small numbers": one({"type": "number", "minimum": -1e-7, "maximum": 0.35}),
    "any character": one({"type": "string", "pattern": "^.{1,3}$"}),
    "no digits": one({"type": "string", "pattern": r"^\D\S[\s\S]$"}),
    "printable": one({"type": "string", "pattern": "^[ -~]{1,10}$"}),
    "unanchored": one({"type": "string", "pattern": "b{1,9}|c"}),
    "a format with a length": one({"type": "string", "format": "email", "maxLength": 4}),
    "reference with escapes": one(
        {"$ref": "#/$defs/a~1b%20c"}, **{"$defs": {"a/b c": {"type": "boolean"}}}
    ),
    "reference to a member": one({"type": "null"}, properties={
        "a": {"type": "boolean"}, "b": {"$ref": "#/properties/a"},
    }),
}


@pytest.mark.parametrize("schema", [*SCHEMAS.values(), *MORE.values()], ids=[*SCHEMAS, *MORE])
def test_whatever_the_grammar_lets_through_is_valid(schema: Schema) -> None:
    """Texts drawn at random, character by character, from all that the grammar allows."""
    drawn = 0
    source = random.Random(0)
    for _ in range(60):
        text = draw(arguments_grammar(schema), source)
        if text is not None:
            drawn += 1
            jsonschema.validate(json.loads(text), schema)
    assert drawn >= 20


# All bytes, so that what is no UTF-8 could be drawn too, and what is hard on JSON.
TOKENS = [*(bytes([byte]) for byte in range(256)), b"<tool_call>", b"\\ud83d", b"</s>"]
ENDS = (b'"', b"]", b"}", b"</s>")
COMPILER = xgrammar.GrammarCompiler(
    xgrammar.TokenizerInfo(TOKENS, stop_token_ids=[len(TOKENS) - 1]), max_threads=1
)


def draw(grammar: str, source: random.Random, limit: int = 200) -> str | None:
    """A text that the grammar allows; None if it has not ended after `limit` tokens."""
    matcher = xgrammar.GrammarMatcher(COMPILER.compile_grammar(grammar))
    bitmask = xgrammar.allocate_token_bitmask(1, len(TOKENS))
    text = b""
    for _ in range(limit):
        matcher.fill_next_token_bitmask(bitmask)
        words = bitmask[0].tolist()
        allowed = [i for i in range(len(TOKENS)) if words[i // 32] >> (i % 32) & 1]
        # Closing a string, a list or the text itself is drawn more often, to come to an end.
        ends = [i for i in allowed if TOKENS[i] in ENDS]
        token = source.choice(ends if ends and source.random() < 0.2 else allowed)
        assert matcher.accept_token(token)
        if matcher.is_terminated():
            return text.decode(errors="replace")  # As vLLM does.
        text += TOKENS[token]
    return None


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object", "properties": {}}])
def test_a_function_without_parameters_takes_an_empty_object(parameters: Schema | None) -> None:
    assert allows(parameters, "{}")
    assert not allows(parameters, '{"a": 1}')


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (one({"type": "string"}), r'{"a": "</tool_call> \"x\"\n"}'),
        # xgrammar's own strings of bounded length know no escapes.
        (one({"type": "string", "maxLength": 12}), r'{"a": "\"\\\n\ud83d\ude00 가"}'),
        (one({"type": "string", "pattern": "^[가-힣]+$"}), '{"a": "서울"}'),
        (one({"type": "number", "minimum": 0, "maximum": 1}), '{"a": 0.25}'),
        (SCHEMAS["recursion"], '{"child": {"child": {}, "leaf": true}, "leaf": false}'),
        (SCHEMAS["optional members"], '{"b": null, "d": "x"}'),
        (SCHEMAS["keys of all kinds"],
         r'{"도시": true, "say \"hi\"": null, "C:\\path": false, "a\nb": null}'),
        ({"type": "object"}, '{"whatever": [1, {"b": null}]}'),
    ],
)
def test_what_the_schema_allows_can_be_written(schema: Schema, text: str) -> None:
    jsonschema.validate(json.loads(text), schema)
    assert allows(schema, text)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        # All of these pass xgrammar's own conversion of the schema.
        (one({"type": "string", "maxLength": 5}), '{"a": "\x02"}'),
        (one({"type": "string", "enum": ["a", 1]}), '{"a": 1}'),
        ({"type": "object", "properties": {}, "required": ["b"]}, "{}"),
        (one({"type": "string", "maxLength": 1}), r'{"a": "\ud83d\ud83d"}'),
    ],
)
def test_what_xgrammar_would_let_through_is_not_allowed(schema: Schema, text: str) -> None:
    assert not allows(schema, text)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (one({"type": "integer", "multipleOf": 5}), "'multipleOf' at $.a"),
        (one({"type": "array", "uniqueItems": True}), "'uniqueItems' at $.a"),
        (one({"not": {"type": "string"}}), "'not' at $.a"),
        (one({"allOf": [{"type": "integer"}, {"minimum": 3}]}), "'allOf' at $.a"),
        (one({"oneOf": [{"type": "integer"}, {"type": "number"}]}), "'oneOf' at $.a"),
        (one({"$ref": "#/$defs/B", "maximum": 3}), "'$ref' at $.a together with 'maximum'"),
        (one({"$ref": "#/$defs/B"}), "points to nothing"),
        (one({"$ref": "https://example.com/b"}), "does not point into the schema"),
        (one({"$ref": "#/$defs/B"}, **{"$defs": {"B": {"$ref": "#/$defs/B"}}}), "is a circle"),
        (one({"type": "string", "pattern": "^(?!a)b$"}), "'pattern' at $.a"),
        (one({"type": "string", "pattern": "a^b"}), "an anchor inside"),
        (one({"type": "string", "pattern": '^"$'}), "characters that JSON escapes"),
        (one({"type": "string", "pattern": "^[a-z]{1,1000}$"}), "xgrammar cannot compile it"),
        (one({"type": "string", "pattern": "^a*$", "minLength": 3}), "together with a length"),
        (one({"type": "date"}), "'date' is not valid"),
        (one({"type": "integer", "minimum": 5, "maximum": 3}), "minimum greater than maximum"),
        (one({"type": "string", "minLength": 5, "maxLength": 3}), "no value is possible at $.a"),
        (one({"enum": [1], "type": "string"}), "no value is possible at $.a"),
        (one(False), "no value is possible at $.a"),
        ({"type": "object", "properties": {"a": {}}, "anyOf": [{"required": ["a"]}]}, "'anyOf'"),
        ({"type": "object", "minProperties": 1}, "'minProperties' at $"),
        ({"type": "array", "items": {}}, "parameters are an object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_enforced_is_refused_with_the_reason(schema: Schema, reason: str) -> None:
    with pytest.raises(UnsupportedSchema) as refused:
        arguments_grammar(schema)
    assert reason in str(refused.value)


def test_a_schema_as_deep_as_it_gets_is_refused_not_a_crash() -> None:
    schema: Schema = {"type": "null"}
    for _ in range(200):
        schema = one(schema)
    with pytest.raises(UnsupportedSchema, match="nests more than"):
        arguments_grammar(schema)
