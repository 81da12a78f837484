"""What transformers makes of model folders, as JSON: run by the tests under both versions, each in a process of its own.

Reads {"folders": {name: path}, "ids": {name: [...]}, "tokens": [...]} from standard input. The logits of the ids are left
beside each folder, in PATH-VERSION.safetensors.
"""

import json
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

CODE = {"trust_remote_code": True}
MESSAGES = [{"role": "user", "content": "Which candle burns longest?"}, {"role": "assistant", "content": "The last."}]


def describe(folder, ids, tokens):
    tokenizer = AutoTokenizer.from_pretrained(folder, **CODE)
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, dtype="auto", **CODE)
    batch = torch.tensor([ids])
    with torch.no_grad():
        logits = model.float().eval()(batch).logits
        written = model.generate(batch, max_new_tokens=6, do_sample=False)
    save_file({"logits": logits.contiguous()}, f"{folder}-{transformers.__version__}.safetensors")
    generation = model.generation_config
    return {
        "version": transformers.__version__,
        "faults": {key: sorted(map(str, info[key])) for key in ("missing_keys", "unexpected_keys", "mismatched_keys")},
        "rows": model.get_input_embeddings().weight.shape[0],
        "head": model.get_output_embeddings().weight.shape[0],
        "tied": model.get_output_embeddings().weight is model.get_input_embeddings().weight,
        "vocab_size": model.config.vocab_size,
        "config": {key: getattr(model.config, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
        "generation": {
            key: getattr(generation, key)
            for key in ("bos_token_id", "eos_token_id", "pad_token_id", "max_new_tokens", "temperature", "do_sample")
        },
        "roles": {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
        "tokens": tokenizer.convert_tokens_to_ids(tokens),
        "chat": tokenizer.apply_chat_template(MESSAGES, tokenize=False) if tokenizer.chat_template else None,
        "generated": written[0, len(ids) :].tolist(),
    }


def main():
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    given = json.load(sys.stdin)
    described = {name: describe(path, given["ids"][name], given["tokens"]) for name, path in given["folders"].items()}
    json.dump(described, sys.stdout)


if __name__ == "__main__":
    main()
