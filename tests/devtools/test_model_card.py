"""The harness on a served model: tasks of our own, of both kinds, on what the checkpoint knows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from devtools.conversations import BY_NAME
from devtools.server import Server
from evaluation import model_card
from evaluation.model_card import COLUMNS, NO_TASK

KOREAN, ENGLISH = BY_NAME["answer_without_tools"], BY_NAME["answer_without_tools_english"]
TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
doc_to_text: "{{{{question}}}}"
"""
WRITTEN = TASK + """\
output_type: generate_until
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: [], max_gen_toks: 64}}
metric_list: [{{metric: exact_match}}]
"""
CHOSEN = TASK + """\
output_type: multiple_choice
doc_to_choice: ["{korean}", "{english}"]
doc_to_target: right
target_delimiter: ""
metric_list: [{{metric: acc}}]
"""


def question(conversation: object) -> str:
    return str(getattr(conversation, "messages")[-1]["content"])


def write_task(folder: Path, name: str, kind: str, rows: list[dict[str, object]]) -> None:
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    text = kind.format(name=name, data=data, korean=KOREAN.text, english=ENGLISH.text)
    (folder / f"{name}.yaml").write_text(text, "utf-8")


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, model_card.__file__, *options], capture_output=True, text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )


@pytest.mark.slow
def test_what_the_checkpoint_knows_is_scored_right_and_the_rest_wrong(
    server: Server, checkpoint: Path, tmp_path: Path
) -> None:
    asked = [question(KOREAN), question(ENGLISH)]
    write_task(tmp_path, "written_here", WRITTEN, [
        {"question": asked[0], "answer": KOREAN.text},
        {"question": asked[1], "answer": ENGLISH.text},
        {"question": asked[0], "answer": ENGLISH.text},
        {"question": asked[1], "answer": f"{ENGLISH.text}!"},
    ])
    write_task(tmp_path, "chosen_here", CHOSEN, [
        {"question": asked[0], "right": 0},
        {"question": asked[1], "right": 1},
        {"question": asked[1], "right": 0},
    ])
    out = tmp_path / "run"
    done = run(
        "--url", f"{server.url}/v1", "--model", "midm", "--tokenizer", str(checkpoint),
        "--max-length", "4096", "--include", str(tmp_path), "--out", str(out),
        "--tasks", "written_here", "chosen_here",
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((out / "results.json").read_text("utf-8"))
    assert results["written_here"]["exact_match,none"] == 0.5
    assert results["chosen_here"]["acc,none"] == pytest.approx(2 / 3)
    assert "written_here" in (out / "results.md").read_text("utf-8")


@pytest.mark.slow
def test_a_task_that_cannot_be_had_fails_alone(server: Server, tmp_path: Path) -> None:
    done = run(
        "--url", f"{server.url}/v1", "--model", "midm", "--out", str(tmp_path),
        "--tasks", "no_such_task",
    )
    assert done.returncode == 1
    assert "Not done; the same command goes on from here.\nno_such_task: " in done.stderr


def test_the_columns_are_listed_with_their_tasks() -> None:
    done = run("--list")
    assert all(f"{column:10} {task}" in done.stdout for column, task in COLUMNS.items())
    assert f"without a task: {', '.join(NO_TASK)}" in done.stdout


@pytest.mark.parametrize("options, told", [
    (["--tasks", "LogicKor"], "no task in the harness: LogicKor"),
    (["--tasks", "MBPP+"], "say --run-code"),
])
def test_what_cannot_be_run_is_said_before_anything_is(options: list[str], told: str) -> None:
    done = run("--url", "http://127.0.0.1:9/v1", "--model", "midm", *options)
    assert done.returncode == 2
    assert told in done.stderr
