"""The Korean pages show the commands and the code of the English ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from devtools.checkpoint import REPOSITORY
from documents import blocks, name, targets

DOCS = REPOSITORY / "docs"
KOREAN = sorted((DOCS / "ko").glob("*.md"))


def code(page: Path) -> list[tuple[str, str]]:
    return [(block.info, block.text) for block in blocks(page)]


def test_both_readmes_show_the_same_commands_and_code() -> None:
    assert code(REPOSITORY / "README.ko.md") == code(REPOSITORY / "README.md")


@pytest.mark.parametrize(
    "page", [page for page in KOREAN if (DOCS / page.name).exists()], ids=name
)
def test_a_korean_page_shows_what_the_english_one_shows(page: Path) -> None:
    # Korean pages may show less, nothing else.
    english = code(DOCS / page.name)
    assert [block for block in code(page) if block not in english] == []


def test_the_korean_readme_leads_to_every_korean_page() -> None:
    readme = REPOSITORY / "README.ko.md"
    assert {f"docs/ko/{page.name}" for page in KOREAN} <= set(targets(readme))
    assert "README.md" in targets(readme)
