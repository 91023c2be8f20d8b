from __future__ import annotations

from collections import defaultdict
from importlib.metadata import distribution

import pytest
from devtools import lock
from devtools.setup_env import PYTHONS, UNWANTED, lock_of
from packaging.requirements import Requirement

LOCKED = {
    name: version
    for size in ("demo", "test")
    for name, version in lock.read(lock_of(size)).items()
}


def requirements(name: str, python: str, extra: str = "") -> list[Requirement]:
    """What an installed distribution requires on that Python, with one of its extras."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": extra}
    declared = map(Requirement, distribution(name).requires or ())
    return [each for each in declared if not each.marker or each.marker.evaluate(environment)]


@pytest.mark.parametrize("python", [".".join(map(str, version)) for version in PYTHONS])
def test_the_lock_names_all_that_its_packages_require_on_every_python(python: str) -> None:
    """pip installs it without looking at dependencies: what it lacks would not be there."""
    done: dict[str, set[str]] = defaultdict(set)
    left = [(name, "") for name in LOCKED]
    unmet = []
    while left:
        name, extra = left.pop()
        if extra in done[name]:
            continue
        done[name].add(extra)
        for requirement in requirements(name, python, extra):
            wanted = lock.normalized(requirement.name)
            if wanted in lock.APART or wanted in UNWANTED:
                continue
            if wanted not in LOCKED:
                unmet.append(f"{name} requires {requirement}")
                continue
            if not requirement.specifier.contains(LOCKED[wanted], prereleases=True):
                unmet.append(f"{name} requires {requirement}, locked is {LOCKED[wanted]}")
            left += [(wanted, each) for each in requirement.extras]
    assert not unmet
