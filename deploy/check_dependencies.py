"""Say what of a distribution's requirements is not installed here, or does not fit.

    python3 check_dependencies.py midm-vllm

For an image in which it was installed without its dependencies, because they are vLLM's.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement


def unmet(distribution: str) -> list[str]:
    """One line for each requirement that is not met; optional ones are left out."""
    lines = []
    for line in requires(distribution) or []:
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            lines.append(f"{wanted} is not installed")
        else:
            if not wanted.specifier.contains(found, prereleases=True):
                lines.append(f"{wanted} is wanted, {wanted.name} {found} is installed")
    return lines


def main() -> str | None:
    [distribution] = sys.argv[1:]
    if lines := unmet(distribution):
        return (
            f"{distribution} was installed without its dependencies, which vLLM's image has. "
            "This image lacks some: take one of another vLLM release, or install them in a layer "
            "of your own.\n" + "\n".join(lines)
        )
    return None


if __name__ == "__main__":
    sys.exit(main())
