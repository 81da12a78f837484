"""What transformers makes of model folders, as JSON: run by the tests under both versions, each in a process of its own.

Reads {"folders": {name: path}, "ids": [...], "texts": [...]} from standard input.
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

FIELDS = ["vocab_size", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"]
ROLES = ["bos", "eos", "pad", "unk"]


def run(folder, ids, texts):
    # Both versions know this name of the argument; the newer one prefers `dtype`.
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    stop = model.generation_config.eos_token_id
    return {
        "logits": logits.tolist(),
        "config": {field: getattr(model.config, field, None) for field in FIELDS},
        "stop": stop if isinstance(stop, list) else [stop],
        "encoded": [tokenizer(text)["input_ids"] for text in texts],
        "roles": {role: getattr(tokenizer, f"{role}_token_id") for role in ROLES},
        "length": tokenizer.model_max_length,
        "template": tokenizer.chat_template,
    }


def main():
    given = json.load(sys.stdin)
    answers = {name: run(path, given["ids"], given["texts"]) for name, path in given["folders"].items()}
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
