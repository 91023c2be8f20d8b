"""The chat templates of other vendors' models, from vLLM's source distribution.

They are read from there and kept in ``.cache``; none is copied into this repository.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
from functools import cache

from devtools.checkpoint import REPOSITORY

VERSION = "0.32.0"
SHA256 = "d2c957d5eee3d0985012151315ddc62cbe0cd368fc96a5fc3510438d9dddf2ad"
#: ``pip download`` would build the distribution's metadata, and vLLM's needs torch for that.
_DOWNLOAD = """
import sys
from pathlib import Path
from pip._internal.commands import create_command

version, target = sys.argv[1:]
command = create_command("download", isolated=False)
options, _ = command.parse_args(["--no-binary=:all:", "--quiet", "vllm"])
with command.main_context():
    session = command.get_default_session(options)
    finder = command._build_package_finder(options=options, session=session)
    [link] = {
        each.link for each in finder.find_all_candidates("vllm") if str(each.version) == version
    }
    answer = session.get(link.url, headers={"Accept-Encoding": "identity"})
    answer.raise_for_status()
    Path(target).write_bytes(answer.content)
"""
#: What a template writes itself and looks like a control token.
_TOKEN = re.compile(
    r"<[|\uff5c][^\s<>|\uff5c'\"]+[|\uff5c]>|<\|[a-z_]+>|<[a-z_]+\|>|<(?:start|end)_[a-z_]+>|"
    r"\[/?[A-Z_]+\]"
)


@cache
def vendor_templates() -> dict[str, str]:
    """Their texts by path, without those that are equal."""
    folder = REPOSITORY / ".cache" / "vendor-templates" / SHA256[:16]
    if not folder.exists():
        archive = folder.with_suffix(".tar.gz")
        archive.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-c", _DOWNLOAD, VERSION, archive], check=True)
        if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
            raise ValueError(f"{archive} is not the pinned source distribution of vLLM {VERSION}.")
        unpacked = folder.with_suffix(".unpacked")
        with tarfile.open(archive) as opened:
            for member in opened.getmembers():
                content = opened.extractfile(member) if member.name.endswith(".jinja") else None
                if content is not None:
                    file = unpacked / member.name.partition("/")[2]
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content.read())
        unpacked.rename(folder)
        archive.unlink()
    found: dict[str, str] = {}
    for file in sorted(folder.rglob("*.jinja")):
        text = file.read_text("utf-8")
        if text not in found.values():
            found[str(file.relative_to(folder))] = text
    return found


def written_tokens(template: str) -> list[str]:
    """Control tokens for a template: what it writes in their form, and what every model has."""
    return sorted({*_TOKEN.findall(template), "<s>", "</s>", "<|eot_id|>", "[INST]"})
