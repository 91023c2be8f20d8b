"""The Korean pages show the commands and the code of the English ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from devtools.checkpoint import REPOSITORY
from documents import blocks, local, name, targets

DOCS = REPOSITORY / "docs"
KOREAN = sorted((DOCS / "ko").rglob("*.md"))


def original(page: Path) -> Path:
    """The English page of a Korean one."""
    return DOCS / page.relative_to(DOCS / "ko")


def code(page: Path) -> list[tuple[str, str]]:
    return [(block.info, block.text) for block in blocks(page)]


def test_both_readmes_show_the_same_commands_and_code() -> None:
    assert code(REPOSITORY / "README.ko.md") == code(REPOSITORY / "README.md")


@pytest.mark.parametrize("page", KOREAN, ids=name)
def test_a_korean_page_shows_what_the_english_one_shows(page: Path) -> None:
    # Korean pages may show less, nothing else.
    english = code(original(page))
    assert [block for block in code(page) if block not in english] == []


def test_the_korean_readme_links_every_korean_page() -> None:
    linked = {local(target) for target in targets(REPOSITORY / "README.ko.md")}
    assert set(KOREAN) | {REPOSITORY / "README.md"} <= linked
