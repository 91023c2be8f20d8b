"""Fine-tune Mi:dm 2.0 on conversations with tools, with TRL: all weights, or LoRA.

    python finetune_trl.py CHECKPOINT CONVERSATIONS OUT

CONVERSATIONS is JSON Lines: `{"messages": […], "tools": […]}`, as an OpenAI client sends them and
gets them. OUT is a checkpoint that vLLM serves as it is; LoRA's weights are merged into it.

Every answer of the assistant is learned once, behind the prompt that vLLM makes of what came
before it. Loss is on the assistant's own words alone, the end of its turn included.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

Message = dict[str, Any]


def as_written(message: Message) -> Message:
    """An answer in the model's own words: its calls as Mi:dm's prompt asks for them.

    The template writes calls of the past otherwise (`parameters`, several in a block), so a
    model that is to learn how to write them gets them as text.
    """
    lines = [message["content"]] if message.get("content") else []
    for call in message.get("tool_calls") or []:
        name = json.dumps(call["function"]["name"], ensure_ascii=False)
        arguments = call["function"]["arguments"]
        lines.append(f'<tool_call>{{"name": {name}, "arguments": {arguments}}}</tool_call>')
    return {"role": "assistant", "content": "\n".join(lines)}


def answers(conversations: Path) -> Iterator[dict[str, Any]]:
    """For each answer of the assistant: what came before it, the answer, and the tools.

    The tools are JSON text: a column of objects would give each the members of all the others.
    """
    for line in conversations.read_text("utf-8").splitlines():
        conversation = json.loads(line)
        messages = conversation["messages"]
        tools = json.dumps(conversation.get("tools", []), ensure_ascii=False)
        for place, message in enumerate(messages):
            if message["role"] == "assistant":
                completion = [as_written(message)]
                yield {"prompt": messages[:place], "completion": completion, "tools": tools}


def trainer(asked: argparse.Namespace) -> SFTTrainer:
    """TRL's trainer of a checkpoint on these conversations."""
    tokenizer = AutoTokenizer.from_pretrained(asked.checkpoint)
    if asked.template:
        tokenizer.chat_template = asked.template.read_text("utf-8")
    # midm-vllm's template has its marks as comments, because vLLM's own probes do not know them.
    tokenizer.chat_template = re.sub(
        r"\{#- ((?:end)?generation) -#\}", r"{%- \1 -%}", tokenizer.chat_template or ""
    )
    if not re.search(r"\{%-?\s*generation\s*-?%\}", tokenizer.chat_template):
        raise SystemExit(
            "The checkpoint's chat template does not mark what the assistant says: give the "
            'package\'s, --template "$(midm-vllm template)".'
        )
    peft_config = None
    if asked.lora:
        from peft import LoraConfig

        peft_config = LoraConfig(
            r=asked.lora, lora_alpha=2 * asked.lora, target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
    config = SFTConfig(
        output_dir=str(asked.out),
        assistant_only_loss=True,
        max_length=None,
        num_train_epochs=asked.epochs,
        learning_rate=asked.learning_rate,
        per_device_train_batch_size=asked.batch,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        disable_tqdm=not sys.stderr.isatty(),
        bf16=asked.bf16,
    )
    return SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(asked.checkpoint, dtype="float32"),
        args=config,
        train_dataset=Dataset.from_list(list(answers(asked.conversations))),
        processing_class=tokenizer,
        peft_config=peft_config,
    )


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoint", help="a folder, or a name on the hub")
    parser.add_argument("conversations", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--lora", type=int, metavar="RANK", help="train LoRA of this rank")
    parser.add_argument("--template", type=Path, help="a chat template; default: the checkpoint's")
    parser.add_argument("--epochs", type=float, default=3.0, help="default: %(default)s")
    parser.add_argument("--learning-rate", type=float, default=1e-5, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--bf16", action="store_true", help="activations in bfloat16, on a GPU")
    return parser.parse_args()


def main() -> None:
    asked = options()
    training = trainer(asked)
    training.train()
    model = training.model.merge_and_unload() if asked.lora else training.model
    model.bfloat16().save_pretrained(asked.out)
    tokenizer = training.processing_class
    tokenizer.chat_template = re.sub(
        r"\{%- ((?:end)?generation) -%\}", r"{#- \1 -#}", tokenizer.chat_template
    )
    tokenizer.save_pretrained(asked.out)
    print(asked.out)


if __name__ == "__main__":
    main()
