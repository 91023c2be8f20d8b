"""Changes to vLLM and Transformers, made when the module in question is imported.

A change whose target is missing, or that fails, never breaks the import or another model's server:
the log has one warning, which says what is lost. ``midm_vllm/patches.py`` holds the changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial, reduce
from types import ModuleType

from packaging.version import InvalidVersion, Version

from midm_vllm.compat.import_hooks import when_imported
from midm_vllm.compat.vllm_imports import FIRST_RELEASE, LAST_RELEASE, vllm_version

logger = logging.getLogger("vllm.midm_vllm.patches")

#: The modules whose changes were made, if they have a target.
visited: set[str] = set()
#: The targets that could not be changed, and what is lost.
failed: dict[str, str] = {}


@dataclass(frozen=True)
class Patch:
    """A change to one object of vLLM or Transformers.

    Args:
        target: What is changed, as an attribute path in its module.
        modules: The modules that have held the target, the newest first.
        apply: Makes the change; gets the module.
        loss: What does not work without the change, as the end of a sentence.
        since: The first release of vLLM that needs the change.
        until: The last one, where newer releases do not need it.
        required: Whether midm-parser cannot work without the change.
    """

    target: str
    modules: tuple[str, ...]
    apply: Callable[[ModuleType], None]
    loss: str
    since: str = FIRST_RELEASE
    until: str | None = None
    required: bool = False

    def is_needed(self) -> bool:
        """Whether the installed release needs the change."""
        try:
            release = Version(vllm_version()).release
        except InvalidVersion:
            return self.until is None
        if release < Version(FIRST_RELEASE).release:  # A build from source: 0.1.dev…
            return self.until is None
        return Version(self.since).release <= release and (
            self.until is None or release <= (*Version(self.until).release, 999)
        )


def install(patches: Iterable[Patch]) -> None:
    """Make each change when a module that holds its target is imported, now if it is."""
    for patch in patches:
        if patch.is_needed():
            for name in patch.modules:
                when_imported(name, partial(make, patch))


def make(patch: Patch, module: ModuleType) -> None:
    """Make one change to a module that was imported; a warning where that fails."""
    try:
        if not _has(module, patch.target):
            if module.__name__ != patch.modules[0]:
                visited.add(module.__name__)
                return  # An older place, which this release has for something else.
            raise AttributeError(f"{module.__name__} has no {patch.target}")
        patch.apply(module)
    except Exception as error:
        failed[f"{module.__name__}.{patch.target}"] = patch.loss
        logger.warning(
            "midm-vllm does not fit vLLM %s (%s: %s). Without this change %s. Everything else is "
            "served as before. midm-vllm is known to work with vLLM %s to %s.",
            vllm_version(), type(error).__name__, error, patch.loss, FIRST_RELEASE, LAST_RELEASE,
        )
        if patch.required:
            _lost.append(patch)
    else:
        visited.add(module.__name__)


def check_required() -> None:
    """Raise RuntimeError if midm-parser, which was requested, cannot work."""
    for patch in _lost:
        raise RuntimeError(
            f"midm-parser does not work with vLLM {vllm_version()}, because {patch.target} could "
            f"not be changed: {patch.loss}. Install vLLM {FIRST_RELEASE} to {LAST_RELEASE}, or a "
            "newer midm-vllm."
        )


_lost: list[Patch] = []


def _has(module: ModuleType, target: str) -> bool:
    try:
        reduce(getattr, target.split("."), module)
    except AttributeError:
        return False
    return True
