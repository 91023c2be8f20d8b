"""The images are made as their Dockerfiles say, as far as it can be had without a builder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from shlex import split
from zipfile import ZipFile

import pytest
from deploy_files import DEPLOY, DOCKERFILES, health_command, instructions, last
from devtools.checkpoint import REPOSITORY
from devtools.server import Server
from devtools.setup_env import own_environment

IMAGE, MCP_IMAGE = DOCKERFILES
CHECK = DEPLOY / "check_dependencies.py"
each_image = pytest.mark.parametrize(
    "dockerfile", DOCKERFILES, ids=lambda path: str(path.relative_to(DEPLOY))
)


def copied(dockerfile: Path) -> list[str]:
    """What the Dockerfile copies from the repository."""
    copies = [split(rest) for word, rest in instructions(dockerfile) if word == "COPY"]
    return [name for words in copies if not words[0].startswith("--") for name in words[:-1]]


@each_image
def test_what_is_copied_is_there_and_goes_to_the_builder(dockerfile: Path) -> None:
    ignore = (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignore
    for name in copied(dockerfile):
        assert (REPOSITORY / name).exists(), name
        assert f"!{name}" in ignore, name


@each_image
def test_it_does_not_run_as_root(dockerfile: Path) -> None:
    assert int(last(dockerfile, "USER")) > 0


@each_image
def test_what_it_is_made_from_can_be_chosen_and_has_a_version(dockerfile: Path) -> None:
    given = dict(
        rest.split("=") for word, rest in instructions(dockerfile) if word == "ARG" and "=" in rest
    )
    for word, rest in instructions(dockerfile):
        if word == "FROM":
            [name] = re.findall(r"\$\{(\w+)\}", rest)
            _, _, tag = given[name].partition(":")
            assert tag and tag != "latest"


def test_the_entry_point_is_vllms_own() -> None:
    assert not {"ENTRYPOINT", "CMD"} & {word for word, _ in instructions(IMAGE)}


def test_health_is_what_the_server_says(server: Server) -> None:
    command = health_command(IMAGE)

    def ask(port: int) -> int:
        asked = [part.replace("8000", str(port)) for part in command]
        # A proxy that does not answer must not matter.
        told = {**os.environ, "http_proxy": "http://127.0.0.1:9"}
        return subprocess.run(asked, env=told, capture_output=True).returncode

    assert ask(int(server.url.rpartition(":")[2])) == 0
    assert ask(9) != 0


@pytest.fixture
def distribution(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Makes the metadata of a distribution `made`, and gives an environment that sees it."""

    def make(*requirements: str) -> dict[str, str]:
        folder = tmp_path / "made-1.0.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", "Name: made", "Version: 1.0"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requirements]
        (folder / "METADATA").write_text("\n".join(lines))
        return {**os.environ, "PYTHONPATH": str(tmp_path)}

    return make


def check(name: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHECK), name]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_plugins_dependencies_come_with_vllm() -> None:
    assert check("midm-vllm", dict(os.environ)).returncode == 0


def test_a_dependency_that_is_missing_or_does_not_fit_is_named(
    distribution: Callable[..., dict[str, str]],
) -> None:
    told = check("made", distribution(
        "not-there-at-all", "pytest<1", "pytest>=1", 'not-asked-for; extra == "more"'
    ))
    assert told.returncode == 1
    *_, missing, old = told.stderr.splitlines()
    assert missing == "not-there-at-all is not installed"
    assert old.startswith("pytest<1 is wanted, pytest ")


@pytest.mark.slow
@each_image
def test_a_linter_finds_nothing(dockerfile: Path) -> None:
    linter = own_environment("deploy").parent / "hadolint"
    # Whole images are inherited from; what pip installs is locked in a file.
    done = subprocess.run([linter, dockerfile], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_steps_make_a_wheel_and_install_it(tmp_path: Path) -> None:
    """The RUN lines but that which makes a user, in a clean environment beside vLLM's."""
    base = tmp_path / "root"
    for folder in ("source", "wheel", "opt/midm-vllm"):
        (base / folder).mkdir(parents=True)
    venv.create(base / "venv", with_pip=True)
    for name in copied(IMAGE):
        at = base / ("opt/midm-vllm" if name.startswith("deploy/") else "source")
        subprocess.run(["cp", "-r", REPOSITORY / name, at], check=True)
    told = {**os.environ, "PATH": f"{base / 'venv' / 'bin'}:{os.environ['PATH']}"}
    build, install, _ = [rest for word, rest in instructions(IMAGE) if word == "RUN"]

    def run(line: str, **more: str) -> None:
        here = re.sub(r"/(?=opt/midm-vllm|wheel\b)", f"{base}/", line)
        done = subprocess.run(
            ["sh", "-c", here], cwd=base / "source", env={**told, **more}, capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    told.pop("PYTHONPATH", None)
    run(build)
    [wheel] = (base / "wheel").glob("*.whl")
    files = {name.partition("/")[2] for name in ZipFile(wheel).namelist()}
    ours = (path for path in (REPOSITORY / "midm_vllm").rglob("*") if path.is_file())
    wanted = {
        str(path.relative_to(REPOSITORY / "midm_vllm")) for path in ours
        if "__pycache__" not in path.parts
    }
    assert wanted <= files
    wheel.rename(base / "opt" / "midm-vllm" / wheel.name)
    # vLLM and what came with it are the image's; here they are this environment's.
    install, checked = install.split(" && ")
    run(install)
    [vllms] = {path for path in sys.path if path.endswith("site-packages")}
    run(checked, PYTHONPATH=vllms)
    found = subprocess.run(
        [base / "venv" / "bin" / "midm-vllm", "--version"], env={**told, "PYTHONPATH": vllms},
        capture_output=True, text=True,
    )
    assert found.returncode == 0, found.stderr
