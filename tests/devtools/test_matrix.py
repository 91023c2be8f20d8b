"""The matrix says which releases it knows, and a release that fails is seen to fail."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from releases import matrix


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.18.1 fails, the others pass."""

    def check_all(releases: tuple[str, ...], serve: bool) -> Iterator[matrix.Result]:
        for release in releases:
            failure = "boom" if release == "0.18.1" else None
            command = f"print('3 passed', flush=True); import sys; sys.exit({failure!r})"
            yield matrix.check(
                release, lambda *_: matrix.run(sys.executable, "-c", command), Path()
            )

    monkeypatch.setattr(matrix, "check_all", check_all)


def run_matrix(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str | None:
    monkeypatch.setattr(sys, "argv", ["matrix.py", *arguments])
    return matrix.main()


def test_a_release_that_fails_is_in_the_table_in_full_and_in_the_exit(
    results: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_matrix(monkeypatch, "0.18.1", "0.24.0") == "Failed: 0.18.1."
    printed = capsys.readouterr().out
    assert "| 0.18.1 | 4.57.6 | **failed**: boom |" in printed
    assert "== vLLM 0.18.1 ==\n\n3 passed\nboom" in printed
    assert f"| 0.24.0 | {version('transformers')} | 3 passed |" in printed


def test_all_releases_are_run_unless_some_are_named(
    results: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_matrix(monkeypatch) == "Failed: 0.18.1."
    assert len(capsys.readouterr().out.split("| 3 passed |")) == len(matrix.RELEASES)
    assert run_matrix(monkeypatch, "--serve") is None
    assert len(capsys.readouterr().out.split("| 3 passed |")) == len(matrix.SERVED) + 1


def test_a_release_that_is_not_in_the_matrix_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, known in ((["0.7.3"], "0.8.5"), (["--serve", "0.24.0"], "0.27.1")):
        refusal = run_matrix(monkeypatch, *arguments)
        assert refusal is not None
        assert refusal.startswith(f"No such release here: {arguments[-1]}. There are {known}, ")


def test_the_newest_release_is_looked_up_and_need_not_be_supported(
    results: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    index = "WARNING: something\nvllm (9.9.1)\nAvailable versions: 9.9.1, 0.33.0\n"
    run = matrix.run

    def answer(*command: str) -> str:
        return index if "index" in command else run(*command)

    monkeypatch.setattr(matrix, "run", answer)
    assert run_matrix(monkeypatch, "newest") is None
    assert f"| 9.9.1 | {version('transformers')} | 3 passed |" in capsys.readouterr().out
