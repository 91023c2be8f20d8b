"""The serving defaults, through the argument parsers of whichever vLLM release this runs in."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import vllm
from packaging.version import Version
from vllm.entrypoints.cli.serve import FlexibleArgumentParser, ServeSubcommand, make_arg_parser

from midm_vllm.chat.rendering import PACKAGED_TEMPLATE

RELEASE = Version(vllm.__version__)
PARSER = ["--tool-call-parser", "midm-parser"]
OFF = [
    *(["--no-enable-auto-tool-choice"] if RELEASE >= Version("0.10") else []),
    *(["--disable-auto-tool-choice"] if RELEASE >= Version("0.33") else []),
]


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    return str(tmp_path)


def serve(*arguments: str) -> argparse.Namespace:
    """`vllm serve ARGUMENTS`, parsed; building the parser loads the plugins."""
    parser = FlexibleArgumentParser()
    ServeSubcommand().subparser_init(parser.add_subparsers(dest="subparser"))
    return parser.parse_args(["serve", *arguments])


def config_file(folder: str, text: str) -> list[str]:
    file = Path(folder, "config.yaml")
    file.write_text(text)
    return ["--config", str(file)]


@pytest.mark.parametrize("model_first", [True, False])
def test_the_parser_alone_turns_tool_calls_on(checkpoint: str, model_first: bool) -> None:
    arguments = serve(*([checkpoint, *PARSER] if model_first else [*PARSER, checkpoint]))
    assert arguments.enable_auto_tool_choice
    assert arguments.chat_template.endswith(PACKAGED_TEMPLATE.read_text("utf-8"))


def test_the_api_server_module_has_the_same_defaults(checkpoint: str) -> None:
    parser = make_arg_parser(FlexibleArgumentParser())
    arguments = parser.parse_args([*PARSER, "--model", checkpoint])
    assert arguments.enable_auto_tool_choice
    assert arguments.chat_template.endswith(PACKAGED_TEMPLATE.read_text("utf-8"))


def test_a_config_file_counts_as_the_command_line(checkpoint: str) -> None:
    config = config_file(checkpoint, "tool-call-parser: midm-parser\n")
    arguments = serve(checkpoint, *config)
    assert arguments.enable_auto_tool_choice
    assert arguments.chat_template.endswith(PACKAGED_TEMPLATE.read_text("utf-8"))


def test_auto_tool_choice_that_was_turned_off_stays_off(checkpoint: str) -> None:
    config = config_file(checkpoint, "enable-auto-tool-choice: false\n")
    for off in (config, *([option] for option in OFF)):
        assert not serve(checkpoint, *PARSER, *off).enable_auto_tool_choice
        assert not serve(checkpoint, *off, *PARSER).enable_auto_tool_choice


def test_other_parsers_see_no_difference(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_plugin = serve(checkpoint, "--tool-call-parser", "hermes")
    original = FlexibleArgumentParser.parse_args.__wrapped__
    monkeypatch.setattr(FlexibleArgumentParser, "parse_args", original)
    assert vars(serve(checkpoint, "--tool-call-parser", "hermes")) == vars(with_plugin)
