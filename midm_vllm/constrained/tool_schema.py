"""What of a tool's schema is enforced when the model writes the tool's arguments.

``compile_parameters`` reports what is enforced, what is not and why, and whether a text would be
accepted. The server, ``midm-vllm doctor`` and the benchmarks all ask here.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from llguidance import LLMatcher

from midm_vllm.constrained import limits
from midm_vllm.constrained.compile.compiler import SchemaCompiler
from midm_vllm.constrained.compile.validation import skips_validation, validation_error
from midm_vllm.constrained.json_grammar import ANY_OBJECT, json_grammar
from midm_vllm.constrained.json_schema.findings import TOO_LARGE, Finding, Findings
from midm_vllm.constrained.json_schema.normalization import Normalizer
from midm_vllm.constrained.lru_cache import LRUCache
from midm_vllm.constrained.regex.matching import byte_tokenizer

logger = logging.getLogger("vllm.midm_vllm.schemas")


@dataclass(frozen=True)
class ToolSchema:
    """The grammar of a tool's arguments, and what it does not enforce.

    Attributes:
        grammar: What follows ``%json`` in a grammar of llguidance.
        findings: What of the schema is not enforced. Without any, nothing invalid is accepted.
        nodes: The cost, of the ``limits.MAX_NODES`` of a request.
        pattern_characters: The characters that patterns of the schema name one by one.
    """

    grammar: str
    findings: tuple[Finding, ...]
    nodes: int
    pattern_characters: frozenset[str] = frozenset()

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

    def may_spell(self, control_tokens: frozenset[str]) -> bool:
        """Whether a text that is demanded may have a control token in it."""
        if _any_of(control_tokens).search(self.grammar.replace("\\", "")):
            return True
        return bool(self.pattern_characters) and any(
            self.pattern_characters.issuperset(token) for token in control_tokens
        )

    def accepts(self, text: str) -> bool:
        """Whether the model could write this text as the arguments."""
        try:
            data = text.encode()
        except UnicodeEncodeError:
            return False
        grammar = f"start: args\nargs: %json {self.grammar}"
        matcher = LLMatcher(byte_tokenizer(), grammar, log_level=0)
        return bool(matcher.try_consume_tokens(list(data)) == len(data) and matcher.is_accepting())


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

    def compile_parameters(self, parameters: Any) -> ToolSchema:
        """See :func:`compile_parameters`."""
        left = self._nodes - self.spent
        return self._spend(compile_parameters(parameters, left, self._control_tokens))

    def compile_answer(self, schema: Any) -> ToolSchema:
        """See :func:`compile_schema`."""
        left = self._nodes - self.spent
        return self._spend(compile_schema(schema, left, self._control_tokens))

    def _spend(self, compiled: ToolSchema) -> ToolSchema:
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
    return _compile_cached(parameters, nodes, control_tokens, is_arguments=True)


def compile_schema(
    schema: Any, nodes: int = limits.MAX_NODES, control_tokens: frozenset[str] = frozenset()
) -> ToolSchema:
    """Compile the schema of any value, as of an answer's format."""
    return _compile_cached(schema, nodes, control_tokens, is_arguments=False)


def _size(compiled: ToolSchema) -> int:
    """What a schema takes in the cache, about, in characters."""
    found = sum(len(each.place) + len(each.reason) + 300 for each in compiled.findings)
    return len(compiled.grammar) + found + 1000


#: Agents send the same schemas with every request.
_compiled: LRUCache[ToolSchema] = LRUCache(limits.CACHE_SIZE, _size)


def _compile_cached(
    schema: Any, nodes: int, control_tokens: frozenset[str], is_arguments: bool
) -> ToolSchema:
    if nodes <= limits.NODES_PER_TOOL:
        return _unconstrained(f"{TOO_LARGE} {nodes} nodes")
    try:
        text = json.dumps(schema, ensure_ascii=False)
        digest = hashlib.sha256(text.encode()).digest()
    except (RecursionError, UnicodeEncodeError, TypeError, ValueError):
        return _unconstrained("it nests too deep, or is no JSON")
    cost = limits.NODES_PER_TOOL + len(text) // limits.CHARACTERS_PER_NODE
    if cost > nodes:
        return _unconstrained(f"{TOO_LARGE} {nodes} nodes")

    def compiled_with(tokens: frozenset[str]) -> ToolSchema:
        key = (digest, is_arguments, tokens)
        found = _compiled.get((*key, None))
        if found is None or found.nodes > nodes:
            found = _compiled.get((*key, nodes))
        if found is None:
            found = _compile(text, nodes - cost, is_arguments, tokens)
            found = replace(found, nodes=found.nodes + cost)
            _compiled.put((*key, nodes if found.is_too_large else None), found)
        return found

    found = compiled_with(frozenset())
    return compiled_with(control_tokens) if found.may_spell(control_tokens) else found


def _compile(
    text: str, nodes: int, is_arguments: bool, control_tokens: Collection[str]
) -> ToolSchema:
    try:
        return _compile_document(text, nodes, is_arguments, control_tokens)
    except Exception as error:  # A request is never answered with an error because of a schema.
        logger.debug("A schema could not be compiled: %.1000s", text, exc_info=True)
        return _unconstrained(f"it could not be compiled ({type(error).__name__})")


def _compile_document(
    text: str, nodes: int, is_arguments: bool, control_tokens: Collection[str]
) -> ToolSchema:
    document = json.loads(text)
    if not isinstance(document, (dict, bool)):
        return _unconstrained("it is no JSON schema")
    normalizer = Normalizer(document, text, Findings(nodes))
    root = normalizer.root()
    if is_arguments:
        root = _objects_only(root)
        if root is False and document is not False:
            kind = document.get("type") if isinstance(document, dict) else None
            return _unconstrained(f"a function's parameters are an object, not {kind!r:.40}")
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
        return _unconstrained(f"{TOO_LARGE} {nodes} nodes, written out")
    if not skips_validation(compiled, text, compiler.findings.nodes, compiler.other_names):
        error = validation_error(text)
        if error:
            findings.append(Finding("schema", "$", error))
    if any(each.place == "$" and each.keyword == "schema" for each in findings):
        text = json.dumps(anything)
    return ToolSchema(
        json_grammar(text), tuple(findings), compiler.findings.nodes,
        frozenset(compiler.pattern_characters),
    )


def _objects_only(root: Any) -> Any:
    """A normalized schema's objects; those of a function without parameters are ``{}``."""
    if isinstance(root, bool):
        return {"type": ["object"]} if root else False
    if "object" not in root.get("type", ("object",)):
        return False
    if root.get("properties") == {} and root.keys() <= {"type", "properties", "required"}:
        root = {**root, "additionalProperties": False}
    return {**root, "type": ["object"]}


def _unconstrained(reason: str) -> ToolSchema:
    finding = Finding("schema", "$", reason)
    return ToolSchema(json_grammar(json.dumps(ANY_OBJECT)), (finding,), 1)


@functools.lru_cache(maxsize=8)
def _any_of(texts: frozenset[str]) -> re.Pattern[str]:
    """Finds one of these texts; of none, nothing."""
    return re.compile("|".join(map(re.escape, sorted(texts))) or "(?!)")
