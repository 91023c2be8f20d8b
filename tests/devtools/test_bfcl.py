"""The leaderboard scores a served model: what was taught rightly right, and the rest wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import leaderboard_checkpoint
import pytest
from devtools.server import Server, run_server, serve_arguments
from devtools.setup_env import own_environment
from evaluation import bfcl
from evaluation.bfcl import Stopped, check_same_run, read_lines
from leaderboard_checkpoint import NOT_TAUGHT, RIGHT, WRONG


def test_a_line_that_an_interruption_cut_off_is_asked_again(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"id": "a"}\n{"id": "b')
    assert read_lines(bfcl._whole(file)) == [{"id": "a"}]
    assert file.read_text() == '{"id": "a"}\n'


def test_answers_of_another_run_are_not_added_to(tmp_path: Path) -> None:
    check_same_run(tmp_path, {"model": "a wrong name", "stream": False})
    check_same_run(tmp_path, {"model": "a", "stream": False})
    bfcl.result_file(tmp_path, "multiple").parent.mkdir()
    bfcl.result_file(tmp_path, "multiple").touch()
    check_same_run(tmp_path, {"model": "a", "stream": False})
    with pytest.raises(Stopped, match=r"another run \(stream\): give another --out"):
        check_same_run(tmp_path, {"model": "a", "stream": True})


@pytest.fixture(scope="module")
def leaderboard_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    checkpoint = leaderboard_checkpoint.build(own_environment("bfcl"))
    log = tmp_path_factory.mktemp("leaderboard") / "vllm.log"
    arguments = serve_arguments(checkpoint)
    arguments[arguments.index("--max-model-len") + 1] = "16384"
    with run_server(arguments, log) as running:
        yield running


def run(url: str, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, bfcl.__file__, "--url", url, "--model", "midm", "--out", str(out),
               "--max-tokens", "256", *options]
    return subprocess.run(command, capture_output=True, text=True)


def answers(out: Path) -> dict[str, Any]:
    """What was answered to each entry."""
    files = sorted((out / "answers").iterdir())
    lines = [line for file in files for line in read_lines(file)]
    assert max(Counter(line["id"] for line in lines).values()) == 1
    return {line["id"]: line["result"] for line in lines}


def found_wrong(out: Path) -> set[str]:
    files = (out / "wrong").rglob("*_score.json")
    return {row["id"] for file in files for row in read_lines(file)[1:]}


@pytest.fixture(scope="module")
def at_once(leaderboard_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in two parts, as after an interruption."""
    out = tmp_path_factory.mktemp("bfcl") / "at-once"
    url = f"{leaderboard_server.url}/v1"
    first = run(url, out, "--ids", *RIGHT[:3])
    assert first.returncode == 0, first.stderr
    assert set(answers(out)) == set(RIGHT[:3])
    second = run(url, out, "--ids", *RIGHT, *WRONG, *NOT_TAUGHT)
    assert second.returncode == 0, second.stderr
    return out


@pytest.mark.slow
def test_what_was_taught_rightly_is_right_and_the_rest_wrong(at_once: Path) -> None:
    assert set(answers(at_once)) == {*RIGHT, *WRONG, *NOT_TAUGHT}
    assert found_wrong(at_once) == {*WRONG, *NOT_TAUGHT}


@pytest.mark.slow
def test_streamed_answers_are_the_same(
    at_once: Path, leaderboard_server: Server, tmp_path: Path
) -> None:
    done = run(f"{leaderboard_server.url}/v1", tmp_path, "--stream", "--ids", *RIGHT, *WRONG,
               *NOT_TAUGHT)
    assert done.returncode == 0, done.stderr
    assert answers(tmp_path) == answers(at_once)
    assert found_wrong(tmp_path) == found_wrong(at_once)


@pytest.mark.slow
def test_there_are_a_table_and_a_picture(at_once: Path) -> None:
    assert "| simple_java | 2 | 2 | 100 | 100.0 |" in (at_once / "score.md").read_text()
    assert (at_once / "score.svg").read_text().startswith("<svg")
    assert json.loads((at_once / "run.json").read_text())["model"] == "midm"


@pytest.mark.slow
def test_without_a_server_it_says_so_and_keeps_nothing(tmp_path: Path) -> None:
    done = run("http://127.0.0.1:9/v1", tmp_path, "--ids", RIGHT[0])
    assert done.returncode == 1
    assert "Nobody answers at http://127.0.0.1:9/v1" in done.stderr
    assert "The same command goes on from here." in done.stderr


@pytest.mark.slow
def test_an_entry_that_is_none_is_told(tmp_path: Path) -> None:
    done = run("http://127.0.0.1:9/v1", tmp_path, "--ids", RIGHT[0], "simple_python_9999")
    assert done.returncode == 1
    assert done.stderr.endswith("No such entry in these categories: simple_python_9999.\n")


def test_numbers_are_positive(tmp_path: Path) -> None:
    done = run("http://127.0.0.1:9/v1", tmp_path, "--concurrency", "0")
    assert done.returncode == 2 and "invalid positive number value: '0'" in done.stderr


@pytest.mark.slow
def test_a_category_that_is_none_is_refused_with_those_there_are(tmp_path: Path) -> None:
    done = run("http://127.0.0.1:9/v1", tmp_path, "--categories", "chess")
    assert done.returncode == 1
    assert "chess is no category here; there are all, non_live, live, multi_turn" in done.stderr
