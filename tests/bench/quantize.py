#!/usr/bin/env python3
"""Quantize a model by every recipe: time, memory, size and error of the weights, and seconds for a token.

usage: quantize.py [FOLDER]     (default: a checkpoint in the shape of Llama-3.2-1B, made and removed)
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import COMMAND, process, table

RECIPES = [
    "int8-dynamic-act-int4-weight",
    "int4-weight-only",
    "int8-weight-only",
    "int8-dynamic-act-int8-weight",
    "float8-dynamic-act-float8-weight",
    "float8-weight-only",
]


def main():
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        source = Path(sys.argv[1]) if len(sys.argv) > 1 else scratch / "llama"
        if not source.exists():
            subprocess.run([sys.executable, Path(__file__).with_name("make_llama_1b.py"), source], check=True)
        ids = scratch / "ids.json"
        rows = []
        for recipe in RECIPES:
            folder = scratch / recipe
            words = [COMMAND, "finalize", source, folder, "--quantize", recipe, "--no-validate", "--json"]
            seconds, peak, text = process(words)
            report = json.loads(text)["quantization"]
            worst = max(report["tensors"], key=lambda tensor: tensor["relative_error"])
            # Loading and one token, against loading and 65: what is left is 64 tokens in one go.
            times = []
            for tokens in (1, 65):
                ids.write_text(json.dumps([[7] * tokens]))
                words = [COMMAND, "logits", folder, "--input-ids", ids, "-o", scratch / "logits.safetensors"]
                times.append(process(words))
            rows.append(
                [
                    recipe,
                    f"{seconds:.1f} s",
                    f"{peak / 1e6:.0f} MB",
                    f"{report['bytes_before'] / 1e9:.2f} → {report['bytes_after'] / 1e9:.2f} GB",
                    f"{report['relative_error']:.2%}",
                    f"{worst['relative_error']:.2%}",
                    f"{times[0][0]:.1f} s, {times[0][1] / 1e9:.2f} GB",
                    f"{times[1][0] - times[0][0]:.1f} s",
                ]
            )
            shutil.rmtree(folder)
        header = ["recipe", "finalize", "peak", "tensors", "error", "worst tensor", "load and 1 token", "64 tokens more"]
        table(header, rows)


if __name__ == "__main__":
    main()
