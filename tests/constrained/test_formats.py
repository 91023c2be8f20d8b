"""Formats of texts: what a strict schema lets through is valid, and what people write is let."""

from __future__ import annotations

import itertools
import json
from functools import cache

import pytest
from jsonschema import FormatChecker

from midm_vllm.constrained.json_schema.formats import FORMATS
from midm_vllm.constrained.tool_schema import ToolSchema, compile_parameters

LABEL = "a" * 63
LONG = ".".join([LABEL] * 3 + ["a" * 61])  # 253 characters
#: Format -> what is written as such, and what is not.
TEXTS = {
    "date": (["2024-02-29", "2000-02-29", "1999-12-31"],
             ["2023-02-29", "1900-02-29", "2024-02-31", "2024-1-1", "2024-04-31", "0000-01-01"]),
    "time": (["12:00:00Z", "23:59:59.5+09:00"],
             ["24:00:00Z", "12:60:00Z", "12:00:60Z", "12:00:00", "12:00:00+24:00"]),
    "date-time": (["2024-02-29T00:00:00Z", "2024-01-01T09:00:00.125+09:00"],
                  ["2023-02-29T00:00:00Z", "2024-01-01 00:00:00Z", "2024-01-01T00:00:00"]),
    "duration": (["P1D", "PT1S", "P1Y2M3DT4H5M6S", "P1W"], ["P", "PT", "P1Y1D", "P1W1D", "P1.5D"]),
    "email": (["a@b.c", "a.b+c@d-e.co.kr", "a@localhost", "a" * 64 + "@b.c"],
              ["a", "a@", "@b", ".a@b.c", "a..b@c.d", "a@b..c", "a@-b.c", "a" * 65 + "@b.c",
               f"a@{LABEL}a.c", "a b@c.d"]),
    "hostname": (["a", "a-b.co.kr", LABEL, LONG, "1.2", "A.COM"],
                 ["", "-a", "a-", "a..b", "a_b", LABEL + "a", LONG + "a", "xn--a", "a.xn--b", "é"]),
    "ipv4": (["0.0.0.0", "255.255.255.255"], ["089.0.0.1", "256.1.1.1", "1.1.1", "1.1.1.1."]),
    "ipv6": (["::", "::1", "1:2:3:4:5:6:7:8", "2001:DB8::1"],
             [":::", "1::2::3", "12345::", "g::", "1:2:3:4:5:6:7", "fe80::1%eth0"]),
    "uri": (["http://a/b?c#d", "mailto:a@b", "http://[::1]/"], ["a", "http://a b", "http://a/%zz"]),
    "uuid": (["2eb8aa08-aa98-11ea-b4aa-73b441d16380"], ["2eb8aa08aa9811eab4aa73b441d16380"]),
}


@cache
def schema(format: str) -> ToolSchema:
    return compile_parameters({
        "type": "object", "properties": {"x": {"format": format, "type": "string"}},
        "required": ["x"],
    })


def accepts(format: str, text: str) -> bool:
    return schema(format).accepts(json.dumps({"x": text}, ensure_ascii=False))


@pytest.mark.parametrize("format", TEXTS)
def test_formats_as_their_standards_have_them(format: str) -> None:
    assert schema(format).is_exact
    right, wrong = TEXTS[format]
    assert [text for text in right if not accepts(format, text)] == []
    assert [text for text in wrong if accepts(format, text)] == []


def instances(format: str) -> list[str]:
    """Texts at the borders of a format."""
    if format == "date":
        years = ["0000", "0001", "1900", "2000", "2023", "2024", "2100", "2400", "9999"]
        months = ["00", "01", "02", "04", "12", "13"]
        days = ["00", "01", "28", "29", "30", "31", "32", "1"]
        return ["-".join(parts) for parts in itertools.product(years, months, days)]
    if format == "ipv4":
        octets = ["0", "00", "9", "09", "99", "199", "249", "255", "256", "300", ""]
        return [f"{first}.1.{last}.9" for first, last in itertools.product(octets, octets)]
    groups = [["1"] * left + [""] + ["f"] * right for left in range(9) for right in range(9)]
    return [":".join(group) for group in groups] + [f":{':'.join(each)}:" for each in groups]


@pytest.mark.parametrize("format", ["date", "ipv4", "ipv6"])
def test_a_validator_accepts_what_is_written_and_the_other_way_round(format: str) -> None:
    checker = FormatChecker()
    ours = {text for text in instances(format) if accepts(format, text)}
    assert ours == {text for text in instances(format) if checker.conforms(text, format)}


def test_every_format_that_is_enforced_was_tried_or_is_one_of_them() -> None:
    others = {"idn-email", "idn-hostname", "iri", "iri-reference", "uri-reference", "uri-template",
              "json-pointer", "relative-json-pointer"}
    assert FORMATS.keys() == TEXTS.keys() | others
