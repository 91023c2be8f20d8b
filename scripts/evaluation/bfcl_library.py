"""What of `bfcl_eval` is used, and how: its entries, its handler of chat completions, its checkers.

The library imports a client of every vendor it knows where it lists its models, and two parsers
for models that call no functions. None of that is needed here, so a stand-in is put in each of
these modules' places before it is imported, and the environment has none of their packages.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Optional

Entry = dict[str, Any]
Result = dict[str, Any]

#: What the library calls the model, whatever the server calls it.
REGISTERED = "served"


class _Models(dict[str, Any]):
    """The library's list of models, in which every name is a served model that calls functions."""

    def __missing__(self, name: str) -> Any:
        return types.SimpleNamespace(
            model_name=name, display_name=name, is_fc_model=True, underscore_to_dot=True,
            input_price=None, output_price=None,
        )


def _not_for_calls(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("this parser is for models that call no functions")


def _stand_in(name: str, **contents: Any) -> None:
    module = types.ModuleType(name)
    vars(module).update(contents)
    sys.modules[name] = module


# It makes folders where it is told to when it is imported, and means to keep results in them.
os.environ["BFCL_PROJECT_ROOT"] = tempfile.mkdtemp(prefix="bfcl-")
_stand_in("bfcl_eval.constants.model_config", MODEL_CONFIG_MAPPING=_Models())
for _language in ("java", "javascript"):
    _stand_in(
        f"bfcl_eval.model_handler.parser.{_language.replace('javascript', 'js')}_parser",
        **{f"parse_{_language}_function_call": _not_for_calls},
    )

_categories = importlib.import_module("bfcl_eval.constants.category_mapping")
_files = importlib.import_module("bfcl_eval.utils")
_worlds = importlib.import_module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils")
_runner = importlib.import_module("bfcl_eval.eval_checker.eval_runner")
_handler = importlib.import_module("bfcl_eval.model_handler.api_inference.openai_completion")

#: The leaderboard's groups that need neither the network nor a model of embeddings.
GROUPS: Mapping[str, Sequence[str]] = {
    "non_live": _categories.NON_LIVE_CATEGORY,
    "live": _categories.LIVE_CATEGORY,
    "multi_turn": _categories.MULTI_TURN_CATEGORY,
}
CATEGORIES = tuple(category for group in GROUPS.values() for category in group)


class UnknownCategory(Exception):
    """No category or group has this name; the message has those there are."""


def categories(names: Sequence[str]) -> list[str]:
    """The categories of these names, in the leaderboard's order; a group's name is all of its."""
    wanted = set[str]()
    for name in names:
        if name == "all":
            wanted.update(CATEGORIES)
        elif name in GROUPS:
            wanted.update(GROUPS[name])
        elif name in CATEGORIES:
            wanted.add(name)
        else:
            known = ", ".join(("all", *GROUPS, *CATEGORIES))
            raise UnknownCategory(f"{name} is no category here; there are {known}.")
    return [category for category in CATEGORIES if category in wanted]


def group_of(category: str) -> str:
    return next(group for group, members in GROUPS.items() if category in members)


def category_of(entry_id: str) -> str:
    return str(_files.extract_test_category_from_id(entry_id))


def entries(category: str) -> list[Entry]:
    """The questions of a category with their functions, as they are put to a model."""
    loaded: list[Entry] = _files.load_dataset_entry(category)
    return loaded


def ground_truth(category: str) -> dict[str, Any]:
    """The answers that count as right, by entry; a category of (ir)relevance has none."""
    if "relevance" in category:
        return {}
    answers = _files.load_ground_truth_entry(category)
    # Some have another id than their question; the order is the same.
    questions = _files.load_dataset_entry(category, include_language_specific_hint=False)
    return {entry["id"]: answer["ground_truth"] for entry, answer in zip(questions, answers)}


class ServedModel(_handler.OpenAICompletionsHandler):  # type: ignore[misc, name-defined]
    """The library's handler of function calling over Chat Completions, for any server.

    `stream` asks for streams and puts them together. Answers go into the history as role, content
    and calls alone, whichever way they came. One object may be used by several threads.
    """

    def __init__(
        self, url: str, model: str, key: str, stream: bool = False, temperature: float = 0.001,
        timeout: float = 600.0, max_tokens: Optional[int] = None,
    ) -> None:
        self._client_options = {"base_url": url, "api_key": key, "timeout": timeout}
        super().__init__(model, temperature, REGISTERED, True)
        self.model_name_underline_replaced = REGISTERED  # Becomes part of a Python name.
        self._stream = stream
        self._limits = {} if max_tokens is None else {"max_completion_tokens": max_tokens}

    def _build_client_kwargs(self) -> dict[str, Any]:
        return self._client_options

    def ask(self, entry: Entry) -> Result:
        """The model's answer to an entry, as the library keeps it: id, result, tokens, seconds.

        Raises what the client raises.
        """
        is_multi_turn = _files.contain_multi_turn_interaction(entry["id"])
        infer = self.inference_multi_turn_FC if is_multi_turn else self.inference_single_turn_FC
        result, metadata = (
            infer(entry, True, True) if is_multi_turn else infer(entry, True)
        )
        return {"id": entry["id"], "result": result, **metadata}

    def generate_with_backoff(self, **request: Any) -> tuple[Any, float]:
        """One answer and its seconds; waiting and trying again is the client's."""
        request = {**request, **self._limits}
        del request["store"]  # OpenAI's own alone.
        began = perf_counter()
        if self._stream:
            chunks = self.client.chat.completions.create(
                **request, stream=True, stream_options={"include_usage": True}
            )
            answer = _put_together(chunks)
        else:
            answer = self.client.chat.completions.create(**request)
        return answer, perf_counter() - began

    def _parse_query_response_FC(self, api_response: Any) -> dict[str, Any]:
        parsed: dict[str, Any] = super()._parse_query_response_FC(api_response)
        message = api_response.choices[0].message
        history = {"role": "assistant", "content": message.content or None}
        if message.tool_calls:
            history["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {
                    "name": call.function.name, "arguments": call.function.arguments}}
                for call in message.tool_calls
            ]
        else:
            history["content"] = parsed["model_responses"] = message.content or ""
        return parsed | {"model_responses_message_for_chat_history": history}


