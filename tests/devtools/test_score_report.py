"""The table and the picture of a leaderboard's run."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from evaluation.score_report import Score, group_score, markdown, svg

SCORES = [
    Score("simple_python", "non_live", 3, 4, 400),
    Score("simple_java", "non_live", 1, 4, 100),
    Score("multiple", "non_live", 4, 4, 200),
    Score("irrelevance", "non_live", 0, 4, 240),
    Score("live_simple", "live", 9, 10, 258),
    Score("live_parallel", "live", 0, 2, 16),
]


def test_a_group_is_added_up_as_the_leaderboard_does() -> None:
    assert group_score(SCORES[:4]) == pytest.approx(75.0)  # (50 of the simple + 100) / 2
    assert group_score(SCORES[4:]) == pytest.approx(75.0)  # 9 of 12
    assert group_score(SCORES[3:4]) is None


def test_the_table_has_a_line_for_each_category_and_group() -> None:
    lines = markdown(SCORES).splitlines()
    assert "| simple_python | 3 | 4 | 400 | 75.0 |" in lines
    assert "| **non_live** | | | | **75.0** |" in lines
    assert len(lines) == 2 + len(SCORES) + 2


def test_the_picture_has_a_bar_as_long_as_each_score() -> None:
    picture = ElementTree.fromstring(svg("a < b", SCORES, "a & b"))
    bars = picture.findall("{*}rect")[1:]
    widths = [float(bar.get("width", "")) for bar in bars]
    names = ["non_live", *(each.category for each in SCORES[:4]),
             "live", *(each.category for each in SCORES[4:])]
    told = ["".join(text.itertext()) for text in picture.findall("{*}text")]
    assert [text for text in told if text in names] == names
    assert len(widths) == len(names)
    assert widths[1] == pytest.approx(3 * widths[2], abs=0.2) and widths[4] == 0
    assert widths[0] == pytest.approx(widths[1], abs=0.2), "75 of a hundred, as simple_python"
    assert "a < b" in "".join(picture.itertext())
