from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from devtools import lock
from devtools import setup_env
from packaging.version import Version


def test_a_processor_without_avx2_is_refused() -> None:
    with pytest.raises(setup_env.SetupError, match="no AVX2"):
        setup_env.check_processor("x86_64", "flags : fpu sse4_2 avx".split())


@pytest.mark.parametrize("machine, flags", [("x86_64", "fpu avx avx2"), ("aarch64", "asimd")])
def test_a_processor_that_vllm_has_kernels_for_is_accepted(machine: str, flags: str) -> None:
    setup_env.check_processor(machine, flags.split())


def test_this_processor_is_accepted() -> None:
    setup_env.check_processor(*setup_env.processor())


def test_a_full_disk_is_refused_with_the_room_it_has() -> None:
    with pytest.raises(setup_env.SetupError, match=r"/data has 1\.5 GB free .* needs 8: make room"):
        setup_env.check_disk(1_500_000_000, Path("/data"))


def test_a_disk_with_room_is_accepted() -> None:
    setup_env.check_disk(8_000_000_000, Path("/data"))


def stand_in(folder: Path, script: str) -> str:
    folder.mkdir()
    python = folder / "python3.11"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return str(python)


def test_a_python_of_another_version_is_passed_over(tmp_path: Path) -> None:
    wanted = sys.executable
    nothing_behind = stand_in(tmp_path / "shims", "echo 'command not found' >&2; exit 127")
    other_version = stand_in(
        tmp_path / "other", f"exec {wanted} -c 'import sys; sys.version_info = (3, 10)\n'\"$2\""
    )
    assert setup_env.find_python([nothing_behind, other_version, wanted]) == wanted


def test_without_a_fitting_python_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(setup_env.SetupError, match=r"No Python 3\.11 to 3\.14 .* python3\.11-venv"):
        setup_env.find_python([stand_in(tmp_path / "shims", "exit 1")])


def test_interpreters_are_looked_for_in_every_folder_of_the_path(tmp_path: Path) -> None:
    first = stand_in(tmp_path / "first", "")
    second = stand_in(tmp_path / "second", "")
    newer = tmp_path / "first" / "python3.14"
    shutil.copy(first, newer)
    path = os.pathsep.join(str(tmp_path / name) for name in ("first", "empty", "second"))
    assert setup_env.python_candidates(path) == [sys.executable, first, second, str(newer)]


def test_a_failing_pip_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "pip.log"
    with pytest.raises(setup_env.SetupError, match="(?s)pip failed.*no-such-command"):
        setup_env.run_pip(Path(sys.executable), log, "no-such-command")


def test_an_unfinished_environment_is_not_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "stamp"
    monkeypatch.setattr(setup_env, "STAMP", mark)
    assert not setup_env.is_current("demo")
    mark.write_text("what an older version of the repository was made from")
    assert not setup_env.is_current("demo")
    mark.write_text(f"{setup_env.stamp()} test")
    assert setup_env.is_current("demo")
    assert setup_env.is_current("test")
    assert not setup_env.is_current("all")


def test_torch_is_looked_for_in_its_own_index_where_pip_finds_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[tuple[str, ...]] = []

    def run_pip(python: Path, log: Path, *command: str) -> None:
        commands.append(command)
        if found_at not in command:
            raise setup_env.SetupError("pip failed.")

    monkeypatch.setattr(setup_env, "run_pip", run_pip)
    found_at = setup_env.TORCH_INDEX
    setup_env.install_torch(Path(sys.executable), tmp_path / "pip.log")
    assert [found_at in command for command in commands] == [False, True]
    found_at = "nowhere"
    with pytest.raises(setup_env.SetupError, match="(?s)pip failed.*No torch .*PIP_FIND_LINKS"):
        setup_env.install_torch(Path(sys.executable), tmp_path / "pip.log")


def test_an_environment_of_its_own_is_made_once_for_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[tuple[str, ...]] = []

    def run_pip(python: Path, log: Path, *command: str) -> None:
        commands.append(command)

    monkeypatch.setattr(setup_env, "REPOSITORY", tmp_path)
    monkeypatch.setattr(setup_env, "REQUIREMENTS", tmp_path)
    monkeypatch.setattr(setup_env, "run_pip", run_pip)
    monkeypatch.setattr(setup_env, "ENVIRONMENT", Path(sys.prefix))
    lock_file = tmp_path / "agents.txt"
    lock_file.write_text("agent==1.0\n")
    python = setup_env.own_environment("agents")
    assert python.is_file() and python == setup_env.own_environment("agents")
    [command] = commands
    assert f"--requirement={lock_file}" in command
    lock_file.write_text(f"agent==1.1\ntorch=={setup_env.TORCH}+cpu\n")
    setup_env.own_environment("agents")
    [torch, everything] = commands[1:]
    assert f"torch=={setup_env.TORCH}+cpu" in torch and f"--requirement={lock_file}" in everything


def test_an_environment_on_top_sees_vllm_and_midm_vllm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup_env, "REPOSITORY", tmp_path)
    monkeypatch.setattr(setup_env, "REQUIREMENTS", tmp_path)
    monkeypatch.setattr(setup_env, "run_pip", lambda *_: None)
    monkeypatch.setattr(setup_env, "ENVIRONMENT", Path(sys.prefix))
    for name, seen in (("ray-serve", True), ("agents", False)):
        (tmp_path / f"{name}.txt").write_text("package==1.0\n")
        program = "from importlib.metadata import version; version('vllm'), version('midm-vllm')"
        done = subprocess.run(
            [setup_env.own_environment(name), "-c", program], cwd=tmp_path, capture_output=True
        )
        assert (done.returncode == 0) is seen, done.stderr


@pytest.mark.parametrize("name", [*setup_env.SIZES, *setup_env.OWN_ENVIRONMENTS])
def test_a_lock_names_exact_versions_and_no_build_for_gpus(name: str) -> None:
    lines = setup_env.lock_of(name).read_text().splitlines()
    packages = [line for line in lines if not line.startswith("#")]
    assert packages
    for line in packages:
        package, _, release = line.partition("==")
        assert str(Version(release)) and package not in setup_env.UNWANTED
        assert not package.startswith("nvidia")


def test_the_environment_of_the_tests_is_what_the_locks_say() -> None:
    for name in ("demo", "test"):
        for package, release in lock.read(setup_env.lock_of(name)).items():
            assert version(package) == release


def test_a_refusal_is_one_sentence_and_a_failing_status(tmp_path: Path) -> None:
    """As a process, in a repository of its own, on a disk that is too small by decree."""
    scripts = tmp_path / "scripts" / "devtools"
    scripts.mkdir(parents=True)
    source = Path(setup_env.__file__).read_text()
    (scripts / "setup_env.py").write_text(source.replace("GIGABYTES = 8.0", "GIGABYTES = 8e9"))
    (tmp_path / "pyproject.toml").touch()
    ended = subprocess.run(
        [sys.executable, scripts / "setup_env.py"], capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"The disk of {tmp_path} has ")
    assert "make room" in ended.stderr
    assert not (tmp_path / ".venv").exists()
