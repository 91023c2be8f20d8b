"""Objects in the terms of llguidance: members by name, by pattern, and others; and their number."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from midm_vllm.constrained import limits
from midm_vllm.constrained.compile.strings import has_control_token, translate_pattern
from midm_vllm.constrained.json_grammar import Schema, part_error
from midm_vllm.constrained.json_schema.disjointness import follow
from midm_vllm.constrained.json_schema.formats import UUID
from midm_vllm.constrained.json_schema.intersection import intersect_later, member_schema
from midm_vllm.constrained.regex.parser import UnsupportedPattern
from midm_vllm.constrained.regex.rust_dialect import all_but, matches

if TYPE_CHECKING:
    from midm_vllm.constrained.compile.compiler import SchemaCompiler

_LENGTHS = frozenset(("minLength", "maxLength"))


@dataclass(frozen=True)
class _Members:
    """The members of an object; each object's is of the first kind that fits it."""

    #: Schemas by name, in order; ``False`` where there must be none.
    named: dict[str, Any]
    required: tuple[str, ...] = ()
    #: Schemas by pattern, in Rust's dialect.
    patterns: dict[str, Any] = field(default_factory=dict)
    #: The schema of all others.
    others: Any = True
    #: The number of members, where llguidance has to count them.
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def optional(self) -> list[str]:
        needed = frozenset(self.required)
        return [
            name for name, member in self.named.items()
            if member is not False and name not in needed
        ]


def object_ways(
    compiler: SchemaCompiler, schema: Schema, place: str, depth: int
) -> list[Schema]:
    """What a flat schema says of objects, as schemas of which one has to hold."""
    members = _read_members(compiler, schema, place)
    if "propertyNames" in schema:
        names = follow(schema["propertyNames"], compiler.look_up)
        members = _restrict_names(compiler, names, members, place)
    if len(members.optional) > limits.MAX_OPTIONAL_MEMBERS:
        compiler.findings.report(
            "properties", place, f"it has more than {limits.MAX_OPTIONAL_MEMBERS} optional members"
        )
        return [{}]
    ways = (
        _write_members(compiler, each, place, depth)
        for each in _choose_number(compiler, schema, members, place)
    )
    return [each for each in ways if each is not None]


