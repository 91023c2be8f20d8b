"""What the example for fine-tuning learns from, as JSON: each text, and where in it loss is.

Runs in the environment `trl`: finetune_labels.py EXAMPLES CHECKPOINT CONVERSATIONS OUT.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    examples, *arguments = sys.argv[1:]
    sys.path.insert(0, examples)
    import finetune_trl

    sys.argv[1:] = arguments
    training = finetune_trl.trainer(finetune_trl.options())
    tokenizer = training.processing_class
    told = []
    for batch in training.get_train_dataloader():
        for ids, labels, seen in zip(batch["input_ids"], batch["labels"], batch["attention_mask"]):
            ids, labels = ids[seen == 1], labels[seen == 1]
            learned = labels != -100
            assert (ids[learned] == labels[learned]).all()
            first = int(learned.nonzero()[0])
            told.append([
                tokenizer.decode(ids[:first]), tokenizer.decode(labels[learned]),
                int(learned[first:].sum()) == len(ids) - first,
            ])
    print("LABELS " + json.dumps(told))


if __name__ == "__main__":
    main()
