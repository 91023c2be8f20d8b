"""What of a schema is not enforced, and what reading it costs."""

from __future__ import annotations

from dataclasses import dataclass

from midm_vllm.constrained.limits import MAX_FINDINGS

#: How the reason begins where a schema is larger than what is left for it.
TOO_LARGE = "it is larger than what is left of the request's"


@dataclass(frozen=True)
class Finding:
    """A keyword at a place (``$.a.b``) of a schema that is not enforced, and why."""

    keyword: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.keyword!r} at {self.place}: {self.reason}"


class Findings:
    """The findings of a schema, in the order in which they were made, and its cost.

    Args:
        limit: The nodes that the schema may cost.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nodes = 0
        self._found: dict[Finding, None] = {}

    def report(self, keyword: str, place: str, reason: str) -> None:
        """Report that a keyword is not enforced."""
        if len(self._found) < MAX_FINDINGS:
            self._found[Finding(keyword, place, reason)] = None

    def charge(self, nodes: int, place: str) -> bool:
        """Count nodes; where they are too many, report that and return False."""
        if self.nodes + nodes > self.limit:
            self.report("schema", place, f"{TOO_LARGE} {self.limit} nodes")
            return False
        self.nodes += nodes
        return True

    def all(self) -> list[Finding]:
        return list(self._found)
