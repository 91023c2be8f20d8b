"""A tool's schema: nothing invalid is accepted, and what cannot be enforced is said."""

from __future__ import annotations

import json
import logging
import random
from typing import Any

import jsonschema
import pytest
from devtools.cases.heavy_schemas import HEAVY, LIST, members, one
from devtools.cases.schemas import SCHEMAS
from grammar_texts import draw
from log_lines import log_lines
from referencing import Resource


from midm_vllm.constrained import tool_schema
from midm_vllm.constrained.limits import MAX_FINDINGS, MAX_NODES
from midm_vllm.constrained.tool_schema import RequestSchemas, ToolSchema, compile_parameters

Schema = dict[str, Any]


def lark(schema: ToolSchema) -> str:
    return f"start: arguments\narguments: %json {schema.grammar}"


DURATION = (r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?"
            r"(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$")
DRAFT_7 = {"$schema": "http://json-schema.org/draft-07/schema#"}
#: Definitions, and another resource with definitions of the same names.
RESOURCES = {"$defs": {
    "N": {"$id": "http://h/n", **members(properties={"v": {"$ref": "#/$defs/I"}}), "$defs": {
        "I": {"type": "integer"}, "A": {"$anchor": "here", "type": "null"}}},
    "I": {"type": "string"},
}}
#: name -> schema, texts that it allows, texts that it forbids; all enforced exactly.
EXACT: dict[str, tuple[Any, list[str], list[str]]] = {
    "no parameters": (None, ["{}"], ['{"a": 1}']),
    "no parameters either": ({}, ["{}"], ['{"a": 1}']),
    "a step": (one({"type": "integer", "multipleOf": 3}), ['{"a": 33}'], ['{"a": 34}']),
    "patterns of names that are written alike": (
        members(patternProperties={"^a": {"minimum": 1}, "^[a]": {"type": "integer"}}),
        ['{"ab": 1}'], ['{"ab": 0}', '{"ab": "x"}', '{"ab": 1.5}'],
    ),
    "a pattern of all names": (
        members(patternProperties={"": {"type": "integer"}}), ['{"a": 1}'], ['{"a": "x"}'],
    ),
    "integers among numbers, between whole bounds": (
        one({"type": ["integer", "number"], "exclusiveMinimum": -1, "exclusiveMaximum": 0}),
        ['{"a": -0.5}'], ['{"a": 0}', '{"a": -1}'],
    ),
    "listed values that no bound lets through": (
        one({"enum": ["a", 1, 2, -1], "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
        ['{"a": "a"}'], ['{"a": 1}', '{"a": 0.5}'],
    ),
    "listed objects beside members": (
        one({"enum": [{"c": 0, "b": 1, "a": "x"}, {"b": 1, "a": 1}],
             "properties": {"a": {"type": "string"}, "b": {}}}),
        ['{"a": {"c": 0, "b": 1, "a": "x"}}'], ['{"a": {"b": 1, "a": 1}}'],
    ),
    "listed values beside a reference": (
        one({"enum": [{"b": 1}, {"b": "x"}], "properties": {"b": {"$ref": "#/$defs/D"}}},
            **{"$defs": {"D": {"type": "integer"}}}),
        ['{"a": {"b": 1}}'], ['{"a": {"b": "x"}}', '{"a": {"b": 2}}'],
    ),
    "dependencies, which the newest draft does not know": (
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "properties": {"a": {}},
         "type": "object", "dependencies": {"a": {"properties": {"b": {}}}},
         "unevaluatedProperties": False},
        ['{"a": 1}'], ['{"a": 1, "b": 2}'],
    ),
    **{f"recursion beside {name}": (
        members(properties={"a": member, "b": {"type": "integer"}}, required=["b"],
                additionalProperties=False),
        ['{"b": 1}', '{"a": {"a": {"b": 1}, "b": 2}, "b": 3}'],
        ['{"a": {"b": "x"}, "b": 1}', '{"a": 1, "b": 1}'],
    ) for name, member in {
        "a title": {"title": "A", "allOf": [{"$ref": "#"}]},
        "a type": {"type": "object", "$ref": "#"},
        "a type with null": {
            "type": ["object", "null"], "anyOf": [{"$ref": "#"}, {"type": "null"}]},
    }.items()},
    "two steps": (
        one({"type": "number", "multipleOf": 1.5, "allOf": [{"multipleOf": 2}]}),
        ['{"a": 0}', '{"a": 6}'], ['{"a": 2}', '{"a": 1.5}', '{"a": 3}'],
    ),
    "listed values beside conditions": (
        one({"enum": ["a", "abc", 1, 7, None, [], [1]], "minLength": 2, "maximum": 3,
             "minItems": 1}),
        ['{"a": "abc"}', '{"a": 1}', '{"a": null}', '{"a": [1]}'],
        ['{"a": "a"}', '{"a": 7}', '{"a": []}'],
    ),
    "a step of tens": (
        one({"type": "integer", "multipleOf": 1000, "minimum": 0}),
        ['{"a": 250000}'], ['{"a": 1500}'],
    ),
    "a pattern that counts far": (
        one({"type": "string", "pattern": "^a{2,100000}$"}), ['{"a": "aaa"}'],
        ['{"a": "a"}', '{"a": "a{2,100000}"}'],
    ),
    "a pattern beside a length": (
        one({"type": "string", "pattern": "^a+$", "maxLength": 3}),
        ['{"a": "aaa"}'], ['{"a": "aaaa"}', '{"a": "b"}'],
    ),
    "a format beside a length": (
        one({"type": "string", "format": "email", "maxLength": 6}),
        ['{"a": "a@b.kr"}'], ['{"a": "abc@b.kr"}', '{"a": "abc"}'],
    ),
    "more members than there can be, or null": (
        one({"type": ["object", "null"], "properties": {"b": {}}, "minProperties": 2}),
        ['{"a": null}'], ['{"a": 923}', '{"a": {"b": 1}}'],
    ),
    "a number and a boolean that Python has for equal": (
        one({"anyOf": [{"allOf": [{"const": 1}, {"const": True}]}, {"const": "x"}]}),
        ['{"a": "x"}'], ['{"a": 1}', '{"a": true}'],
    ),
    "a name that no pattern has, required beside others": (
        one({"anyOf": [members(patternProperties={"b$": {}}, additionalProperties=False,
                               required=["a"]), {"type": "null"}]}),
        ['{"a": null}'], ['{"a": {"a": 1}}', '{"a": {"ab": 1}}'],
    ),
    "fewer members than there must be, or null": (
        one({"type": ["object", "null"], "properties": {"b": {}, "c": {}}, "required": ["b"],
             "maxProperties": 0}),
        ['{"a": null}'], ['{"a": 923}', '{"a": {"b": 1}}'],
    ),
    "two patterns": (
        one({"allOf": [{"type": "string", "pattern": "^a"}, {"pattern": "b$"}]}),
        ['{"a": "ab"}'], ['{"a": "a"}', '{"a": "b"}'],
    ),
    "looking ahead at the beginning": (
        one({"type": "string", "pattern": r"^(?=.*\d)(?=.*[a-z]).{3,}$"}),
        ['{"a": "ab1"}'], ['{"a": "abc"}', '{"a": "123"}', '{"a": "a1"}'],
    ),
    "looking ahead within, as zod writes durations": (
        one({"type": "string", "pattern": DURATION}),
        ['{"a": "P1W"}', '{"a": "P1Y2M3D"}', '{"a": "PT4H5,5S"}', '{"a": "P1DT1S"}'],
        ['{"a": "P"}', '{"a": "P1DT"}', '{"a": "PT"}', '{"a": "P1D1W"}', '{"a": "P1W1D"}',
         '{"a": "P1.5D"}'],
    ),
    "what must not be ahead, as zod writes addresses": (
        one({"type": "string", "pattern": r"^(?!\.)(?!.*\.\.)[a-z.]*[a-z]@([a-z]+\.)+[a-z]{2,}$"}),
        ['{"a": "a.b@c.de"}'], ['{"a": ".a@b.cd"}', '{"a": "a..b@c.de"}', '{"a": "a.@b.cd"}'],
    ),
    "what must not be ahead, as Pydantic writes decimals": (
        one({"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"}),
        ['{"a": "0"}', '{"a": "-1.50"}', '{"a": ".5"}'],
        ['{"a": ""}', '{"a": "+"}', '{"a": "-."}', '{"a": "1.2.3"}', '{"a": "٣"}'],
    ),
    "no digit ahead": (
        one({"type": "string", "pattern": r"^(?!.*\d).+$"}),
        ['{"a": "한 b"}'], ['{"a": "a1"}', '{"a": ""}'],
    ),
    "the ends of lines of all dialects": (
        one({"type": "string", "pattern": "^a.b$"}),
        ['{"a": "a한b"}'], [r'{"a": "a\nb"}', r'{"a": "a\rb"}', '{"a": "a\u2028b"}'],
    ),
    "allOf": (
        one({"allOf": [{"type": "integer"}, {"minimum": 3}]}), ['{"a": 3}'], ['{"a": 2}'],
    ),
    "allOf of objects": (
        {"allOf": [members(properties={"a": {"type": "integer"}}, required=["a"]),
                   members(properties={"b": {"type": "null"}}, required=["b"])]},
        ['{"a": 1, "b": null}'], ['{"a": 1}', '{"a": 1, "b": 2}'],
    ),
    "beside a reference": (
        one({"$ref": "#/$defs/B", "maximum": 3}, **{"$defs": {"B": {"type": "integer"}}}),
        ['{"a": 3}'], ['{"a": 4}', '{"a": "x"}'],
    ),
    "anyOf beside members": (
        members(properties={"a": {"type": "null"}, "b": {"type": "null"}},
                anyOf=[{"required": ["a"]}, {"required": ["b"]}]),
        ['{"a": null}', '{"b": null}', '{"a": null, "b": null}'], ["{}"],
    ),
    "oneOf by required members": (
        members(properties={"a": {"type": "null"}, "b": {"type": "null"}},
                oneOf=[{"required": ["a"]}, {"required": ["b"]}]),
        ['{"a": null}', '{"b": null}'], ["{}", '{"a": null, "b": null}'],
    ),
    "not": (one({"type": "string", "not": {"enum": ["x", "y"]}}),
            ['{"a": "z"}', '{"a": ""}'], ['{"a": "x"}', '{"a": "y"}']),
    "not a member": (members(properties={"a": {}, "b": {}}, **{"not": {"required": ["a"]}}),
                     ["{}", '{"b": 1}'], ['{"a": 1}']),
    "if": (
        members(properties={"k": {"enum": ["x", "y"]}, "n": {"type": "integer"}}, required=["k"],
                **{"if": {"properties": {"k": {"const": "x"}}}, "then": {"required": ["n"]}}),
        ['{"k": "x", "n": 1}', '{"k": "y"}'], ['{"k": "x"}', '{"n": 1}'],
    ),
    "dependentRequired": (
        members(properties={"a": {}, "b": {}}, dependentRequired={"a": ["b"]}),
        ["{}", '{"b": 1}', '{"a": 1, "b": 1}'], ['{"a": 1}'],
    ),
    "patternProperties": (
        members(patternProperties={"^n_": {"type": "integer"}}, additionalProperties=False),
        ['{"n_a": 1}'], ['{"n_a": "x"}', '{"b": 1}'],
    ),
    "propertyNames of an enum": (
        members(propertyNames={"enum": ["a", "b"]}, additionalProperties={"type": "null"}),
        ['{"a": null, "b": null}', "{}"], ['{"c": null}', '{"a": 1}'],
    ),
    "propertyNames of a pattern": (
        members(propertyNames={"pattern": "^[a-z]+$"}), ['{"ab": 1}'], ['{"A": 1}'],
    ),
    "one item at most, once": (
        one({"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True, "maxItems": 1}),
        ['{"a": []}', '{"a": [2]}'], ['{"a": [1, 1]}', '{"a": [3]}'],
    ),
    "from one member to two of three": (
        members(properties={name: {"type": "null"} for name in "abc"}, minProperties=1,
                maxProperties=2),
        ['{"a": null}', '{"b": null, "c": null}'], ["{}", '{"a": null, "b": null, "c": null}'],
    ),
    "a number of members": (
        members(properties={name: {"type": "null"} for name in "abc"}, minProperties=2),
        ['{"a": null, "c": null}'], ['{"a": null}', "{}"],
    ),
    "more members than are named": (
        members(properties={"a": {"type": "null"}}, minProperties=2),
        ['{"a": null, "b": 1}', '{"a": null, "b": 1, "c": 2}'], ['{"a": null}', "{}", '{"b": 1}'],
    ),
    "a tuple of draft 7": (
        {"$schema": "http://json-schema.org/draft-07/schema#", **one(
            {"type": "array", "items": [{"type": "integer"}], "additionalItems": False})},
        ['{"a": [1]}'], ['{"a": ["x"]}', '{"a": [1, 2]}'],
    ),
    "dependencies of draft 7": (
        {"$schema": "http://json-schema.org/draft-07/schema#",
         **members(properties={"a": {}, "b": {}}, dependencies={"a": ["b"]})},
        ['{"b": 1}'], ['{"a": 1}'],
    ),
    "a reference is alone in draft 7": (
        {"$schema": "http://json-schema.org/draft-07/schema#",
         **one({"$ref": "#/definitions/N", "maximum": 3}),
         "definitions": {"N": {"type": "integer"}}},
        ['{"a": 9}'], ['{"a": "x"}'],
    ),
    "letters of a script": (one({"type": "string", "pattern": r"^\p{Hangul}+$"}),
                            ['{"a": "서울"}'], ['{"a": "Seoul"}']),
    "recursion": (SCHEMAS["recursion"], ['{"child": {"child": {}}}'], ['{"child": 1}']),
    # What was once accepted, or written wrongly.
    "a name that is not ASCII": (
        members(properties={"도시": {"type": "integer"}}, additionalProperties=True),
        ['{"도시": 1, "a": "x"}'],
        ['{"도시": "x"}', r'{"\ub3c4\uc2dc": "x"}', '{"도시": 1, "도시": "x"}'],
    ),
    "a name with escapes": (
        members(properties={"a": {"type": "integer"}}, additionalProperties=True),
        ['{"a": 1}', '{"b": "x"}'], [r'{"\u0061": "x"}', '{"a": "x"}'],
    ),
    "a member that must not be": (
        members(properties={"a": False}, additionalProperties=True), ['{"b": 1}'], ['{"a": 1}'],
    ),
    "a name with a backslash": (
        members(properties={"C:\\p": {"type": "integer"}}, additionalProperties=True),
        [r'{"C:\\p": 1}', r'{"C:\\q": "x"}'], [r'{"C:\\p": "x"}'],
    ),
    "a constant like a mark": (
        one({"const": "@string{0,5}@"}), ['{"a": "@string{0,5}@"}'], ['{"a": "abc"}'],
    ),
    "a length with a point": (
        one({"type": "string", "maxLength": 5.0}), ['{"a": "abcde"}'], ['{"a": "abcdef"}'],
    ),
    "big numbers among others": (
        one({"enum": [2**70, 1]}), ['{"a": 1}'], ['{"a": 2}', f'{{"a": {2**70 + 1}}}'],
    ),
    "no space": (one({"type": "string", "pattern": r"^\S$"}),
                 ['{"a": "x"}'], ['{"a": "\u3000"}', '{"a": "\u00a0"}', r'{"a": "\u001c"}']),
    "no space in a class": (one({"type": "string", "pattern": r"^[^\s]$"}),
                            ['{"a": "x"}'], ['{"a": "\u3000"}', '{"a": "\u00a0"}']),
    "no backslash in a class": (one({"type": "string", "pattern": r"^[^\\]$"}),
                                ['{"a": "x"}'], [r'{"a": "\\"}']),
    "no quote in a class": (one({"type": "string", "pattern": '^[^"]$'}),
                            ['{"a": "x"}'], [r'{"a": "\""}']),
    "no letter": (one({"type": "string", "pattern": r"^\W$"}), ['{"a": "-"}'], ['{"a": "가"}']),
    "anchors of Python": (one({"type": "string", "pattern": r"\Aab\Z"}),
                          ['{"a": "ab"}'], ['{"a": "abc"}']),
    "a bound of 16 digits": (one({"type": "number", "maximum": 0.1234567890123456}),
                             ['{"a": 0.01}'], ['{"a": 0.1234567890123457}']),
    "numbers between whole ones, one of which is excluded": (
        one({"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
                       {"type": "number", "minimum": -2.25, "exclusiveMaximum": -2}]}),
        ['{"a": 0.001}', '{"a": 0.5}', '{"a": -2.1}', '{"a": -2.25}'],
        ['{"a": 0}', '{"a": 0.0}', '{"a": -0}', '{"a": 0.6}', '{"a": -2}', '{"a": -2.0}'],
    ),
    "numbers between which there is none": (
        one({"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 0.2, "maximum": 0.8},
                       {"type": "number", "exclusiveMinimum": 2, "maximum": 2}]}),
        ['{"a": null}'], ['{"a": 0}', '{"a": 1}', '{"a": 2}'],
    ),
    # What the standard says of keywords beside each other.
    "objects alone, of a choice with others": (
        {"anyOf": [{"type": "string"}, members(properties={"a": {"type": "integer"}})]},
        ['{"a": 1}'], ['"x"', '{"a": "x"}'],
    ),
    "a reference as the root": (
        {"$ref": "#/$defs/M", "$defs": {"M": one({"type": "integer"})}}, ['{"a": 1}'],
        ['{"a": "x"}', "{}"],
    ),
    "additionalProperties beside patterns of another schema": (
        {"allOf": [{"patternProperties": {"^a": {}}}, {"additionalProperties": False}]},
        ["{}"], ['{"a": 1}'],
    ),
    **{f"unevaluatedProperties beside {keyword}": (
        members(properties={"a": {}}, unevaluatedProperties=False, **{keyword: schema}, **{
            "$defs": {"B": members(properties={"b": {}})}}),
        ['{"a": 1}', *more], ['{"c": 1}', *less],
    ) for keyword, schema, more, less in (
        ("$ref", "#/$defs/B", ['{"a": 1, "b": 1}'], []),
        ("allOf", [{"$ref": "#/$defs/B"}], ['{"b": 1}'], []),
        ("anyOf", [{"$ref": "#/$defs/B"}, {"required": ["c"]}], ['{"b": 1}'], []),
        ("if", one({"const": 1}), [], ['{"b": 1}']),
        ("not", members(properties={"b": {"const": 2}}, required=["b"]), [], ['{"b": 1}']),
        ("dependentSchemas", {"a": {"$ref": "#/$defs/B"}}, ['{"a": 1, "b": 1}'], ['{"b": 1}']),
    )},
    "unevaluatedItems beside another schema's prefixItems": (
        one({"type": "array", "allOf": [{"prefixItems": [{"type": "null"}]}],
             "unevaluatedItems": {"type": "integer"}}),
        ['{"a": [null, 1]}', '{"a": []}'], ['{"a": [1]}', '{"a": [null, null]}'],
    ),
    "contains anything": (one({"contains": True}), ['{"a": [1]}', '{"a": 1}'], ['{"a": []}']),
    "contains anything, twice": (
        one({"contains": True, "minContains": 2}), ['{"a": [1, 2]}'], ['{"a": [1]}'],
    ),
    "contains nothing": (one({"contains": False}), ['{"a": 1}'], ['{"a": [1]}', '{"a": []}']),
    "references within another resource": (
        one({"$ref": "http://h/n"}, **RESOURCES), ['{"a": {"v": 1}}'], ['{"a": {"v": "x"}}'],
    ),
    "a reference relative to the document's name": (
        one({"$ref": "n#/$defs/I"}, **{"$id": "http://h/root", **RESOURCES}),
        ['{"a": 1}'], ['{"a": "x"}'],
    ),
    "an anchor of another resource": (
        one({"$ref": "http://h/n#here"}, **RESOURCES), ['{"a": null}'], ['{"a": 1}'],
    ),
    "a reference that nothing else leads out of its document, dynamically": (
        one({"$dynamicRef": "#node"}, **{"$defs": {"N": {
            "$dynamicAnchor": "node", "type": "integer"}}}),
        ['{"a": 1}'], ['{"a": "x"}'],
    ),
    "a reference is alone in what draft 7 negates": (
        {**DRAFT_7, **one({"not": {"$ref": "#/definitions/S", "minLength": 5}}),
         "definitions": {"S": {"type": "string"}}},
        ['{"a": 1}'], ['{"a": "abc"}'],
    ),
    "a keyword that draft 7 does not have": (
        {**DRAFT_7, **one({"prefixItems": [{"type": "string"}]})}, ['{"a": [1]}'], ["{}"],
    ),
    "numbers below a large bound": (
        one({"type": "number", "exclusiveMaximum": 1e16}), ['{"a": 5}', '{"a": -1.5}'],
        ['{"a": 10000000000000000}', '{"a": 1e16}', '{"a": 10000000000000000.0}'],
    ),
    "a class without what is no space": (
        one({"type": "string", "pattern": r"^[^\S]$"}), ['{"a": " "}'], ['{"a": "a"}'],
    ),
    "a name in Hangul is no word to JavaScript": (
        members(properties={"이름": {}}, patternProperties={r"^\w+$": {"type": "string"}}),
        ['{"이름": 1}', '{"b": "x"}'], ['{"b": 1}'],
    ),
    "a member that a pattern names, too": (
        members(properties={"ab": {"minimum": 3}}, patternProperties={"^a": {"type": "integer"}}),
        ['{"ab": 3}', '{"ac": 1}'], ['{"ab": 1}', '{"ab": "x"}', '{"ac": "x"}'],
    ),
    "references by which no host has a user": (
        one({"type": "string", "format": "uri-reference"}),
        ['{"a": "a/b?c#d"}', '{"a": "/a"}', '{"a": "//h/p"}', '{"a": "mailto:a@b.c"}', '{"a": ""}'],
        ['{"a": "//a@b@c/"}', '{"a": "a b"}'],
    ),
    "a number of members, one of which no schema describes": (
        members(properties={"a": {}, "b": {}}, required=["c"], maxProperties=2),
        ['{"c": 1}', '{"a": 1, "c": 1}'], ['{"a": 1, "b": 1, "c": 1}', '{"a": 1}'],
    ),
    "recursion by patterns of names": (
        members(patternProperties={"^a": {"$ref": "#"}}, additionalProperties=False),
        ['{"a": {"ab": {}}}'], ['{"a": 1}'],
    ),
    "an object of any kind, as SDKs write it": (
        one(members(properties={})), ['{"a": {"x": 1}}', '{"a": {}}'], ['{"a": 1}'],
    ),
    "no parameters, as an object without properties": (
        members(properties={}), ["{}"], ['{"a": 1}'],
    ),
    "a choice of anything": ({"anyOf": [True]}, ['{"a": 1}'], ["[]"]),
    "members of a definition, required by a pattern": (
        one(members(required=["n1"], patternProperties={"^n": {"$ref": "#/$defs/I"}},
                    additionalProperties=False), **{"$defs": {"I": {"type": "integer"}}}),
        ['{"a": {"n1": 2}}'], ['{"a": {"n1": "x"}}', '{"a": {}}'],
    ),
    "a schema that brings options": (
        one({"type": "object", "x-guidance": {"whitespace_flexible": True}}),
        ['{"a": {}}'], ['{"a": {  }}'],
    ),
}


@pytest.mark.parametrize(("schema", "valid", "invalid"), EXACT.values(), ids=EXACT)
def test_what_is_enforced_is_exact(
    schema: Any, valid: list[str], invalid: list[str]
) -> None:
    read = compile_parameters(schema)
    assert read.is_exact, list(map(str, read.findings))
    assert [text for text in valid if not read.accepts(text)] == []
    assert [text for text in invalid if read.accepts(text)] == []


#: What is left free: schema, a finding's beginning, and a text that shows that the rest holds.
FREE: list[tuple[Any, str, str, str]] = [
    (one({"type": "array", "uniqueItems": True, "items": LIST}), "'uniqueItems' at $.a",
     '{"a": [[1], [1]]}', '{"a": ["x"]}'),
    (one({"contains": {"type": "null"}, **LIST}), "'contains' at $.a", '{"a": [1]}', '{"a": 1}'),
    (one({"type": "string", "pattern": r"a(?<!b)", "maxLength": 3}), "'pattern' at $.a",
     '{"a": "ab"}', '{"a": "abcd"}'),
    (one({"type": "string", "pattern": "a^b", "maxLength": 3}), "'pattern' at $.a",
     '{"a": "ab"}', '{"b": 1}'),
    (one({"const": 2**70}), "'const' at $.a", f'{{"a": {2**70}}}', '{"b": 1}'),
    (one({"type": "string", "minLength": 2**31}), "'minLength' at $.a", '{"a": "x"}', '{"a": 1}'),
    (one({"type": "string", "minLength": 2**33}), "'minLength' at $.a", '{"a": "x"}', '{"a": 1}'),
    (one({"$ref": "#/$defs/B"}), "'$ref' at $.a", '{"a": 1}', '{"b": 1}'),
    (one({"$ref": "https://example.com/b"}), "'$ref' at $.a", '{"a": 1}', '{"b": 1}'),
    (one({"$ref": "#/$defs/A/$defs/B"}, **{"$defs": {"A": {
        "$id": "http://example.com/a", "$defs": {"B": {"$ref": "#/$defs/C"}}}}}),
     "'$ref' at #/$defs/A/$defs/B", '{"a": 1}', '{"b": 1}'),
    (one({"$ref": "#/$defs/B"}, **{"$defs": {"B": {"$ref": "#/$defs/B"}}}), "'$ref' at ",
     '{"a": 1}', '{"b": 1}'),
    (members(properties={"n": {"$ref": "#"}}, required=["n"]), "'$ref' at $.n", '{"n": 1}', "{}"),
    (one({"$ref": "#/$defs/B"}, **{"$defs": {"B": {"anyOf": [
        {"type": "array", "items": {"$ref": "#/$defs/B"}, "minItems": 1},
        members(properties={"n": {"$ref": "#/$defs/C"}}, required=["n"])]},
        "C": {"type": "array", "prefixItems": [{"$ref": "#/$defs/B"}], "minItems": 1}}}),
     "'$ref' at $.a", '{"a": 1}', '{"b": 1}'),
    (one({"oneOf": [{"minimum": 1}, {"multipleOf": 2}], "type": "integer"}), "'oneOf' at $.a",
     '{"a": 2}', '{"a": "x"}'),
    (one({"not": {"pattern": "x"}, "type": "string"}), "'not' at $.a", '{"a": "x"}', '{"a": 1}'),
    # llguidance would end the answer in the middle of these numbers.
    (one({"type": "integer", "multipleOf": 991, "minimum": 3, "maximum": 10**7}),
     "'multipleOf' at $.a", '{"a": 5}', '{"a": 2}'),
    (one({"type": "number", "multipleOf": 10**6}), "'multipleOf' at $.a", '{"a": 5}', '{"a": ""}'),
    (one({"type": "integer", "multipleOf": 5, "maximum": -7}), "'multipleOf' at $.a",
     '{"a": -9}', '{"a": 5}'),
    (one({"type": "date"}), "'type' at $.a", '{"a": 1}', '{"b": 1}'),
    (one({"type": "integer", "minimum": "1"}), "'minimum' at $.a", '{"a": 1}', '{"a": "x"}'),
    (members(properties={"a": LIST}, required="a"), "'required' at $", "{}", '{"a": 1}'),
    (members(properties={"a": {"type": "null"}}, minProperties=4), "'minProperties' at $",
     '{"a": null, "b": 1}', '{"a": 1}'),
    (members(properties=7), "'properties' at $", '{"a": 1}', "[]"),
    (one(7), "'schema' at $.a", '{"a": 1}', '{"b": 1}'),
    (one(False), "'schema' at $", '{"a": 1}', "[]"),
    (one({"oneOf": [{"const": 1}, {"const": 1.0}]}), "'oneOf' at $.a", '{"a": 1}', '{"a": 2}'),
    (one({"type": "array", "contains": False}), "'schema' at $.a: no value", '{"a": 1}', "[]"),
    ({"anyOf": [{"$ref": "#/$defs/E"}],
      "$defs": {"E": {"type": "object", "minProperties": 1, "maxProperties": 0}}},
     "'schema' at $: no value", '{"a": 1}', "[]"),
    ({"type": "array"}, "'schema' at $", '{"a": 1}', "[]"),
    ({"type": "date"}, "'type' at $", '{"a": 1}', "[]"),
    (["no schema"], "'schema' at $", '{"a": 1}', "[]"),
    (7, "'schema' at $", '{"a": 1}', "[]"),
    *((one({"type": "string", "pattern": pattern}), f"'pattern' at $.a: {reason}",
       json.dumps({"a": text}), '{"a": 1}') for pattern, reason, text in (
        (r"^\01$", "it refers back", "\x001"), (r"^a{2}+$", "a quantifier follows", "aaaa"),
        (r"^[]a]$", "a class is empty", "]"), (r"^(?P=a)$", "a group in it", "a"),
        (r"a{3,1}", "a quantifier has", "aaa"), (r"\ud83d", "it names half", "x"),
    )),
    ({"properties": {"a": {"type": "integer"}}, "required": ["b"], "additionalProperties": False},
     "'schema' at $.b: no value", '{"b": 1}', "[]"),
    ({"anyOf": [{"type": "string"}, {"type": "array"}]}, "'schema' at $: no value", "{}", "[]"),
    ({"enum": [None, 1]}, "'schema' at $: no object", "{}", "[]"),
    (one({"enum": ["a", None], "minLength": 3, "type": "string"}), "'schema' at $.a: no value",
     '{"a": 1}', "[]"),
    (one({"pattern": "^a", "maxLength": 0, "type": "string"}), "'schema' at $.a: no value",
     '{"a": 1}', "[]"),
    (one({"type": "integer", "multipleOf": 3600, "maximum": 86_400}), "'multipleOf' at $.a",
     '{"a": 1}', '{"a": 90000}'),
    (members(properties={"b": {}}, required=["c"], additionalProperties=False, maxProperties=1),
     "'schema' at $.c: no value", '{"a": 1}', "[]"),
    (members(properties=None, **{"if": {"required": ["a"]}, "then": {"required": ["b"]}}),
     "'properties' at $", "{}", '{"a": 1}'),
    (one(members(required=["n1"], patternProperties={"^n": {"$ref": "#/$defs/a"}},
                 additionalProperties=False)), "'$ref' at $.a.*", '{"a": {"n1": 1}}', '{"a": 1}'),
    (one({"$dynamicRef": "#here"}, **RESOURCES), "'$dynamicRef' at $.a", '{"a": 1}', "{}"),
    (one({"$ref": "http://h/other"}, **RESOURCES), "'$ref' at $.a", '{"a": 1}', "{}"),
    (one({"$ref": "http://[/x"}, **RESOURCES), "'$ref' at $.a", '{"a": 1}', "{}"),
    ({"$schema": "http://json-schema.org/draft-03/schema#",
      **one({"disallow": "null"})}, "'disallow' at $.a", '{"a": null}', "{}"),
    (members(unevaluatedProperties=False, **{"if": {"pattern": "x"}, "then": {"required": ["a"]}}),
     "'unevaluatedProperties' at $", '{"b": 1}', "[]"),
    (members(propertyNames={"enum": ["a"]}, patternProperties={"^a": {"type": "null"}}),
     "'propertyNames' at $", '{"ab": null}', '{"a": 1}'),
    (members(properties={"\u0001": {}}, patternProperties={"^[^a]": False}),
     "'patternProperties' at $: a name has a control", '{"\\u0001": 1}', "[]"),
    (members(patternProperties={"[^a]": False, "^\u0001$": {}}),
     "'patternProperties' at $: it names a control", "{}", "[]"),
    (one({"type": "string", "pattern": "^a{,3}$"}), "'pattern' at $.a: a quantifier has no least",
     '{"a": "a{,3}"}', '{"a": 1}'),
    (one({"type": "number", "multipleOf": 0.07}), "'multipleOf' at $.a", '{"a": 0.1}',
     '{"a": "x"}'),
    (one({"multipleOf": 7919000, "allOf": [{"multipleOf": 7907003}, {"multipleOf": 3}]}),
     "'multipleOf' at $.a", '{"a": 1}', '{"b": 1}'),
    (one({"type": "integer", "maximum": 10**400}), "'schema' at $.a", '{"a": 1}', '{"a": "x"}'),
    (one({"$id": 5, "$ref": "#/$defs/b"}, **{"$defs": {"a": {}}}), "'$ref' at $.a", '{"a": 1}',
     '{"b": 1}'),
    *((one({"type": "integer"}, **{"$id": name}), "'$id' at $: it is no URI", '{"a": 1}',
       '{"a": "x"}') for name in (5, "http://[")),
    (members(propertyNames={"pattern": "^(?=a)[a-c]+$"}), "'propertyNames' at $: it looks ahead",
     '{"ab": 1}', "[]"),
    (members(properties={f"m{i}": {} for i in range(200)}, minProperties=100), "'minProperties'",
     "{}", '{"x": 1}'),
]


@pytest.mark.parametrize(("schema", "finding", "free", "held"), FREE, ids=lambda value: (
    value if isinstance(value, str) and value.startswith("'") else ""
))
def test_what_is_not_enforced_is_said_and_the_rest_holds(
    schema: Any, finding: str, free: str, held: str
) -> None:
    read = compile_parameters(schema)
    assert any(str(each).startswith(finding) for each in read.findings), read.findings
    assert read.accepts(free)
    assert not read.accepts(held)


#: A schema that spells a control token, and a text that shows that the rest holds.
SPELLED: list[tuple[Any, str]] = [
    ({"type": "string", "pattern": r"^[<][\|]eot_id[\|][>]$"}, '{"a": 1}'),
    ({"type": "string", "pattern": r"^(?:<|x)(?:\x7ceot_id){1}\u007c>$"}, '{"a": 1}'),
    ({"const": "<|eot_id|>"}, '{"b": 1}'),
    ({"enum": [["a", {"x": "1 <|eot_id|>"}]]}, '{"b": 1}'),
    (members(properties={"<|eot_id|>": {}}), '{"a": 1}'),
    (members(patternProperties={r"^<\|eot_id\|>": {}}), '{"a": 1}'),
    (members(propertyNames={"enum": ["<|eot_id|>"]}, additionalProperties={"type": "string"}),
     '{"a": 1}'),
]


@pytest.mark.parametrize(("member", "held"), SPELLED, ids=lambda value: str(value)[:40])
def test_what_spells_a_control_token_is_not_enforced_there(member: Any, held: str) -> None:
    tokens = frozenset(("<|eot_id|>", "<|end_of_text|>"))
    schema = one(member)
    schema["properties"]["c"] = {"type": "integer"}
    assert compile_parameters(schema).is_exact
    compiled = compile_parameters(schema, control_tokens=tokens)
    [finding] = compiled.findings
    assert finding.place == "$.a" and "<|eot_id|>" in finding.reason
    assert not compiled.accepts(held) and not compiled.accepts('{"a": {}, "c": "x"}')


def test_a_pattern_that_does_not_spell_a_control_token_is_enforced() -> None:
    schema = one({"type": "string", "pattern": "^<[a-z_|]+>$"})
    assert compile_parameters(schema, control_tokens=frozenset(("<|eot_id|>",))).is_exact


def test_an_error_in_compiling_is_a_finding_and_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any, **named: Any) -> None:
        raise KeyError("no such thing")

    monkeypatch.setattr("midm_vllm.constrained.tool_schema.SchemaCompiler", fail)
    with log_lines(tool_schema.logger, logging.DEBUG) as lines:
        compiled = compile_parameters(one({"type": "integer", "minimum": 12345}))
    [finding] = compiled.findings
    assert str(finding) == "'schema' at $: it could not be compiled (KeyError)"
    assert compiled.accepts('{"a": "x"}') and not compiled.accepts("[]")
    assert lines and "12345" in lines[0]


