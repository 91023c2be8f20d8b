"""Every relative link of every page leads to a file, and to a heading of it where it names one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest
from devtools.checkpoint import REPOSITORY
from documents import anchors, name, pages, slugify, targets


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in targets(page):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_relative_to(REPOSITORY), f"{target} leads out of the repository"
        assert file.exists(), f"{target} leads to no file"
        if anchor:
            assert anchor in anchors(file), f"{target}: {name(file)} has {sorted(anchors(file))}"


def test_every_page_of_docs_is_linked_from_a_readme() -> None:
    linked = {
        (page.parent / target).resolve()
        for page in REPOSITORY.glob("README*.md")
        for target in targets(page)
        if "://" not in target
    }
    documents = {page for page in pages() if page.is_relative_to(REPOSITORY / "docs")}
    assert documents <= linked


def test_a_readme_has_at_most_120_lines() -> None:
    for page in REPOSITORY.glob("README*.md"):
        assert len(page.read_text("utf-8").splitlines()) <= 120


@pytest.mark.parametrize("heading, anchor", [
    ("What `--tool-call-parser midm-parser` sets", "what---tool-call-parser-midm-parser-sets"),
    ("Mi:dm 1.0", "midm-10"),
    ("채팅 템플릿, 도구 호출", "채팅-템플릿-도구-호출"),
])
def test_anchors_are_made_as_where_the_pages_are_read(heading: str, anchor: str) -> None:
    assert slugify(heading.replace("`", "")) == anchor
