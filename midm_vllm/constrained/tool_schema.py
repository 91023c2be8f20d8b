"""What of a tool's schema is enforced when the model writes the tool's arguments.

``read_schema`` is the one place to ask: it says what is enforced, what is left free and why,
and whether a text would be accepted. The server and the benchmark ask
here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from midm_vllm.constrained.rewriting import Finding, Rewriting

#: What the schemas of a request may cost together: a schema inside a schema is one node, and so
#: are 20 values to choose from, or 500 characters of them. Half of 0.1 seconds on a slow core.
NODES = 2000
#: How a value is written, the text's spaces included: as ``json.dumps`` writes it.
SPACING: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_ANY_OBJECT = {"type": "object"}
#: How often a schema is given to llguidance to find out what it does not take.
_TRIALS = 60
# Where llguidance's message says where in the grammar it stopped.
_where = re.compile(r"^at [^:]*: (?:failed to compile JSON schema: )?")


@dataclass(frozen=True)
class ToolSchema:
    """The grammar of a tool's arguments, and what it leaves free.

    ``schema`` is in the words of llguidance; ``findings`` are the keywords of the original that
    it does not enforce, with place and reason: none means that nothing invalid is accepted.
    ``nodes`` is the cost, of what ``NODES`` allows to a request.
    """

    schema: Mapping[str, Any]
    findings: tuple[Finding, ...]
    nodes: int

    @property
    def is_exact(self) -> bool:
        """Whether every text that is accepted is valid by the schema."""
        return not self.findings

    @cached_property
    def grammar(self) -> str:
        """The schema with the spacing, to be written into a grammar after ``%json``."""
        return json.dumps({**self.schema, "x-guidance": SPACING}, ensure_ascii=False)

    def accepts(self, text: str) -> bool:
        """Whether the model could write this text as the arguments."""
        try:
            text_bytes = text.encode()
        except UnicodeEncodeError:
            return False
        matcher = LLMatcher(_tokenizer(), f"start: args\nargs: %json {self.grammar}", log_level=0)
        return bool(
            matcher.try_consume_tokens(list(text_bytes)) == len(text_bytes)
            and matcher.is_accepting()
        )


def read_schema(parameters: Any, nodes: int = NODES) -> ToolSchema:
    """What of a function's ``parameters`` is enforced. Never refuses, and never takes long.

    ``None`` and ``{}`` are a function without parameters: its arguments are ``{}``. Anything
    that is no JSON schema leaves the arguments any JSON object, with a finding.
    """
    return read_object(parameters or {"type": "object", "properties": {}}, nodes, arguments=True)


def read_object(schema: Any, nodes: int = NODES, arguments: bool = False) -> ToolSchema:
    """The same for any schema, as of an answer's format; ``arguments`` have to be objects."""
    try:
        text = json.dumps(schema, ensure_ascii=False)
        text.encode()
    except (RecursionError, UnicodeEncodeError, TypeError, ValueError):
        return free_schema("it nests too deep, or is no JSON")
    if len(text) > 500 * nodes:
        return free_schema(f"it is larger than {nodes} nodes")
    return _read(text, nodes, arguments)


def free_schema(reason: str) -> ToolSchema:
    """Any object, with the reason why no more of the schema is enforced."""
    return ToolSchema(_ANY_OBJECT, (Finding("schema", "$", reason),), 1)


