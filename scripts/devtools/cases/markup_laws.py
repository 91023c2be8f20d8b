"""The laws of the markup reader as checks of any text; the tests and the fuzzer share them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from devtools.cases import reference_reader
from devtools.cases.reference_reader import Kind

from midm_vllm.markup import call_parser, json_escapes, text_buffer
from midm_vllm.markup import reader as reader_module
from midm_vllm.markup.events import (
    ArgumentText,
    CallEnded,
    CallRepaired,
    CallStarted,
    ContentText,
    Event,
    MarkupAsText,
)
from midm_vllm.markup.reader import MarkupReader

# Characters looked at, per character of the output and for each delta besides. What the worst
# texts need is half of it; a reader that starts over or looks back needs thousands.
WORK_PER_CHARACTER = 40
WORK_PER_DELTA = 100

_UNFINISHED_ESCAPE = re.compile(
    r"\\(?:u[0-9a-fA-F]{0,3}|ud[89ab][0-9a-f]{2}(?:\\(?:u(?:d(?:[c-f][0-9a-f]?)?)?)?)?)?", re.I
)
_NULL_SO_FAR = ("n", "nu", "nul", "null")
_WHITESPACE_RUN = re.compile(r"[ \t\n\r]*")


@dataclass
class Call:
    name: str
    arguments: str = ""
    ended: bool = False
    repairs: set[str] = field(default_factory=set)


@dataclass
class Output:
    """What the events of a stream add up to."""

    content: str = ""
    calls: list[Call] = field(default_factory=list)
    #: For what began as a call and is text: whether the output's end decided so.
    cut_off_texts: list[bool] = field(default_factory=list)


def add_up(events: list[Event]) -> Output:
    """Add up the events, which must come in an order that makes sense."""
    content: list[str] = []
    calls: list[Call] = []
    cut_off_texts: list[bool] = []
    arguments: list[list[str]] = []
    for event in events:
        match event:
            case ContentText(text):
                assert text
                content.append(text)
            case CallStarted(index, name):
                assert index == len(calls)
                calls.append(Call(name))
                arguments.append([])
            case ArgumentText(index, text):
                assert text and index == len(calls) - 1 and not calls[index].ended
                arguments[index].append(text)
            case CallEnded(index):
                assert index == len(calls) - 1 and not calls[index].ended
                calls[index].ended = True
            case CallRepaired(index, repair):
                assert index == len(calls) - 1 and repair not in calls[index].repairs
                calls[index].repairs.add(repair.value)
            case MarkupAsText(cut_off):
                cut_off_texts.append(cut_off)
    for call, texts in zip(calls, arguments):
        call.arguments = "".join(texts)
    return Output("".join(content), calls, cut_off_texts)


def read(*deltas: str) -> Output:
    reader = MarkupReader()
    events = [event for delta in deltas for event in reader.feed(delta)]
    return add_up(events + reader.finish())


def read_without_end(*deltas: str) -> Output:
    """What a client has while the output goes on."""
    reader = MarkupReader()
    return add_up([event for delta in deltas for event in reader.feed(delta)])


def cut(text: str, sizes: Sequence[int]) -> list[str]:
    deltas, start = [], 0
    for size in sizes:
        deltas.append(text[start : start + size])
        start += size
    return [*deltas, text[start:]]


def pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def check_against_reference(text: str) -> None:
    """Nothing is lost or invented: the reference reader accounts for every character."""
    reading = reference_reader.read(text)
    assert read(text) == _as_output(reading)
    for span in reading.spans:
        gone = text[span.start : span.end]
        if span.kind is Kind.WHITESPACE:
            assert not gone.strip(" \t\n\r")
        elif span.kind is Kind.SEPARATORS:
            assert not gone.strip(" \t\n\r,[]}")
        elif span.kind is Kind.TAG:
            assert gone in reference_reader.TAGS or reference_reader.CLOSING.startswith(gone)
        elif span.kind is Kind.OBJECT:
            assert gone.startswith("{")
    if not reading.calls:
        assert reading.content == text


def _as_output(reading: reference_reader.Reading) -> Output:
    calls = [
        Call(call.name or "", call.arguments or "", call.ended, call.repairs)
        for call in reading.calls
    ]
    return Output(reading.content, calls, reading.cut_off_texts)


def check_promptness(prefix: str) -> None:
    """What is certain after `prefix` has left; what is held back is what may be held back."""
    reading = reference_reader.read(prefix)
    certain, sent = _as_output(reading), read_without_end(*prefix)
    assert certain.content.startswith(sent.content)
    held = certain.content[len(sent.content) :]
    decided = held.removesuffix(prefix[reading.undecided :])
    whitespace = _WHITESPACE_RUN.match(decided)
    assert whitespace is not None
    _check_beginning_of_tag(decided[whitespace.end() :])
    assert [call.name for call in sent.calls] == [call.name for call in certain.calls]
    for ours, theirs in zip(sent.calls, certain.calls):
        assert ours.ended == theirs.ended and theirs.arguments.startswith(ours.arguments)
        _check_held_arguments(ours, theirs.arguments[len(ours.arguments) :])


def _check_held_arguments(call: Call, held: str) -> None:
    if call.ended:
        assert not held
    elif not (_UNFINISHED_ESCAPE.fullmatch(held) or not call.arguments and held in _NULL_SO_FAR):
        _check_beginning_of_tag(held)


def _check_beginning_of_tag(held: str) -> None:
    assert any(tag != held and tag.startswith(held) for tag in reference_reader.TAGS)


def check_work(deltas: Sequence[str]) -> None:
    """The reader looks at a bounded number of characters for each one of the output."""
    work = count_work(deltas)
    length = sum(map(len, deltas))
    assert work <= WORK_PER_CHARACTER * length + WORK_PER_DELTA * len(deltas)


def count_work(deltas: Sequence[str]) -> int:
    """How many characters the reader looks at or copies, searches included."""
    with _counted_patterns():
        _Counted.work = 0
        reader = MarkupReader()
        for delta in deltas:
            reader.feed(_Counted(delta))
        reader.finish()
    return _Counted.work


class _Counted(str):
    """Text that counts what is done with it."""

    work = 0

    def find(self, *arguments: Any) -> int:
        return self._count_search(super().find(*arguments), *arguments)

    def index(self, *arguments: Any) -> int:
        return self._count_search(super().index(*arguments), *arguments)

    def _count_search(self, found: int, _: str, start: int = 0, end: int | None = None) -> int:
        stop = found if found >= 0 else len(self) if end is None else end
        _Counted.work += 1 + max(0, stop - start)
        return found

    def rfind(self, *arguments: Any) -> int:
        found = super().rfind(*arguments)
        _Counted.work += 1 + len(self) - max(found, arguments[1] if len(arguments) > 1 else 0)
        return found

    def startswith(self, *arguments: Any) -> bool:
        _Counted.work += 1
        return super().startswith(*arguments)

    def rstrip(self, *arguments: Any) -> str:
        return self._copied(super().rstrip(*arguments))

    def __getitem__(self, key: Any) -> str:
        return self._copied(super().__getitem__(key))

    def __add__(self, other: str) -> str:
        return self._copied(super().__add__(other))

    def __radd__(self, other: str) -> str:
        return self._copied(other.__add__(self))

    def _copied(self, text: str) -> str:
        _Counted.work += 1 + len(text)
        return _Counted(text)


class _CountedPattern:
    """A compiled pattern that counts the characters it runs over."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern

    def match(self, text: str, *bounds: int) -> re.Match[str] | None:
        return self._count(self._pattern.match(text, *bounds), 0)

    def fullmatch(self, text: str, *bounds: int) -> re.Match[str] | None:
        return self._count(self._pattern.fullmatch(text, *bounds), 0)

    def search(self, text: str, start: int = 0) -> re.Match[str] | None:
        return self._count(self._pattern.search(text, start), len(text) - start, start)

    def sub(self, replacement: Any, text: str) -> str:
        _Counted.work += 1 + len(text)
        return self._pattern.sub(replacement, text)

    def _count(
        self, found: re.Match[str] | None, missed: int, start: int | None = None
    ) -> re.Match[str] | None:
        if found is None:
            _Counted.work += 1 + missed
        else:
            _Counted.work += 1 + found.end() - (found.start() if start is None else start)
        return found


@contextmanager
def _counted_patterns() -> Iterator[None]:
    """Count what the reader's patterns run over, however its modules refer to them."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (reader_module, call_parser, json_escapes, text_buffer):
            for name, value in list(vars(module).items()):
                method = getattr(value, "__name__", "")
                pattern = value if isinstance(value, re.Pattern) else getattr(
                    value, "__self__", None
                )
                if isinstance(pattern, re.Pattern):
                    counted = _CountedPattern(pattern)
                    patch.setattr(module, name, getattr(counted, method) if method else counted)
        yield