@pytest.mark.parametrize("schema", HEAVY.values(), ids=HEAVY)
def test_a_heavy_schema_costs_what_the_budget_allows(schema: Any) -> None:
    read = compile_parameters(schema)
    assert read.nodes <= MAX_NODES
    assert len(read.findings) <= 2 * MAX_FINDINGS
    assert len(read.grammar) < 200 * MAX_NODES
    assert not read.accepts("[]")


def test_what_is_written_deeper_than_llguidance_reads_is_validated() -> None:
    """Each definition is written into the one before, as no reference stands alone."""
    definitions = {f"D{i}": members(
        properties={"a": {"minLength": 0, "$ref": f"#/$defs/D{i + 1}"}, "b": {}},
        minProperties=1, maxProperties=1,
    ) for i in range(33)}
    read = compile_parameters({"$ref": "#/$defs/D0", "$defs": {
        **definitions, "D33": {"type": "string"}}})
    assert read.nodes < 300 and not read.is_exact and not read.accepts("[]")


def test_what_unrolls_deeper_than_llguidance_reads_is_left_free() -> None:
    circle = {"properties": {"a": {"type": "object", "anyOf": [{"$ref": "#/$defs/D"}]}},
              "minProperties": 0}
    read = compile_parameters(one(members(properties={"a": {"$ref": "#/$defs/D"}}), **{"$defs": {
        "D": circle}}))
    assert not read.is_exact
    assert read.accepts('{"a": {}}') and not read.accepts("[]")


