"""What ``midm-vllm doctor`` looks at: whether vLLM here will serve Mi:dm's tool calls.

Everything is looked at from outside, without importing vLLM into this process;
the last check lets a vLLM of its own load the plugin, as a server would.
"""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, distributions, entry_points, requires, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

import midm_vllm
from midm_vllm import envs
from midm_vllm.chat.rendering import PACKAGED_TEMPLATE
from midm_vllm.chat.template_selection import TemplateChoice, choose_template
from midm_vllm.compat.vllm_imports import (
    ARGUMENT_PARSER_MODULES,
    CHAT_TEMPLATE_REGISTRY,
    FIRST_RELEASE,
    LAST_RELEASE,
)
from midm_vllm.constants import TOOL_PARSER_NAME
from midm_vllm.serving.rust_frontend import RUST_TOOL_PARSER

#: What a server always imports, and what of ours waits for it: the defaults, and the template.
_WAITED_FOR = (*ARGUMENT_PARSER_MODULES, CHAT_TEMPLATE_REGISTRY)
_LOAD_AS_A_SERVER_DOES = f"""
import sys
from importlib import import_module
from vllm.plugins import load_general_plugins
load_general_plugins()
from midm_vllm.compat.vllm_imports import ToolParserManager
ToolParserManager.get_tool_parser({TOOL_PARSER_NAME!r})
from midm_vllm.compat.patching import failed, visited
for name in sys.argv[1:]:
    import_module(name)
    if name not in visited and not failed:
        sys.exit(f"importing {{name}} did not register what waits for it")
for target, loss in failed.items():
    sys.exit(f"{{target}} cannot be changed: {{loss}}")
"""


class Level(Enum):
    WELL = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what to do about it if anything is."""

    level: Level
    text: str


def examine(model: str, revision: str | None, tool_parser_plugin: Path | None) -> Iterator[Finding]:
    """Look at one thing after the other; the last finding is the command to run."""
    well = True
    for finding in _installation(tool_parser_plugin):
        well = well and finding.level is not Level.PROBLEM
        yield finding
    # vLLM takes seconds to import, and the hub may take some to answer: at the same time.
    loading = _start_loading() if well else None
    choice = choose_template(model, revision)
    if loading is not None:
        yield _loaded(loading)
    yield from _template_and_command(model, revision, choice)


def _installation(tool_parser_plugin: Path | None) -> Iterator[Finding]:
    yield from _versions()
    yield _entry_point()
    yield from _two_installations()
    yield from examine_environment()
    if tool_parser_plugin is not None:
        yield _plugin_file(tool_parser_plugin)


def _versions() -> Iterator[Finding]:
    yield Finding(Level.WELL, f"Python {sys.version.partition(' ')[0]} at {sys.executable}")
    try:
        vllm = Version(version("vllm"))
    except PackageNotFoundError:
        yield Finding(Level.PROBLEM, "vLLM is not installed here: pip install vllm")
        return
    known = f"midm-vllm is known to work with {FIRST_RELEASE} to {LAST_RELEASE}"
    if vllm < Version(FIRST_RELEASE):
        yield Finding(Level.PROBLEM, f"vLLM {vllm} is too old: {known}. Upgrade vLLM.")
    elif vllm.release > Version(LAST_RELEASE).release:
        yield Finding(Level.WARNING, f"vLLM {vllm} is newer than what was tried: {known}.")
    else:
        yield Finding(Level.WELL, f"vLLM {vllm}")
    for line in requires("vllm") or []:
        needed = Requirement(line)
        if needed.name == "transformers" and not needed.specifier.contains(version("transformers")):
            yield Finding(
                Level.PROBLEM,
                f"Transformers {version('transformers')} does not fit vLLM {vllm}: "
                f'pip install "{needed}"',
            )


def _entry_point() -> Finding:
    names = [
        entry.name
        for entry in entry_points(group="vllm.general_plugins")
        if entry.value == "midm_vllm.plugin:register"
    ]
    if not names:
        return Finding(
            Level.PROBLEM,
            f"vLLM does not see the plugin: {sys.executable} has no installed midm-vllm (being on "
            "the path is not enough): pip install midm-vllm",
        )
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is not None and names[0] not in allowed.split(","):
        return Finding(
            Level.PROBLEM,
            f"VLLM_PLUGINS={allowed} keeps vLLM from loading the plugin: unset it, or add "
            f"{names[0]}.",
        )
    return Finding(Level.WELL, f"vLLM sees the plugin midm-vllm {version('midm-vllm')}")


def _two_installations() -> Iterator[Finding]:
    here = Path(midm_vllm.__file__).parent
    places = {
        Path(str(found.locate_file("midm_vllm"))).resolve()
        for found in distributions(name="midm-vllm")
    }
    # An editable installation has no package where its metadata is.
    others = sorted(str(place) for place in places - {here.resolve()} if place.is_dir())
    if others:
        yield Finding(
            Level.PROBLEM,
            f"midm-vllm is installed more than once: in use is {here}, but there is also "
            f"{', '.join(others)}. Uninstall what is not in use.",
        )


def examine_environment() -> Iterator[Finding]:
    """What the environment's variables change; nothing, where none of them is set."""
    yield from _front_end()
    if _defaults_are_off():
        yield Finding(
            Level.WARNING,
            f"{envs.SERVING_DEFAULTS}=0: the serving defaults are off on your request.",
        )


