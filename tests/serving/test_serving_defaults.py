"""What ``--tool-call-parser midm-parser`` implies, however vLLM is given its arguments.

The arguments go through vLLM's own command line, plugin loading included, up to
where it would start a server; then real servers are started with them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import locale
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
from devtools.chat_completions import answers, expected, openai_client, request, streamed_answers
from devtools.conversations import CONVERSATIONS, Conversation
from devtools.server import ENGINE_IN_ONE_PROCESS, MODEL, Server, run_server
from engine_configs import configuration
from log_lines import log_lines
from vllm.engine.arg_utils import AsyncEngineArgs

from midm_vllm.chat.rendering import PACKAGED_TEMPLATE, ascii_template, compile_template
from midm_vllm.serving.constraints import grammar_backend
from midm_vllm.serving.requests.content_middleware import MIDDLEWARE
from midm_vllm.serving.server_defaults import complete_state

pytestmark = pytest.mark.first

PACKAGED = PACKAGED_TEMPLATE.read_text("utf-8")


def is_packaged(template: str) -> bool:
    """The packaged one, with a checkpoint's control tokens in front."""
    return template.endswith(PACKAGED)


PARSER = ("--tool-call-parser", "midm-parser")
Parse = Callable[..., argparse.Namespace]


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Parse:
    """`vllm ARGUMENTS`, up to where the server would start."""
    from vllm.entrypoints.cli.launch import RenderSubcommand
    from vllm.entrypoints.cli.main import main
    from vllm.entrypoints.cli.serve import ServeSubcommand

    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # The command line sets it.
    started: list[argparse.Namespace] = []
    for subcommand in (ServeSubcommand, RenderSubcommand):
        monkeypatch.setattr(subcommand, "cmd", staticmethod(started.append))

    def parse(*arguments: str) -> argparse.Namespace:
        monkeypatch.setattr(sys, "argv", ["vllm", *arguments])
        main()
        return started.pop()

    return parse


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What midm-vllm says through vLLM's log."""
    with log_lines(logging.getLogger("vllm.midm_vllm")) as lines:
        yield lines


@pytest.fixture(scope="module")
def old_checkpoint(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small checkpoint as of before its template knew tools."""
    folder = tmp_path_factory.mktemp("old") / "checkpoint"
    shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns("*.jinja"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def nameable_checkpoint(old_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of Mi:dm's name without any template."""
    folder = tmp_path_factory.mktemp("hub") / "Midm-2.0-Mini-Instruct"
    shutil.copytree(old_checkpoint, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def config_file(folder: Path, text: str) -> str:
    file = folder / "config.yaml"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize("encoding", ["utf-16", "cp949", "euc-kr"])
def test_a_template_file_in_another_encoding_is_rejected_at_startup(
    parse: Parse, checkpoint: Path, tmp_path: Path, encoding: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "template.jinja"
    file.write_text("{# 한국어 #}{{ messages }}", encoding)
    with pytest.raises(SystemExit) as ended:
        parse("serve", str(checkpoint), *PARSER, "--chat-template", str(file))
    assert ended.value.code == 2
    assert f"{file} is not UTF-8 text: save it as UTF-8." in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["euc-kr", "ISO-8859-1"])
def test_where_files_are_not_read_as_utf_8_no_template_is_misread(
    parse: Parse, checkpoint: Path, tmp_path: Path, encoding: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(locale, "getpreferredencoding", lambda _=True: encoding)
    given = parse("serve", str(checkpoint), *PARSER, "--chat-template", "midm")
    assert given.chat_template.endswith(ascii_template())
    file = tmp_path / "template.jinja"
    file.write_text("{{ messages }}", "utf-8")
    given = parse("serve", str(checkpoint), *PARSER, "--chat-template", str(file))
    assert given.chat_template.endswith("{{ messages }}")
    file.write_text("{# 한국어 #}{{ messages }}", "utf-8")
    with pytest.raises(SystemExit):
        parse("serve", str(checkpoint), *PARSER, "--chat-template", str(file))
    assert f"this locale's {encoding}: set PYTHONUTF8=1." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"), [("\ufeff{{ messages }}", "byte order mark"), ("", "is empty")]
)
def test_a_template_file_that_spoils_each_prompt_is_warned_of(
    parse: Parse, checkpoint: Path, tmp_path: Path, log: list[str], text: str, said: str
) -> None:
    file = tmp_path / "template.jinja"
    file.write_text(text, "utf-8")
    parse("serve", str(checkpoint), *PARSER, "--chat-template", str(file))
    assert any(said in line for line in log)


@pytest.mark.parametrize("template", ["{{ messages }}" * 1000, "{{ messages }}"])
def test_a_template_given_as_text_stays_behind_its_protection(
    parse: Parse, checkpoint: Path, template: str
) -> None:
    arguments = parse("serve", str(checkpoint), *PARSER, "--chat-template", template)
    assert arguments.chat_template.endswith(template)


def test_the_parser_alone_turns_tool_calls_on(
    parse: Parse, checkpoint: Path, log: list[str]
) -> None:
    arguments = parse("serve", str(checkpoint), *PARSER)
    assert arguments.enable_auto_tool_choice
    assert is_packaged(arguments.chat_template)  # Its own, which is the same.
    assert [line.partition(",")[0] for line in log] == [
        "Auto tool choice: on",
        "Chat template: the checkpoint's own",
    ]
    assert all("MIDM_VLLM_SERVING_DEFAULTS=0" in line for line in log)


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve", "CHECKPOINT", "--tool-call-parser", "midm-parser"),
        ("serve", "--tool-call-parser=midm-parser", "CHECKPOINT"),
        ("serve", "CHECKPOINT", "--tool_call_parser", "midm-parser", "--enforce-eager"),
        ("serve", "--enforce-eager", "--model", "CHECKPOINT", "--tool-call-parser", "midm-parser"),
        ("serve", "CHECKPOINT", "--enable-auto-tool-choice", *PARSER),
        ("serve", "elsewhere", "--tokenizer", "CHECKPOINT", *PARSER),
        ("launch", "render", "CHECKPOINT", *PARSER),
    ],
    ids=" ".join,
)
def test_an_old_template_is_replaced_however_the_arguments_are_written(
    parse: Parse, old_checkpoint: Path, arguments: tuple[str, ...]
) -> None:
    parsed = parse(*(str(old_checkpoint) if arg == "CHECKPOINT" else arg for arg in arguments))
    assert parsed.enable_auto_tool_choice
    assert is_packaged(parsed.chat_template)


