"""A front end that parses vLLM's options without a model and configures vLLM itself, as Dynamo's.

`own_front_end.py CHECKPOINT` prints as JSON what was parsed, and for each kind of request
the fields of its structured outputs after midm-parser has adjusted it.
"""

from __future__ import annotations

import json
import sys

from launcher_contract import CHOICES, FORBIDS_THE_TAUGHT_CALL
from vllm.config import CacheConfig, LoadConfig, ModelConfig, VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import FrontendArgs
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.tool_parsers import ToolParserManager
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.input_processor import InputProcessor

checkpoint = sys.argv[1]
parser = AsyncEngineArgs.add_cli_args(
    FrontendArgs.add_cli_args(FlexibleArgumentParser(add_help=False))
)
flags = parser.parse_args(["--tool-call-parser", "midm-parser"])
config = VllmConfig(
    model_config=ModelConfig(model=checkpoint),
    load_config=LoadConfig(load_format="dummy"),
    cache_config=CacheConfig(),
)
tokenizer = InputProcessor(config).get_tokenizer()
parser_class = ToolParserManager.get_tool_parser(flags.tool_call_parser)


def constraints(choice: object, strict: bool) -> list[str]:
    function = {"name": "get_weather", "parameters": FORBIDS_THE_TAUGHT_CALL}
    if strict:
        function["strict"] = True
    request = ChatCompletionRequest(
        model="midm", messages=[{"role": "user", "content": "?"}], tool_choice=choice,
        tools=[{"type": "function", "function": function}],
    )
    outputs = parser_class(tokenizer, request.tools).adjust_request(request).structured_outputs
    fields = ("json", "regex", "choice", "grammar", "structural_tag")
    return [each for each in fields if outputs and getattr(outputs, each) is not None]


print(json.dumps({
    "auto tool choice": flags.enable_auto_tool_choice,
    "template": flags.chat_template,
    "template's arguments": flags.default_chat_template_kwargs,
    "auto": constraints("auto", strict=False),
    **{kind: constraints(choice, strict=kind == "strict") for kind, choice in CHOICES.items()},
}))
