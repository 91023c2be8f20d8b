"""The command line ``midm-vllm``: check an installation, render a prompt, read an output."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional, TextIO

import typer
from rich.console import Console
from rich.text import Text

from midm_vllm.cli.doctor import Finding, Level, examine
from midm_vllm.constants import DOCUMENTATION_URL
from midm_vllm.markup.events import Event
from midm_vllm.markup.explain import Explanation, ReadAs, explain
from midm_vllm.markup.reader import MarkupReader
from midm_vllm.offline import parse as parse_output

app = typer.Typer(
    help="Mi:dm on vLLM: check an installation, render a prompt, read an output.",
    epilog=f"Documentation: {DOCUMENTATION_URL}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_MARKS = {
    Level.OK: "[green]ok[/]     ",
    Level.WARNING: "[yellow]warning[/]",
    Level.PROBLEM: "[red]problem[/]",
}


def _print_version(is_requested: bool) -> None:
    if is_requested:
        typer.echo(f"midm-vllm {version('midm-vllm')}")
        raise typer.Exit()


@app.callback()
def start(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    # Show what a terminal cannot display, such as Korean in an ASCII one, by its code.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@app.command()
def doctor(
    model: Annotated[str, typer.Argument(help="A folder, or a name on the Hugging Face Hub.")] = (
        "K-intelligence/Midm-2.0-Mini-Instruct"
    ),
    revision: Annotated[Optional[str], typer.Option(help="Its revision on the Hub.")] = None,
    tools: Annotated[
        Optional[typer.FileText],
        typer.Option(
            encoding="utf-8",
            help="Check tools instead: a JSON file (- for standard input) with the list of a "
            "request or of an MCP server. Reports which keywords are enforced.",
        ),
    ] = None,
) -> None:
    """Check that vLLM can serve MODEL's tool calls, and print the command for it.

    Exits with 1 if there is a problem.
    """
    console = Console(soft_wrap=True, highlight=False)
    findings = []
    for finding in examine(model, revision) if tools is None else _examine_tools(tools):
        findings.append(finding)
        _print(console, finding)
    if any(finding.level is Level.PROBLEM for finding in findings):
        raise typer.Exit(1)


def _examine_tools(file: TextIO) -> Iterator[Finding]:
    if find_spec("llguidance") is None:
        raise typer.BadParameter(
            "llguidance is not installed here. Install it, or vLLM 0.24 or later, which constrains "
            "calls to schemas and depends on it"
        )
    from midm_vllm.cli.check_tools import NoTools, examine_tools, read_tools

    try:
        return examine_tools(read_tools(file.read()))
    except NoTools as error:
        raise typer.BadParameter(str(error)) from error


@app.command()
def template(
    conversation: Annotated[
        Optional[typer.FileText],
        typer.Argument(
            encoding="utf-8",
            help="JSON (- for standard input): a list of messages, or the body of a chat "
            "completion request with messages, tools and chat_template_kwargs.",
        ),
    ] = None,
    training: Annotated[
        bool,
        typer.Option(
            "--training",
            help="Print the template itself, with {% generation %} marks, which Transformers "
            "makes a mask for training of.",
        ),
    ] = False,
    guard: Annotated[
        Optional[str],
        typer.Option(
            metavar="FILE_OR_MODEL",
            help="Print this template, a file or a checkpoint's own, with the packaged one's guard "
            "against control tokens in texts.",
        ),
    ] = None,
) -> None:
    """Print the packaged chat template's path, or the prompt that it renders."""
    from jinja2 import TemplateError

    from midm_vllm.chat.rendering import PACKAGED_TEMPLATE, render_prompt, training_template

    if guard is not None:
        typer.echo(_guarded(guard).encode(), nl=False)
        return
    if training:
        typer.echo(training_template(), nl=False)
        return
    if conversation is None:
        typer.echo(os.fsencode(PACKAGED_TEMPLATE))
        return
    request = _read_request(conversation)
    options = request.get("chat_template_kwargs") or {}
    try:
        prompt = render_prompt(
            request["messages"],
            request.get("tools"),
            add_generation_prompt=request.get("add_generation_prompt", True),
            allow_control_tokens=options.get("allow_control_tokens", False),
        ).encode()
    except UnicodeEncodeError as error:
        _give_up("a text has half of a surrogate pair, which is not a character", error)
    except RecursionError as error:
        _give_up("it is nested too deeply", error)
    except (TemplateError, TypeError, ValueError, AttributeError, LookupError) as error:
        # All but the first: JSON that is not a conversation, which a server rejects earlier.
        _give_up(str(error), error)
    typer.echo(prompt, nl=False)


def _guarded(file_or_model: str) -> str:
    """A template with the guard; a checkpoint's knows its control tokens, a file's their form."""
    from midm_vllm.chat.checkpoint_files import CheckpointFiles
    from midm_vllm.chat.control_tokens import control_tokens_among
    from midm_vllm.chat.guard import CannotBeGuarded, guarded_template
    from midm_vllm.chat.template_selection import own_template

    tokens = None
    try:
        if Path(file_or_model).is_file():
            text: str | None = Path(file_or_model).read_text("utf-8")
        else:
            files = CheckpointFiles(file_or_model)
            text, tokens = own_template(files), control_tokens_among(files)
        if text is None:
            raise typer.BadParameter(
                f"{file_or_model} is no file, and no checkpoint with one chat template that can be "
                "read from here", param_hint="--guard",
            )
        return guarded_template(text, tokens)
    except (CannotBeGuarded, OSError, UnicodeDecodeError) as error:
        typer.echo(f"Cannot be guarded: {error}", err=True)
        raise typer.Exit(1) from error


