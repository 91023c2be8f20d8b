"""The command line ``midm-vllm``: is all well, which prompt, what was said."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console

from midm_vllm.doctor import Finding, Level, examine
from midm_vllm.markup.events import Event
from midm_vllm.markup.reader import MarkupReader
from midm_vllm.offline import parse as parse_output

app = typer.Typer(
    help="Mi:dm on vLLM: check an installation, see a prompt, read an output.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_MARKS = {
    Level.WELL: "[green]ok[/]     ",
    Level.WARNING: "[yellow]warning[/]",
    Level.PROBLEM: "[red]problem[/]",
}


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
    try:
        request = json.load(conversation)
    except ValueError as error:
        raise typer.BadParameter(f"this is not JSON: {error}") from error
    if isinstance(request, list):
        request = {"messages": request}
    if not isinstance(request, dict) or not isinstance(request.get("messages"), list):
        raise typer.BadParameter('expected a list of messages, or an object with "messages"')
    options: dict[str, Any] = request.get("chat_template_kwargs") or {}
    try:
        prompt = render_prompt(
            request["messages"],
            request.get("tools"),
            add_generation_prompt=request.get("add_generation_prompt", True),
            allow_control_tokens=options.get("allow_control_tokens", False),
            control_tokens=options.get("control_tokens"),
        )
    except TemplateError as error:
        typer.echo(f"Cannot be rendered: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(prompt, nl=False)


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