def test_a_document_is_searched_once_for_what_its_references_mean(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[Any] = []
    subresources = Resource.subresources

    def search(self: Any) -> Any:
        searched.append(self)
        return subresources(self)

    monkeypatch.setattr(Resource, "subresources", search)
    schema = members(**{"$id": "http://host/outer"}, properties={
        f"m{i}": {"$ref": f"http://host/missing{i}"} for i in range(100)
    })
    read = compile_parameters(schema)
    assert "is not in the schema" in read.findings[0].reason
    assert 0 < len(searched) < 200


def test_a_smaller_budget_leaves_more_free() -> None:
    schema = members(properties={f"m{i}": one(LIST) for i in range(50)})
    assert compile_parameters(schema).is_exact
    finding, *_ = compile_parameters(schema, nodes=100).findings
    assert "larger than what is left" in finding.reason


def test_one_large_place_leaves_the_rest_enforced() -> None:
    schema = one({"enum": [f"value {i}" for i in range(20_000)]})
    schema["properties"]["b"] = {"type": "integer"}
    read = compile_parameters(schema)
    assert [finding.place for finding in read.findings] == ["$.a"]
    assert read.accepts('{"a": "x", "b": 2}') and not read.accepts('{"a": "x", "b": "x"}')


def test_tools_without_end_cost_no_more_than_a_request_may() -> None:
    schemas = RequestSchemas()
    read = [schemas.compile(one({"const": i})) for i in range(3000)]
    assert schemas.is_too_large and schemas.spent <= MAX_NODES
    assert read[0].is_exact and read[-1].is_unconstrained


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_whatever_the_grammar_lets_through_is_valid(schema: Schema) -> None:
    """Texts drawn at random, byte by byte, from all that the grammar allows."""
    read = compile_parameters(schema)
    assert read.is_exact
    source = random.Random(0)
    texts = [draw(lark(read), source) for _ in range(40)]
    for text in texts:
        if text is not None:
            jsonschema.validate(json.loads(text), schema)
    assert sum(text is not None for text in texts) > 5
