"""The time of a token mask, with a vocabulary as large as Mi:dm's.

For each schema: a call of a tool with it, under the grammar that the engine gets, and the same
schema in xgrammar's own reading. The tokens are drawn at random from what each mask allows. The
floor is a grammar that allows everything. Milliseconds of the thread's CPU.

The vocabulary is made up: bytes, Hangul syllables and words, Latin words and pieces, numbers,
punctuation, as many as Mi:dm has.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import llguidance.hf
import llguidance.torch
import numpy
import torch
import xgrammar
from devtools.cases.heavy_schemas import HEAVY
from devtools.cases.schemas import SCHEMAS
from llguidance import LLMatcher, LLTokenizer
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from midm_vllm.constrained.call_grammar import CallableTool, build_call_grammar
from midm_vllm.constrained.tool_schema import compile_parameters

VOCABULARY = 131_072
END = "<|end|>"
FLOOR = "start: /(?s:.*)/"
BEFORE = '<tool_call>{"name": "f", "arguments": '


def pieces(source: random.Random) -> Iterator[str]:
    """Texts of tokens: the regular ones first, then words without end."""
    yield from (chr(0xAC00 + number) for number in range(11_172))
    yield from (str(number) for number in range(1000))
    marks = '{}[]":,.\\/-_()<>=+*!?'
    for first in marks:
        for second in ("", " ", *marks):
            for third in ("", " ", "\n", *marks[:8]):
                yield first + second + third
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    weights = [1 / (rank + 1) for rank in range(len(letters))]
    while True:
        length = source.randint(2, 9)
        word = "".join(source.choices(letters, weights, k=length))
        yield source.choice(("", " ")) + source.choice((word, word.capitalize()))
        syllables = "".join(chr(0xAC00 + source.randrange(11_172)) for _ in range(length // 3 + 1))
        yield source.choice(("", " ")) + syllables


def tokenizer(size: int) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of so many tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {END: 0} | {character: number for number, character in enumerate(alphabet, 1)}
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for piece in pieces(random.Random(0)):
        if len(vocabulary) == size:
            break
        [(token, _)] = byte_level.pre_tokenize_str(piece)
        vocabulary.setdefault(token, len(vocabulary))
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = byte_level
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=made, eos_token=END
    )


@dataclass
class Walk:
    """One schema's times, in milliseconds; ``refused`` says why there are none."""

    compiling: float = 0.0
    masks: list[float] = field(default_factory=list)
    refused: str = ""

    def row(self) -> list[str]:
        if not self.masks:
            return ["-", "-", "-", self.refused[:60]]
        return [f"{self.compiling:.1f}", f"{statistics.median(self.masks):.3f}",
                f"{max(self.masks):.1f}", self.refused[:60]]


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    # Of the thread: the process's own clock ticks coarsely under a limit.
    start = time.thread_time()
    result = function()
    return (time.thread_time() - start) * 1000, result


def walk(
    walked: Walk, fill: Callable[[torch.Tensor], Any], take: Callable[[int], bool], tokens: int,
    ends: frozenset[int],
) -> Walk:
    """Draw tokens from the masks until the end is drawn; ends of strings and lists more often."""
    source = random.Random(1)
    bitmask = llguidance.torch.allocate_token_bitmask(1, VOCABULARY)
    for _ in range(tokens):
        spent, _ = timed(lambda: fill(bitmask))
        walked.masks.append(spent)
        bits = numpy.unpackbits(bitmask.numpy().view(numpy.uint8), bitorder="little")
        allowed = numpy.flatnonzero(bits[:VOCABULARY])
        closing = [token for token in allowed[:600].tolist() if token in ends]
        token = source.choice(closing) if closing and source.random() < 0.1 else (
            int(allowed[source.randrange(len(allowed))]) if len(allowed) else 0
        )
        if token == 0 or not take(token):
            break
    return walked


def ours(schema: Any, vocabulary: LLTokenizer, tokens: int, ends: frozenset[int]) -> Walk:
    read = compile_parameters(schema)
    grammar = build_call_grammar(
        [CallableTool("f", read.grammar)], must_call=True, one_call=True
    )
    free = f"free: {read.findings[0]}" if read.findings else ""
    return guided(Walk(refused=free), grammar, vocabulary, tokens, ends)


def guided(
    walked: Walk, grammar: str, vocabulary: LLTokenizer, tokens: int, ends: frozenset[int]
) -> Walk:
    walked.compiling, matcher = timed(lambda: LLMatcher(vocabulary, grammar, log_level=0))
    matcher.try_consume_tokens(vocabulary.tokenize_str(BEFORE))
    walk(
        walked, lambda mask: llguidance.torch.fill_next_token_bitmask(matcher, mask, 0),
        matcher.consume_token, tokens, ends,
    )
    if matcher.is_error():
        walked.refused = f"stopped: {matcher.get_error().splitlines()[0]}"
    return walked


def xgrammars(
    schema: Any, tokens_known: xgrammar.TokenizerInfo, tokens: int, ends: frozenset[int]
) -> Walk:
    compiler = xgrammar.GrammarCompiler(tokens_known, max_threads=1, cache_enabled=False)
    walked = Walk()
    try:
        walked.compiling, compiled = timed(lambda: compiler.compile_json_schema(
            json.dumps(schema), any_whitespace=False, separators=(", ", ": ")
        ))
    except (RuntimeError, RecursionError) as error:
        return Walk(refused=str(error).splitlines()[0])
    matcher = xgrammar.GrammarMatcher(compiled)
    return walk(walked, matcher.fill_next_token_bitmask, matcher.accept_token, tokens, ends)


def apart(function: Callable[[], Walk], seconds: int) -> Walk:
    """A walk in a process of its own, which may use so much of the processor, and 8 GiB."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def send() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        there.send(function())

    process = context.Process(target=send)
    process.start()
    there.close()
    try:
        walked: Walk = here.recv()
    except EOFError:
        walked = Walk(refused=f"more than {seconds} s, or than 8 GiB")
    process.join()
    return walked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokens", type=int, default=150, help="drawn for a schema, at most")
    parser.add_argument("--only", default="", help="schemas whose name contains this")
    parser.add_argument("--peer-seconds", type=int, default=10,
                        help="of the processor for a schema in xgrammar; 0 leaves xgrammar out")
    options = parser.parse_args()
    hf_tokenizer = tokenizer(VOCABULARY)
    vocabulary = llguidance.hf.from_tokenizer(hf_tokenizer, VOCABULARY)
    ends = frozenset(hf_tokenizer.get_vocab()[end] for end in '"]}')
    known = xgrammar.TokenizerInfo.from_huggingface(hf_tokenizer, vocab_size=VOCABULARY)
    console = Console(width=150)
    columns = ("compiling", "mask", "slowest", "")
    table = Table("", *(f"{way} {column}".strip() for way in ("ours", "xgrammar")
                        for column in columns),
                  title=f"llguidance {version('llguidance')}, xgrammar {version('xgrammar')}")
    floor = guided(Walk(), FLOOR, vocabulary, options.tokens, ends)
    table.add_row("floor: anything", *floor.row())
    for name, schema in {**SCHEMAS, **HEAVY}.items():
        if options.only not in name:
            continue
        mine = ours(schema, vocabulary, options.tokens, ends)
        peer = apart(
            lambda: xgrammars(schema, known, options.tokens, ends), options.peer_seconds
        ) if options.peer_seconds else Walk()
        table.add_row(name, *mine.row(), *peer.row())
        console.print(name, *mine.row(), *peer.row(), markup=False)
    console.print(table)


if __name__ == "__main__":
    main()
