"""GGUF files written by finalize: gguf-py reads them, transformers loads them, and the blocks equal those of gguf-py."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize, quantize
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
TEXTS = [
    "The chandler lit 12 candles.",
    "  Two spaces, a tab\t and\n\na line; déjà vu — 你好 🕯",
    "def f(x):\n    return x ** 2  # it's 1234567",
    "",
]
# What transformers cannot know from the file alone, so that it is given config.json: biases, stretched frequencies, and heads of
# Qwen3 that are not 128 wide.
TOLD = {"llama-bias", "llama-rope3", "qwen3-tied", "qwen3-4x"}
# The format cannot store windows, so only this many tokens are the same.
WINDOW = {"mistral-sw8": 8, "mistral-sw8-4x": 8}
MODELS = ["llama-gqa", "llama-gqa-4x", "llama-headdim", "llama-tied", "llama-bf16", "llama-bin-sharded", *sorted(TOLD), *WINDOW]


def finalized(chandlery, source, kind, folder):
    report = json.loads(chandlery("finalize", source, folder, "--skip-default-tokens", "--format", "gguf", "--gguf-type", kind, "--json").stdout)
    assert report["passed"] and report["gguf"]["type"] == kind
    return folder


def loaded(folder, source=None):
    given = {} if source is None else {"config": AutoConfig.from_pretrained(source)}
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", dtype=torch.float32, **given)
    return model.eval()


def plain(source):
    reference = load_file(source / "reference.safetensors")
    return reference["plain.input_ids"], reference["plain.logits"]


@pytest.mark.parametrize("name", MODELS)
def test_transformers_computes_the_same_logits(name, chandlery, tmp_path):
    source = FIXTURES / name
    same = WINDOW.get(name)
    ids, expected = (tensor[:, :same] for tensor in plain(source))
    for kind, tolerance in (("f32", 1e-3), ("f16", 0.03)):
        folder = finalized(chandlery, source, kind, tmp_path / kind)
        with torch.no_grad():
            found = loaded(folder, source if name in TOLD else None)(ids).logits
        assert (found - expected).abs().max() <= tolerance


def cosine(one, other):
    return torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0).item()


@pytest.mark.parametrize(("kind", "least"), [("q8_0", 0.999), ("q4_0", 0.9), ("q4_k", 0.9)])
def test_quantized_files_load_and_agree_with_our_own_logits(kind, least, chandlery, tmp_path):
    source = FIXTURES / "llama-gqa"
    folder = finalized(chandlery, source, kind, tmp_path / kind)
    ids, expected = plain(source)
    with torch.no_grad():
        found = loaded(folder)(ids).logits
    assert cosine(found, expected) >= least
    (tmp_path / "ids.json").write_text(json.dumps(ids.tolist()))
    chandlery("logits", folder, "--input-ids", tmp_path / "ids.json", "-o", tmp_path / "ours.safetensors")
    (ours,) = load_file(tmp_path / "ours.safetensors").values()
    assert (ours - found).abs().max() <= 1e-3


@pytest.mark.parametrize("name", ["llama-gqa", "llama-gqa-4x", "mistral-sw8", "mistral-sw8-4x", "qwen3-tied"])
def test_the_tokenizer_gives_equal_ids(name, chandlery, tmp_path):
    folder = finalized(chandlery, FIXTURES / name, "f16", tmp_path / "out")
    # Only this file, so that no other is read.
    (tmp_path / "alone").mkdir()
    (folder / "model.gguf").rename(tmp_path / "alone" / "model.gguf")
    expected = AutoTokenizer.from_pretrained(FIXTURES / name)
    found = AutoTokenizer.from_pretrained(tmp_path / "alone", gguf_file="model.gguf")
    for text in TEXTS:
        # transformers reads every sentencepiece-like vocabulary as if an existing first space were the one that is prepended.
        text = text.lstrip() if name in WINDOW else text
        assert found(text)["input_ids"] == expected(text)["input_ids"], text
    fields = {key: field.contents() for key, field in GGUFReader(tmp_path / "alone" / "model.gguf").fields.items()}
    assert fields.get("tokenizer.chat_template") == expected.chat_template
    for role, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        assert fields.get(f"tokenizer.ggml.{key}_token_id") == getattr(expected, f"{role}_token_id"), role
    assert fields["tokenizer.ggml.add_bos_token"] == (expected("a")["input_ids"][0] == expected.bos_token_id)


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_k"])
def test_gguf_py_reads_all_and_its_blocks_are_ours(kind, chandlery, tmp_path):
    """A model whose rows are whole blocks of 256. gguf-py writes neither Q4_K nor Q6_K, so those are compared with the weights."""
    source = tmp_path / "source"
    words = ["--num-hidden-layers", 2, "--num-attention-heads", 4, "--num-key-value-heads", 2, "--output-dir", source]
    chandlery("-p", "llama", "-t", "4M", "model", "construct", "--device", "cpu", "--save-checkpoint", "--hidden-size", 256,
              "--intermediate-size", 512, "--vocab-size", 2000, *words)  # fmt: skip
    folder = finalized(chandlery, source, kind, tmp_path / "out")
    reader = GGUFReader(folder / "model.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "llama" and fields["llama.attention.head_count_kv"] == 2
    assert len(fields["tokenizer.ggml.tokens"]) == len(fields["tokenizer.ggml.token_type"]) == 2000
    weights = load_file(source / "model.safetensors")
    names = {
        "attn_v": "attention.value_linear",
        "attn_output": "attention.output_linear",
        "ffn_gate": "feedforward.gate_proj",
        "ffn_up": "feedforward.up_proj",
        "ffn_down": "feedforward.down_proj",
        "attn_norm": "norm1",
    }
    seen = set()
    for tensor in reader.tensors:
        if tensor.name == "token_embd.weight":
            name = "causal_lm.input_encoder.embedding.weight"
        elif tensor.name == "output.weight":
            name = "lm_head.weight"
        elif tensor.name.split(".")[0] == "blk" and tensor.name.split(".")[2] in names:
            _, layer, part, _ = tensor.name.split(".")
            name = f"causal_lm.layer_stack.layers.{layer}.{names[part]}.weight"
        else:
            continue
        values, written = weights[name].numpy(), tensor.tensor_type
        seen.add(written.name)
        if written in (GGMLQuantizationType.Q4_K, GGMLQuantizationType.Q6_K):
            back = torch.from_numpy(dequantize(tensor.data, written))
            assert cosine(back, weights[name]) >= (0.995 if written == GGMLQuantizationType.Q4_K else 0.9998), tensor.name
        elif written in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
            assert np.array_equal(tensor.data, values.astype(tensor.data.dtype)), tensor.name
        else:
            assert np.array_equal(tensor.data, quantize(values, written)), tensor.name
    expected = {"f32": {"F32"}, "q4_0": {"F32", "Q4_0", "Q6_K"}, "q4_k": {"F32", "Q4_K", "Q6_K"}}
    assert seen == expected.get(kind, {"F32", kind.upper()})
