"""What of a tool's schema is enforced when the model writes the tool's arguments.

``compile_parameters`` is the one place to ask: it says what is enforced, what is left free and why,
and whether a text would be accepted. The server and the benchmark ask
here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llguidance import LLMatcher

from midm_vllm.constrained.json_grammar import ANY_OBJECT, json_grammar
from midm_vllm.constrained.limits import (
    CACHE_SIZE,
    CHARACTERS_PER_NODE,
    MAX_NODES,
    NODES_PER_TOOL,
)
from midm_vllm.constrained.lru_cache import LRUCache
from midm_vllm.constrained.compile.compiler import TOO_LARGE, Finding, SchemaCompiler
from midm_vllm.constrained.compile.validation import (
    byte_tokenizer,
    is_surely_taken,
    loosened,
)


@dataclass(frozen=True)
class ToolSchema:
    """The grammar of a tool's arguments, and what it leaves free.

    ``grammar`` is the schema in the words of llguidance, to be written into a grammar after
    ``%json``; ``findings`` are the keywords of the original that
    it does not enforce, with place and reason: none means that nothing invalid is accepted.
    ``nodes`` is the cost, of what ``MAX_NODES`` allows to a request.
    """

    grammar: str
    findings: tuple[Finding, ...]
    nodes: int

    @property
    def is_exact(self) -> bool:
        """Whether every text that is accepted is valid by the schema."""
        return not self.findings

    @property
    def is_too_large(self) -> bool:
        """Whether something is left free because there was no room for it."""
        return any(each.reason.startswith(TOO_LARGE) for each in self.findings)

    @property
    def is_unconstrained(self) -> bool:
        """Whether nothing at all is enforced, but that arguments are an object."""
        return any(each.keyword == "schema" and each.place == "$" for each in self.findings)

    def without_control_tokens(self, tokens: re.Pattern[str]) -> ToolSchema:
        """Itself, unless it has text in it that the model's tokenizer takes for a special token.

        The model cannot write such text, and where nothing else is left llguidance fails.
        """
        found = tokens.search(self.grammar.replace("\\", ""))
        if found is None:
            return self
        return _unread(f"it has {found[0]} in it, which is a control token of this model's")

    def accepts(self, text: str) -> bool:
        """Whether the model could write this text as the arguments."""
        try:
            text_bytes = text.encode()
        except UnicodeEncodeError:
            return False
        grammar = f"start: args\nargs: %json {self.grammar}"
        matcher = LLMatcher(byte_tokenizer(), grammar, log_level=0)
        return bool(
            matcher.try_consume_tokens(list(text_bytes)) == len(text_bytes)
            and matcher.is_accepting()
        )


class RequestSchemas:
    """Reads the schemas of one request, which share its ``nodes``."""

    def __init__(self, nodes: int = MAX_NODES) -> None:
        self._nodes = nodes
        #: What the schemas cost so far.
        self.spent = 0
        #: Whether there was no room for one, or for a part of one.
        self.is_too_large = False

    def compile_parameters(self, parameters: Any) -> ToolSchema:
        """See :func:`compile_parameters`."""
        return self._spend(compile_parameters(parameters, self._nodes - self.spent))

    def compile_answer(self, schema: Any) -> ToolSchema:
        """See :func:`compile_schema`."""
        return self._spend(compile_schema(schema, self._nodes - self.spent))

    def _spend(self, read: ToolSchema) -> ToolSchema:
        self.spent = min(self._nodes, self.spent + read.nodes)
        self.is_too_large |= read.is_too_large
        return read


def compile_parameters(parameters: Any, nodes: int = MAX_NODES) -> ToolSchema:
    """What of a function's ``parameters`` is enforced. Never refuses, and never takes long.

    ``None`` and ``{}`` are a function without parameters: its arguments are ``{}``. Anything
    that is no JSON schema leaves the arguments any JSON object, with a finding.
    """
    return compile_schema(parameters or {"type": "object", "properties": {}}, nodes, arguments=True)


def compile_schema(schema: Any, nodes: int = MAX_NODES, arguments: bool = False) -> ToolSchema:
    """The same for any schema, as of an answer's format; ``arguments`` have to be objects."""
    if nodes <= NODES_PER_TOOL:
        return _unread(f"{TOO_LARGE} {nodes} nodes")
    try:
        text = json.dumps(schema, ensure_ascii=False)
        data = text.encode()
    except (RecursionError, UnicodeEncodeError, TypeError, ValueError):
        return _unread("it nests too deep, or is no JSON")
    cost = NODES_PER_TOOL + len(text) // CHARACTERS_PER_NODE
    if cost > nodes:
        return _unread(f"{TOO_LARGE} {nodes} nodes")
    digest = hashlib.sha256(data).digest()
    read = _known.get((digest, arguments, None))
    if read is None or read.nodes > nodes:
        read = _known.get((digest, arguments, nodes))
    if read is None:
        read = _read(text, nodes - cost, arguments)
        read = replace(read, nodes=read.nodes + cost)
        _known.put((digest, arguments, nodes if read.is_too_large else None), read)
    return read