def test_a_config_file_counts_as_the_command_line(
    parse: Parse, old_checkpoint: Path, tmp_path: Path
) -> None:
    file = config_file(tmp_path, f"model: {old_checkpoint}\ntool-call-parser: midm-parser\n")
    for model in ([], [str(old_checkpoint)]):
        parsed = parse("serve", *model, "--config", file)
        assert parsed.enable_auto_tool_choice
        assert is_packaged(parsed.chat_template)


@pytest.mark.parametrize(
    "off", ["--no-enable-auto-tool-choice", "--no_enable_auto_tool_choice", "--no-enable-auto-tool"]
)
@pytest.mark.parametrize("parser_first", [True, False])
def test_auto_tool_choice_that_was_turned_off_stays_off(
    parse: Parse, checkpoint: Path, off: str, parser_first: bool
) -> None:
    order = (*PARSER, off) if parser_first else (off, *PARSER)
    assert not parse("serve", str(checkpoint), *order).enable_auto_tool_choice


@pytest.mark.parametrize("key", ["enable-auto-tool-choice", "enable_auto_tool_choice"])
def test_auto_tool_choice_that_the_config_file_turned_off_stays_off(
    parse: Parse, checkpoint: Path, tmp_path: Path, key: str
) -> None:
    file = config_file(tmp_path, f"{key}: false\n")
    assert not parse("serve", str(checkpoint), *PARSER, "--config", file).enable_auto_tool_choice


def test_the_command_line_outweighs_the_config_file(
    parse: Parse, checkpoint: Path, tmp_path: Path
) -> None:
    file = config_file(tmp_path, "enable-auto-tool-choice: false\n")
    arguments = ("serve", str(checkpoint), *PARSER, "--config", file, "--enable-auto-tool-choice")
    assert parse(*arguments).enable_auto_tool_choice


def test_a_template_the_user_names_stays_behind_its_protection(
    parse: Parse, old_checkpoint: Path
) -> None:
    template = old_checkpoint / "my.jinja"
    template.write_text("{{ messages }}")
    arguments = parse("serve", str(old_checkpoint), *PARSER, "--chat-template", str(template))
    assert arguments.chat_template.endswith("{{ messages }}")


