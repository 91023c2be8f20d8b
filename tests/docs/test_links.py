"""Every relative link of every page leads to a file, and to a heading of it where it names one."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from devtools.checkpoint import REPOSITORY
from documents import anchors, local, name, pages, slugify, targets


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in targets(page):
        file = local(target, page)
        if file is None:
            continue
        anchor = unquote(target).partition("#")[2]
        assert file.is_relative_to(REPOSITORY), f"{target} leads out of the repository"
        assert file.exists(), f"{target} leads to no file"
        if anchor:
            assert anchor in anchors(file), f"{target}: {name(file)} has {sorted(anchors(file))}"


def test_pages_that_the_package_names_exist() -> None:
    sources = (REPOSITORY / "midm_vllm").rglob("*.py")
    named = [
        page
        for source in sources
        for page in re.findall(r"(?:%s|URL\})/([\w/-]+\.md)\b", source.read_text("utf-8"))
    ]
    assert named and not [
        page for page in named if not (REPOSITORY / "docs" / page).is_file()
    ]


def test_the_index_links_every_page_of_docs() -> None:
    index = REPOSITORY / "docs" / "README.md"
    linked = {local(target, index) for target in targets(index)}
    documents = {page for page in pages() if page.is_relative_to(REPOSITORY / "docs")}
    assert documents - {index} <= linked


@pytest.mark.parametrize("page", sorted(REPOSITORY.glob("README*.md")), ids=name)
def test_a_readme_is_short_and_its_links_work_elsewhere(page: Path) -> None:
    assert len(page.read_text("utf-8").splitlines()) <= 120
    # PyPI shows the README without the repository beside it.
    assert [target for target in targets(page) if "://" not in target] == []


@pytest.mark.parametrize("heading, anchor", [
    ("What `--tool-call-parser midm-parser` sets", "what---tool-call-parser-midm-parser-sets"),
    ("Mi:dm 1.0", "midm-10"),
    ("채팅 템플릿, 도구 호출", "채팅-템플릿-도구-호출"),
])
def test_anchors_are_made_as_where_the_pages_are_read(heading: str, anchor: str) -> None:
    assert slugify(heading.replace("`", "")) == anchor
