"""What of a tool's schema is enforced when the model writes the tool's arguments.

``compile_parameters`` reports what is enforced, what is not and why, and whether a text would be
accepted. The server, ``midm-vllm doctor`` and the benchmarks all ask here.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from cachetools import LRUCache, cached

from midm_vllm.constrained import limits
from midm_vllm.constrained.compile.compiler import SchemaCompiler
from midm_vllm.constrained.json_grammar import (
    ANY_OBJECT,
    ANY_OBJECT_GRAMMAR,
    accepts,
    json_grammar,
    validation_error,
)
from midm_vllm.constrained.json_schema.findings import TOO_LARGE, Finding, Findings
from midm_vllm.constrained.json_schema.intersection import intersect
from midm_vllm.constrained.json_schema.normalization import Normalizer

_LONG_ID = re.compile(rf'"\$?id": "[^"]{{{limits.MAX_ID_LENGTH}}}')
logger = logging.getLogger("vllm.midm_vllm.schemas")


@dataclass(frozen=True)
class ToolSchema:
    """The grammar of a tool's arguments, and what it does not enforce.

    Attributes:
        grammar: What follows ``%json`` in a grammar of llguidance.
        findings: What of the schema is not enforced. Without any, nothing invalid is accepted.
        nodes: The cost, of the ``limits.MAX_NODES`` of a request.
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
        """Whether something is not enforced because it costs too much."""
        return any(each.reason.startswith(TOO_LARGE) for each in self.findings)

    @property
    def is_unconstrained(self) -> bool:
        """Whether nothing at all is enforced, but that arguments are an object."""
        return any(each.keyword == "schema" and each.place == "$" for each in self.findings)

    def accepts(self, text: str) -> bool:
        """Whether the model could write this text as the arguments."""
        return accepts(self.grammar, text)


class RequestSchemas:
    """Compiles the schemas of one request.

    Args:
        nodes: What they may cost together.
        control_tokens: Texts of the tokenizer's special tokens, which a model cannot write.
    """

    def __init__(
        self, nodes: int = limits.MAX_NODES, control_tokens: frozenset[str] = frozenset()
    ) -> None:
        self._nodes = nodes
        self._control_tokens = control_tokens
        #: What the schemas have cost so far.
        self.spent = 0
        #: Whether something is not enforced because it costs too much.
        self.is_too_large = False

    def compile(self, schema: Any, is_arguments: bool = True) -> ToolSchema:
        """Compile a function's parameters, or the schema of an answer's format."""
        compile_one = compile_parameters if is_arguments else compile_schema
        compiled = compile_one(schema, self._nodes - self.spent, self._control_tokens)
        self.spent = min(self._nodes, self.spent + compiled.nodes)
        self.is_too_large |= compiled.is_too_large
        return compiled


def compile_parameters(
    parameters: Any, nodes: int = limits.MAX_NODES, control_tokens: frozenset[str] = frozenset()
) -> ToolSchema:
    """Compile a function's ``parameters``; never fails, and never takes long.

    ``None`` and ``{}`` are a function without parameters: its arguments are ``{}``. Of what is no
    JSON schema nothing is enforced but that the arguments are an object, and a finding says so.
    """
    if parameters is None or parameters == {}:
        parameters = {"type": "object", "properties": {}}
    return compile_schema(parameters, nodes, control_tokens, is_arguments=True)


def compile_schema(
    schema: Any, nodes: int = limits.MAX_NODES, control_tokens: frozenset[str] = frozenset(),
    is_arguments: bool = False,
) -> ToolSchema:
    """Compile the schema of any value, as of an answer's format."""
    try:
        text = json.dumps(schema, ensure_ascii=False)
        text.encode()
    except (RecursionError, UnicodeEncodeError, TypeError, ValueError):
        return _unconstrained("it nests too deep, or is no JSON")
    cost = limits.NODES_PER_TOOL + len(text) // limits.CHARACTERS_PER_NODE
    if nodes <= cost:
        return _unconstrained(f"{TOO_LARGE} {nodes} nodes")
    # What is left differs from request to request; agents send the same schemas with each.
    compiled = _compile(text, max(nodes, limits.MAX_NODES) - cost, is_arguments, control_tokens)
    if compiled.nodes + cost > nodes:
        compiled = _compile(text, nodes - cost, is_arguments, control_tokens)
    return replace(compiled, nodes=compiled.nodes + cost)


