"""A small checkpoint that is taught entries of the function-calling leaderboard.

Some rightly, some wrongly, and some not at all: what a score has to be is known of each.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from devtools import checkpoint
from devtools.checkpoint import REPOSITORY, Lesson
from devtools.conversations import Call, Conversation

ANSWERS = REPOSITORY / "scripts" / "evaluation" / "bfcl_answers.py"

RIGHT = (
    "simple_python_97", "simple_python_18", "simple_python_1", "simple_python_24",
    "simple_python_19",
    "simple_java_41", "simple_java_10",
    "simple_javascript_22", "simple_javascript_8",
    "multiple_73", "multiple_29", "multiple_45", "multiple_2",
    "parallel_75", "parallel_7", "parallel_60",
    "parallel_multiple_35", "parallel_multiple_48", "parallel_multiple_38",
    "irrelevance_8", "irrelevance_49",
    "live_simple_247-129-0", "live_simple_116-72-0",
    "live_multiple_36-12-0", "live_multiple_27-7-0",
    "live_parallel_14-10-0", "live_parallel_multiple_16-14-0",
    "live_irrelevance_123-9-3", "live_relevance_3-3-0",
    "multi_turn_base_100",
)  # fmt: skip
WRONG = ("simple_python_20", "multiple_58", "parallel_144", "irrelevance_59")
NOT_TAUGHT = ("simple_python_272", "multiple_52", "parallel_76", "live_simple_53-24-0")


def conversations(python: Path) -> list[Conversation]:
    """What the checkpoint is taught; `python` is the interpreter of the environment `bfcl`."""
    asked = json.dumps({"right": RIGHT, "wrong": WRONG})
    told = subprocess.run(
        [python, str(ANSWERS)], input=asked, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "scripts")},
    )
    return [
        Conversation(**lesson | {"calls": [Call(*call) for call in lesson["calls"]]})
        for lesson in json.loads(told.stdout)
    ]


def build(python: Path) -> Path:
    """The folder of the checkpoint, built unless it is there."""
    lesson = Lesson("leaderboard", conversations(python), vocabulary=2048)
    return checkpoint.build(steps=500, lesson=lesson)