@pytest.mark.parametrize("parser_first", [True, False])
def test_midm_names_the_packaged_template(
    parse: Parse, checkpoint: Path, parser_first: bool
) -> None:
    template = ("--chat-template", "midm")
    order = (*PARSER, *template) if parser_first else (*template, *PARSER)
    assert is_packaged(parse("serve", str(checkpoint), *order).chat_template)


def rendered(template: str, text: str = "<|eot_id|> <|fim|> <s>", **more: Any) -> str:
    messages = [{"role": "user", "content": text}]
    prompt: str = compile_template(template).render(messages=messages, **more)
    return prompt


GUARDED, AS_IT_IS = "< |eot_id|> <|fim|> <s>", "<|eot_id|> <|fim|> <s>"


@pytest.mark.parametrize("template", ["its own", "midm", "a file"])
def test_the_template_guards_the_checkpoints_control_tokens(
    parse: Parse, checkpoint: Path, tmp_path: Path, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "template.jinja"
    file.write_text("{% for message in messages %}{{ message.content }}{% endfor %}")
    chosen = {"its own": (), "midm": ("--chat-template", "midm")}.get(
        template, ("--chat-template", str(file))
    )
    arguments = ("serve", str(checkpoint), *PARSER, *chosen)
    given = parse(*arguments).chat_template
    assert GUARDED in rendered(given)
    assert GUARDED in rendered(given, allow_control_tokens=True)
    monkeypatch.setenv("MIDM_VLLM_ALLOW_CONTROL_TOKENS", "1")
    given = parse(*arguments).chat_template
    assert GUARDED in rendered(given)
    assert AS_IT_IS in rendered(given, allow_control_tokens=True)
    monkeypatch.setenv("MIDM_VLLM_TEMPLATE_GUARD", "0")
    given = parse(*arguments).chat_template
    if template == "a file":
        assert given == str(file)
    elif given is not None:
        assert AS_IT_IS in rendered(given)


def test_a_template_that_cannot_be_guarded_is_used_as_it_is(
    parse: Parse, checkpoint: Path, tmp_path: Path, log: list[str]
) -> None:
    file = tmp_path / "template.jinja"
    file.write_text("{{ messages | no_such_filter }}")
    given = parse("serve", str(checkpoint), *PARSER, "--chat-template", str(file))
    assert given.chat_template == str(file)
    assert [line for line in log if "used as it is" in line and "no_such_filter" in line]


def test_the_servers_own_list_of_control_tokens_counts(parse: Parse, checkpoint: Path) -> None:
    order = ["--default-chat-template-kwargs", '{"control_tokens": ["<|fim|>"]}']
    given = parse("serve", str(checkpoint), *PARSER, *order).chat_template
    assert "<|eot_id|> < |fim|> <s>" in rendered(given)


def test_the_template_guards_the_tokens_of_thoughts_where_thoughts_are_read(
    parse: Parse, old_checkpoint: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(old_checkpoint, tmp_path / "checkpoint")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] += [
        {"id": 2000 + number, "content": token, "special": False}
        for number, token in enumerate(["<think>", "</think>", "<tool_call>"])
    ]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))

    def prompt(*more: str) -> str:
        template = parse("serve", str(folder), *PARSER, *more).chat_template
        return rendered(template, text="<|eot_id|> <think> </think>")

    assert "< |eot_id|> <think> </think>" in prompt()
    assert "< |eot_id|> < think> < /think>" in prompt("--reasoning-parser", "deepseek_r1")


def test_a_checkpoint_out_of_reach_is_left_to_vllm(
    parse: Parse, tmp_path: Path, log: list[str]
) -> None:
    arguments = parse("serve", str(tmp_path / "nowhere"), *PARSER)
    assert arguments.chat_template is None
    assert "cannot be read from here" in log[-1]


OUTPUTS = "--structured-outputs-config"


def test_a_backend_that_would_end_the_engine_is_rejected_at_startup(
    parse: Parse, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse("serve", str(checkpoint), *PARSER, f"{OUTPUTS}.backend", "lm-format-enforcer")
    assert "lm-format-enforcer, as it is installed, does not work" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [
    ("serve",), ("launch", "render"), ("serve", "--enforce-eager"),
], ids=" ".join)
def test_without_a_model_none_is_read(
    parse: Parse, arguments: tuple[str, ...], log: list[str]
) -> None:
    """vLLM's default model is not the one that a launcher serves which names its own later."""
    parsed = parse(*arguments, *PARSER)
    assert parsed.enable_auto_tool_choice
    assert parsed.chat_template is None and not parsed.default_chat_template_kwargs
    assert [line.partition(",")[0] for line in log] == ["Auto tool choice: on"]


