"""Fuzz the markup reader, guided by coverage, for as long as you like.

Every text that atheris comes up with must keep the laws: read the same however it is split, and
the same as by the reference reader, which accounts for every character; nothing held back without
need; work that grows with the text alone; no exception. The corpus is a folder of texts, kept
between runs and seeded with the tests' table of cases. Needs the extra `fuzz`; runs until
`--minutes` are over, Ctrl-C, or the first text that breaks a law, which it prints and keeps:
make it a row of scripts/devtools/cases/markup.py.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
from pathlib import Path

import atheris

REPOSITORY = Path(__file__).resolve().parents[2]
CORPUS = REPOSITORY / ".cache" / "fuzz-corpus"
LONGEST_TEXT = 600  # bytes; longer texts find nothing that shorter ones do not, only slower.
WORDS = [
    "<tool_call>", "</tool_call>", '{"name": "a"', '"arguments": {', '"parameters": ', "null",
    '"arguments": "', "\\ud83d", "\\ude00", '\\"', "\\\\", '"}}', "}\n{", "[{", "}]", "가",
]  # fmt: skip

with atheris.instrument_imports(include=["midm_vllm.markup"]):
    import midm_vllm.markup.reader  # noqa: F401
from devtools.cases.markup import CASES  # noqa: E402
from devtools.cases.markup_laws import (  # noqa: E402
    check_against_reference,
    check_promptness,
    check_work,
    cut,
    pieces,
    read,
)


def check(data: bytes) -> None:
    """Check every law for one text; bytes that are no UTF-8 become lone surrogates."""
    text = data.decode(errors="surrogateescape")
    source = random.Random(data)  # What is random must be the same when a finding is repeated.
    check_against_reference(text)
    whole = read(text)
    assert read(*text) == whole
    longest = source.choice([2, 5, 20])
    assert read(*cut(text, [source.randint(0, longest) for _ in text])) == whole
    for _ in range(3):
        check_promptness(text[: source.randint(0, len(text))])
    if source.random() < 0.1:
        check_work(pieces(text * 20, source.choice([1, 3, 40])))


def seed(corpus: Path) -> None:
    """Put the table's texts into the corpus."""
    corpus.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        data = case.text.encode(errors="surrogatepass")
        if len(data) <= LONGEST_TEXT:
            (corpus / hashlib.sha256(data).hexdigest()).write_bytes(data)


def dictionary(file: Path) -> Path:
    """Write the words that a random byte would not find, in libFuzzer's form."""
    escaped = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in WORDS)
    file.write_text("".join(f'"{word}"\n' for word in escaped))
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=0, help="0, the default: no end")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="default: %(default)s")
    options = parser.parse_args()
    seed(options.corpus)
    words = dictionary(options.corpus.with_suffix(".dict"))
    atheris.Setup(
        [
            sys.argv[0],
            str(options.corpus),
            f"-dict={words}",
            f"-max_len={LONGEST_TEXT}",
            f"-max_total_time={options.minutes * 60:.0f}",
            f"-artifact_prefix={options.corpus.with_suffix('')}-finding-",
        ],
        check,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
