"""Measure other people's schemas: ours, xgrammar's and llguidance's own reading side by side.

A file (``.jsonl``, also ``.gz``) has a line for each schema: ``schema``, and ``tests`` of ``data``
and ``valid``. Right is a grammar that accepts every valid instance, as ``json.dumps`` writes it,
and no invalid one. A schema that is not enforced exactly counts as refused, as strict does it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import xgrammar
from llguidance import LLMatcher, LLTokenizer
from rich.console import Console
from rich.table import Table
from xgrammar.testing import _is_grammar_accept_string

from midm_vllm.constrained.tool_schema import compile_schema
from midm_vllm.constrained.json_grammar import WHITESPACE

#: Takes a text, and says whether the grammar allows it.
Accepts = Callable[[str], bool]
TOKENIZER = LLTokenizer("byte")


def ours(schema: Any) -> Accepts | None:
    read = compile_schema(schema)
    return read.accepts if read.is_exact else None


def llguidance(schema: Any) -> Accepts | None:
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), defaults=WHITESPACE)
    if LLMatcher.validate_grammar(grammar, TOKENIZER):
        return None

    def accepts(text: str) -> bool:
        matcher = LLMatcher(TOKENIZER, grammar, log_level=0)
        data = text.encode()
        taken = matcher.try_consume_tokens(list(data)) == len(data)
        return bool(taken and matcher.is_accepting())

    return accepts


def xgrammars(schema: Any) -> Accepts | None:
    try:
        grammar = xgrammar.Grammar.from_json_schema(
            json.dumps(schema), any_whitespace=False, separators=(", ", ": "), strict_mode=True
        )
    except RuntimeError:
        return None
    return lambda text: bool(_is_grammar_accept_string(grammar, text))


WAYS = {"ours": ours, "xgrammar": xgrammars, "llguidance": llguidance}


def cases(file: Path) -> Iterator[dict[str, Any]]:
    with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def measure(way: Callable[[Any], Accepts | None], file: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    for case in cases(file):
        start = time.perf_counter()
        accepts = way(case["schema"])
        micros = round((time.perf_counter() - start) * 1e6)
        counts["micros"] += micros
        counts["slowest"] = max(counts["slowest"], micros)
        counts["schemas"] += 1
        if accepts is None:
            counts["refused"] += 1
            continue
        right = True
        for test in case.get("tests", ()):
            accepted = accepts(json.dumps(test["data"], ensure_ascii=False))
            counts[f"{'valid' if test['valid'] else 'invalid'}"] += 1
            counts[f"{'valid' if test['valid'] else 'invalid'} accepted"] += accepted
            right &= accepted == test["valid"]
        counts["right"] += right
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    for file in parser.parse_args().files:
        table = Table("", "schemas", "refused", "valid accepted", "invalid accepted",
                      "entirely right", "ms a schema", "slowest ms", title=file.name)
        for name, way in WAYS.items():
            got = measure(way, file)
            table.add_row(
                name, str(got["schemas"]), str(got["refused"]),
                f"{got['valid accepted']} of {got['valid']}",
                f"{got['invalid accepted']} of {got['invalid']}",
                f"{got['right'] / max(1, got['schemas']):.1%}",
                f"{got['micros'] / max(1, got['schemas']) / 1000:.2f}",
                f"{got['slowest'] / 1000:.0f}",
            )
        Console().print(table)


if __name__ == "__main__":
    main()
