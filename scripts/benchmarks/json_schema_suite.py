"""Measure the official JSON Schema Test Suite: ours, xgrammar's and llguidance's side by side.

Each schema is taken twice: as a function's parameters (``arguments``: its instances are those that
are objects), and as the schema of one member (``property``). Right is a grammar that accepts every
valid instance, as ``json.dumps`` writes it, and no invalid one. A schema that is not enforced
exactly counts as rejected, as with ``"strict": true``.

The suite comes with the source distribution of ``jsonschema``, which is downloaded into ``.cache``.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench_schemas import WAYS, Accepts
from devtools.source_distribution import unpacked
from rich.console import Console
from rich.table import Table

VERSION = "4.26.0"
SHA256 = "0c26707e2efad8aa1bfc5b7ce170f3fccc2e4918ff85989ba9ffa9facb2be326"
#: The suite's folder of each draft that is understood -> its ``$schema``.
DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}
PLACES = ("property", "arguments")


@dataclass(frozen=True)
class Case:
    """A schema and its instances, which are valid or not."""

    name: str
    schema: Any
    tests: list[tuple[Any, bool]]


def suite() -> Path:
    """The suite's folder of tests, downloaded unless it is there."""
    return unpacked(
        "jsonschema", VERSION, SHA256, lambda name: name.partition("/json/tests/")[2]
    )


def cases(draft: str, place: str) -> Iterator[Case]:
    """The required tests of a draft."""
    for file in sorted((suite() / draft).glob("*.json")):
        for group in json.loads(file.read_text("utf-8")):
            name = f"{draft}/{file.stem}: {group['description']}"
            schema = group["schema"]
            if isinstance(schema, dict):
                schema = {"$schema": DRAFTS[draft], **schema}
            tests = [(test["data"], test["valid"]) for test in group["tests"]]
            if place == "property":
                schema = wrapped(schema, DRAFTS[draft])
                tests = [({"x": data}, valid) for data, valid in tests]
            else:
                tests = [(data, valid) for data, valid in tests if isinstance(data, dict)]
            if tests:
                yield Case(name, schema, tests)


def wrapped(schema: Any, draft: str) -> Any:
    """A schema as that of the one member of an object."""
    member = schema
    if isinstance(schema, dict) and "$id" not in schema and "id" not in schema:
        member = relocated(schema)
    return {"$schema": draft, "type": "object", "properties": {"x": member}, "required": ["x"],
            "additionalProperties": False}


def relocated(part: Any) -> Any:
    """What refers to the document's root, referring to its new place."""
    if isinstance(part, list):
        return [relocated(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        key: f"#/properties/x{value[1:]}"
        if key in ("$ref", "$recursiveRef") and value in ("#",) or (
            key == "$ref" and isinstance(value, str) and value.startswith("#/"))
        else value if key in ("enum", "const") else relocated(value)
        for key, value in part.items()
    }


def measure(
    way: Callable[[Any], Accepts | None], drafts: list[str], place: str,
    tell: Callable[[str], None] = lambda _: None,
) -> Counter[str]:
    """Counts of schemas and instances; ``tell`` is told of what is not right."""
    counts: Counter[str] = Counter()
    for draft in drafts:
        for case in cases(draft, place):
            counts["schemas"] += 1
            try:
                accepts = way(case.schema)
            except Exception as error:
                counts["exceptions"] += 1
                tell(f"exception\t{case.name}\t{error!r}")
                continue
            if accepts is None:
                counts["rejected"] += 1
                tell(f"rejected\t{case.name}")
                continue
            is_right = True
            for data, valid in case.tests:
                accepted = accepts(json.dumps(data, ensure_ascii=False))
                kind = "valid" if valid else "invalid"
                counts[kind] += 1
                counts[f"{kind} accepted"] += accepted
                if accepted != valid:
                    is_right = False
                    tell(f"{kind} {'accepted' if accepted else 'refused'}\t{case.name}\t"
                         f"{json.dumps(data, ensure_ascii=False)}\t{json.dumps(case.schema)}")
            counts["right"] += is_right
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--drafts", nargs="+", choices=DRAFTS, metavar="DRAFT",
                        default=["draft7", "draft2019-09", "draft2020-12"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, metavar="WAY", default=list(WAYS))
    parser.add_argument("--tell", action="store_true", help="print what is not right")
    options = parser.parse_args()
    table = Table("", "schema as", "schemas", "rejected", "exceptions", "invalid accepted",
                  "valid accepted", "entirely right", title=", ".join(options.drafts))
    for name in options.ways:
        for place in PLACES:
            got = measure(WAYS[name], options.drafts, place,
                          print if options.tell else lambda _: None)
            table.add_row(
                name, place, str(got["schemas"]), str(got["rejected"]), str(got["exceptions"]),
                f"{got['invalid accepted']} of {got['invalid']}",
                f"{got['valid accepted']} of {got['valid']}",
                f"{got['right'] / got['schemas']:.1%}",
            )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
