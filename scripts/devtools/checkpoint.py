"""Build the small checkpoint: Mi:dm 2.0 Mini's shape in small, taught a few conversations.

Greedy decoding gives back each of the `conversations` exactly, so that a real vLLM can be
tested on a machine without a GPU and without the real weights. Prints the checkpoint's folder.
Other code may have other conversations taught, as a `Lesson`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from devtools.conversations import CONVERSATIONS, Conversation, template_messages

if TYPE_CHECKING:  # An unchanged checkpoint is found without a second's import of these.
    from torch import Tensor
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "checkpoints"
CHAT_TEMPLATE = REPOSITORY / "midm_vllm" / "chat" / "templates" / "midm.jinja"

# Mi:dm's special tokens, where it has them: the first ids, and the last.
BOS, PAD, EOS = "<|begin_of_text|>", "<|pad|>", "<|end_of_text|>"
HEADER, HEADER_END, END_OF_TURN = "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
FIRST_TOKENS = [BOS, PAD, EOS]
LAST_TOKENS = [HEADER, HEADER_END, END_OF_TURN]
# Meta-Llama-3's, which Mi:dm's tokenizer uses.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

VOCABULARY = 1024
#: Tried in turn: of some beginnings training gets stuck, and which ones differs by processor.
SEEDS = (22, 23, 24, 25)
STEPS = 800
STEPS_BETWEEN_CHECKS = 50
LOG_LINES = 8  # About as many where nobody watches the bar.
BATCH = 4
# A batch of long prompts takes part in every so many rounds: its time grows with their square.
LONG, LONG_RESTS = 1500, 2
LEARNING_RATE = 4e-3
# The least lead, in logits, of a taught token over any other: enough for bfloat16 activations,
# and for the vendor's sampling defaults (top_p 0.75) to leave the taught token alone.
MARGIN = 4.0

#: The token ids of a prompt, and of its answer.
Example = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Lesson:
    """What a checkpoint is taught, and the size of the vocabulary it is taught with."""

    name: str
    conversations: Sequence[Conversation]
    vocabulary: int = VOCABULARY

    def digest(self) -> str:
        """What the lesson is told by: the same for the same conversations."""
        taught = [asdict(conversation) for conversation in self.conversations]
        return f"{self.vocabulary} {json.dumps(taught, ensure_ascii=False)}"


TAUGHT = Lesson("taught", CONVERSATIONS)


class NotLearned(Exception):
    """Training ended before the model gave back what it was taught."""


def cache_key(trained: bool, steps: int, lesson: Lesson = TAUGHT) -> str:
    """A digest of all that a checkpoint is made from, the libraries' versions included."""
    digest = hashlib.sha256(f"{trained} {steps} {lesson.digest()}".encode())
    for source in (Path(__file__), CHAT_TEMPLATE):
        digest.update(source.read_bytes())
    for library in ("torch", "transformers", "tokenizers"):
        digest.update(f"{library} {importlib.metadata.version(library)}".encode())
    return digest.hexdigest()[:16]


def build(
    cache: Path = CACHE, trained: bool = True, steps: int = STEPS, lesson: Lesson = TAUGHT
) -> Path:
    """Return the folder of the checkpoint, built now unless `cache` holds it already.

    Raises NotLearned, and writes nothing, if `steps` of training were not enough from any of SEEDS.
    """
    name = lesson.name if trained else "untrained"
    target = cache / f"{name}-{cache_key(trained, steps, lesson)}"
    if target.is_dir():
        return target

    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # Of the writing of the weights, which takes no time.
    torch.set_num_threads(1)  # Bit-identical from run to run, and fast at this size.
    tokenizer = build_tokenizer(lesson)
    examples = [encode(tokenizer, conversation) for conversation in lesson.conversations]
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = build_model(tokenizer)
        if not trained:
            break
        try:
            train(model, examples, steps)
            break
        except NotLearned:
            if seed == SEEDS[-1]:
                raise

    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".building-") as folder:
        finished = Path(folder) / name
        tokenizer.save_pretrained(finished)
        model.bfloat16().save_pretrained(finished)
        try:
            finished.rename(target)
        except OSError:
            if not target.is_dir():  # Otherwise another process was first, with the same.
                raise
    return target


