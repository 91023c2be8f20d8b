"""The grammar of a tool call's arguments: a JSON schema, exactly or not at all.

xgrammar turns a JSON schema into a grammar, but what it cannot express it
mostly ignores: the call then looks constrained and is not. So a schema is
rewritten here into the part of JSON Schema that xgrammar expresses faithfully,
and refused, with the reason, where that is impossible.

The grammar never allows what the schema forbids. It may allow less: members
come in the schema's order, an object that says nothing of further members has
none, and the text is spaced as ``json.dumps`` spaces it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any
from urllib.parse import unquote

import xgrammar
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from xgrammar.structural_tag import GrammarFormat, StructuralTag, TagFormat

from midm_vllm.constrained.json_string_pattern import (
    UnsupportedPattern,
    json_string_pattern,
    reason_of,
)

Schema = dict[str, Any]

#: Keywords that constrain one type of value only.
KEYWORDS: dict[str, tuple[str, ...]] = {
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "object": (
        "properties", "required", "additionalProperties", "minProperties", "maxProperties",
    ),
    "boolean": (),
    "null": (),
}
_OF_VALUES = {keyword for keywords in KEYWORDS.values() for keyword in keywords}
_OF_SCHEMAS = ("$ref", "allOf", "anyOf", "oneOf", "enum", "const")
#: What xgrammar ignores or gets wrong, with the values that mean nothing.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "not": (), "if": (), "dependencies": (), "dependentRequired": (), "dependentSchemas": (),
    "contains": (), "uniqueItems": (False,), "unevaluatedItems": (), "multipleOf": (),
    "unevaluatedProperties": (), "patternProperties": ({},), "$dynamicRef": (),
    "$recursiveRef": (), "propertyNames": (True, {}, {"type": "string"}),
}
#: The formats that xgrammar enforces; the others mean nothing to a grammar, as the
#: standard permits.
FORMATS = {
    "date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid",
}
#: How deep a schema may nest: each level is a dozen levels of calls for jsonschema.
MAX_DEPTH = 32

# xgrammar's own strings of bounded length may hold control characters, which
# is no JSON, and never an escape, so no quote and no new line.
_CHARACTER = r"""
midm_hex ::= [0-9A-Fa-f]
midm_character ::= [ !#-\[\]-\uD7FF\uE000-\U0010FFFF] | "\\" midm_escape
midm_escape ::= ["\\/bfnrt] | "u" [0-9A-Ca-cE-Fe-f] midm_hex midm_hex midm_hex
  | "u" [Dd] [0-7] midm_hex midm_hex
  | "u" [Dd] [89ABab] midm_hex midm_hex "\\u" [Dd] [C-Fc-f] midm_hex midm_hex
"""
_bounded_string = re.compile(r'"\\"@string(\{\d+, ?(?:-1|\d*)\})@\\""')


class UnsupportedSchema(ValueError):
    """No grammar allows exactly what a JSON schema allows; the message says why."""


def arguments_grammar(parameters: Mapping[str, Any] | None) -> str:
    """The EBNF grammar of the JSON objects that a function's ``parameters`` allow.

    ``None`` and ``{}`` are a function without parameters: its arguments are
    ``{}``. Raises UnsupportedSchema.
    """
    return _grammar(json.dumps(parameters or {"type": "object", "properties": {}}))


@lru_cache(maxsize=1024)  # Agents send the same tools with every request.
def _grammar(parameters: str) -> str:
    schema = json.loads(parameters)
    _check_depth(schema)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise UnsupportedSchema(f"{error.message} (at {error.json_path})") from error
    rewritten = _Rewriting(schema).root()
    try:
        converted = str(xgrammar.Grammar.from_json_schema(
            json.dumps(rewritten), any_whitespace=False, separators=(", ", ": "), strict_mode=True
        ))
        grammar = _bounded_string.sub(r'("\\"" midm_character\1 "\\"")', converted)
        if grammar != converted:
            grammar += _CHARACTER
        # Some grammars are refused only here: with a vocabulary of two, in a
        # millisecond, instead of by the engine, where it is an error 500.
        _compiler().compile_structural_tag(StructuralTag(
            format=TagFormat(begin="{", content=GrammarFormat(grammar=grammar), end="}")
        ))
    except RuntimeError as error:
        raise UnsupportedSchema(f"xgrammar cannot compile it ({reason_of(error)})") from error
    return grammar


def _check_depth(schema: Any) -> None:
    level = [schema]
    for _ in range(2 * MAX_DEPTH):  # A member is an object in the object "properties".
        children = [value.values() if isinstance(value, dict) else value for value in level]
        level = [
            child for values in children for child in values if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise UnsupportedSchema(f"it nests more than {MAX_DEPTH} deep")


@cache
def _compiler() -> xgrammar.GrammarCompiler:
    # With a cache as vLLM's has one: it is the cache that refuses.
    return xgrammar.GrammarCompiler(
        xgrammar.TokenizerInfo(["{", "}"]), max_threads=1, cache_limit_bytes=1 << 20
    )


class _Rewriting:
    """One schema on its way to what xgrammar expresses faithfully."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._names: dict[str, str] = {}
        self._definitions: Schema = {}

    def root(self) -> Schema:
        if self._types(self._schema) != {"object"}:
            if self._types(self._schema) != set(KEYWORDS):
                raise UnsupportedSchema("a function's parameters are an object, and this is none")
            self._schema = {**self._schema, "type": "object"}
        rewritten = self._rewrite(self._schema, "$")
        return {**rewritten, "$defs": self._definitions}

    def _rewrite(self, schema: Any, path: str) -> Schema:
        if isinstance(schema, bool):
            if not schema:
                raise UnsupportedSchema(f"no value is possible at {path}")
            return {}
        for keyword, harmless in UNSUPPORTED.items():
            if keyword in schema and schema[keyword] not in harmless:
                raise UnsupportedSchema(f"{keyword!r} at {path} cannot be enforced")
        combined = [keyword for keyword in _OF_SCHEMAS if keyword in schema]
        if not combined:
            return self._rewrite_values(schema, path)
        keyword = combined[0]
        if keyword in ("enum", "const"):
            keyword = combined[-1]
        siblings = sorted(_OF_VALUES & schema.keys()) + combined[1:]
        if keyword in ("enum", "const"):
            return self._rewrite_choice(schema, path)
        if "type" in schema and not self._types({keyword: schema[keyword]}) <= _types_of(
            schema["type"]
        ):
            siblings.append("type")
        if siblings:
            raise UnsupportedSchema(f"{keyword!r} at {path} together with {siblings[0]!r}")
        if keyword == "$ref":
            return {"$ref": self._definition(schema["$ref"], path)}
        branches = schema[keyword]
        if keyword == "allOf" and len(branches) == 1:
            return self._rewrite(branches[0], f"{path}.allOf[0]")
        if keyword == "allOf":
            raise UnsupportedSchema(f"'allOf' at {path} has more than one schema")
        if keyword == "oneOf" and not all(
            self._disjoint(one, other)
            for index, one in enumerate(branches) for other in branches[:index]
        ):
            raise UnsupportedSchema(
                f"'oneOf' at {path}: a value could match more than one of its schemas. "
                "Use 'anyOf', or a required member with another 'const' in each"
            )
        return {"anyOf": [
            self._rewrite(branch, f"{path}.{keyword}[{index}]")
            for index, branch in enumerate(branches)
        ]}

    def _rewrite_choice(self, schema: Schema, path: str) -> Schema:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        rest = {key: schema[key] for key in ("type", "enum", *sorted(_OF_VALUES)) if key in schema}
        for keyword in ("$ref", "allOf", "anyOf", "oneOf", *KEYWORDS["array"], *KEYWORDS["object"]):
            if keyword in schema:
                raise UnsupportedSchema(f"{keyword!r} at {path} together with values to choose")
        validator = Draft202012Validator(rest)
        values = [value for value in values if validator.is_valid(value)]
        if not values:
            raise UnsupportedSchema(f"no value is possible at {path}")
        return {"enum": values}

    def _rewrite_values(self, schema: Schema, path: str) -> Schema:
        present = _OF_VALUES & schema.keys()
        if "type" in schema:
            types = _types_of(schema["type"], expand=False)
        else:
            types = {
                kind for kind, keywords in KEYWORDS.items()
                if kind != "integer" and present.intersection(keywords)
            }
            if not types:
                return {}
            if len(types) > 1:
                raise UnsupportedSchema(f"the schema at {path} needs a 'type'")
        alternatives = [
            getattr(self, f"_{kind}")(schema, path)
            for kind in KEYWORDS if kind in types
        ]
        return alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}

    def _null(self, schema: Schema, path: str) -> Schema:
        return {"type": "null"}

    def _boolean(self, schema: Schema, path: str) -> Schema:
        return {"type": "boolean"}

    def _number(self, schema: Schema, path: str) -> Schema:
        bounds = {key: schema[key] for key in KEYWORDS["number"] if key in schema}
        return {"type": "number", **bounds}

    def _integer(self, schema: Schema, path: str) -> Schema:
        lower = [math.ceil(schema["minimum"])] if "minimum" in schema else []
        upper = [math.floor(schema["maximum"])] if "maximum" in schema else []
        if "exclusiveMinimum" in schema:
            lower.append(math.floor(schema["exclusiveMinimum"]) + 1)
        if "exclusiveMaximum" in schema:
            upper.append(math.ceil(schema["exclusiveMaximum"]) - 1)
        rewritten: Schema = {"type": "integer"}
        if lower:
            rewritten["minimum"] = max(lower)
        if upper:
            rewritten["maximum"] = min(upper)
        return rewritten

    def _string(self, schema: Schema, path: str) -> Schema:
        bounded = "minLength" in schema or "maxLength" in schema
        if "pattern" in schema:
            if bounded:
                raise UnsupportedSchema(
                    f"'pattern' at {path} together with a length; write the length into the pattern"
                )
            try:
                return {"type": "string", "pattern": json_string_pattern(schema["pattern"])}
            except UnsupportedPattern as error:
                raise UnsupportedSchema(f"'pattern' at {path}: {error}") from error
        if bounded:
            least, most = schema.get("minLength", 0), schema.get("maxLength", "")
            if most != "" and least > most:
                raise UnsupportedSchema(f"no value is possible at {path}")
            # A mark, in whose place the grammar gets a string of our own.
            return {"const": f"@string{{{least},{most}}}@"}
        if schema.get("format") in FORMATS:
            return {"type": "string", "format": schema["format"]}
        return {"type": "string"}

    def _array(self, schema: Schema, path: str) -> Schema:
        rewritten: Schema = {"type": "array"}
        if "prefixItems" in schema:
            rewritten["prefixItems"] = [
                self._rewrite(item, f"{path}.prefixItems[{index}]")
                for index, item in enumerate(schema["prefixItems"])
            ]
        items = schema.get("items", True)
        if items is False:
            rewritten["items"] = False
        else:
            rewritten["items"] = self._rewrite(items, f"{path}.items")
        rewritten.update((key, schema[key]) for key in ("minItems", "maxItems") if key in schema)
        return rewritten

    def _object(self, schema: Schema, path: str) -> Schema:
        required = schema.get("required", [])
        further = schema.get("additionalProperties", not schema.keys() & {"properties"})
        members = {
            name: self._rewrite(member, f"{path}.{name}")
            for name, member in schema.get("properties", {}).items()
            if member is not False or name in required
        }
        for name in required:
            if name not in members:
                members[name] = self._rewrite(
                    schema.get("additionalProperties", True), f"{path}.{name}"
                )
        rewritten: Schema = {
            "type": "object",
            "properties": members,
            "required": required,
            "additionalProperties": further and self._rewrite(further, f"{path}.*"),
        }
        if not members and further is not False:
            del rewritten["properties"]
        if "maxProperties" in schema:
            rewritten["maxProperties"] = schema["maxProperties"]
        if schema.get("minProperties", 0) > len(required):
            if further is not False:
                # The model may write the same name twice.
                raise UnsupportedSchema(f"'minProperties' at {path} cannot be enforced")
            rewritten["minProperties"] = schema["minProperties"]
        return rewritten

    # References.

    def _definition(self, reference: str, path: str) -> str:
        """A name of ours for what a reference means, rewritten when first met."""
        if reference not in self._names:
            self._names[reference] = name = f"d{len(self._names)}"
            target, seen = self._resolve(reference, path), {reference}
            while isinstance(target, dict) and "$ref" in target:
                if target["$ref"] in seen:
                    raise UnsupportedSchema(f"the reference {reference!r} at {path} is a circle")
                seen.add(target["$ref"])
                target = self._resolve(target["$ref"], path)
            self._definitions[name] = self._rewrite(
                self._resolve(reference, path), reference
            )
        return f"#/$defs/{self._names[reference]}"

    def _resolve(self, reference: str, path: str) -> Any:
        if reference != "#" and not reference.startswith("#/"):
            raise UnsupportedSchema(
                f"the reference {reference!r} at {path} does not point into the schema"
            )
        target: Any = self._schema
        for part in unquote(reference).split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            try:
                target = target[int(part) if isinstance(target, list) else part]
            except (KeyError, IndexError, ValueError, TypeError):
                raise UnsupportedSchema(
                    f"the reference {reference!r} at {path} points to nothing"
                ) from None
        return target

    # What can be said of a schema's values beforehand.

    def _types(self, schema: Any, depth: int = 0) -> set[str]:
        """The types its values may have, at most; "number" covers "integer"."""
        every = set(KEYWORDS)
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            return every
        types = _types_of(schema["type"]) if "type" in schema else every
        if "const" in schema:
            types = types & _value_types([schema["const"]])
        if "enum" in schema:
            types = types & _value_types(schema["enum"])
        if "$ref" in schema:
            types = types & self._types(self._resolve(schema["$ref"], "$"), depth + 1)
        for branch in schema.get("allOf", []):
            types = types & self._types(branch, depth + 1)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                branches = [self._types(branch, depth + 1) for branch in schema[keyword]]
                types = types & set().union(*branches)
        return types

    def _disjoint(self, one: Any, other: Any, depth: int = 0) -> bool:
        """Whether certainly no value matches both."""
        if depth > MAX_DEPTH:
            return False
        one, other = (self._target(schema) for schema in (one, other))
        types = self._types(one) & self._types(other)
        if not types:
            return True
        if not (isinstance(one, dict) and isinstance(other, dict)):
            return False
        choices = [
            {json.dumps(value, sort_keys=True) for value in schema.get("enum", [])}
            | ({json.dumps(schema["const"], sort_keys=True)} if "const" in schema else set())
            for schema in (one, other)
        ]
        if all(choices):
            return not choices[0] & choices[1]
        shared = set(one.get("required", [])) & set(other.get("required", []))
        return types == {"object"} and any(
            self._disjoint(
                one.get("properties", {}).get(name), other.get("properties", {}).get(name),
                depth + 1,
            )
            for name in shared
        )

    def _target(self, schema: Any) -> Any:
        for _ in range(MAX_DEPTH):
            if not (isinstance(schema, dict) and "$ref" in schema):
                break
            schema = self._resolve(schema["$ref"], "$")
        return schema


def _types_of(types: str | Sequence[str], expand: bool = True) -> set[str]:
    named = {types} if isinstance(types, str) else set(types)
    return named | {"integer"} if expand and "number" in named else named


def _value_types(values: Sequence[Any]) -> set[str]:
    return {
        kind for kind in KEYWORDS
        if any(Draft202012Validator({"type": kind}).is_valid(value) for value in values)
    }
