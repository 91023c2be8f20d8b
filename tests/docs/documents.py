"""The repository's Markdown, as markdown-it reads it: what the tests of this folder look at."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from devtools.checkpoint import REPOSITORY
from markdown_it import MarkdownIt
from markdown_it.token import Token

MARKDOWN = MarkdownIt("commonmark").enable("table")
#: Folders of other people's Markdown, and of what is built.
NOT_OURS = {".venv", ".cache", ".pytest_cache", "build", "dist", "shared", "node_modules"}
#: A command line of a program whose options can be looked up begins with one of these.
PROMPT = "$ "
#: Where the repository's files are read: pages, and pictures.
ADDRESSES = (
    "https://github.com/midm-vllm/midm-vllm/blob/main/",
    "https://raw.githubusercontent.com/midm-vllm/midm-vllm/main/",
)


@dataclass(frozen=True)
class Block:
    """A block of code: its page, its line there (from 1), its info string, its text."""

    page: Path
    line: int
    info: str
    text: str

    @property
    def language(self) -> str:
        return self.info.split(" ")[0]

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def pages() -> list[Path]:
    """Every page of the repository, in one order."""
    return sorted(
        page
        for page in REPOSITORY.rglob("*.md")
        if not NOT_OURS.intersection(page.relative_to(REPOSITORY).parts)
    )


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def tokens(page: Path) -> list[Token]:
    return MARKDOWN.parse(page.read_text("utf-8"))


def inline(page: Path) -> Iterator[Token]:
    """The links, pictures and code spans of a page."""
    for token in tokens(page):
        yield from token.children or ()


def blocks(page: Path, *languages: str) -> list[Block]:
    """A page's fenced and indented blocks, of these languages ("" is: none told) or all."""
    found = [
        Block(page, token.map[0] + 1, token.info.strip(), token.content)
        for token in tokens(page)
        if token.type in ("fence", "code_block") and token.map
    ]
    return [block for block in found if not languages or block.language in languages]


def targets(page: Path) -> list[str]:
    """Where the links and pictures of a page lead."""
    return [
        str(token.attrs["href" if token.type == "link_open" else "src"])
        for token in inline(page)
        if token.type in ("link_open", "image")
    ]


def local(target: str, page: Path = REPOSITORY / "README.md") -> Path | None:
    """The file that a link of a page leads to; None for a link to elsewhere.

    The READMEs link with the repository's address, so that the links work on PyPI.
    """
    path = unquote(target).partition("#")[0]
    for prefix in ADDRESSES:
        if path.startswith(prefix):
            return REPOSITORY / path.removeprefix(prefix)
    if "://" in path or path.startswith("mailto:"):
        return None
    return (page.parent / path).resolve() if path else page


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get where such pages are read."""
    read = tokens(page)
    seen: Counter[str] = Counter()
    found = set()
    for heading, content in zip(read, read[1:]):
        if heading.type != "heading_open":
            continue
        text = "".join(child.content for child in content.children or ())
        slug = slugify(text)
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def slugify(heading: str) -> str:
    """Lower case; letters, marks, digits, - and _ stay, blanks become -, the rest goes."""
    kept = (
        character
        for character in heading.strip().lower()
        if character in " -_" or unicodedata.category(character)[0] in "LMN"
    )
    return "".join(kept).replace(" ", "-")


def commands(page: Path) -> list[str]:
    """The command lines a page shows, comments cut off, continued lines joined.

    In a `console` block those behind a prompt; every line of a `sh` block and of
    one without a language (text of other kinds says that it is `text`).
    """
    found = []
    for block in blocks(page, "console", "sh", "bash", ""):
        lines = iter(block.text.replace("\\\n", " ").splitlines())
        for line in lines:
            if block.language == "console":
                if not line.startswith(PROMPT):
                    continue
                line = line.removeprefix(PROMPT)
            while not _is_whole(line):
                line += "\n" + next(lines)
            line = re.sub(r"\s+#\s.*$", "", line.strip())
            if line:
                found.append(line)
    return found


def _is_whole(command: str) -> bool:
    """Whether every quote of a command is closed."""
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True
