"""Strings in the terms of llguidance: lengths, patterns and formats."""

from __future__ import annotations

from midm_vllm.constrained import limits
from midm_vllm.constrained.compile.context import Context, control_token_reason
from midm_vllm.constrained.json_grammar import Schema
from midm_vllm.constrained.json_schema.formats import FORMATS
from midm_vllm.constrained.json_schema.keywords import EXCLUDED_TEXTS
from midm_vllm.constrained.regex.parser import UnsupportedPattern
from midm_vllm.constrained.regex.rust_dialect import RustPatterns, all_but, rust_patterns


def string_ways(context: Context, schema: Schema, place: str) -> list[Schema]:
    """What a flat schema says of strings, as schemas of which one has to hold."""
    written: Schema = {}
    patterns: list[str] = []
    write_counts(context, schema, written, place, "Length", limits.MAX_COUNTED)
    if written.get("minLength", 0) > written.get("maxLength", limits.MAX_COUNTED):
        return []
    if "format" in schema:
        described = FORMATS[schema["format"]]
        if context.findings.charge(described.nodes, place):
            patterns += described.patterns
            if described.name:
                written["format"] = described.name
    if EXCLUDED_TEXTS in schema:
        patterns.append(all_but(schema[EXCLUDED_TEXTS]))
    if "pattern" in schema:
        found = translate_pattern(context, "pattern", schema["pattern"], place)
        patterns = [*(found.patterns if found else ()), *patterns]
    if patterns:
        written["pattern"], *others = patterns
        if others:
            written["allOf"] = [{"pattern": other} for other in others]
    return [written]


def translate_pattern(
    context: Context, keyword: str, pattern: str, place: str, exact: bool = False
) -> RustPatterns | None:
    """A pattern in Rust's dialect; None, with a finding, where it is not enforced."""
    if not context.findings.charge(cost_of_pattern(pattern), place):
        return None
    try:
        found = rust_patterns(pattern, exact)
    except (UnsupportedPattern, RecursionError) as error:
        context.findings.report(keyword, place, str(error) or "its groups nest too deep")
        return None
    context.pattern_characters |= found.characters
    token = spelled_token(context, found)
    if token:
        context.findings.report(keyword, place, control_token_reason(token))
        return None
    context.findings.charge(sum(map(len, found.patterns[:-1])) // 40, place)
    return found


def spelled_token(context: Context, found: RustPatterns) -> str:
    """A control token all of whose characters a pattern names one by one, or an empty text.

    Where a pattern demands the text of such a token, llguidance forces the token itself, which no
    grammar allows, and the request would fail.
    """
    for token in context.control_tokens:
        if found.characters.issuperset(token):
            return token
    return ""


def cost_of_pattern(pattern: str) -> int:
    """What a pattern costs llguidance, in nodes."""
    beyond_ascii = 0 if pattern.isascii() else sum(map("\x7f".__lt__, pattern))
    return 1 + len(pattern) // limits.CHARACTERS_OF_PATTERN_PER_NODE + beyond_ascii


def write_counts(
    context: Context, schema: Schema, written: Schema, place: str, kind: str, most: int
) -> None:
    """Write the least and the most of a ``kind``: Length, Items or Properties."""
    for keyword in (f"min{kind}", f"max{kind}"):
        if keyword not in schema:
            continue
        count = schema[keyword]
        if kind == "Items" and not context.findings.charge(min(count, most) // 8, place):
            continue
        if keyword.startswith("max"):
            written[keyword] = min(count, most)
        elif count > most:
            context.findings.report(keyword, place, f"no grammar counts further than {most}")
        elif count:
            written[keyword] = count
