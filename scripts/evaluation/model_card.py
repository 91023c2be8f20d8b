"""The public benchmarks of Mi:dm 2.0's model card on a served model, with lm-evaluation-harness.

    python scripts/evaluation/model_card.py --url http://localhost:8000/v1 --model NAME

The harness runs in an environment of its own, made when it is first wanted, and asks over the
OpenAI API: chat completions where the model has to write an answer, completions where it has to
choose one (by the probability of each). It fetches the data sets from the hub. Answers are kept in
--out as they come: run the same command again after an interruption, and it goes on.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parents[2]

#: The card's columns that have a task in the harness.
COLUMNS = {
    "HAERAE": "haerae",
    "KMMLU": "kmmlu",
    "Ko-Best": "kobest",
    "HRM8K": "hrm8k",
    "IFEval": "ifeval",
    "BBH": "bbh",
    "GPQA": "gpqa_main_zeroshot",
    "MuSR": "leaderboard_musr",
    "GSM8K": "gsm8k",
    "MBPP+": "mbpp_plus_instruct",
    "MMLU-pro": "mmlu_pro",
    "MMLU": "mmlu",
}
#: Those in which an answer is chosen, by the probability of each.
CHOSEN = {"haerae", "kmmlu", "kobest", "gpqa_main_zeroshot", "leaderboard_musr", "mmlu"}
#: Its answers are programs, which are run to check them.
RUNS_CODE = "mbpp_plus_instruct"
#: Those that have none: KT's own, or judged by another model.
NO_TASK = (
    "K-Refer", "K-Refer-Hard", "K-Prag", "Ko-Sovereign", "Ko-IFEval", "Ko-MTBench",
    "Ko-Winogrande", "LogicKor",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", help="of the API, such as http://localhost:8000/v1")
    parser.add_argument("--model", help="the name the server knows it by")
    parser.add_argument(
        "--tokenizer", help="its tokenizer's folder, or name on the hub; default: --model"
    )
    parser.add_argument(
        "--tasks", nargs="+", metavar="NAME",
        help="columns of the card, or tasks of the harness; default: every column but MBPP+",
    )
    parser.add_argument("--list", action="store_true", help="the columns, and their tasks")
    parser.add_argument("--include", type=Path, help="a folder of tasks of your own")
    parser.add_argument("--limit", type=int, help="the first so many questions of each task")
    parser.add_argument("--num-fewshot", type=int, help="default: each task's own")
    parser.add_argument(
        "--plain", action="store_true", help="choices without the chat template around the question"
    )
    parser.add_argument("--max-length", type=int, default=32768, help="default: %(default)s")
    parser.add_argument("--concurrency", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--run-code", action="store_true", help="run programs that the model wrote")
    parser.add_argument(
        "--out", type=Path, default=Path("lm-eval-run"), help="default: %(default)s"
    )
    options = parser.parse_args()
    if options.list:
        for column, task in COLUMNS.items():
            print(f"{column:10} {task}")
        print(f"without a task: {', '.join(NO_TASK)}")
        return
    if not (options.url and options.model):
        parser.error("--url and --model are needed")
    tasks = [COLUMNS.get(name, name) for name in options.tasks or COLUMNS]
    if RUNS_CODE in tasks and not options.run_code:
        if options.tasks:
            parser.error(f"{RUNS_CODE} runs programs that the model wrote: say --run-code, "
                         "in a container")
        tasks.remove(RUNS_CODE)
    if unknown := [name for name in NO_TASK if name in tasks]:
        parser.error(f"no task in the harness: {', '.join(unknown)}")
    if importlib.util.find_spec("lm_eval") is None:
        _in_its_environment()
    run(options, tasks)


def _in_its_environment() -> NoReturn:
    """Go on where the harness is, in this process's place: one is there to stop."""
    sys.path.append(str(REPOSITORY / "scripts"))
    from devtools.setup_env import own_environment

    python = str(own_environment("lm-eval"))
    os.execv(python, [python, *sys.argv])


def run(options: argparse.Namespace, tasks: Sequence[str]) -> None:
    """Ask what is not answered yet; write results.json and results.md, and print the table."""
    os.environ.setdefault("OPENAI_API_KEY", "none")
    if options.run_code:
        os.environ["HF_ALLOW_CODE_EVAL"] = "1"
    import lm_eval
    from lm_eval.tasks import TaskManager
    from lm_eval.utils import make_table

    manager = TaskManager(include_path=str(options.include) if options.include else None)
    options.out.mkdir(parents=True, exist_ok=True)
    tables, failed = [], dict[str, str]()
    results: dict[str, Any] = {}
    for task in tasks:
        try:
            choosing = is_choice(manager, task)
            found = lm_eval.simple_evaluate(
                model=served_model(options, choosing),
                tasks=[task],
                task_manager=manager,
                num_fewshot=options.num_fewshot,
                limit=options.limit,
                apply_chat_template=not (choosing and options.plain),
                use_cache=str(options.out / ("choices" if choosing else "answers")),
                confirm_run_unsafe_code=options.run_code,
                log_samples=False,
            )
        except Exception as error:  # Of one task: no access to its data, say. The others go on.
            failed[task] = f"{type(error).__name__}: {error}"
            continue
        results |= found["results"]
        tables.append(make_table(found))
        told = json.dumps(results, indent=2, ensure_ascii=False, default=str)
        (options.out / "results.json").write_text(told + "\n", "utf-8")
        (options.out / "results.md").write_text("\n".join(tables), "utf-8")
    print("\n".join(tables))
    if failed:
        lines = "\n".join(f"{task}: {why}" for task, why in failed.items())
        sys.exit(f"Not done; the same command goes on from here.\n{lines}")


def is_choice(manager: Any, task: str) -> bool:
    """Whether an answer is chosen in a task, not written. What is no column is loaded to tell."""
    if task in COLUMNS.values():
        return task in CHOSEN
    kinds = {each.OUTPUT_TYPE for each in manager.load(task)["tasks"].values()}
    return kinds != {"generate_until"}


def served_model(options: argparse.Namespace, choosing: bool) -> Any:
    """The harness's client of completions or of chat completions, for one server.

    Nothing is sampled, so no seed is sent (vLLM's CPU build ends at one).
    """
    from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI

    base = LocalCompletionsAPI if choosing else LocalChatCompletion

    class Served(base):  # type: ignore[misc, valid-type]
        def _create_payload(self, *arguments: Any, **named: Any) -> dict[str, Any]:
            payload: dict[str, Any] = super()._create_payload(*arguments, **named)
            del payload["seed"]
            return payload

    return Served(
        model=options.model,
        base_url=f"{options.url.rstrip('/')}/{'completions' if choosing else 'chat/completions'}",
        tokenizer_backend="huggingface" if choosing else None,
        tokenizer=(options.tokenizer or options.model) if choosing else None,
        num_concurrent=options.concurrency,
        max_length=options.max_length,
        tokenized_requests=choosing,
    )


if __name__ == "__main__":
    main()