def _read_members(compiler: SchemaCompiler, schema: Schema, place: str) -> _Members:
    properties, required = schema.get("properties", {}), tuple(schema.get("required", ()))
    if not compiler.findings.charge(len(required) // 4, place):
        required = ()
    names = dict.fromkeys((*properties, *required))
    given = schema.get("patternProperties", {})
    known: Schema = {}
    patterns: Schema = {}
    # Each is compared with each, and with each name.
    cost = len(given) * (len(given) // 2 + len(names) + sum(map(len, names)) // 500)
    if compiler.findings.charge(cost, place):
        for pattern, member in given.items():
            written = _name_pattern(compiler, "patternProperties", pattern, place)
            if written is not None:
                known[pattern] = member
                patterns[written] = intersect_later(patterns.get(written, True), member)
    readable = {**schema, "patternProperties": known}
    if len(known) < len(given):
        readable["additionalProperties"] = True
    named = {}
    for name in names:
        try:
            named[name] = member_schema(readable, name)
        except UnsupportedPattern as error:
            compiler.findings.report("patternProperties", place, str(error))
            named[name] = properties.get(name, True)
        if has_control_token(compiler, "properties", name, place):
            return _Members({})
    members = _Members(named, required, patterns, readable.get("additionalProperties", True))
    if "additionalProperties" in readable or "propertyNames" in schema:
        return members
    # An object that names members has no others, unless it has to have more.
    possible = tuple(dict.fromkeys((*required, *members.optional)))
    if schema.get("minProperties", 0) > len(possible) and not patterns:
        return replace(members, required=possible)
    is_described = any(member is not False for member in properties.values()) or bool(patterns)
    return replace(members, others=not is_described)


def _name_pattern(
    compiler: SchemaCompiler, keyword: str, pattern: str, place: str
) -> str | None:
    """A pattern of names in Rust's dialect; None, with a finding, where it is not enforced."""
    found = translate_pattern(compiler, keyword, pattern, place, exact=True)
    if found and len(found.patterns) > 1:
        compiler.findings.report(keyword, place, "it looks ahead")
        return None
    return found.patterns[0] if found else None


def _restrict_names(
    compiler: SchemaCompiler, names: Any, members: _Members, place: str
) -> _Members:
    """Apply ``propertyNames``."""
    if names is not True and (not names or "string" not in names.get("type", ("string",))):
        names = {"enum": []}
    conditions = frozenset(names) - {"type"} if names is not True else frozenset()
    if not conditions:
        return members
    if conditions == {"enum"}:
        texts = [value for value in names["enum"] if isinstance(value, str)]
        if not compiler.findings.charge(len(texts), place) or any(
            has_control_token(compiler, "propertyNames", text, place) for text in texts
        ):
            return members
        listed = {name: members.others for name in texts if name not in members.named}
        listed = listed if members.others is not False else {}
        return _keep_names(members, {**members.named, **listed}, frozenset(texts))
    pattern = _pattern_of_names(names, conditions)
    if pattern is None:
        compiler.findings.report(
            "propertyNames", place, "only values, a pattern or a length can be enforced"
        )
        return members
    written = _name_pattern(compiler, "propertyNames", pattern, place)
    if written is None:
        return members
    try:
        fitting = frozenset(name for name in members.named if matches(pattern, name))
    except UnsupportedPattern as error:
        compiler.findings.report("propertyNames", place, str(error))
        return members
    patterns = {written: members.others} if members.others is not False else {}
    return replace(_keep_names(members, members.named, fitting), patterns=patterns)


def _pattern_of_names(names: Schema, conditions: frozenset[str]) -> str | None:
    if conditions <= _LENGTHS:
        return rf"^[\s\S]{{{names.get('minLength', 0)},{names.get('maxLength', '')}}}$"
    if conditions == {"format"} and names["format"] == ["uuid"]:
        return UUID
    return names["pattern"][0] if conditions == {"pattern"} and len(names["pattern"]) == 1 else None


def _keep_names(
    members: _Members, named: dict[str, Any], fitting: frozenset[str]
) -> _Members:
    """The members whose names fit, and no others."""
    kept = {
        name: member if name in fitting else False for name, member in named.items()
        if name in fitting or name in members.required
    }
    return replace(members, named=kept, patterns={}, others=False)


def _choose_number(
    compiler: SchemaCompiler, schema: Schema, members: _Members, place: str
) -> list[_Members]:
    """Members in every combination that has the right number.

    llguidance counts members only where all that have names are required.
    """
    sure, optional = len(members.required), members.optional
    least, most = schema.get("minProperties", 0), schema.get("maxProperties", math.inf)
    is_closed = members.others is False and not members.patterns
    possible = sure + len(optional) if is_closed else math.inf
    if most < sure or least > min(most, possible):
        return []
    if least <= sure and most >= possible:
        return [members]
    if not is_closed and not optional and least <= sure + 1:  # The same name twice counts once.
        counts = {"minProperties": least} if least > sure else {}
        if most != math.inf:
            counts["maxProperties"] = min(int(most), limits.MAX_COUNTED)
        return [replace(members, counts=counts)]
    fewest, highest = max(0, least - sure), int(min(len(optional), most - sure))
    ways = math.comb(len(optional), highest) * math.comb(highest, fewest)
    if not is_closed or ways > limits.MAX_MEMBER_CHOICES:
        for keyword in ("minProperties", "maxProperties"):
            if keyword in schema:
                compiler.findings.report(
                    keyword, place, "there are too many ways to choose that many members"
                )
        return [members]
    return [
        replace(members, required=(*members.required, *needed), named={
            name: member for name, member in members.named.items()
            if name in members.required or name in allowed
        })
        for allowed in itertools.combinations(optional, highest)
        for needed in itertools.combinations(allowed, fewest)
    ]


def _write_members(
    compiler: SchemaCompiler, members: _Members, place: str, depth: int
) -> Schema | None:
    """Write members; None where one that is required can have no value."""
    written: Schema = {}
    if members.named and not compiler.findings.charge(1, place):
        return {}
    properties = {
        name: member if member is False else compiler.compile_subschema(
            member, f"{place}.{name:.60}", depth
        ) for name, member in members.named.items()
    }
    for name in members.required:
        if properties[name] is False:
            compiler.unsatisfiable_at = compiler.unsatisfiable_at or f"{place}.{name}"
            return None
    if properties:
        written["properties"] = properties
    if members.required:
        written["required"] = list(members.required)
    return {**written, **members.counts, **_write_unnamed(compiler, members, place, depth)}


def _write_unnamed(compiler: SchemaCompiler, members: _Members, place: str, depth: int) -> Schema:
    """Write members by pattern and others."""
    if members.patterns:
        names = dict.fromkeys(members.patterns, True)
        error = part_error(json.dumps({"patternProperties": names, "additionalProperties": False}))
        if error:
            compiler.findings.report("patternProperties", place, error)
            return {}
        compiler.needs_validation = True
        return {"additionalProperties": False, "patternProperties": {
            pattern: compiler.compile_subschema(member, f"{place}.*", depth)
            for pattern, member in members.patterns.items()
        }}
    if members.others is False or sum(map(len, members.named)) > limits.MAX_NAMES:
        return {"additionalProperties": False}
    others = compiler.compile_subschema(members.others, f"{place}.*", depth)
    if not members.named:
        return {} if others is True else {"additionalProperties": others}
    if not compiler.findings.charge(6 + sum(map(len, members.named)) // 3, place):
        return {}
    # llguidance would take a name that is written with escapes for another.
    return {"patternProperties": {all_but(members.named): others}, "additionalProperties": False}
