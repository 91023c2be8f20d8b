"""A normalized JSON schema in the terms of llguidance.

llguidance enforces what it accepts, and rejects a schema as a whole over one keyword that it does
not support. Here each keyword is passed on, written otherwise, or left out with a finding. Findings
aside, nothing that is written here allows more than the schema. It may allow less: an object that
names members has no others unless it says so.

Combining keywords are multiplied out: a schema becomes a choice of flat ones, so that every object
that is written has all its members' names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from midm_vllm.constrained import limits
from midm_vllm.constrained.compile.flat import compile_flat
from midm_vllm.constrained.json_grammar import Schema
from midm_vllm.constrained.json_schema.disjointness import (
    are_disjoint,
    listed_values,
    types_of,
)
from midm_vllm.constrained.json_schema.findings import Findings
from midm_vllm.constrained.json_schema.inhabitation import endless
from midm_vllm.constrained.json_schema.intersection import (
    evaluated_by,
    intersect,
    restrict_unevaluated,
)
from midm_vllm.constrained.json_schema.keywords import (
    COMBINING,
    EVALUATED,
    NEGATED,
    OF_STRINGS,
)
from midm_vllm.constrained.json_schema.negation import negate
from midm_vllm.constrained.json_schema.normalization import Normalizer
from midm_vllm.constrained.json_schema.values import size

_UNEVALUATED = frozenset(("unevaluatedProperties", "unevaluatedItems"))
#: Keywords for which a schema has to be multiplied out.
_MULTIPLIED = frozenset((*COMBINING, "then", "else", *_UNEVALUATED))


class SchemaCompiler:
    """One schema, compiled.

    Attributes:
        root: The result.
        findings: What it does not enforce, and what it cost.
        needs_validation: Whether llguidance might reject the result.
        endless: References that lead back to themselves. Compile again with these to avoid.
    """

    def __init__(
        self, normalizer: Normalizer, root: Any, limit: int, tracks_evaluated: bool,
        control_tokens: frozenset[str], avoid: frozenset[str] = frozenset(),
    ) -> None:
        self.findings = Findings(limit)
        self.control_tokens = control_tokens
        self.needs_validation = False
        self.unsatisfiable_at = ""
        self._normalizer = normalizer
        self._tracks_evaluated = tracks_evaluated
        self._avoid = avoid
        self._looked_up = 0
        self._sizes: dict[str, int] = {}
        self._is_referred_to: set[str] = set()
        self._pending: list[str] = []
        compiled = self.compile_subschema(root, "$", -1)
        definitions = {}
        self.needs_validation |= bool(self._pending)
        while self._pending:
            key = self._pending.pop()
            definitions[key] = self.compile_subschema(
                normalizer.look_up(key), normalizer.name(key), -1
            )
        self.endless = endless(definitions)
        self.root: Any = (
            {**compiled, "$defs": definitions} if definitions and compiled else compiled
        )

    def compile_subschema(self, schema: Any, place: str, depth: int) -> Any:
        """Compile a schema that stands in another of that depth."""
        depth += 1
        if not self.findings.charge(1, place):
            return {}
        if isinstance(schema, bool):
            return schema
        if depth > limits.MAX_DEPTH:
            self.findings.report("schema", place, f"it nests more than {limits.MAX_DEPTH} deep")
            return {}
        self.needs_validation |= depth > limits.MAX_UNVALIDATED_DEPTH
        if place != "$":  # Arguments are an object, whatever is not enforced of them.
            schema = self._without_needless_type(schema)
        combined = schema.keys() & _MULTIPLIED
        if not combined:
            return compile_flat(self, schema, place, depth)
        if schema.keys() == {"$ref"}:
            return self._compile_reference(schema["$ref"], place)
        if len(schema) == 1 and combined <= {"anyOf", "oneOf"}:
            return self._compile_choice(next(iter(combined)), schema, place, depth)
        return _any_of([
            compile_flat(self, each, place, depth)
            for each in self._multiply_out(schema, place)
        ])

    def _without_needless_type(self, schema: Schema) -> Schema:
        """A schema without a type that all else in it has: a reference alone is not followed."""
        if "type" not in schema or schema.keys().isdisjoint(("$ref", "anyOf", "oneOf")):
            return schema
        rest = {key: value for key, value in schema.items() if key != "type"}
        others = types_of(rest, self.look_up) - types_of({"type": schema["type"]}, self.look_up)
        return schema if others else rest

    def look_up(self, key: str) -> Any:
        """The schema that a normalized ``$ref`` means, to compare it with others.

        The reference itself where what was compared is too large.
        """
        schema = self._normalizer.look_up(key)
        if key not in self._sizes:
            self._sizes[key] = size(schema)
        self._looked_up += self._sizes[key]
        is_affordable = self._looked_up <= limits.COMPARED_PER_NODE * self.findings.limit
        return schema if is_affordable else {"$ref": key}

    def _compile_reference(self, key: str, place: str) -> Any:
        if key in self._avoid:
            self.findings.report("$ref", place, self._leads_back(key))
            return {}
        if isinstance(self._normalizer.look_up(key), bool):
            return self._normalizer.look_up(key)
        if key not in self._is_referred_to:
            self._is_referred_to.add(key)
            self._pending.append(key)
        return {"$ref": f"#/$defs/{key}"}

    def _leads_back(self, key: str) -> str:
        return f"{self._normalizer.name(key)!r:.80} leads back to itself without end"

    def _compile_choice(self, keyword: str, schema: Schema, place: str, depth: int) -> Any:
        """``anyOf`` or ``oneOf`` with nothing beside."""
        branches = self._branches(keyword, schema, place)
        values = listed_values(branches)
        if values is not None:
            return compile_flat(self, {"enum": values}, place, depth)
        strings = sum(
            isinstance(branch, dict) and not OF_STRINGS.isdisjoint(branch) for branch in branches
        )
        if strings > limits.MAX_STRINGS:
            self.findings.report(
                keyword, place, f"it has more than {limits.MAX_STRINGS} strings with conditions"
            )
            return {}
        return _any_of([
            self.compile_subschema(branch, f"{place}.{keyword}[{number}]", depth)
            for number, branch in enumerate(branches)
        ])

    def _branches(self, keyword: str, schema: Schema, place: str) -> list[Any]:
        """What a keyword lets choose from; for ``oneOf``, without what others match too."""
        branches: list[Any] = schema[keyword]
        if len(branches) > limits.MAX_BRANCHES and listed_values(branches) is None:
            self.findings.report(keyword, place, f"it has more than {limits.MAX_BRANCHES} schemas")
            return [True]
        if keyword == "oneOf" and not are_disjoint(branches, self.look_up):
            exclusive = self._make_exclusive(branches, schema, place)
            if exclusive is not None:
                return exclusive
            self.findings.report(
                "oneOf", place, "a value could match more than one of its schemas; use 'anyOf', "
                "or a required member with another 'const' in each"
            )
        return branches

    def _make_exclusive(
        self, branches: list[Any], schema: Schema, place: str
    ) -> list[Any] | None:
        """Branches of which no two match the same value; None where they are not found."""
        if len(branches) > limits.MAX_EXCLUSIVE_BRANCHES:
            return None
        if not self.findings.charge(sum(map(_weight, branches)) * len(branches) // 2, place):
            return None
        around = {key: value for key, value in schema.items() if key != "oneOf"}
        exclusive = []
        for number, branch in enumerate(branches):
            base = {**around, **branch} if isinstance(branch, dict) else around
            negated = [
                negate(other, base, self.look_up) for index, other in enumerate(branches)
                if index != number and not are_disjoint((branch, other), self.look_up)
            ]
            if None in negated:
                return None
            exclusive.append({"allOf": [branch], NEGATED: negated} if negated else branch)
        return exclusive if types_of({"anyOf": exclusive}, self.look_up) else None

    # Multiplying out.

    def _multiply_out(
        self, schema: Any, place: str, followed: int = 0, evaluates: bool = True
    ) -> list[Any]:
        """A schema as a choice of flat ones."""
        if isinstance(schema, bool):
            return [schema]
        if not self.findings.charge(1, place):
            return [True]
        flat = {key: value for key, value in schema.items() if key not in _MULTIPLIED}
        if self._tracks_evaluated and evaluates:
            flat[EVALUATED] = evaluated_by(flat)
        results: list[Any] = [flat]
        is_complete = True
        for keyword, factor in self._factors(schema, place):
            if isinstance(factor, list) and followed > limits.MAX_FOLLOWED:
                factor = "what it means leads on and on, or back to itself"
            expanded = [] if isinstance(factor, str) else [
                each for branch in factor for each in self._multiply_out(
                    branch, place, followed + 1, evaluates and keyword != NEGATED
                )
            ]
            if len(results) * len(expanded) > limits.MAX_ALTERNATIVES:
                factor = f"it combines to more than {limits.MAX_ALTERNATIVES} schemas"
            if isinstance(factor, str):
                name = "not" if keyword == NEGATED else keyword
                self.findings.report(name, place, factor)
                is_complete = False
                continue
            cost = sum(map(_weight, results)) * len(expanded)
            cost += sum(map(_weight, expanded)) * len(results)
            if not self.findings.charge(cost // 2, place):
                return [True]
            results = [intersect(result, each) for result in results for each in expanded]
            results = [each for each in results if each is not False] or [False]
        unevaluated = schema.keys() & _UNEVALUATED
        if unevaluated and is_complete:
            members, items = map(schema.get, ("unevaluatedProperties", "unevaluatedItems"))
            return [restrict_unevaluated(each, members, items) for each in results]
        for keyword in unevaluated:
            self.findings.report(keyword, place, "what others evaluate cannot be told")
        return results

    def _factors(self, schema: Schema, place: str) -> Iterator[tuple[str, list[Any] | str]]:
        """Of each combining keyword, the schemas of which one has to hold beside the rest.

        Or why it is not enforced.
        """
        base = {key: value for key, value in schema.items() if key not in ("not", "if")}
        for keyword in COMBINING:
            if keyword not in schema:
                continue
            value = schema[keyword]
            if keyword == "$ref":
                leads_back = value in self._avoid
                yield keyword, (
                    self._leads_back(value) if leads_back else [self._normalizer.look_up(value)]
                )
            elif keyword in ("allOf", NEGATED):
                for branch in value:
                    yield keyword, [branch]
            elif keyword in ("anyOf", "oneOf"):
                branches = self._branches(keyword, schema, place)
                values = listed_values(branches)
                yield keyword, branches if values is None else [{"enum": values}]
            elif keyword == "not":
                negated = negate(value, base, self.look_up)
                if negated and not types_of({**base, NEGATED: [negated]}, self.look_up):
                    negated = None
                if negated is None:
                    yield keyword, "what it excludes cannot be told from the rest"
                else:
                    yield NEGATED, [negated]
            elif keyword == "if":
                yield keyword, self._condition(schema, base)
            else:
                for name, needed in value.items():
                    absent = {"properties": {name: False}}
                    yield keyword, [absent, {"required": [name], "allOf": [needed]}]

    def _condition(self, schema: Schema, base: Schema) -> list[Any] | str:
        """``if`` with ``then`` and ``else``, as a choice."""
        condition = schema["if"]
        then, otherwise = schema.get("then", True), schema.get("else", True)
        if then is True and otherwise is True and not self._tracks_evaluated:
            return [True]
        negated = negate(condition, base, self.look_up)
        if negated is None:
            return "what does not match it cannot be told from what does"
        return [{"allOf": [condition, then]}, {NEGATED: [negated], "allOf": [otherwise]}]


def _any_of(schemas: list[Any]) -> Any:
    """A choice of compiled schemas."""
    # The same twice has llguidance follow both, and in recursion all their combinations.
    possible = []
    references = set()
    for schema in schemas:
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        if schema is not False and reference not in references:
            possible.append(schema)
        references |= {reference} if reference else set()
    if len(possible) < 2:
        return possible[0] if possible else False
    return {"anyOf": possible}


def _weight(flat: Any) -> int:
    """What it costs to intersect a flat schema with another, or to negate it."""
    if not isinstance(flat, dict):
        return 1
    parts = (flat.get(key) for key in ("properties", "required", "prefixItems"))
    compared = len(flat.get("patternProperties", ())) * len(flat.get("properties", ()))
    values = size(flat["enum"]) if "enum" in flat else 0
    return 1 + (values + sum(len(part) for part in parts if part)) // 4 + 2 * compared
