"""The examples of docs/reference/format.md are what the template writes and the reader reads."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from devtools.checkpoint import REPOSITORY
from documents import Block, blocks

from midm_vllm.chat import render_prompt
from midm_vllm.offline import parse, parse_stream

PAGE = REPOSITORY / "docs" / "reference" / "format.md"


def examples(given: str, wanted: str) -> list[tuple[Block, Block]]:
    """The pairs of neighbouring blocks with these info strings."""
    found = [pair for pair in pairwise(blocks(PAGE)) if pair[0].info == given]
    assert found and all(pair[1].info == wanted for pair in found)
    return found


@pytest.mark.parametrize("request_, prompt", examples("json request", "text prompt"), ids=str)
def test_the_template_writes_the_prompt(request_: Block, prompt: Block) -> None:
    request = json.loads(request_.text)
    assert render_prompt(request["messages"], request.get("tools")) == prompt.text


@pytest.mark.parametrize("output, parsed", examples("text output", "json parsed"), ids=str)
def test_the_reader_reads_the_output(output: Block, parsed: Block) -> None:
    wanted = json.loads(parsed.text)
    text = output.text[:-1]  # The last newline is the block's.
    at_once = parse(text)
    assert (at_once.content or None) == wanted["content"]
    assert [[call.name, call.arguments] for call in at_once.calls] == wanted["calls"]
    *_, streamed = parse_stream(text)
    assert streamed == at_once
