"""What a run of the leaderboard is shown as: a Markdown table, and a picture (SVG) of bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Optional

WIDTH, ROW, LEFT, RIGHT, TOP = 720, 26, 180, 150, 56


@dataclass(frozen=True)
class Score:
    """How many entries of a category were right, of those that were asked."""

    category: str
    group: str
    right: int
    asked: int
    of: int  # All that the leaderboard has in this category.

    @property
    def per_cent(self) -> float:
        return 100 * self.right / self.asked if self.asked else 0.0


def group_score(scores: Sequence[Score]) -> Optional[float]:
    """A group's score in per cent, of those of its categories that were asked.

    As the leaderboard (v4) adds them up: relevance counts elsewhere, the three languages of the
    simple entries are one, live categories count by their size. None if only relevance was asked.
    """
    calls = [score for score in scores if "relevance" not in score.category]
    if not calls:
        return None
    if calls[0].group == "live":
        return 100 * sum(score.right for score in calls) / sum(score.asked for score in calls)
    simple = [score.per_cent for score in calls if score.category.startswith("simple_")]
    means = [score.per_cent for score in calls if not score.category.startswith("simple_")]
    if simple:
        means.append(sum(simple) / len(simple))
    return sum(means) / len(means)


def by_group(scores: Sequence[Score]) -> dict[str, list[Score]]:
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(score.group, []).append(score)
    return groups


def markdown(scores: Sequence[Score]) -> str:
    """A table: a line for each category, and one for each group with several."""
    lines = ["| category | right | asked | of | % |", "| --- | ---: | ---: | ---: | ---: |"]
    for group, members in by_group(scores).items():
        for score in members:
            lines.append(f"| {score.category} | {score.right} | {score.asked} | {score.of} "
                         f"| {score.per_cent:.1f} |")
        if len(members) > 1 and (together := group_score(members)) is not None:
            lines.append(f"| **{group}** | | | | **{together:.1f}** |")
    return "\n".join(lines) + "\n"


def svg(title: str, scores: Sequence[Score], note: Optional[str] = None) -> str:
    """A bar for each category and group, from 0 to 100 per cent; the groups a little apart."""
    groups = list(by_group(scores).values())
    rows = [_rows(members) for members in groups]
    height = TOP + ROW * sum(map(len, rows)) + 10 * len(groups) + (24 if note else 8)
    scale = (WIDTH - LEFT - RIGHT) / 100
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="26" font-size="16" font-weight="bold">{escape(title)}</text>',
    ]
    for tick in range(0, 101, 25):
        x = LEFT + tick * scale
        drawn.append(f'<path d="M{x:.1f} {TOP - 8}V{height - 24}" stroke="#dddddd"/>')
        drawn.append(f'<text x="{x:.1f}" y="{TOP - 12}" fill="#777777" font-size="10" '
                     f'text-anchor="middle">{tick}%</text>')
    y = TOP
    for of_group in rows:
        for name, per_cent, counts in of_group:
            width, middle = per_cent * scale, y + ROW / 2 + 4
            # A group's score stands out; a light edge keeps the lines behind off the words.
            weight, colour = ("normal", "#2a78b5") if counts else ("bold", "#123a5c")
            drawn.append(f'<text x="{LEFT - 8}" y="{middle:.0f}" text-anchor="end" '
                         f'font-weight="{weight}">{escape(name)}</text>')
            drawn.append(f'<rect x="{LEFT}" y="{y + 4}" width="{width:.1f}" '
                         f'height="{ROW - 8}" fill="{colour}"/>')
            drawn.append(f'<text x="{LEFT + width + 6:.1f}" y="{middle:.0f}" '
                         f'font-weight="{weight}" stroke="#ffffff" stroke-width="3" '
                         f'paint-order="stroke">{per_cent:.1f}{counts}</text>')
            y += ROW
        y += 10
    if note:
        drawn.append(f'<text x="16" y="{height - 8}" fill="#777777" font-size="11">'
                     f"{escape(note)}</text>")
    return "\n".join([*drawn, "</svg>\n"])


def _rows(members: Sequence[Score]) -> list[tuple[str, float, str]]:
    """A group's bars: name, per cent, and of how many; what they come to first, without a count."""
    rows = [
        (score.category, score.per_cent, f" ({score.right} of {score.asked})") for score in members
    ]
    if len(members) > 1 and (together := group_score(members)) is not None:
        rows.insert(0, (members[0].group, together, ""))
    return rows
