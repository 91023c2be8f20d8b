"""The official JSON Schema Test Suite: as strict schemas, nothing invalid is accepted."""

from __future__ import annotations

from collections import Counter

import pytest
from benchmarks.bench_schemas import ours
from benchmarks.json_schema_suite import DRAFTS, PLACES, cases, measure

from midm_vllm.constrained.tool_schema import compile_schema

#: Members that are entirely right, at least: of all schemas of a draft.
LEAST_RIGHT = 0.65


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("draft", DRAFTS)
def test_nothing_invalid_is_accepted(draft: str, place: str) -> None:
    wrong: list[str] = []
    counts: Counter[str] = measure(ours, [draft], place, wrong.append)
    assert [each for each in wrong if each.startswith(("invalid accepted", "exception"))] == []
    assert counts["invalid"] > (150 if place == "property" else 75), counts
    assert counts["right"] >= LEAST_RIGHT * counts["schemas"], counts


@pytest.mark.slow
@pytest.mark.parametrize("draft", DRAFTS)
def test_what_is_rejected_has_a_reason(draft: str) -> None:
    findings = [
        finding for place in PLACES for case in cases(draft, place)
        for finding in compile_schema(case.schema).findings
    ]
    assert len(findings) > 20
    assert [str(each) for each in findings if not each.reason or "compiled" in each.reason] == []
