"""The logits of a model folder without a tokenizer, as JSON: run under both versions of transformers.

Reads {"folder": path, "ids": [[...]]} from standard input.
"""

import json
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM

transformers.logging.set_verbosity_error()
given = json.load(sys.stdin)
model, info = AutoModelForCausalLM.from_pretrained(given["folder"], output_loading_info=True)
with torch.no_grad():
    logits = model.float().eval()(torch.tensor(given["ids"])).logits
faults = {key: sorted(map(str, info[key])) for key in ("missing_keys", "unexpected_keys", "mismatched_keys")}
json.dump({"version": transformers.__version__, "faults": faults, "logits": logits.tolist()}, sys.stdout)