def _front_end() -> Iterator[Finding]:
    if not envs.vllm_rust_frontend():
        if envs.rust_frontend():
            yield Finding(
                Level.WARNING,
                f"{envs.RUST_FRONTEND} is set, but {envs.VLLM_RUST_FRONTEND} is not: the Python "
                f"front end serves, with {TOOL_PARSER_NAME}. For the Rust one set both to 1.",
            )
    elif envs.rust_frontend():
        yield Finding(
            Level.WARNING,
            f"{envs.VLLM_RUST_FRONTEND} and {envs.RUST_FRONTEND} are set: vLLM's Rust front end "
            f"serves, and its own parser, {RUST_TOOL_PARSER}, reads the calls; it misses some that "
            f"{TOOL_PARSER_NAME} "
            f"reads. Unset {envs.RUST_FRONTEND} for {TOOL_PARSER_NAME}.",
        )
    else:
        yield Finding(
            Level.WELL,
            f"{envs.VLLM_RUST_FRONTEND} is set: with {TOOL_PARSER_NAME} the Python front end "
            "serves all the same, because the Rust one loads no Python parser. "
            f"{envs.RUST_FRONTEND}=1 has the Rust one serve, with its own parser.",
        )


def _plugin_file(file: Path) -> Finding:
    """Whether a ``--tool-parser-plugin`` file imports here and leaves our parser alone."""
    try:
        tree = ast.parse(file.read_text("utf-8"))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Finding(Level.PROBLEM, f"--tool-parser-plugin {file} cannot be read: {error}")
    leave_out = f"Leave --tool-parser-plugin {file} out: {TOOL_PARSER_NAME} is built in here."
    for node in ast.walk(tree):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else (
            [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        )
        for name in names:
            if name.partition(".")[0] == "vllm" and not _exists(name):
                return Finding(
                    Level.PROBLEM,
                    f"{file} does not import on vLLM {version('vllm')}, which has no {name}. "
                    f"{leave_out}",
                )
        if isinstance(node, ast.Constant) and node.value == TOOL_PARSER_NAME:
            return Finding(
                Level.PROBLEM, f"{file} registers a {TOOL_PARSER_NAME} of its own. {leave_out}"
            )
    return Finding(Level.WELL, f"--tool-parser-plugin {file} does not touch {TOOL_PARSER_NAME}")


def _exists(module: str) -> bool:
    """Whether vLLM has a module, told by its files alone."""
    vllm = find_spec("vllm")
    if vllm is None or not vllm.submodule_search_locations:
        return False
    for folder in vllm.submodule_search_locations:
        place = Path(folder, *module.split(".")[1:])
        if place.is_dir() or place.with_suffix(".py").is_file():
            return True
    return False


def _start_loading() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _LOAD_AS_A_SERVER_DOES, *filter(_exists, _WAITED_FOR)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def _loaded(loading: subprocess.Popen[str]) -> Finding:
    _, said = loading.communicate()
    if loading.returncode:
        last = (said.strip().splitlines() or ["(no output)"])[-1]
        return Finding(Level.PROBLEM, f"vLLM does not get at {TOOL_PARSER_NAME}: {last}")
    return Finding(Level.WELL, f"vLLM loads the plugin and finds {TOOL_PARSER_NAME}")


def _template_and_command(
    model: str, revision: str | None, choice: TemplateChoice
) -> Iterator[Finding]:
    if choice.path:
        what = f"Chat template: the packaged one ({choice.path})"
    else:
        what = "Chat template: the checkpoint's own"
    yield Finding(
        Level.WELL if choice.known else Level.PROBLEM, f"{what}, because {choice.reason}"
    )
    command = ["vllm", "serve", model, "--tool-call-parser", TOOL_PARSER_NAME]
    if revision:
        command += ["--revision", revision]
    if _defaults_are_off():
        command += ["--enable-auto-tool-choice"]
        if choice.path:
            command += ["--chat-template", str(PACKAGED_TEMPLATE)]
    yield Finding(Level.WELL, f"Run: {shlex.join(command)}")


def _defaults_are_off() -> bool:
    return not envs.serving_defaults()
