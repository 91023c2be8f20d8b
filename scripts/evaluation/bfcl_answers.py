"""Right answers to the leaderboard's entries, as calls and as Mi:dm writes them.

A checkpoint that is taught them shows that the score is right: `lessons` puts entries to a model
that knows the answers, through the library's own handler, and keeps what it was asked.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from evaluation import bfcl_library
from evaluation.bfcl_library import Entry, ServedModel

Call = tuple[str, dict[str, Any]]
#: What ends a turn, and answers where no function fits.
SAID = "Done."


class NoAnswer(Exception):
    """No answer can be made of an entry's ground truth."""


def _first(value: Any) -> Any:
    """Of the values that count as right, the first; within a mapping each member has several."""
    if isinstance(value, dict):
        chosen = {key: _chosen(values) for key, values in value.items()}
        return {key: member for key, member in chosen.items() if member != ""}
    if isinstance(value, list):
        return [_first(member) if isinstance(member, dict) else member for member in value]
    return value


def _chosen(values: Any) -> Any:
    """The first value that is not "", which stands for: may be left out."""
    if not isinstance(values, list):
        return values
    return _first(next((value for value in values if value != ""), ""))


def calls_of(truth: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[Call]:
    """The calls of a single turn's ground truth; names as functions may be called over the API."""
    calls = []
    for each in truth:
        [(name, parameters)] = each.items()
        chosen = {key: _chosen(values) for key, values in parameters.items()}
        arguments = {key: value for key, value in chosen.items() if value != ""}
        calls.append((name.replace(".", "_"), arguments))
    return calls


def calls_of_turn(entry: Entry, turn: Sequence[str]) -> list[Call]:
    """The calls of one turn among several, which the ground truth has as Python."""
    held_back = (each for turn in entry.get("missed_function", {}).values() for each in turn)
    functions = {each["name"]: each for each in (*entry["function"], *held_back)}
    calls = []
    for source in turn:
        call = ast.parse(source, mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            raise NoAnswer(f"{entry['id']}: {source} is no call")
        names = list(functions[call.func.id]["parameters"]["properties"])
        arguments = dict(zip(names, map(ast.literal_eval, call.args)))
        arguments |= {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
        calls.append((call.func.id, arguments))
    return calls


def answers_to(entry: Entry, truth: Any) -> list[list[Call]]:
    """The answers, one after the other, each as its calls; without calls it is SAID."""
    if "irrelevance" in entry["id"]:
        return [[]]
    if truth is None:  # Relevance: any call will do.
        return [[(entry["function"][0]["name"].replace(".", "_"), {})]]
    if entry["id"].startswith("multi_turn"):
        turns = [calls_of_turn(entry, turn) for turn in truth]
        return [answer for turn in turns for answer in ([turn, []] if turn else [[]])]
    return [calls_of(truth)]


def written(calls: Sequence[Call]) -> str:
    """An answer as Mi:dm writes it."""
    blocks = (
        f'<tool_call>{{"name": {_json(name)}, "arguments": {_json(arguments)}}}</tool_call>'
        for name, arguments in calls
    )
    return "\n".join(blocks) or SAID


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class _Knowing(ServedModel):
    """In a model's place: gives the answers it was given, and keeps what it was asked."""

    def __init__(self, answers: Sequence[Sequence[Call]]) -> None:
        super().__init__("http://localhost/v1", "knowing", "none")
        self._answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def generate_with_backoff(self, **request: Any) -> tuple[Any, float]:
        calls = self._answers[len(self.asked)]
        self.asked.append(copy.deepcopy(request) | {"calls": calls})
        tool_calls = [
            SimpleNamespace(id=f"call_{len(self.asked)}_{place}", function=SimpleNamespace(
                name=name, arguments=_json(arguments)))
            for place, (name, arguments) in enumerate(calls)
        ]
        message = SimpleNamespace(content=None if calls else SAID, tool_calls=tool_calls or None)
        usage = SimpleNamespace(prompt_tokens=0, completion_tokens=0)
        return SimpleNamespace(choices=[SimpleNamespace(message=message)], usage=usage), 0.0


def lessons(entry: Entry, answers: Sequence[Sequence[Call]]) -> Iterator[dict[str, Any]]:
    """The requests that putting this entry makes, with their answers: name, messages, tools, …"""
    knowing = _Knowing(answers)
    knowing.ask(copy.deepcopy(entry))
    for number, request in enumerate(knowing.asked):
        calls = request["calls"]
        yield {
            "name": f"{entry['id']} {number}",
            "messages": request["messages"],
            "tools": request.get("tools", []),
            "text": written(calls),
            "content": None if calls else SAID,
            "calls": [[name, _json(arguments)] for name, arguments in calls],
        }


def spoilt(calls: Sequence[Call]) -> list[Call]:
    """A wrong answer: the last call with another value, or a call where there was none."""
    if not calls:
        return [("some_function", {})]
    *others, (name, arguments) = calls
    key = next(iter(arguments))
    value = arguments[key]
    other = value + 1 if isinstance(value, (int, float)) else f"not {value}"
    return [*others, (name, arguments | {key: other})]


def main() -> None:
    """Standard input: JSON, `{"right": [ids], "wrong": [ids]}`. Output: the lessons, as JSON."""
    asked = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):  # The library prints what it does.
        found = [
            lesson
            for right in ("right", "wrong")
            for entry_id in asked[right]
            for lesson in _lessons_of(entry_id, right == "right")
        ]
    json.dump(found, sys.stdout, ensure_ascii=False)


def _lessons_of(entry_id: str, right: bool) -> Iterator[dict[str, Any]]:
    category = bfcl_library.category_of(entry_id)
    entry = next(each for each in bfcl_library.entries(category) if each["id"] == entry_id)
    answers = answers_to(entry, bfcl_library.ground_truth(category).get(entry_id))
    if not right:
        answers = [spoilt(answers[0]), *answers[1:]]
    return lessons(entry, answers)


if __name__ == "__main__":
    main()