def test_without_a_model_the_packaged_template_can_be_named(parse: Parse) -> None:
    parsed = parse("serve", *PARSER, "--chat-template", "midm")
    assert is_packaged(parsed.chat_template) and not parsed.default_chat_template_kwargs


def vllm_options() -> Any:
    """vLLM's options as launchers have them that take some of their own, too."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import FrontendArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FrontendArgs.add_cli_args(FlexibleArgumentParser())
    return AsyncEngineArgs.add_cli_args(parser)


def test_a_launcher_that_parses_some_options_itself_has_the_defaults(old_checkpoint: Path) -> None:
    arguments = [*PARSER, "--model", str(old_checkpoint), "--model_name", "midm"]
    parsed, rest = vllm_options().parse_known_args(arguments)
    assert parsed.enable_auto_tool_choice and is_packaged(parsed.chat_template)
    assert rest == ["--model_name", "midm"]


class StateWasInitialized(Exception):
    """The server's state would be built now."""


@pytest.fixture
def state_arguments(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The arguments that vLLM builds a server's state from, where a launcher makes them itself."""
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state

    def arguments(model: Path, **frontend: Any) -> Any:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.entrypoints.launchers.cli_args import FrontendArgs

        engine_args = AsyncEngineArgs(model=str(model))
        options = {**vars(engine_args), **vars(FrontendArgs(**frontend))}
        args = argparse.Namespace(**options)

        class Client:
            @property
            def vllm_config(self) -> Any:
                raise StateWasInitialized

        with pytest.raises(StateWasInitialized):
            asyncio.run(init_app_state(Client(), None, args, ("generate",)))
        return args

    return arguments


def test_a_launcher_that_parses_no_options_has_the_defaults(
    state_arguments: Callable[..., Any], old_checkpoint: Path, checkpoint: Path
) -> None:
    args = state_arguments(old_checkpoint, tool_call_parser="midm-parser")
    assert args.enable_auto_tool_choice and is_packaged(args.chat_template)
    named = {"tool_call_parser": "midm-parser", "chat_template": "midm"}
    assert is_packaged(state_arguments(checkpoint, **named).chat_template)
    args = state_arguments(checkpoint, tool_call_parser="midm-parser")
    assert is_packaged(args.chat_template)


def test_a_launcher_with_another_parser_sees_no_difference(
    state_arguments: Callable[..., Any], old_checkpoint: Path
) -> None:
    args = state_arguments(old_checkpoint, tool_call_parser="hermes")
    assert not args.enable_auto_tool_choice and args.chat_template is None


def test_what_was_parsed_is_not_completed_once_more(
    parse: Parse, checkpoint: Path, log: list[str]
) -> None:
    parsed = parse("serve", str(checkpoint), *PARSER, "--no-enable-auto-tool-choice")
    log.clear()
    complete_state(parsed)
    assert not parsed.enable_auto_tool_choice and not log


@pytest.mark.parametrize("config", ['{"enable_in_reasoning": true}', '{"backend": "auto"}'])
def test_options_about_another_backend_leave_the_choice_of_the_grammar_backend(
    parse: Parse, checkpoint: Path, config: str
) -> None:
    """As many options have the word in their name."""
    options = (OUTPUTS, config, "--distributed-executor-backend", "mp")
    parsed = parse("serve", str(checkpoint), *PARSER, *options)
    outputs = AsyncEngineArgs.from_cli_args(parsed).create_structured_outputs_config()
    assert outputs.backend == "auto"
    configured = SimpleNamespace(structured_outputs_config=outputs)
    grammar_backend.choose_for(configured)
    assert outputs.backend == "guidance"


@pytest.mark.parametrize("backend", ["xgrammar", "outlines", "guidance"])
def test_a_configured_grammar_backend_is_kept(backend: str) -> None:
    configured = configuration(backend)
    grammar_backend.choose_for(configured)
    assert configured.structured_outputs_config.backend == backend


def test_a_backend_that_would_end_the_engine_is_rejected_in_every_launcher() -> None:
    with pytest.raises(ValueError, match="lm-format-enforcer, as it is installed"):
        grammar_backend.choose_for(configuration("lm-format-enforcer"))


def test_without_the_defaults_vllm_chooses_the_grammar_backend(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDM_VLLM_SERVING_DEFAULTS", "0")
    configured = configuration("auto")
    grammar_backend.choose_for(configured)
    assert configured.structured_outputs_config.backend == "auto"


def test_conversations_are_rewritten_beside_the_users_own_middleware(
    parse: Parse, checkpoint: Path
) -> None:
    given = parse("serve", str(checkpoint), *PARSER, "--middleware", "a.B")
    assert given.middleware == ["a.B", MIDDLEWARE]
    assert parse("launch", "render", str(checkpoint), *PARSER).middleware == [MIDDLEWARE]


@pytest.mark.parametrize("other", [(), ("--tool-call-parser", "hermes")], ids=["none", "hermes"])
def test_other_parsers_see_no_difference(
    parse: Parse, old_checkpoint: Path, other: tuple[str, ...], monkeypatch: pytest.MonkeyPatch,
    log: list[str],
) -> None:
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    arguments = ("serve", str(old_checkpoint), *other, "--enforce-eager")
    with_plugin = parse(*arguments)
    with monkeypatch.context() as without_plugin:
        original = FlexibleArgumentParser.parse_args.__wrapped__
        without_plugin.setattr(FlexibleArgumentParser, "parse_args", original)
        assert vars(parse(*arguments)) == vars(with_plugin)
    assert not log


def test_one_environment_variable_turns_all_of_it_off(
    parse: Parse, old_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    monkeypatch.setenv("MIDM_VLLM_SERVING_DEFAULTS", "0")
    arguments = parse("serve", str(old_checkpoint), *PARSER)
    assert not arguments.enable_auto_tool_choice
    assert arguments.chat_template is None
    assert not arguments.middleware
    assert not log


@pytest.fixture(scope="module")
def configured_client(
    old_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[openai.OpenAI]:
    """Of a server that has its options, which are not the usual ones, from a file."""
    folder = tmp_path_factory.mktemp("configured")
    file = config_file(
        folder,
        f"served-model-name: {MODEL}\ntool-call-parser: midm-parser\n"
        "enforce-eager: true\nmax-model-len: 4096\nstream-interval: 8\n",
    )
    arguments = ["serve", str(old_checkpoint), "--config", file]
    with run_server(arguments, folder / "log", ENGINE_IN_ONE_PROCESS) as server:
        yield openai_client(server)


def test_a_server_from_a_config_file_calls_tools_where_the_checkpoint_ignores_them(
    configured_client: openai.OpenAI
) -> None:
    conversation = next(each for each in CONVERSATIONS if each.calls)
    completion = configured_client.chat.completions.create(**request(conversation))
    assert answers(completion) == [expected(conversation)]


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda each: each.name)
def test_deltas_of_many_tokens_lose_nothing(
    configured_client: openai.OpenAI, conversation: Conversation
) -> None:
    chunks = configured_client.chat.completions.create(**request(conversation), stream=True)
    assert streamed_answers(chunks) == [expected(conversation)]


@pytest.fixture(scope="module")
def server_without_defaults(
    nameable_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    arguments = ["launch", "render", str(nameable_checkpoint), "--served-model-name", MODEL]
    log = tmp_path_factory.mktemp("off") / "log"
    switch = {"MIDM_VLLM_SERVING_DEFAULTS": "0"}
    with run_server([*arguments, *PARSER], log, switch) as server:
        yield server


def test_without_the_defaults_vllm_answers_as_ever(server_without_defaults: Server) -> None:
    conversation = next(each for each in CONVERSATIONS if each.tools)
    with pytest.raises(openai.BadRequestError, match="enable-auto-tool-choice"):
        openai_client(server_without_defaults).post(
            "/chat/completions/render", cast_to=object, body=request(conversation)
        )


def test_a_midm_without_any_template_falls_back_to_the_packaged_one(
    server_without_defaults: Server, render_server: Server
) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "안녕하세요"}]}
    fallback, own = (
        httpx.post(f"{server.url}/v1/chat/completions/render", json=body, timeout=300).json()
        for server in (server_without_defaults, render_server)
    )
    assert fallback["token_ids"] == own["token_ids"]


def test_the_fallback_leaves_other_llamas_alone(parse: Parse, checkpoint: Path) -> None:
    parse("serve", str(checkpoint))  # vLLM loads its plugins.
    from vllm.transformers_utils.chat_templates import registry

    find = registry.get_chat_template_fallback_path
    assert find("llama", "K-intelligence/Midm-2.0-Base-Instruct") == PACKAGED_TEMPLATE
    assert find("llama", "meta-llama/Llama-3.2-1B") is None
    assert find("qwen2", "K-intelligence/Midm-2.0-Base-Instruct") is None
