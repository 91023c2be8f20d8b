"""The approach of the parser that KT published: vLLM's Granite parser with another start token.

Written here, to be compared with; a plugin for `--tool-parser-plugin`, by the name `vendor-style`.
"""

from __future__ import annotations

import re
from typing import Any

from vllm.tool_parsers import ToolParserManager
from vllm.tool_parsers.granite_20b_fc_tool_parser import Granite20bFCToolParser

OPENING = "<tool_call>"


class VendorStyle(Granite20bFCToolParser):
    """Granite's parser, which looks for Mi:dm's tag."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.bot_token = self.tool_start_token = OPENING
        self.tool_call_regex = re.compile(rf"{OPENING}\s*")


ToolParserManager.register_module("vendor-style", module=VendorStyle)