def build_tokenizer(lesson: Lesson = TAUGHT) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer built as Mi:dm's is, with the packaged chat template."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    backend.decoder = decoders.ByteLevel()
    special = re.compile("|".join(map(re.escape, FIRST_TOKENS + LAST_TOKENS)))
    template = CHAT_TEMPLATE.read_text(encoding="utf-8")
    renderer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=BOS, chat_template=template
    )
    texts = [
        text
        for conversation in lesson.conversations
        for text in (*special.split(render(renderer, conversation)), conversation.text)
    ]
    backend.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=lesson.vocabulary - len(LAST_TOKENS),
        special_tokens=FIRST_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ))
    backend.add_special_tokens([AddedToken(t, special=True) for t in LAST_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        chat_template=template,
        clean_up_tokenization_spaces=False,
        model_max_length=32768,
        model_input_names=["input_ids", "attention_mask"],
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Random weights in Mini's shape: grouped queries, heads wider than the hidden size, tied."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    ends = tokenizer.convert_tokens_to_ids([EOS, END_OF_TURN])
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
        initializer_range=0.05,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=0.8,
        top_k=20,
        top_p=0.75,
        repetition_penalty=1.0,
    )
    return model


def render(tokenizer: PreTrainedTokenizerFast, conversation: Conversation) -> str:
    """The prompt that vLLM makes of a conversation's request."""
    prompt = tokenizer.apply_chat_template(
        template_messages(conversation),
        tools=list(conversation.tools) or None,
        add_generation_prompt=True,
        tokenize=False,
    )
    assert isinstance(prompt, str)
    return prompt


def encode(tokenizer: PreTrainedTokenizerFast, conversation: Conversation) -> Example:
    """The token ids of a conversation's prompt, and of its answer with the end of the turn."""
    prompt = tokenizer.encode(render(tokenizer, conversation), add_special_tokens=False)
    answer = tokenizer.encode(conversation.text, add_special_tokens=False)
    return prompt, [*answer, tokenizer.convert_tokens_to_ids(END_OF_TURN)]


def train(model: LlamaForCausalLM, examples: list[Example], steps: int) -> None:
    """Train until greedy decoding gives back every answer, by at least MARGIN; or raise."""
    import torch
    from tqdm import tqdm

    batches = _batches(examples)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.0
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.05
    )
    lead, rounds = float("-inf"), 0
    order: list[int] = []
    takes_part = [1 if ids.shape[1] < LONG else LONG_RESTS for ids, _ in batches]
    task, watched = "Teaching the small checkpoint", sys.stderr.isatty()
    with tqdm(total=steps, desc=task, unit="step", disable=not watched) as bar:
        for step in range(1, steps + 1):
            while not order:
                rounds += 1
                shuffled = torch.randperm(len(batches)).tolist()
                order = [number for number in shuffled if rounds % takes_part[number] == 0]
            ids, labels = batches[order.pop()]
            logits, targets = _answer_logits(model, ids, labels)
            # The loss sees the taught token behind by a little more than the wanted lead, so that
            # what leads by less goes on being learned, and what leads by enough is left alone.
            handicap = torch.nn.functional.one_hot(targets, logits.shape[1]) * (MARGIN + 1)
            loss = torch.nn.functional.cross_entropy(logits - handicap, targets)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            bar.update()
            if step % STEPS_BETWEEN_CHECKS == 0 or step == steps:
                lead = smallest_lead(model, batches)
                bar.set_postfix(loss=f"{loss.item():.4f}", lead=f"{lead:.1f}", wanted=MARGIN)
                if not watched and step % max(1, steps // LOG_LINES) < STEPS_BETWEEN_CHECKS:
                    print(f"{task}: step {step} of {steps}, lead {lead:.1f} of {MARGIN}",
                          file=sys.stderr, flush=True)
                if lead >= MARGIN:
                    return
    raise NotLearned(
        f"After {steps} steps the checkpoint does not give back what it was taught: a taught "
        f"token leads by {lead:.1f} logits where {MARGIN} are wanted. Nothing was written. "
        "Give it more --steps, or teach it less."
    )


def smallest_lead(model: LlamaForCausalLM, batches: list[tuple[Tensor, Tensor]]) -> float:
    """By how many logits a taught token leads, at worst: in float32 and rounded to bfloat16.

    Above zero, greedy decoding gives back every answer to the last token. Once below MARGIN it is
    not enough, and the longer prompts are not looked at.
    """
    import copy

    import torch

    rounded = copy.deepcopy(model).bfloat16().float()
    lead = float("inf")
    with torch.no_grad():
        for ids, labels in batches:
            for variant in (model, rounded):
                logits, targets = _answer_logits(variant, ids, labels)
                taught = logits.gather(1, targets[:, None])
                others = logits.scatter(1, targets[:, None], float("-inf"))
                lead = min(lead, (taught[:, 0] - others.amax(dim=1)).min().item())
            if lead < MARGIN:
                break
    return lead


def _batches(examples: list[Example]) -> list[tuple[Tensor, Tensor]]:
    """Token ids [batch, length] and labels, -100 outside the answers; alike lengths together."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ordered = sorted(examples, key=lambda example: len(example[0]) + len(example[1]))
    long = [example for example in ordered if len(example[0]) >= LONG]
    short = [example for example in ordered if len(example[0]) < LONG]
    batches = []
    for group in (*_groups(short), *_groups(long)):
        ids = [torch.tensor(prompt + answer) for prompt, answer in group]
        labels = [torch.tensor([-100] * len(prompt) + answer) for prompt, answer in group]
        batches.append((
            pad_sequence(ids, batch_first=True),
            pad_sequence(labels, batch_first=True, padding_value=-100),
        ))
    return batches


def _groups(examples: list[Example]) -> list[list[Example]]:
    return [examples[start:start + BATCH] for start in range(0, len(examples), BATCH)]


def _answer_logits(
    model: LlamaForCausalLM, ids: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits [answer tokens, vocabulary] and the taught ids [answer tokens] of one batch.

    What all its prompts begin with is computed once: of the long ones, nearly all.
    """
    from transformers import DynamicCache

    shared, cache = _shared(ids, labels), DynamicCache(config=model.config)
    if shared:
        model.model(input_ids=ids[:1, :shared], past_key_values=cache)
        cache.batch_repeat_interleave(len(ids))
    hidden = model.model(input_ids=ids[:, shared:], past_key_values=cache).last_hidden_state
    targets = labels[:, shared + 1:]
    wanted = targets != -100
    return model.lm_head(hidden[:, :-1][wanted]), targets[wanted]


def _shared(ids: Tensor, labels: Tensor) -> int:
    """How many tokens all rows begin with, but for the last of a prompt, which tells the answer."""
    if len(ids) == 1:
        return 0
    alike = (ids == ids[:1]).all(dim=0).long().cumprod(dim=0).sum().item()
    answers = (labels != -100).any(dim=0).long().argmax().item()
    return int(min(alike, answers - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--untrained", action="store_true", help="the same checkpoint with random weights"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="most steps of training")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder to build in")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        print(build(options.cache, not options.untrained, options.steps))
    except NotLearned as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
