"""The checks of ``midm-vllm doctor``: whether vLLM here will serve Mi:dm's tool calls.

No check imports vLLM into this process. The last one loads the plugin in a process
of its own, as a server would.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from importlib.metadata import PackageNotFoundError, distributions, entry_points, requires, version
from importlib.util import find_spec
from itertools import chain
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
from midm_vllm.constants import DOCUMENTATION_URL, TOOL_PARSER_NAME
from midm_vllm.serving.rust_frontend import RUST_TOOL_PARSER

#: Modules that every server imports, and with which the defaults and the template register.
_REGISTERING_MODULES = (*ARGUMENT_PARSER_MODULES, CHAT_TEMPLATE_REGISTRY)
_LOAD_LIKE_A_SERVER = f"""
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
        sys.exit(f"importing {{name}} did not register what belongs to it")
for target, loss in failed.items():
    sys.exit(f"{{target}} cannot be changed: {{loss}}")
"""


class Level(Enum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """The result of one check; for a warning or a problem, also what to do about it."""

    level: Level
    text: str


ok = partial(Finding, Level.OK)
#: Limits what is served.
warning = partial(Finding, Level.WARNING)
#: Prevents tool calls.
problem = partial(Finding, Level.PROBLEM)


def examine(model: str, revision: str | None) -> Iterator[Finding]:
    """Run all checks.

    Args:
        model: A folder, or a name on the Hugging Face Hub.
        revision: The revision on the Hub; None for the default one.

    Yields:
        One finding after the other; the last one is the command to run.
    """
    is_ok = True
    for finding in chain(
        _versions(), [_entry_point()], _two_installations(), examine_environment()
    ):
        is_ok = is_ok and finding.level is not Level.PROBLEM
        yield finding
    # vLLM takes seconds to import, and the Hub may take some to answer: do both at the same time.
    loading = _start_loading() if is_ok else None
    choice = choose_template(model, revision)
    if loading is not None:
        yield _loaded(loading)
    yield _template(choice)
    yield _launchers(choice)
    yield _command(model, revision, choice)


def _versions() -> Iterator[Finding]:
    yield ok(f"Python {sys.version.partition(' ')[0]} at {sys.executable}")
    try:
        vllm = Version(version("vllm"))
    except PackageNotFoundError:
        yield problem("vLLM is not installed here: pip install vllm")
        return
    tested = f"midm-vllm was tested with {FIRST_RELEASE} to {LAST_RELEASE}"
    if vllm < Version(FIRST_RELEASE):
        yield problem(f"vLLM {vllm} is too old: {tested}. Upgrade vLLM.")
    elif vllm.release > Version(LAST_RELEASE).release:
        yield warning(f"vLLM {vllm} is newer than the tested releases: {tested}.")
    else:
        yield ok(f"vLLM {vllm}")
    for line in requires("vllm") or []:
        needed = Requirement(line)
        if needed.name == "transformers" and not needed.specifier.contains(version("transformers")):
            yield problem(
                f"Transformers {version('transformers')} does not fit vLLM {vllm}: "
                f'pip install "{needed}"'
            )


def _entry_point() -> Finding:
    names = [
        entry.name
        for entry in entry_points(group="vllm.general_plugins")
        if entry.value == "midm_vllm.plugin:register"
    ]
    if not names:
        return problem(
            f"vLLM does not see the plugin: midm-vllm is not installed for {sys.executable} (to be "
            "importable is not enough): pip install midm-vllm"
        )
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is not None and names[0] not in allowed.split(","):
        return problem(
            f"VLLM_PLUGINS={allowed} prevents vLLM from loading the plugin: unset it, or add "
            f"{names[0]}."
        )
    return ok(f"vLLM sees the plugin midm-vllm {version('midm-vllm')}")


def _two_installations() -> Iterator[Finding]:
    here = Path(midm_vllm.__file__).parent
    places = {
        Path(str(found.locate_file("midm_vllm"))).resolve()
        for found in distributions(name="midm-vllm")
    }
    # An editable installation has no package where its metadata is.
    others = sorted(str(place) for place in places - {here.resolve()} if place.is_dir())
    if others:
        yield problem(
            f"midm-vllm is installed more than once: {here} is in use, but there is also "
            f"{', '.join(others)}. Uninstall the others."
        )


def examine_environment() -> Iterator[Finding]:
    """Yield a finding for each environment variable that changes how vLLM serves."""
    yield from _front_end()
    if not envs.serving_defaults():
        yield warning(f"{envs.SERVING_DEFAULTS}=0 turns the serving defaults off.")


def _front_end() -> Iterator[Finding]:
    ours, vllm = envs.RUST_FRONTEND, envs.VLLM_RUST_FRONTEND
    if not envs.vllm_rust_frontend():
        if envs.rust_frontend():
            yield warning(
                f"{ours} is set, but {vllm} is not: the Python front end serves, with "
                f"{TOOL_PARSER_NAME}. For the Rust front end, set both to 1."
            )
    elif envs.rust_frontend():
        yield warning(
            f"{vllm} and {ours} are set: vLLM's Rust front end serves, with its own parser "
            f"{RUST_TOOL_PARSER}, which misses some calls that {TOOL_PARSER_NAME} reads. For "
            f"{TOOL_PARSER_NAME}, unset {ours}."
        )
    else:
        yield ok(
            f"{vllm} is set, but the Python front end serves, because the Rust front end cannot "
            f"load {TOOL_PARSER_NAME}. To use the Rust front end with its own parser, set {ours}=1."
        )


def _exists(module: str) -> bool:
    """Whether vLLM has a module, according to its files."""
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
        [sys.executable, "-c", _LOAD_LIKE_A_SERVER, *filter(_exists, _REGISTERING_MODULES)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def _loaded(loading: subprocess.Popen[str]) -> Finding:
    _, errors = loading.communicate()
    if loading.returncode:
        last = (errors.strip().splitlines() or ["(no output)"])[-1]
        return problem(
            f"vLLM cannot load {TOOL_PARSER_NAME}: {last}. Reinstall midm-vllm, or see "
            f"{DOCUMENTATION_URL}"
        )
    return ok(f"vLLM loads the plugin and finds {TOOL_PARSER_NAME}")


def _template(choice: TemplateChoice) -> Finding:
    source = f"the packaged one ({choice.path})" if choice.path else "the checkpoint's own"
    return (ok if choice.known else problem)(f"Chat template: {source}, because {choice.reason}")


def _launchers(choice: TemplateChoice) -> Finding:
    """What launchers need that build vLLM's arguments in Python: not all complete them."""
    arguments = f'tool_call_parser="{TOOL_PARSER_NAME}", enable_auto_tool_choice=True'
    if choice.path:
        arguments += f', chat_template="{PACKAGED_TEMPLATE}"'
    return ok(
        "Launchers other than vllm serve (Ray Serve LLM, KServe, Dynamo, Python): install "
        f"midm-vllm where they run vLLM, and set {arguments}"
    )


def _command(model: str, revision: str | None, choice: TemplateChoice) -> Finding:
    command = ["vllm", "serve", model, "--tool-call-parser", TOOL_PARSER_NAME]
    if revision:
        command += ["--revision", revision]
    if not envs.serving_defaults():
        command += ["--enable-auto-tool-choice"]
        if choice.path:
            command += ["--chat-template", str(PACKAGED_TEMPLATE)]
    return ok(f"Run: {shlex.join(command)}")
