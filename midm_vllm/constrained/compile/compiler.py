"""A JSON schema in the words that llguidance takes, and what of it could not be said.

llguidance enforces what it accepts, and refuses a schema as a whole over one keyword that it
does not know. Here each keyword is passed on, said otherwise, or left out; what is left out
though it means something is a ``Finding``. Findings aside, nothing that is written here allows
more than the schema. It may allow less: an object that names members has no others unless it
says so.

Combining keywords are multiplied out: a schema becomes a choice of flat ones, so that every
object that is written knows all its members' names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from midm_vllm.constrained.json_schema.negation import all_disjoint, choices, denial, disjoint
from midm_vllm.constrained.json_schema.drafts import is_before_2019, modern
from midm_vllm.constrained.json_schema.inhabitation import endless
from midm_vllm.constrained.json_schema.intersection import merged
from midm_vllm.constrained.json_schema.keywords import ANNOTATIONS, COMBINING, FLAT
from midm_vllm.constrained.compile.emit import write_flat

Schema = dict[str, Any]

MAX_DEPTH = 48
#: More than that nobody reads, and each is a line in the log.
MAX_FINDINGS = 50
#: How many flat schemas one becomes, at most.
MAX_ALTERNATIVES = 200
MAX_BRANCHES = 1000
#: Strings with conditions among the branches of one choice: the lexer follows them all at once.
MAX_STRINGS = 32
#: ``oneOf`` is parted pair by pair up to as many schemas.
MAX_PARTED = 16
#: References that are followed to merge what they mean with what stands beside them.
MAX_FOLLOWED = 8


#: How the reason begins where there was no room left for a schema.
TOO_LARGE = "it is larger than what is left of the request's"


@dataclass(frozen=True)
class Finding:
    """A keyword at a place (``$.a.b``) of a schema that is not enforced, and why."""

    keyword: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.keyword!r} at {self.place}: {self.reason}"


class SchemaCompiler:
    """One schema, rewritten.

    ``root`` is the result, ``findings`` what it does not enforce, ``nodes`` what it cost, and
    ``circles`` the references that lead back to themselves, with which no grammar can be made, or
    none that comes to an end: rewrite again with these to ``avoid``.
    """

    def __init__(self, document: Any, limit: int, avoid: frozenset[str] = frozenset()) -> None:
        #: In the order in which they were made; a set would forget it.
        self.findings: dict[Finding, None] = {}
        self.places: dict[int, str] = {}
        #: Patterns for the names of further members.
        self.other_names: set[str] = set()
        self.nodes = 0
        self.impossible = ""
        self._limit = limit
        self._document = document
        self._avoid = avoid
        self._before_2019 = is_before_2019(document)
        self._base = document.get("$id", document.get("id")) if isinstance(document, dict) else ""
        self._anchors: dict[str, Any] | None = None
        self._looked = 0
        self._names: dict[str, str] = {}
        self._pending: list[str] = []
        #: Which definition leads to which without a member or an item in between.
        self._leads: dict[str, set[str]] = {}
        self._open = ""
        root = self.node(document, "$", -1)
        definitions = {}
        while self._pending:
            reference = self._pending.pop()
            self._open = reference
            definitions[self._names[reference]] = self._write(
                self._resolve(reference), reference, 0
            )
        without_end = endless(definitions)
        self.circles = frozenset(self._in_circles()).union(
            reference for reference, name in self._names.items() if name in without_end
        )
        self.root: Any = {**root, "$defs": definitions} if definitions and root else root

    def free(self, keyword: str, place: str, reason: str) -> None:
        """Note that a keyword is not enforced."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings[Finding(keyword, place, reason)] = None

    def node(self, schema: Any, place: str, depth: int) -> Any:
        """Write the schema of another value than the one around it."""
        open_before, self._open = self._open, ""
        written = self._write(schema, place, depth + 1)
        self._open = open_before
        return written

    def _write(self, schema: Any, place: str, depth: int) -> Any:
        if not self.counts(1, place):
            return {}
        if isinstance(schema, bool):
            return schema
        if depth > MAX_DEPTH:
            self.free("schema", place, f"it nests more than {MAX_DEPTH} deep")
            return {}
        if not isinstance(schema, dict):
            self.free("schema", place, "it is no JSON schema")
            return {}
        schema = modern(schema, self._before_2019)
        flat = _without_combining(schema)
        combined = [keyword for keyword in COMBINING if keyword in schema]
        if not combined:
            written = write_flat(self, flat, place, depth)
        elif combined == ["$ref"] and not flat:
            written = self._reference(schema["$ref"], place)
        elif len(combined) == 1 and combined[0] in ("anyOf", "oneOf") and not flat:
            written = self._choice(combined[0], schema, place, depth)
        else:
            written = self._any_of([
                each and write_flat(self, {} if each is True else each, place, depth)
                for each in self._alternatives(schema, place, 0)
            ])
        self.places[id(written)] = place
        return written

    def counts(self, nodes: int, place: str) -> bool:
        """Count what is written; False, with a finding, where there is no room for it."""
        if self.nodes + nodes > self._limit:
            self.free("schema", place, f"{TOO_LARGE} {self._limit} nodes")
            return False
        self.nodes += nodes
        return True

    def _choice(self, keyword: str, schema: Schema, place: str, depth: int) -> Any:
        """``anyOf`` or ``oneOf`` with nothing beside."""
        branches = self._branches(keyword, schema, place)
        values = _listed(branches)
        if values is not None:
            return write_flat(self, {"enum": values}, place, depth)
        conditions = ("minLength", "maxLength", "pattern", "format")
        if sum(
            isinstance(branch, dict) and any(key in branch for key in conditions)
            for branch in branches
        ) > MAX_STRINGS:
            self.free(keyword, place, f"it has more than {MAX_STRINGS} strings with conditions")
            return {}
        return self._any_of([
            self._write(branch, f"{place}.{keyword}[{number}]", depth + 1)
            for number, branch in enumerate(branches)
        ])

    @staticmethod
    def _any_of(schemas: list[Any]) -> Any:
        # The same twice has llguidance follow both, and in recursion all their combinations.
        possible = []
        references = set()
        for schema in schemas:
            named = schema.get("$ref") if isinstance(schema, dict) else None
            if schema is not False and named not in references:
                possible.append(schema)
            references |= {named} if named else set()
        if len(possible) < 2:
            return possible[0] if possible else False
        return {"anyOf": possible}

    def _branches(self, keyword: str, schema: Schema, place: str) -> list[Any]:
        """What a keyword lets choose from; for ``oneOf``, without what others match too."""
        branches = schema[keyword]
        if not (isinstance(branches, list) and branches):
            self.free(keyword, place, "it is no list of schemas")
            return [True]
        if len(branches) > MAX_BRANCHES and _listed(branches) is None:
            self.free(keyword, place, f"it has more than {MAX_BRANCHES} schemas")
            return [True]
        if keyword == "oneOf" and not all_disjoint(branches, self.look_up):
            around = {key: value for key, value in schema.items() if key != "oneOf"}
            parted = list(self._parted(branches, around))
            if parted and None not in parted:
                return parted
            self.free(
                "oneOf", place, "a value could match more than one of its schemas; use 'anyOf', "
                "or a required member with another 'const' in each"
            )
        return branches

    def _parted(self, branches: list[Any], around: Schema) -> Iterator[Any]:
        if len(branches) > MAX_PARTED:
            return
        for number, branch in enumerate(branches):
            others = [
                other for index, other in enumerate(branches)
                if index != number and not disjoint(branch, other, self.look_up)
            ]
            base = {**around, **branch} if isinstance(branch, dict) else around
            denied = [denial(other, base, self.look_up) for other in others]
            if None in denied:
                yield None
            else:
                yield {"allOf": [branch, *denied]} if denied else branch

    def _alternatives(self, schema: Any, place: str, followed: int) -> list[Any]:
        """A schema as a choice of flat ones."""
        if isinstance(schema, bool):
            return [schema]
        if not isinstance(schema, dict):
            self.free("schema", place, "it is no JSON schema")
            return [True]
        if not self.counts(1, place):
            return [True]
        schema = modern(schema, self._before_2019)
        results: list[Any] = [_without_combining(schema)]
        for keyword, factor in self._factors(schema, place):
            if followed > MAX_FOLLOWED:
                self.free(keyword, place, "what it means leads on and on, or back to itself")
                continue
            expanded = [
                flat for branch in factor
                for flat in self._alternatives(branch, place, followed + 1)
            ]
            if len(results) * len(expanded) > MAX_ALTERNATIVES:
                self.free(keyword, place, f"it combines to more than {MAX_ALTERNATIVES} schemas")
                continue
            cost = sum(map(_weight, results)) * len(expanded)
            cost += sum(map(_weight, expanded)) * len(results)
            if not self.counts(cost // 2, place):
                return [True]
            results = [merged(result, flat) for result in results for flat in expanded]
            results = [each for each in results if each is not False] or [False]
        return results

    def _factors(self, schema: Schema, place: str) -> Iterator[tuple[str, list[Any]]]:
        """Of each combining keyword, the schemas of which one has to hold beside the rest."""
        base = {key: value for key, value in schema.items() if key not in ("not", "if")}
        for keyword in COMBINING:
            if keyword not in schema:
                continue
            value = schema[keyword]
            if keyword == "$ref":
                target = self._target(value, place)
                if target is not None:
                    yield keyword, [target]
            elif keyword == "allOf":
                for branch in value if isinstance(value, list) else ():
                    yield keyword, [branch]
            elif keyword in ("anyOf", "oneOf"):
                branches = self._branches(keyword, schema, place)
                values = _listed(branches)
                yield keyword, branches if values is None else [{"enum": values}]
            elif keyword == "not":
                denied = denial(value, base, self.look_up)
                if denied is None:
                    self.free("not", place, "what it excludes cannot be told from the rest")
                else:
                    yield keyword, [denied]
            elif keyword == "if":
                yield from self._condition(schema, base, place)
            elif not isinstance(value, dict):
                self.free(keyword, place, "it is no object of schemas")
            else:
                for name, needed in value.items():
                    more = {"required": [name, *needed]} if isinstance(needed, list) else {
                        "required": [name], "allOf": [needed]
                    }
                    yield keyword, [{"properties": {name: False}}, more]

    def _condition(
        self, schema: Schema, base: Schema, place: str
    ) -> Iterator[tuple[str, list[Any]]]:
        condition = schema["if"]
        then, otherwise = schema.get("then", True), schema.get("else", True)
        if then is True and otherwise is True:
            return
        denied = denial(condition, base, self.look_up)
        if denied is None:
            self.free("if", place, "what does not match it cannot be told from what does")
        else:
            yield "if", [{"allOf": [condition, then]}, {"allOf": [denied, otherwise]}]

    # References.

    def _reference(self, reference: Any, place: str) -> Schema:
        if self._target(reference, place) is None:
            return {}
        if reference not in self._names:
            self._names[reference] = f"d{len(self._names)}"
            self._pending.append(reference)
        if self._open:
            self._leads.setdefault(self._open, set()).add(reference)
        return {"$ref": f"#/$defs/{self._names[reference]}"}

    def _target(self, reference: Any, place: str) -> Any:
        """What a reference means, or None with a finding."""
        target = self._resolve(reference) if isinstance(reference, str) else None
        if target is None:
            self.free("$ref", place, f"{reference!r:.80} points to nothing in the schema")
        elif reference in self._avoid:
            self.free("$ref", place, f"{reference!r:.80} leads back to itself without end")
            return None
        return target

    def look_up(self, reference: str) -> Any:
        """What a reference means to those that compare schemas, who may lose themselves in it."""
        self._looked += 1
        return self._resolve(reference) if self._looked <= self._limit else None

    def _resolve(self, reference: str) -> Any:
        if isinstance(self._base, str) and self._base and reference.startswith(self._base):
            reference = reference[len(self._base.rstrip("#")):] or "#"
        if reference == "#":
            return self._document
        if not reference.startswith("#/"):
            return self._anchored(reference[1:]) if reference.startswith("#") else None
        target: Any = self._document
        for part in unquote(reference).split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            try:
                target = target[int(part) if isinstance(target, list) else part]
            except (KeyError, IndexError, ValueError, TypeError):
                return None
            if isinstance(target, dict) and isinstance(target.get("$id"), str) and (
                _refers(target)
            ):
                return None  # What it refers to is relative to its own name.
        return target if isinstance(target, (dict, bool)) else None

    def _anchored(self, anchor: str) -> Any:
        if self._anchors is None:
            self._anchors = {}
            level = [self._document]
            for _ in range(MAX_DEPTH):
                for each in level:
                    for key in ("$anchor", "$id"):
                        if isinstance(each, dict) and isinstance(each.get(key), str):
                            self._anchors.setdefault(each[key].removeprefix("#"), each)
                level = [
                    child for each in level if isinstance(each, (dict, list))
                    for child in (each.values() if isinstance(each, dict) else each)
                ]
        return self._anchors.get(anchor)

    def _in_circles(self) -> Iterator[str]:
        leads = {name: set(led) for name, led in self._leads.items()}
        led_by: dict[str, list[str]] = {}
        for name, led in leads.items():
            for each in led:
                led_by.setdefault(each, []).append(name)
        # Those that lead nowhere, and then those that led to them only.
        ends = [name for name in led_by if name not in leads]
        while ends:
            end = ends.pop()
            for name in led_by.get(end, ()):
                leads[name].discard(end)
                if not leads[name]:
                    del leads[name]
                    ends.append(name)
        for start in leads:
            seen: set[str] = set()
            ahead = list(self._leads[start])
            while ahead and start not in seen:
                reference = ahead.pop()
                if reference not in seen:
                    seen.add(reference)
                    ahead.extend(self._leads.get(reference, ()))
            if start in seen:
                yield start


def _weight(flat: Any) -> int:
    """What it costs to merge a flat schema with another."""
    if not isinstance(flat, dict):
        return 1
    parts = (flat.get(key) for key in ("properties", "required", "enum", "prefixItems"))
    return 1 + sum(len(part) for part in parts if isinstance(part, (dict, list))) // 4


def _without_combining(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key in FLAT}


def _listed(branches: list[Any]) -> list[Any] | None:
    """The values of branches that only list values."""
    values = []
    for branch in branches:
        listed = choices(branch)
        if listed is None or branch.keys() - ANNOTATIONS - {"const", "enum"}:
            return None
        values += listed
    return values


def _refers(schema: Any) -> bool:
    level = [schema]
    for _ in range(MAX_DEPTH):
        if any(isinstance(each, dict) and "$ref" in each for each in level):
            return True
        level = [
            child for each in level if isinstance(each, (dict, list))
            for child in (each.values() if isinstance(each, dict) else each)
        ]
    return False
