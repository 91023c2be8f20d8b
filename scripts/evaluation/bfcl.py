"""The Berkeley Function-Calling Leaderboard against a served model, with native function calling.

    python scripts/evaluation/bfcl.py --url http://localhost:8000/v1 --model NAME

Questions, answers that count as right, and the checkers are the leaderboard's own (`bfcl-eval`,
BFCL v4); it runs in an environment of its own, made when it is first wanted. Every answer is kept
in --out as it comes: run the same command again after an interruption, and it goes on. At the end
there are a table (score.md) and a picture (score.svg); what is wrong, and why, is in `wrong`.

Not among the categories: web search and memory, which need the network and a model of embeddings,
and the sensitivity to the format, which is for models that call no functions.

Entries of several turns are carried out in this process, by the leaderboard's simulated tools,
which evaluate what the model wrote as Python: use a container for a model that you do not trust.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY / "scripts"))  # Not in the environment of the leaderboard.
if TYPE_CHECKING:
    from evaluation.bfcl_library import Entry, Result, ServedModel
    from evaluation.score_report import Score


class Stopped(Exception):
    """The run cannot go on; the message says why. What was answered is kept."""


def result_file(out: Path, category: str) -> Path:
    return out / "answers" / f"{category}.jsonl"


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file; a last line that was cut off is not there."""
    if not file.is_file():
        return []
    lines = file.read_text("utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def check_same_run(out: Path, settings: dict[str, Any]) -> None:
    """Refuse to add answers to those of another model, or to those asked otherwise.

    A run without an answer, of a wrong name say, stands in nobody's way.
    """
    file = out / "run.json"
    if file.is_file() and any((out / "answers").glob("*.jsonl")):
        before = json.loads(file.read_text("utf-8"))
        if before != settings:
            differs = ", ".join(key for key in settings if before.get(key) != settings[key])
            raise Stopped(
                f"{out} holds the answers of another run ({differs}): give another --out."
            )
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", "utf-8")


def ask(model: ServedModel, entry: Entry) -> Result:
    """The answer to an entry; one that the server refuses is kept as such, and counts as wrong.

    Raises Stopped where the server cannot be reached, or fails.
    """
    import openai

    try:
        return model.ask(entry)
    except (openai.BadRequestError, openai.UnprocessableEntityError) as refused:
        return {"id": entry["id"], "result": f"Error during inference: {refused}"}
    except openai.APIStatusError as error:
        told = error.body.get("message") if isinstance(error.body, dict) else error.message
        raise Stopped(f"The server answered {error.status_code}: {told}") from error
    except openai.APIConnectionError as error:
        raise Stopped(f"Nobody answers at {model.client.base_url}: {error}") from error


def answer_all(
    model: ServedModel, asked: Sequence[Entry], out: Path, concurrency: int
) -> Iterator[str]:
    """Ask `concurrency` entries at a time; yield the id of each whose answer has been kept."""
    from evaluation import bfcl_library

    left = iter(asked)
    with ThreadPoolExecutor(concurrency) as pool:
        running: set[Future[Result]] = set()
        try:
            while True:
                while len(running) < concurrency and (entry := next(left, None)):
                    running.add(pool.submit(ask, model, entry))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    result = future.result()
                    file = result_file(out, bfcl_library.category_of(result["id"]))
                    file.parent.mkdir(exist_ok=True)
                    with file.open("a", encoding="utf-8") as lines:
                        lines.write(json.dumps(result, ensure_ascii=False, default=str) + "\n")
                    yield result["id"]
        finally:
            for future in running:
                future.cancel()


def score(category: str, out: Path) -> Score:
    """The score of what of a category was answered; what was wrong goes to a file."""
    from evaluation import bfcl_library
    from evaluation.score_report import Score

    results = {result["id"]: result for result in read_lines(result_file(out, category))}
    of = len(bfcl_library.entries(category))
    wrong = bfcl_library.wrong(category, list(results.values()), out / "wrong") if results else {}
    right = len(results) - len(wrong)
    return Score(category, bfcl_library.group_of(category), right, len(results), of)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_positive.__name__ = "positive number"  # What argparse calls it.


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", required=True, help="of the API, such as http://localhost:8000/v1")
    parser.add_argument("--model", required=True, help="the name the server knows it by")
    parser.add_argument("--api-key", default=os.environ.get("OPENAI_API_KEY", "none"))
    parser.add_argument(
        "--categories", nargs="+", default=["all"], metavar="NAME",
        help="all, non_live, live, multi_turn, or the leaderboard's categories; default: all",
    )
    parser.add_argument("--ids", nargs="+", metavar="ID", help="these entries alone")
    parser.add_argument("--limit", type=_positive, help="so many of each category, the first")
    parser.add_argument("--out", type=Path, default=Path("bfcl-run"), help="default: %(default)s")
    parser.add_argument("--stream", action="store_true", help="ask for streamed answers")
    parser.add_argument(
        "--concurrency", type=_positive, default=16, help="default: %(default)s"
    )
    parser.add_argument(
        "--temperature", type=float, default=0.001, help="the leaderboard's is %(default)s"
    )
    parser.add_argument("--max-tokens", type=_positive, help="of an answer; default: the server's")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for an answer")
    options = parser.parse_args()
    if importlib.util.find_spec("bfcl_eval") is None:
        _in_its_environment()
    try:
        run(options)
    except Stopped as stopped:
        sys.exit(f"{stopped}\nThe same command goes on from here.")
    except KeyboardInterrupt:
        sys.exit("\nInterrupted: the same command goes on from here.")


def _in_its_environment() -> NoReturn:
    """Go on where the leaderboard's library is, in this process's place: one is there to stop."""
    from devtools.setup_env import own_environment

    python = str(own_environment("bfcl"))
    os.execv(python, [python, *sys.argv])


def run(options: argparse.Namespace) -> None:
    """Ask what is not answered yet, score all that is, and write both reports."""
    with contextlib.redirect_stdout(None):  # The library prints what it does.
        from evaluation import bfcl_library

        try:
            chosen = bfcl_library.categories(options.categories)
        except bfcl_library.UnknownCategory as error:
            sys.exit(str(error))
        wanted = [
            entry
            for category in chosen
            for entry in bfcl_library.entries(category)[:options.limit]
            if options.ids is None or entry["id"] in options.ids
        ]
    if unknown := set(options.ids or ()).difference(entry["id"] for entry in wanted):
        sys.exit(f"No such entry in these categories: {', '.join(sorted(unknown))}.")
    check_same_run(options.out, {
        "model": options.model, "stream": options.stream, "temperature": options.temperature,
        "max_tokens": options.max_tokens, "bfcl_eval": version("bfcl_eval"),
    })
    done = {
        result["id"]
        for category in chosen
        for result in read_lines(_whole(result_file(options.out, category)))
    }
    model = bfcl_library.ServedModel(
        options.url, options.model, options.api_key, options.stream, options.temperature,
        options.timeout, options.max_tokens,
    )
    from tqdm import tqdm

    left = [entry for entry in wanted if entry["id"] not in done]
    with tqdm(total=len(wanted), initial=len(wanted) - len(left), unit="entry") as bar:
        with contextlib.redirect_stdout(None):
            for entry_id in answer_all(model, left, options.out, options.concurrency):
                bar.set_postfix_str(entry_id)
                bar.update()
    with contextlib.redirect_stdout(None):
        scores = [each for category in chosen if (each := score(category, options.out)).asked]
    _report(options, scores)


def _whole(file: Path) -> Path:
    """The file without a last line that an interruption cut off."""
    if file.is_file() and not (text := file.read_text("utf-8")).endswith("\n"):
        file.write_text(text[: text.rfind("\n") + 1], "utf-8")
    return file


def _report(options: argparse.Namespace, scores: Sequence[Score]) -> None:
    from evaluation import score_report

    table = score_report.markdown(scores)
    how = "streamed" if options.stream else "at once"
    note = f"BFCL v4, bfcl-eval {version('bfcl_eval')}, native function calling, {how}"
    (options.out / "score.md").write_text(f"# {options.model}\n\n{note}\n\n{table}", "utf-8")
    (options.out / "score.svg").write_text(score_report.svg(options.model, scores, note), "utf-8")
    print(table, end="")
    print(f"\n{options.out / 'score.svg'}")


if __name__ == "__main__":
    main()
