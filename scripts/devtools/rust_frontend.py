"""Fetch vLLM's Rust front end, the program `vllm-rs`, of the installed release, once.

The CPU build of vLLM has none; the CUDA wheel of the same release has, and it is one program for
both: it talks to the engine over sockets. The wheel is some 330 MB, so only the program is kept.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path

from packaging.version import Version

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "rust-frontend"
MEMBER = "vllm/vllm-rs"
# The wheel holds for every Python 3; pip wants one named when it is to look past this machine's.
PLATFORM = ("--python-version", "3.12", "--platform", "manylinux_2_28_x86_64")


class FetchFailed(Exception):
    """The program cannot be had; the message says why."""


def fetch(release: str | None = None) -> Path:
    """The path of the program, of the installed vLLM's release unless another is named.

    Downloads the wheel with pip unless the program is in the cache. Raises FetchFailed.
    """
    release = release or Version(version("vllm")).base_version
    program = CACHE / release / "vllm-rs"
    if program.is_file():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place in the end, so that it comes there whole or not at all.
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        part = Path(folder) / program.name
        with zipfile.ZipFile(_download(release, Path(folder))) as wheel:
            try:
                source = wheel.open(MEMBER)
            except KeyError:
                raise FetchFailed(f"The wheel of vLLM {release} has no {MEMBER}") from None
            with source, part.open("wb") as target:
                shutil.copyfileobj(source, target)
        part.chmod(0o755)
        os.replace(part, program)
    return program


def _download(release: str, folder: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
         *PLATFORM, "--dest", str(folder), f"vllm=={release}"],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise FetchFailed(f"pip cannot download vllm=={release}:\n{done.stderr.strip()}")
    [wheel] = folder.glob("*.whl")
    return wheel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--release", help="default: that of the installed vLLM")
    try:
        print(fetch(parser.parse_args().release))
    except FetchFailed as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