def _put_together(chunks: Any) -> Any:
    """A stream as one completion."""
    from openai.types.chat import ChatCompletion

    content, calls, last, finish = "", dict[int, dict[str, Any]](), None, None
    usage: Any = None
    for last in chunks:
        usage = last.usage or usage
        for choice in last.choices:
            finish = choice.finish_reason or finish
            content += choice.delta.content or ""
            for part in choice.delta.tool_calls or []:
                call = calls.setdefault(part.index, {"id": part.id, "name": "", "arguments": ""})
                call["name"] += part.function.name or ""
                call["arguments"] += part.function.arguments or ""
    assert last is not None, "the server ended a stream without a chunk"
    tool_calls = [
        {"id": call["id"], "type": "function",
         "function": {"name": call["name"], "arguments": call["arguments"]}}
        for _, call in sorted(calls.items())
    ]
    message = {"role": "assistant", "content": content or None, "tool_calls": tool_calls or None}
    return ChatCompletion.model_validate({
        "id": last.id, "created": last.created, "model": last.model, "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": finish or "stop", "message": message}],
        "usage": usage.model_dump(),
    })


def _forget_worlds() -> None:
    """The library keeps the simulated worlds of several turns, and would go on in them."""
    worlds = vars(_worlds)
    for name in [name for name in worlds if name.endswith("_instance")]:
        del worlds[name]


def wrong(
    category: str, results: Sequence[Result], folder: Path,
    answers: Optional[Mapping[str, Any]] = None,
) -> dict[str, Result]:
    """Those of the results that the library's checker finds wrong, by entry, with its reasons.

    Its own score file goes to `folder`. `answers` are taken in place of its own ground truth.
    """
    handler = ServedModel("http://localhost/v1", REGISTERED, "none")
    _forget_worlds()
    kept = {result["id"]: result for result in results}
    asked = [
        entry
        for entry in _files.load_dataset_entry(
            category, include_prereq=False, include_language_specific_hint=False
        )
        if entry["id"] in kept
    ]
    ordered = [kept[entry["id"]] for entry in asked]
    answers = ground_truth(category) if answers is None else answers
    right = [
        {"id": entry["id"], "ground_truth": answers[entry["id"]]}
        for entry in asked
        if entry["id"] in answers
    ]
    named = {"model_name": REGISTERED, "test_category": category, "score_dir": folder}
    if "relevance" in category:
        _runner.relevance_file_runner(handler, ordered, asked, **named)
    elif _files.is_multi_turn(category):
        _runner.multi_turn_runner(handler, ordered, asked, right, **named)
    else:
        _runner.ast_file_runner(handler, ordered, asked, right, **named)
    written = (
        folder / REGISTERED / _files.get_directory_structure_by_category(category)
        / _files.get_file_name_by_category(category, is_score_file=True)
    )
    return {row["id"]: row for row in _files.load_file(written)[1:]}