@lru_cache(maxsize=1024)  # Agents send the same tools with every request.
def _read(text: str, nodes: int, arguments: bool) -> ToolSchema:
    document = json.loads(text)
    if not isinstance(document, dict):
        return free_schema("it is no JSON schema")
    if arguments:
        kind = document.get("type", "object")
        if kind != "object" and not (isinstance(kind, list) and "object" in kind):
            return free_schema(f"a function's parameters are an object, not {kind!r:.40}")
    rewriting = Rewriting(document, nodes)
    if rewriting.circles:
        rewriting = Rewriting(document, nodes, rewriting.circles)
    findings = list(rewriting.findings)
    root = rewriting.root
    if root is False:
        reason = "no value is possible"
        findings.append(Finding("schema", rewriting.impossible or "$", reason))
        root = _ANY_OBJECT if arguments else {}
    if len(json.dumps(root)) > 100 * nodes:
        return free_schema(f"written out it is larger than {nodes} nodes")
    if arguments:
        root = _as_object(root)
    root, more = _loosened(root, rewriting.places, min(_TRIALS, 3 * nodes // rewriting.nodes))
    findings += more
    if any(finding.keyword == "schema" and finding.place == "$" for finding in findings):
        root = _ANY_OBJECT if arguments else {}
    return ToolSchema(root, tuple(findings), rewriting.nodes)


def _as_object(root: dict[str, Any]) -> dict[str, Any]:
    if root.get("type") == "object":
        return root
    if "type" in root and "anyOf" not in root:
        return {**root, "type": "object"}
    definitions = {"$defs": root["$defs"]} if "$defs" in root else {}
    inside = {key: value for key, value in root.items() if key != "$defs"}
    if not inside:
        return {**_ANY_OBJECT, **definitions}
    if inside.keys() == {"anyOf"}:
        return {"anyOf": [
            each if "$ref" in each or "anyOf" in each else {**each, "type": "object"}
            for each in inside["anyOf"]
        ], **definitions} if not any(
            "$ref" in each or "anyOf" in each for each in inside["anyOf"]
        ) else {"allOf": [_ANY_OBJECT, inside], **definitions}
    return {"allOf": [_ANY_OBJECT, inside], **definitions} if "$ref" in inside else {
        **root, "type": "object"
    }


# What llguidance does not take though it was written for it.


def _loosened(
    root: dict[str, Any], places: Mapping[int, str], most: int
) -> tuple[dict[str, Any], list[Finding]]:
    """The schema without what llguidance refuses, found by trial: place by place."""
    findings: list[Finding] = []
    reason = _refusal(root)
    trials = 0
    while reason and trials < most:
        culprit = root
        reason_there = reason
        descending = True
        while descending and trials < most:
            descending = False
            for holder, key in _inside(culprit):
                child = holder[key]
                trials += 1
                why = _refusal({**child, "$defs": root.get("$defs", {})})
                if why:
                    culprit, reason_there, descending = child, why, True
                    where = (holder, key)
                    break
        place = places.get(id(culprit), "$")
        is_pattern = "pattern" in culprit and "egex" in reason_there
        findings.append(Finding("pattern" if is_pattern else "schema", place, reason_there))
        if culprit is root:
            return _ANY_OBJECT, findings
        left = {key: value for key, value in culprit.items() if key not in ("pattern", "allOf")}
        where[0][where[1]] = left if is_pattern else {}
        reason = _refusal(root)
    if reason:
        return _ANY_OBJECT, [*findings, Finding("schema", "$", reason)]
    return root, findings


def _inside(schema: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    for keyword in ("properties", "patternProperties", "$defs"):
        holder = schema.get(keyword, {})
        yield from ((holder, key) for key in holder if isinstance(holder[key], dict))
    for keyword in ("anyOf", "allOf", "prefixItems"):
        holder = schema.get(keyword, [])
        yield from (
            (holder, key) for key in range(len(holder)) if isinstance(holder[key], dict)
        )
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield schema, keyword


def _refusal(schema: dict[str, Any]) -> str:
    grammar = f"start: args\nargs: %json {json.dumps(schema, ensure_ascii=False)}"
    message: str = LLMatcher.validate_grammar(grammar, _tokenizer())
    return _where.sub("", message.splitlines()[0])[:200] if message else ""


@lru_cache(maxsize=1)
def _tokenizer() -> LLTokenizer:
    return LLTokenizer("byte")
