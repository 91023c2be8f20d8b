"""The comparison of parsers on imperfect outputs scores what it says it does."""

from __future__ import annotations

import random
from typing import Any

import pytest
from benchmarks import bench_imperfect
from benchmarks.bench_imperfect import CLOSING, DELTA_SIZES, OPENING, PARSERS, WAYS, is_right, score
from devtools.cases.markup_laws import read

from midm_vllm.markup.events import Repair


class _Tokenizer:
    eos_token_id = 0

    def get_vocab(self) -> dict[str, int]:
        return {}


def made(way: str, count: int = 5) -> list[bench_imperfect.Output]:
    source = random.Random(way)
    return [WAYS[way](source) for _ in range(count)]


@pytest.mark.parametrize("way", WAYS)
def test_midm_parser_reads_every_way(way: str) -> None:
    tokenizer: Any = _Tokenizer()
    assert score(PARSERS["midm-parser"], made(way), tokenizer) == [5] * (1 + len(DELTA_SIZES))


@pytest.mark.parametrize("way", WAYS)
def test_a_way_is_what_its_name_says(way: str) -> None:
    named = {repair.value for repair in Repair} & set(way.split(", "))
    for output in made(way):
        assert named <= set().union(*(call.repairs for call in read(output.text).calls))


def test_the_ways_are_the_repairs_there_are_but_one() -> None:
    named = {part for way in WAYS for part in way.split(", ")}
    assert {repair.value for repair in Repair} - named == {"member_repeated"}


@pytest.mark.parametrize(
    ("content", "calls"),
    [
        ("", []),
        ("", [("search", '{"n": 2}')]),
        ("", [("convert", '{"n": 1}')]),
        ("", [("search", '{"n": 1')]),
        ("", [("search", '{"n": 1}')] * 2),
        (OPENING, [("search", '{"n": 1}')]),
    ],
)
def test_what_is_wrong_is_scored_wrong(content: str, calls: bench_imperfect.Calls) -> None:
    text = f'{OPENING}{{"name": "search", "arguments": {{"n": 1}}}}{CLOSING}'
    output = bench_imperfect.Output(text, [("search", {"n": 1})])
    assert is_right(output, "", [("search", '{"n":1}')])
    assert not is_right(output, content, calls)