def _size(read: ToolSchema) -> int:
    """What a schema takes, about, in characters: of some the findings are most of it."""
    said = sum(len(each.place) + len(each.reason) + 300 for each in read.findings)
    return len(read.grammar) + said + 1000


#: Schemas that were read: agents send the same with every request.
_known = LRUCache(CACHE_SIZE, _size)


def _unread(reason: str) -> ToolSchema:
    return _written(json.dumps(ANY_OBJECT), [Finding("schema", "$", reason)], 1)


def _written(text: str, findings: Sequence[Finding], nodes: int) -> ToolSchema:
    """Of a schema's text, which is an object."""
    return ToolSchema(json_grammar(text), tuple(findings), nodes)


def _read(text: str, nodes: int, arguments: bool) -> ToolSchema:
    document = json.loads(text)
    if not isinstance(document, dict):
        return _unread("it is no JSON schema")
    if arguments:
        kind = document.get("type", "object")
        if kind != "object" and not (isinstance(kind, list) and "object" in kind):
            return _unread(f"a function's parameters are an object, not {kind!r:.40}")
    rewriting = SchemaCompiler(document, nodes)
    if rewriting.circles:
        rewriting = SchemaCompiler(document, nodes, rewriting.circles)
    findings = list(rewriting.findings)
    root = rewriting.root
    if root is False:
        reason = "no value is possible"
        findings.append(Finding("schema", rewriting.impossible or "$", reason))
        root = ANY_OBJECT if arguments else {}
    if arguments:
        root = _as_object(root)
    text = json.dumps(root, ensure_ascii=False)
    if len(text) > 150 * MAX_NODES:
        return _unread(f"{TOO_LARGE} {nodes} nodes, written out")
    if not is_surely_taken(root, text, rewriting.nodes, rewriting.other_names):
        taken, more = loosened(root, text, rewriting.places)
        if more:
            findings += more
            text = json.dumps(taken, ensure_ascii=False)
    read = _written(text, findings, rewriting.nodes)
    if read.is_unconstrained:
        read = _written(json.dumps(ANY_OBJECT if arguments else {}), findings, rewriting.nodes)
    return read


def _as_object(root: dict[str, Any]) -> dict[str, Any]:
    if root.get("type") == "object":
        return root
    if "type" in root and "anyOf" not in root:
        return {**root, "type": "object"}
    definitions = {"$defs": root["$defs"]} if "$defs" in root else {}
    inside = {key: value for key, value in root.items() if key != "$defs"}
    if not inside:
        return {**ANY_OBJECT, **definitions}
    if inside.keys() == {"anyOf"}:
        return {"anyOf": [
            each if "$ref" in each or "anyOf" in each else {**each, "type": "object"}
            for each in inside["anyOf"]
        ], **definitions} if not any(
            "$ref" in each or "anyOf" in each for each in inside["anyOf"]
        ) else {"allOf": [ANY_OBJECT, inside], **definitions}
    return {"allOf": [ANY_OBJECT, inside], **definitions} if "$ref" in inside else {
        **root, "type": "object"
    }
