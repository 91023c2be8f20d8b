"""The leaderboard's checker for other programs, in the leaderboard's own environment.

    bfcl_check.py entries COUNT SEED    entries with functions and their right calls, as JSON
    bfcl_check.py check                 standard input: JSON, a list of groups of results

An entry is `{"id", "category", "tools", "calls": [[name, arguments], …]}`. A group is `{"category",
"results": [{"id", "result"}, …], "changed": {id: {argument: value}}}`, where those arguments of an
entry's first call are right in place of its own; the answer has each group's wrong ids.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from evaluation import bfcl_answers
from evaluation import bfcl_library

#: Those whose answers are calls, in one turn, in Python's types.
CATEGORIES = ("simple_python", "multiple", "parallel", "parallel_multiple")


def has_text(calls: list[bfcl_answers.Call]) -> bool:
    """Whether an argument of the first call is a text."""
    return any(isinstance(value, str) for value in calls[0][1].values())


def entries(count: int, seed: int) -> list[dict[str, Any]]:
    """`count` entries of each category that have a text among their arguments, by chance."""
    found = []
    for category in CATEGORIES:
        truths = bfcl_library.ground_truth(category)
        candidates = [
            (entry, calls)
            for entry in bfcl_library.entries(category)
            if has_text(calls := bfcl_answers.calls_of(truths[entry["id"]]))
        ]
        for entry, calls in random.Random(f"{seed} {category}").sample(candidates, count):
            [request] = bfcl_answers.lessons(entry, [calls])
            found.append({
                "id": entry["id"], "category": category, "tools": request["tools"], "calls": calls
            })
    return found


def check(group: dict[str, Any], folder: Path) -> list[str]:
    """The ids of a group's wrong results."""
    truths = bfcl_library.ground_truth(group["category"])
    for entry_id, arguments in group["changed"].items():
        [parameters] = truths[entry_id][0].values()
        parameters.update({key: [value] for key, value in arguments.items()})
    return list(bfcl_library.wrong(group["category"], group["results"], folder, truths))


def main() -> None:
    answer: Any
    with contextlib.redirect_stdout(sys.stderr):  # The library prints what it does.
        if sys.argv[1] == "entries":
            answer = entries(int(sys.argv[2]), int(sys.argv[3]))
        else:
            with tempfile.TemporaryDirectory() as folder:
                answer = [check(group, Path(folder)) for group in json.load(sys.stdin)]
    json.dump(answer, sys.stdout, ensure_ascii=False)


if __name__ == "__main__":
    main()
