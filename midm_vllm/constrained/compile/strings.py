"""Strings in the terms of llguidance: lengths, patterns and formats."""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING

from midm_vllm.constrained import limits
from midm_vllm.constrained.json_grammar import UNSATISFIABLE, Schema, part_error
from midm_vllm.constrained.json_schema.formats import FORMATS
from midm_vllm.constrained.json_schema.keywords import EXCLUDED_TEXTS
from midm_vllm.constrained.regex.parser import UnsupportedPattern
from midm_vllm.constrained.regex.rust_dialect import RustPatterns, all_but, rust_patterns

if TYPE_CHECKING:
    from midm_vllm.constrained.compile.compiler import SchemaCompiler


def string_ways(compiler: SchemaCompiler, schema: Schema, place: str) -> list[Schema]:
    """What a flat schema says of strings, as schemas of which one has to hold."""
    lengths = write_counts(compiler, schema, place, "Length", limits.MAX_COUNTED)
    if lengths.get("minLength", 0) > lengths.get("maxLength", limits.MAX_COUNTED):
        return []
    conditions: list[Schema] = []
    for pattern in schema.get("pattern", ()):
        found = translate_pattern(compiler, "pattern", pattern, place)
        conditions += ({"pattern": each} for each in (found.patterns if found else ()))
    for name in schema.get("format", ()):
        described = FORMATS[name]
        if compiler.findings.charge(described.nodes, place):
            conditions += ({"pattern": each} for each in described.patterns)
            conditions += [{"format": described.name}] if described.name else []
    excluded = schema.get(EXCLUDED_TEXTS, ())
    if excluded and compiler.findings.charge(sum(map(len, excluded)) // 10, place):
        conditions.append({"pattern": all_but(excluded)})
    if not conditions:
        return [lengths]
    written = {**lengths, **conditions[0]}
    if len(conditions) > 1:
        written["allOf"] = conditions[1:]
    error = part_error(json.dumps({"type": "string", **written}, ensure_ascii=False))
    if error.startswith(UNSATISFIABLE):
        return []
    if error:
        compiler.findings.report("pattern", place, error)
        compiler.findings.charge(limits.NODES_PER_REJECTED, place)
    return [lengths if error else written]


def translate_pattern(
    compiler: SchemaCompiler, keyword: str, pattern: str, place: str, exact: bool = False
) -> RustPatterns | None:
    """A pattern in Rust's dialect; None, with a finding, where it is not enforced."""
    beyond_ascii = 0 if pattern.isascii() else sum(map("\x7f".__lt__, pattern))
    cost = len(pattern) // limits.CHARACTERS_OF_PATTERN_PER_NODE + beyond_ascii
    if not compiler.findings.charge(limits.NODES_PER_PATTERN + cost, place):
        return None
    try:
        found = rust_patterns(pattern, exact)
    except (UnsupportedPattern, RecursionError) as error:
        compiler.findings.report(keyword, place, str(error) or "its groups nest too deep")
        return None
    # Where a pattern demands the text of such a token, llguidance forces the token itself, which no
    # grammar allows, and the request would fail.
    spelled = filter(found.characters.issuperset, compiler.control_tokens)
    if has_control_token(compiler, keyword, next(spelled, ""), place):
        return None
    conditions = sum(map(len, found.patterns[:-1])) // 40
    unicode_classes = sum(each.count(r"\p") for each in found.patterns)
    cost = conditions + limits.NODES_PER_UNICODE_CLASS * unicode_classes
    return found if compiler.findings.charge(cost, place) else None


def has_control_token(compiler: SchemaCompiler, keyword: str, text: str, place: str) -> bool:
    """Whether a text has a control token in it; if so, a finding says it."""
    found = _any_of(compiler.control_tokens).search(text)
    if found:
        compiler.findings.report(
            keyword, place, f"it has {found[0]} in it, which is a control token of this model's"
        )
    return bool(found)


@functools.lru_cache(maxsize=8)
def _any_of(texts: frozenset[str]) -> re.Pattern[str]:
    """Finds one of these texts; of none, nothing."""
    return re.compile("|".join(map(re.escape, sorted(texts))) or "(?!)")


def write_counts(
    compiler: SchemaCompiler, schema: Schema, place: str, kind: str, most: int
) -> Schema:
    """Write the least and the most of a ``kind``: Length or Items."""
    written: Schema = {}
    for keyword in (f"min{kind}", f"max{kind}"):
        if keyword not in schema:
            continue
        count = schema[keyword]
        if kind == "Items" and not compiler.findings.charge(min(count, most) // 8, place):
            continue
        if keyword.startswith("max"):
            written[keyword] = min(count, most)
        elif count > most:
            compiler.findings.report(keyword, place, f"no grammar counts further than {most}")
        elif count:
            written[keyword] = count
    return written