def _read_request(file: TextIO) -> dict[str, Any]:
    """Read the body of a request, and check the types of its members."""
    try:
        request = json.load(file)
    except RecursionError as error:
        raise typer.BadParameter("this is nested too deeply") from error
    except ValueError as error:
        raise typer.BadParameter(f"this is not JSON: {error}") from error
    if isinstance(request, list):
        request = {"messages": request}
    if not isinstance(request, dict) or not _are_objects(request.get("messages")):
        raise typer.BadParameter('expected a list of messages, or an object with "messages"')
    for message in request["messages"]:
        content = message.get("content")
        if not (content is None or isinstance(content, str) or _are_objects(content)):
            raise typer.BadParameter("the content of a message must be text, or a list of parts")
    if not (request.get("tools") is None or _are_objects(request["tools"])):
        raise typer.BadParameter('"tools" must be a list of objects')
    if not isinstance(request.get("chat_template_kwargs") or {}, dict):
        raise typer.BadParameter('"chat_template_kwargs" must be an object')
    return request


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _give_up(reason: str, error: Exception) -> NoReturn:
    typer.echo(f"The prompt cannot be rendered: {reason}", err=True)
    raise typer.Exit(1) from error


@app.command()
def parse(
    file: Annotated[
        typer.FileText,
        typer.Argument(encoding="utf-8", errors="replace", help="The model's output."),
    ] = "-",  # type: ignore[assignment]
    stream: Annotated[
        bool, typer.Option("--stream", help="Show the events of each delta, one line per delta.")
    ] = False,
    delta_size: Annotated[int, typer.Option(min=1, help="Characters per delta.")] = 4,
    explain_it: Annotated[
        bool,
        typer.Option("--explain", help="Show how each piece was read, and what was repaired."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --explain: as JSON.")] = False,
) -> None:
    """Parse a model's output, and print it as the OpenAI API's assistant message."""
    if as_json and not explain_it or stream and explain_it:
        raise typer.BadParameter("--json requires --explain, and --stream excludes it")
    text = file.read()
    if as_json:
        _print_json(asdict(explain(text)), indent=2)
        return
    if explain_it:
        _print_explanation(explain(text))
        return
    if not stream:
        _print_json(parse_output(text).to_openai(), indent=2)
        return
    reader = MarkupReader()
    for start in range(0, len(text), delta_size):
        delta = text[start : start + delta_size]
        _print_delta(delta, reader.feed(delta))
    _print_delta(None, reader.finish())


_STYLES = {
    ReadAs.TEXT: ("", "text"),
    ReadAs.MARKUP_AS_TEXT: ("yellow", "began as a call, is text"),
    ReadAs.MARKUP: ("dim", "markup"),
    ReadAs.ARGUMENTS: ("green", "arguments"),
}


def _print_explanation(explanation: Explanation) -> None:
    """Print a line for each piece of the output, and for each call with its repairs."""
    console = Console(soft_wrap=True, highlight=False)
    width = max(len(label) for _, label in _STYLES.values())
    for piece in explanation.pieces:
        style, label = _STYLES[piece.read_as]
        of_call = "" if piece.call is None else f"call {piece.call}"
        # As JSON without its quotes, so that no line break or control character is printed.
        shown = _json(piece.text)[1:-1].replace('\\"', '"')
        console.print(Text(f"{of_call:8}{label:{width}}  "), Text(shown, style), sep="")
    for index, call in enumerate(explanation.calls):
        repairs = ", ".join(repair.value for repair in call.repairs) or "as taught"
        ended = "" if call.complete else ", cut off"
        added = f", added {call.added}" if call.added else ""
        console.print(Text(f"call {index}: {_json(call.name)}: {repairs}{added}{ended}", "bold"))
    if explanation.markup_as_text:
        console.print(Text(
            f"began as a call, is text: {explanation.markup_as_text}, "
            f"of which cut off: {explanation.cut_off_as_text}", "bold",
        ))


def _print_delta(delta: str | None, events: list[Event]) -> None:
    """Print one line of JSON: the delta (null at the output's end) and its events."""
    shown = [{"event": type(event).__name__, **asdict(event)} for event in events]
    _print_json({"delta": delta, "events": shown})


def _print_json(value: Any, indent: int | None = None) -> None:
    # JSON is UTF-8, whatever the terminal is.
    typer.echo(_json(value, indent).encode())


def _json(value: Any, indent: int | None = None) -> str:
    """Encode as JSON that is safe to print: what a terminal does not show is escaped.

    JSON itself escapes only half of the control characters, and none that reverse the direction
    of writing.
    """
    written = json.dumps(value, ensure_ascii=False, indent=indent)
    if written.isprintable():
        return written
    return "".join(
        character if character == "\n" or unicodedata.category(character) not in _NOT_SHOWN
        else json.dumps(character)[1:-1].replace("\x7f", "\\u007f")
        for character in written
    )


#: Control and format characters, line separators, halves of a surrogate pair.
_NOT_SHOWN = ("Cc", "Cf", "Zl", "Zp", "Cs")


def _print(console: Console, finding: Finding) -> None:
    first, *others = finding.text.splitlines()
    console.print(_MARKS[finding.level], end="  ")
    console.print(first, markup=False)
    for line in others:
        console.print(f"{'':9}{line}", markup=False)
