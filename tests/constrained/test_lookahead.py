"""Patterns that look ahead: the grammar has them exactly as Python's ``re`` does."""

from __future__ import annotations

import json
import random
import re

import pytest

from midm_vllm.constrained.tool_schema import compile_parameters

#: Patterns as generators of schemas and people write them, with texts that match.
PATTERNS = {
    r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?"
    r"(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$":
        ["P1W", "P1Y2M", "PT1H2,5S", "P1YT1S", "P1DT1M", "P3D", "P1Y2M3DT4H5M6.7S", "P1M", "P1DT"],
    r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$": ["0", "-1.5", ".5", "+0."],
    # As Pydantic writes decimals with a number of digits; their first way is optional.
    r"^(?!^[-+.]*$)[+-]?0*(?:\d{0,8}|(?=[\d.]{1,11}0*$)\d{0,8}\.\d{0,2}0*$)":
        ["0", "-1.5", "12345678.25"],
    r"^(?!\.)(?!.*\.\.)[a-z.]*[a-z]@(?:[a-z]+\.)+[a-z]{2,}$": ["a.b@c.de", "a@b.c.de"],
    r"^(?=.*[a-z])(?=.*\d)(?!.*[^\w!])\S{4,8}$": ["ab12", "a1!!!!!"],
    r"^(?!admin$|root$)[a-z]+$": ["admi", "rooty", "a"],
    r"^(?!000|666)[0-8]\d{2}-\d{2}$": ["123-45", "001-01", "665-10"],
    r"^(?!\d{3})(?!-)[-\d]*$": ["12", "1-23"],
    r"^(?!.*-$)(?!$)[a-z-]*": ["a", "a-b", "b-A"],
    r"^(?=.{2,5}$)(?![ab]+$)[a-c]*": ["abc", "c", "cc"],
    r"^(?!.*-{3})(?!.*_{2}$)[a-z_-]*$": ["a--b", "__a_", "a_-"],
    r"^((?=^.*b)(?!^ca|cb)[a-c]+)$": ["ab", "b", "ccb"],
}


@pytest.mark.parametrize(("pattern", "texts"), PATTERNS.items())
def test_a_pattern_that_looks_ahead_is_exact(pattern: str, texts: list[str]) -> None:
    read = compile_parameters({
        "type": "object", "required": ["x"], "additionalProperties": False,
        "properties": {"x": {"type": "string", "pattern": pattern}},
    })
    assert read.is_exact, list(map(str, read.findings))
    expected = re.compile(pattern, re.ASCII)
    source = random.Random(0)
    characters = sorted({each for each in pattern if each not in "\\(){}?*^$|[]"}) + list("0a-W 한")
    pool = ["", *texts]
    met = {True: 0, False: 0}
    for _ in range(400):
        text = source.choice(pool)
        at = source.randint(0, len(text))
        added = source.choice(["", source.choice(characters), source.choice(texts)])
        text = text[:at] + added + text[at + source.randint(0, 1):]
        matches = expected.search(text) is not None
        assert read.accepts(json.dumps({"x": text}, ensure_ascii=False)) == matches, text
        met[matches] += 1
        if matches and len(text) < 20:
            pool.append(text)
    assert min(met.values()) > 5, met


@pytest.mark.parametrize(("pattern", "reason"), [
    (r"^(?<!a)b$", "looks back"),
    (r"^((?!xx).)*$", "looks ahead in the middle"),
    (r"x(?!y)", "looks ahead in the middle"),
    (r"^(?=a(?=b))", "looks ahead in the middle"),
    (r"^[a-z](?:-(?=[a-z])|[a-z])*$", "looks ahead in the middle"),
    (r"^(?!(?:ab)+$)[ab]*$", "more than some characters in a row"),
    (r"^(?!.*ab)[ab]*$", "more than some characters in a row"),
    (r"^(?i:a)(?=b)b$", "is not known to ECMA-262"),
    ("^(?=a" + "(" * 100 + ")" * 100 + ")a$", "nest too deep"),
])
def test_what_cannot_be_said_without_looking_is_left_free(pattern: str, reason: str) -> None:
    read = compile_parameters({
        "type": "object", "required": ["x"], "additionalProperties": False,
        "properties": {"x": {"type": "string", "pattern": pattern}},
    })
    [finding] = read.findings
    assert finding.keyword == "pattern" and reason in finding.reason, str(finding)
