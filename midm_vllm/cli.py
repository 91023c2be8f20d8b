"""The command line ``midm-vllm``: is all well, which prompt, what was said."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Optional, TextIO, Union

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console

from midm_vllm.doctor import Finding, Level, examine
from midm_vllm.markup.events import Event
from midm_vllm.markup.reader import MarkupReader
from midm_vllm.offline import parse as parse_output

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_MARKS = {
    Level.WELL: "[green]ok[/]     ",
    Level.WARNING: "[yellow]warning[/]",
    Level.PROBLEM: "[red]problem[/]",
}


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"midm-vllm {version('midm-vllm')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version,
                     is_eager=True),
    ] = False,
) -> None:
    """Mi:dm on vLLM: check an installation, see a prompt, read an output."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show Hangul gets its code points, not a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@app.command()
def doctor(
    model: Annotated[str, typer.Argument(help="A folder or a name on the hub.")] = (
        "K-intelligence/Midm-2.0-Mini-Instruct"
    ),
    revision: Annotated[Optional[str], typer.Option(help="Of the model on the hub.")] = None,
    tool_parser_plugin: Annotated[
        Optional[Path], typer.Option(help="The file that is given to vllm serve, if one is.")
    ] = None,
) -> None:
    """Check that vLLM will serve MODEL's tool calls, and print the command that does.

    Exits with 1 if something is in the way.
    """
    console = Console(soft_wrap=True, highlight=False)
    findings = []
    for finding in examine(model, revision, tool_parser_plugin):
        findings.append(finding)
        _print(console, finding)
    if any(finding.level is Level.PROBLEM for finding in findings):
        raise typer.Exit(1)


@app.command()
def template(
    conversation: Annotated[
        Optional[typer.FileText],
        typer.Argument(
            encoding="utf-8",
            help="JSON (- is standard input): a list of messages, or the body of a chat "
            "completion request with messages, tools and chat_template_kwargs.",
        ),
    ] = None,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain",
            help="Print the template itself, without the marks for training, which minijinja "
            "(and vLLM's Rust front end) does not know.",
        ),
    ] = False,
) -> None:
    """Print the packaged chat template's path, or the prompt it makes of a conversation."""
    from jinja2 import TemplateError

    from midm_vllm.chat.rendering import PACKAGED_TEMPLATE, plain_template, render_prompt

    if plain:
        typer.echo(plain_template(), nl=False)
        return
    if conversation is None:
        typer.echo(PACKAGED_TEMPLATE)
        return
    request = _read_request(conversation)
    options: dict[str, Any] = request.get("chat_template_kwargs") or {}
    try:
        prompt = render_prompt(
            request["messages"],
            request.get("tools"),
            add_generation_prompt=request.get("add_generation_prompt", True),
            allow_control_tokens=options.get("allow_control_tokens", False),
            control_tokens=options.get("control_tokens"),
        )
        prompt.encode()
    except UnicodeEncodeError as error:
        typer.echo(
            "Cannot be rendered: the conversation holds half of a surrogate pair, "
            f"{error.object[error.start]!a}, which is no character.",
            err=True,
        )
        raise typer.Exit(1) from error
    except (TemplateError, TypeError, ValueError, RecursionError) as error:
        typer.echo(f"Cannot be rendered: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(prompt, nl=False)


class _Message(BaseModel):
    role: str
    content: Union[str, list[Any], None] = None
    tool_calls: Optional[list[dict[str, Any]]] = None


class _Request(BaseModel):
    messages: list[_Message]
    tools: Optional[list[dict[str, Any]]] = None
    add_generation_prompt: bool = True
    chat_template_kwargs: Optional[dict[str, Any]] = None


def _read_request(file: TextIO) -> dict[str, Any]:
    """The body of a chat completion request, as it is written."""
    try:
        request = json.load(file)
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"this is not UTF-8: {error}") from error
    except ValueError as error:
        raise typer.BadParameter(f"this is not JSON: {error}") from error
    except RecursionError as error:
        raise typer.BadParameter("this JSON nests too deep to be read") from error
    if isinstance(request, list):
        request = {"messages": request}
    if not isinstance(request, dict) or not isinstance(request.get("messages"), list):
        raise typer.BadParameter('expected a list of messages, or an object with "messages"')
    try:
        _Request.model_validate(request)
    except ValidationError as error:
        [first, *_] = error.errors()
        place = ".".join(map(str, first["loc"]))
        raise typer.BadParameter(f"{place}: {first['msg']}") from error
    return request


@app.command()
def parse(
    file: Annotated[
        typer.FileText,
        typer.Argument(encoding="utf-8", errors="replace", help="The model's output."),
    ] = "-",  # type: ignore[assignment]
    stream: Annotated[
        bool, typer.Option("--stream", help="Show what leaves with each delta, a line for each.")
    ] = False,
    delta_size: Annotated[int, typer.Option(min=1, help="Characters in a delta.")] = 4,
) -> None:
    """Read a model's output and print it as the OpenAI API's assistant message."""
    text = file.read()
    if not stream:
        typer.echo(json.dumps(parse_output(text).to_openai(), ensure_ascii=False, indent=2))
        return
    reader = MarkupReader()
    for start in range(0, len(text), delta_size):
        delta = text[start : start + delta_size]
        _print_delta(delta, reader.feed(delta))
    _print_delta(None, reader.finish())


def _print_delta(delta: str | None, events: list[Event]) -> None:
    """One line of JSON: the delta (null: the end of the output) and the events it caused."""
    shown = [{"event": type(event).__name__, **asdict(event)} for event in events]
    typer.echo(json.dumps({"delta": delta, "events": shown}, ensure_ascii=False))


def _print(console: Console, finding: Finding) -> None:
    console.print(_MARKS[finding.level], end="  ")
    console.print(finding.text, markup=False)
