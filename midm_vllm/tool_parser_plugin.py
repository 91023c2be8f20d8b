"""What ``--tool-parser-plugin`` may name: importing this module registers all of midm-vllm.

Only for a vLLM that does not find the entry point, because the package lies on the path without
its metadata. vLLM imports it after it has parsed its arguments, so the defaults that the parser's
name decides are not set: say ``--enable-auto-tool-choice`` and ``--chat-template`` yourself.

vLLM 0.33 takes the module's name, ``midm_vllm.tool_parser_plugin``; releases before it take the
path of this file.
"""

from __future__ import annotations

from midm_vllm.plugin import register

register()