def _key(text: str, *arguments: Any) -> tuple[Any, ...]:
    return (hashlib.sha256(text.encode()).digest(), *arguments)


def _size(compiled: ToolSchema) -> int:
    """What a schema takes in the cache, about, in characters."""
    found = sum(len(each.place) + len(each.reason) + 300 for each in compiled.findings)
    return len(compiled.grammar) + found + 1000


@cached(LRUCache(limits.CACHE_SIZE, _size), _key, Lock())
def _compile(
    text: str, nodes: int, is_arguments: bool, control_tokens: frozenset[str]
) -> ToolSchema:
    try:
        return _compile_document(text, nodes, is_arguments, control_tokens)
    except Exception as error:  # A request is never answered with an error because of a schema.
        logger.debug("A schema could not be compiled: %.1000s", text, exc_info=True)
        reason = f"it could not be compiled ({type(error).__name__})"
        return replace(_unconstrained(reason), nodes=nodes // 4)


def _compile_document(
    text: str, nodes: int, is_arguments: bool, control_tokens: frozenset[str]
) -> ToolSchema:
    document = json.loads(text)
    if not isinstance(document, (dict, bool)):
        return _unconstrained("it is no JSON schema")
    if _LONG_ID.search(text):
        return _unconstrained(f"an $id has more than {limits.MAX_ID_LENGTH} characters")
    normalizer = Normalizer(document, text, Findings(nodes))
    root = normalizer.root()
    if is_arguments:
        root = _objects_only(root)
        if root is False:
            return _unconstrained("no object is valid by it, and a function's arguments are one")
    tracks_evaluated = '"unevaluated' in text
    compiler = SchemaCompiler(normalizer, root, nodes, tracks_evaluated, control_tokens)
    if compiler.endless:
        compiler = SchemaCompiler(
            normalizer, root, nodes, tracks_evaluated, control_tokens, avoid=compiler.endless
        )
    findings = [*normalizer.findings.all(), *compiler.findings.all()]
    anything = ANY_OBJECT if is_arguments else {}
    compiled = compiler.root
    if compiled is False:
        place = compiler.unsatisfiable_at or "$"
        findings.append(Finding("schema", place, "no value is possible"))
    if isinstance(compiled, bool):
        compiled = anything
    text = json.dumps(compiled, ensure_ascii=False)
    if len(text) > limits.GRAMMAR_CHARACTERS_PER_NODE * limits.MAX_NODES:
        reason = f"{TOO_LARGE} {nodes} nodes, written out"
        return replace(_unconstrained(reason), nodes=compiler.findings.nodes)
    is_large = (
        compiler.findings.nodes > limits.MAX_UNVALIDATED_NODES
        or len(text) > limits.MAX_UNVALIDATED_CHARACTERS
    )
    if is_large or compiler.needs_validation:
        error = validation_error(text)
        if error:
            findings.append(Finding("schema", "$", error))
    if any(each.place == "$" and each.keyword == "schema" for each in findings):
        text = json.dumps(anything)
    return ToolSchema(json_grammar(text), tuple(findings), compiler.findings.nodes)


def _objects_only(root: Any) -> Any:
    """A normalized schema's objects; those of a function without parameters are ``{}``."""
    if not isinstance(root, bool) and root.get("properties") == {} and (
        root.keys() <= {"type", "properties", "required"}
    ):
        root = {**root, "additionalProperties": False}
    return intersect(root, {"type": ["object"]})


def _unconstrained(reason: str) -> ToolSchema:
    return ToolSchema(ANY_OBJECT_GRAMMAR, (Finding("schema", "$", reason),), 1)
