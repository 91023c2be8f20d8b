"""Schemas that cost a server much: small ones that mean a lot, and large ones."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def one(member: Any, **more: Any) -> Schema:
    """A schema with one member, `a`."""
    return {"type": "object", "properties": {"a": member}, "required": ["a"],
            "additionalProperties": False, **more}


def members(**more: Any) -> Schema:
    return {"type": "object", **more}


def many(number: int, member: Any) -> Schema:
    """A schema with so many required members; `member` is made of the number of each."""
    return members(
        properties={f"m{i}": member(i) for i in range(number)},
        required=[f"m{i}" for i in range(number)],
    )


def nested(depth: int) -> Schema:
    schema: Schema = {"type": "null"}
    for _ in range(depth):
        schema = one(schema)
    return schema


def text(**more: Any) -> Schema:
    return {"type": "string", **more}


LIST = {"type": "array", "items": {"type": "integer"}}
TWO_OF_ELEVEN = {"type": "object", "minProperties": 2}


def _chosen(depth: int) -> Schema:
    """Objects of which two members have to be there, in each other."""
    return {"type": "null"} if depth == 0 else {**TWO_OF_ELEVEN, "properties": {
        f"p{i}": {"type": "null"} if i else _chosen(depth - 1) for i in range(11)}}


def _overlapping(number: int) -> list[Schema]:
    integers = {f"r{j}": {"type": "integer"} for j in range(60)}
    return [members(required=[f"r{i}"], properties=integers) for i in range(number)]


HEAVY: dict[str, Any] = {
    "four references to itself": {"anyOf": [{"$ref": "#"}] * 4},
    "twice the same": one({"oneOf": [{"$ref": "#/$defs/A"}] * 2}, **{"$defs": {
        "A": members(properties={"n": {"$ref": "#/$defs/A"}})}}),
    "ten recursive alternatives": one({"oneOf": [{"$ref": "#"}] * 10}),
    "chained references": one({"$ref": "#/$defs/0"}, **{"$defs": {
        **{str(i): {"$ref": f"#/$defs/{i + 1}"} for i in range(1000)}, "1000": LIST}}),
    "600 recursive definitions": one({"$ref": "#/$defs/0"}, **{"$defs": {str(i): members(
        properties={"x": {"$ref": f"#/$defs/{(i + 1) % 600}"},
                    "y": {"$ref": f"#/$defs/{(i * 7) % 600}"}}) for i in range(600)}}),
    "one definition followed 500 times": many(500, lambda i: {
        "$ref": "#/$defs/A", "required": [f"x{i}"]}) | {"$defs": {
            "A": members(properties={f"n{i}": {"type": "null"} for i in range(500)})}},
    "references to references": one({"oneOf": [{"$ref": f"#/$defs/{i}"} for i in range(100)]}, **{
        "$defs": {str(i): {"anyOf": [{"$ref": f"#/$defs/{i * j % 100}"} for j in range(1, 12)]}
                  for i in range(100)}}),
    "long pointers": many(150, lambda i: {"$ref": "#" + "/x" * 3000}),
    "an enum of 10,000": one({"enum": [f"value {i}" for i in range(10_000)]}),
    "an enum of 20,000": one({"enum": [f"value {i}" for i in range(20_000)]}),
    "an enum of long strings": one({"enum": [f"{i}" + "x" * 60 for i in range(10_000)]}),
    "an enum of lists": one({"enum": [[[[[i]]]] for i in range(8000)]}),
    "an enum of objects": one({"enum": [{"a": i, "b": {"c": [i]}} for i in range(8000)]}),
    "a constant of 900 kB": one({"const": "x" * 900_000}),
    "enums merged": one({"allOf": [{"enum": list(range(9000))} for _ in range(10)]}),
    "500 constants": one({"oneOf": [{"const": i} for i in range(500)]}),
    "660 objects told apart": one({"oneOf": [one({"const": i}) for i in range(660)]}),
    "900 open objects": one({"anyOf": [members(
        properties={f"x{i}": text()}, additionalProperties=True) for i in range(900)]}),
    "900 arrays": one({"anyOf": [
        {"type": "array", "items": text(), "maxItems": i} for i in range(900)]}),
    "950 ranges": one({"anyOf": [
        {"type": "integer", "minimum": i * 3, "maximum": i * 7} for i in range(950)]}),
    "ranges of 15 digits": many(900, lambda i: {
        "type": "integer", "minimum": -123456789012345 - i, "maximum": i + 123456789012345}),
    "steps in ranges": many(900, lambda i: {
        "type": "integer", "multipleOf": i + 991, "minimum": i, "maximum": 10**7}),
    "2,000 optional members": members(properties={f"m{i}": {} for i in range(2000)}),
    "390 optional members": members(properties={f"m{i}": text() for i in range(390)}),
    "1,900 required members": many(1900, lambda i: text()),
    "15,000 names required": members(required=[f"n{i}" for i in range(15_000)]),
    "nothing that is right": many(1900, lambda i: {"type": "date"}),
    "long names": members(
        properties={"x" * 5000 + str(i): LIST for i in range(20)}, additionalProperties=True),
    "names of many open objects": many(35, lambda k: members(
        properties={"x" * 38 + f"{i} {k}": {"type": "null"} for i in range(48)},
        additionalProperties=True)),
    "900 patterns of names": members(
        patternProperties={f"^x{i}": text() for i in range(900)}, additionalProperties=False),
    "300 names beside 30 patterns": members(
        properties={f"n{i}": {} for i in range(300)},
        patternProperties={f"^n{i}$": {} for i in range(30)}),
    "100 of 200 members": members(
        properties={f"m{i}": {} for i in range(200)}, minProperties=100),
    "two of eleven members, eight deep": _chosen(8),
    "300 bounded strings": one({"anyOf": [text(maxLength=i + 5) for i in range(300)]}),
    "60 times 30 bounded strings": many(60, lambda k: {
        "anyOf": [text(maxLength=i + k) for i in range(30)]}),
    "900 long strings": many(900, lambda i: text(minLength=i * 20, maxLength=49_999 - i)),
    "900 formats": many(900, lambda i: text(
        format=("uri", "email", "date-time", "uri-template", "iri-reference")[i % 5],
        maxLength=i + 50)),
    "long lists of long lists": many(300, lambda k: {
        "type": "array", "minItems": 4000 + k, "maxItems": 5000, "items": {
            "type": "array", "minItems": 3000, "items": text(maxLength=49_999 - k)}}),
    "a tuple of 1,900": one({"type": "array", "prefixItems": [
        {"type": "integer", "minimum": i} for i in range(1900)]}),
    "600 lists without repetition": many(600, lambda i: {
        "type": "array", "uniqueItems": True, "items": {"enum": [1, 2, 3, 4, 5]}}),
    "a long repetition": one(text(pattern="^[가-힣]{1,500}$")),
    "repetitions of repetitions": one(text(pattern="^(?:[a-z]{1,500}[0-9]{1,500}){1,20}$")),
    "nested repetitions": one(text(pattern="^(((a{1,50}){1,50}){1,50}){1,50}$")),
    "a state for each subset": one(text(pattern="^(a|b)*a(a|b){30}$")),
    "a pattern of 20 kB": one(text(
        pattern="^(?:" + "|".join(f"w{i}" for i in range(3000)) + ")$")),
    "a pattern of 400 kB": one(text(
        pattern="^(?:" + "|".join(f"w{i}" for i in range(60_000)) + ")$")),
    "a class of 9,000 characters": one(text(
        pattern="^[" + "".join(chr(0x4E00 + 2 * i) for i in range(9000)) + "]+$")),
    "groups of groups": one(text(pattern="^" + "(" * 3000 + "a" + ")" * 3000 + "$")),
    "100 times ahead": one(text(
        pattern="^" + "".join(f"(?=.*{chr(97 + i % 26)}{i})" for i in range(100)) + ".*$")),
    "900 patterns that are refused": many(900, lambda i: text(pattern=f"a^b{i}")),
    "1,900 patterns": many(1900, lambda i: text(pattern=f"^[a-z]{{1,{i + 5}}}x$")),
    "references to many values": one({"oneOf": [{"$ref": "#/$defs/E"}] * 16}, **{
        "$defs": {"E": {"enum": list(range(1000))}}}),
    "references to more values": one({"oneOf": [{"$ref": "#/$defs/E"}] * 800}, **{
        "$defs": {"E": {"enum": list(range(10_000))}}}),
    "excluded references": many(10, lambda i: {"not": {"anyOf": [{"$ref": "#/$defs/E"}] * 64}}) | {
        "$defs": {"E": {"enum": list(range(10_000))}}},
    "conditions by reference": one({"allOf": [
        {"if": {"$ref": "#/$defs/E"}, "then": {"maxLength": 3}} for _ in range(100)]}, **{
        "$defs": {"E": {"enum": list(range(5000))}}}),
    "references to objects of many values": one({"oneOf": [{"$ref": "#/$defs/E"}] * 16}, **{
        "$defs": {"E": many(64, lambda i: {"enum": [i * j for j in range(20)]})}}),
    "references to references to references": many(20, lambda i: {"not": {
        "anyOf": [{"$ref": f"#/$defs/A{j}"} for j in range(60)]}}) | {"$defs": {
            **{f"A{j}": {"anyOf": [{"$ref": f"#/$defs/B{k}"} for k in range(60)]}
               for j in range(60)},
            **{f"B{k}": {"anyOf": [{"const": n} for n in range(60)]} for k in range(60)}}},
    "all of many references": one({"allOf": [{"$ref": "#/$defs/E"}] * 900}, **{
        "$defs": {"E": {"enum": [list(range(11_000))]}}}),
    "a long value beside many": one({"enum": [list(range(11_000))], "anyOf": [
        {"enum": [i], "minLength": 1} for i in range(190)]}),
    "a long name of a document": many(1000, lambda i: {"$ref": "x"}) | {
        "$id": "http://h/" + "a/" * 100_000},
    "deep pointers": many(100, lambda i: {"$ref": "#/$defs/d" + "/properties/a" * 480}),
    "9,000 classes of Unicode": one(text(pattern="^" + r"\W" * 9000 + "$")),
    "240 patterns with classes of Unicode": many(240, lambda i: text(
        pattern=rf"^(\p{{L}}|\p{{N}}\W){{1,{i + 1}}}$")),
    "many values excluded from many": one({"oneOf": [
        {"oneOf": [{"enum": [f"value {i}.{j}" for i in range(400)]}, text(pattern=f"^{j}")]}
        for j in range(4)]}),
    "all but 3,000 names": one(text(**{"not": {"enum": ["a" * 39 + str(i) for i in range(3000)]}})),
    "all but a long tree": one(text(**{"not": {"enum": [f"{i:09b}" * 4 for i in range(512)]}})),
    "a product of choices": one({"allOf": [
        {"anyOf": [{"required": [f"{i} {j}"]} for i in range(20)]} for j in range(20)]}),
    "16 that overlap": one({"oneOf": _overlapping(16)}),
    "100 times 16 that overlap": many(100, lambda k: {
        "oneOf": [members(required=[f"r{i}"]) for i in range(16)]}),
    "100 conditions": members(
        properties={"k": {"enum": [str(i) for i in range(100)]}}, required=["k"],
        allOf=[{"if": {"properties": {"k": {"const": str(i)}}}, "then": {"required": [f"n{i}"]}}
               for i in range(100)]),
    "100 that depend": members(
        properties={f"m{i}": {} for i in range(100)},
        dependentRequired={f"m{i}": [f"m{i + 1}"] for i in range(99)}),
    "40 deep, 45 times": many(45, lambda i: nested(40)),
    "150 deep": nested(150),
    "900 deep": nested(900),
    "a large annotation": one({"type": "null", "examples": [0] * 200_000}),
    "a class that is empty": one(text(pattern=r"^[^\s\S]$")),
    "half an escape": one(text(pattern=r"\u12")),
}
