#!/usr/bin/env python3
"""Write a checkpoint with random weights, finite bfloat16: the shape of Llama-3.2-1B, 2.47 GB in one file, tied embeddings.

usage: make_llama.py FOLDER [--large]

With --large, the widths of Llama-3.1-8B in 40 layers: 20 GB in files of 5 GB, each a hole after its first 256 MB.
"""

import json
import random
import shutil
import sys
from pathlib import Path

from measure import FIXTURES

LARGE = "--large" in sys.argv
HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, FEED_FORWARD, VOCABULARY = (
    (4096, 40, 32, 8, 128, 14336, 128256) if LARGE else (2048, 16, 32, 8, 64, 8192, 128256)
)
BLOCK = 16 << 20
SHARD = 5_000_000_000

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1019,
    "eos_token_id": 1020,
    "pad_token_id": 1023,
    "head_dim": HEAD_DIM,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "initializer_range": 0.02,
    "intermediate_size": FEED_FORWARD,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": KV_HEADS,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": not LARGE,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.45.0",
    "use_cache": True,
    "vocab_size": VOCABULARY,
}


def shapes():
    yield "model.embed_tokens.weight", [VOCABULARY, HIDDEN]
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.input_layernorm.weight", [HIDDEN]
        yield f"{prefix}.mlp.down_proj.weight", [HIDDEN, FEED_FORWARD]
        yield f"{prefix}.mlp.gate_proj.weight", [FEED_FORWARD, HIDDEN]
        yield f"{prefix}.mlp.up_proj.weight", [FEED_FORWARD, HIDDEN]
        yield f"{prefix}.post_attention_layernorm.weight", [HIDDEN]
        yield f"{prefix}.self_attn.k_proj.weight", [KV_HEADS * HEAD_DIM, HIDDEN]
        yield f"{prefix}.self_attn.o_proj.weight", [HIDDEN, HEADS * HEAD_DIM]
        yield f"{prefix}.self_attn.q_proj.weight", [HEADS * HEAD_DIM, HIDDEN]
        yield f"{prefix}.self_attn.v_proj.weight", [KV_HEADS * HEAD_DIM, HIDDEN]
    yield "model.norm.weight", [HIDDEN]
    if LARGE:
        yield "lm_head.weight", [VOCABULARY, HIDDEN]


def elements(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def shards():
    """The tensors of each file."""
    files, size = [[]], 0
    for name, shape in shapes():
        if size and size + 2 * elements(shape) > SHARD:
            files.append([])
            size = 0
        files[-1].append((name, shape))
        size += 2 * elements(shape)
    return files


def header(tensors):
    """The safetensors header and the number of data bytes after it."""
    entries, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        end = offset + 2 * elements(shape)
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, offset


def blocks():
    """Endless random blocks."""
    # The upper byte of a bfloat16 is its sign and most of its exponent: these eight give values from 2^-15 to 2^-7.
    upper = bytes([(byte & 0x80) | (0x38 + (byte & 3)) for byte in range(256)])
    numbers = random.Random(1)
    while True:
        block = bytearray(numbers.randbytes(BLOCK))
        block[1::2] = block[1::2].translate(upper)
        yield block


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    files, data, places = shards(), blocks(), {}
    for number, tensors in enumerate(files, 1):
        name = "model.safetensors" if len(files) == 1 else f"model-{number:05}-of-{len(files):05}.safetensors"
        places |= {tensor: name for tensor, _ in tensors}
        head, size = header(tensors)
        with open(folder / name, "wb") as file:
            file.write(head)
            for start in range(0, min(size, 16 * BLOCK) if LARGE else size, BLOCK):
                file.write(next(data)[: size - start])
            file.truncate(len(head) + size)
    if len(files) > 1:
        index = {"metadata": {}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2))
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(FIXTURES / "llama-rope3-4x" / name, folder / name)


if __name__ == "__main__":
    main()
