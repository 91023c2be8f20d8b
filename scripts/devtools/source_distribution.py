"""Files of other projects' source distributions: read from there, none is in this repository."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from devtools.setup_env import REPOSITORY

#: ``pip download`` would build the distribution's metadata, and vLLM's needs torch for that.
_DOWNLOAD = """
import sys
from pathlib import Path
from pip._internal.commands import create_command

project, version, target = sys.argv[1:]
command = create_command("download", isolated=False)
options, _ = command.parse_args(["--no-binary=:all:", "--quiet", project])
with command.main_context():
    session = command.get_default_session(options)
    finder = command._build_package_finder(options=options, session=session)
    [link] = {
        each.link for each in finder.find_all_candidates(project) if str(each.version) == version
    }
    answer = session.get(link.url, headers={"Accept-Encoding": "identity"})
    answer.raise_for_status()
    Path(target).write_bytes(answer.content)
"""


def unpacked(project: str, version: str, sha256: str, place: Callable[[str], str]) -> Path:
    """A folder in ``.cache`` with files of a distribution, downloaded unless it is there.

    Args:
        project: The project's name.
        version: The release.
        sha256: Of the archive.
        place: Returns where in the folder a file of the archive goes; "" leaves it out.

    Raises:
        subprocess.CalledProcessError: It cannot be downloaded.
        ValueError: It is another archive.
    """
    folder = REPOSITORY / ".cache" / "source-distributions" / f"{project}-{sha256[:16]}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        archive, files = Path(temporary, "archive.tar.gz"), Path(temporary, "files")
        subprocess.run([sys.executable, "-c", _DOWNLOAD, project, version, archive], check=True)
        if hashlib.sha256(archive.read_bytes()).hexdigest() != sha256:
            raise ValueError(f"The archive of {project} {version} is not the pinned one.")
        with tarfile.open(archive) as opened:
            for member in opened.getmembers():
                inside = place(member.name)
                content = opened.extractfile(member) if inside else None
                if content is not None:
                    file = files / inside
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content.read())
        files.rename(folder)
    return folder
