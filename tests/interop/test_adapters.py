"""LoRA adapters merged into the weights, bit for bit as peft merges them: a product in float32, and one rounding of the sum."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
BASE = FIXTURES / "llama-bf16"


def adapter(folder, names, rank=8, **settings):
    """An adapter for these weights, with its tensors by the names of the model."""
    torch.manual_seed(5)
    weights = load_file(BASE / "model.safetensors")
    folder.mkdir(parents=True, exist_ok=True)
    pairs, tensors = {}, {}
    for name in names:
        outputs, inputs = weights[name].shape
        pairs[name] = torch.randn(rank, inputs), torch.randn(outputs, rank)
        module = f"base_model.model.{name.removesuffix('.weight')}"
        tensors |= {f"{module}.lora_A.weight": pairs[name][0], f"{module}.lora_B.weight": pairs[name][1]}
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    said = {"peft_type": "LORA", "r": rank, "lora_alpha": 12, "base_model_name_or_path": "org/base", "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps({**said, "target_modules": ["q_proj"], **settings}))
    return weights, pairs


def merged(weights, pairs, scaling):
    """What `merge_and_unload` leaves: peft loads adapters as float32."""
    out = dict(weights)
    for name, (down, up) in pairs.items():
        out[name] = (weights[name].float() + (up @ down) * scaling).to(weights[name].dtype)
    return out


NAMES = ["model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight"]
CASES = {
    "plain": ({}, {name: 12 / 8 for name in NAMES}),
    "rslora": ({"use_rslora": True}, {name: 12 / math.sqrt(8) for name in NAMES}),
    "patterns": ({"alpha_pattern": {"down_proj": 4}}, {NAMES[0]: 12 / 8, NAMES[1]: 4 / 8}),
}


@pytest.mark.parametrize("case", CASES)
def test_adapters_are_merged_as_peft_merges_them(chandlery, tmp_path, case):
    settings, scaling = CASES[case]
    weights, pairs = adapter(tmp_path / "lora", NAMES, **settings)
    expected = dict(weights)
    for name in NAMES:
        expected[name] = merged(weights, {name: pairs[name]}, scaling[name])[name]
    chandlery("finalize", BASE, tmp_path / "out", "--adapter", tmp_path / "lora", "--root-copy", "--skip-default-tokens")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    assert not torch.equal(found[NAMES[0]], weights[NAMES[0]])
    report = json.loads(chandlery("convert", BASE, tmp_path / "native", "--adapter", tmp_path / "lora", "--json").stdout)
    assert report["passed"] and any("adapter" in warning for warning in report["warnings"])


def test_two_adapters_are_merged_one_after_the_other(chandlery, tmp_path):
    weights, first = adapter(tmp_path / "a", NAMES[:1])
    _, second = adapter(tmp_path / "b", NAMES[:1], rank=4)
    expected = merged(merged(weights, first, 12 / 8), second, 12 / 4)
    words = ["--adapter", tmp_path / "a", "--adapter", tmp_path / "b"]
    chandlery("finalize", BASE, tmp_path / "out", *words, "--root-copy", "--skip-default-tokens")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_modules_that_were_saved_whole_take_the_place_of_theirs(chandlery, tmp_path):
    weights, _ = adapter(tmp_path / "lora", NAMES[:1])
    path = tmp_path / "lora" / "adapter_model.safetensors"
    norm = torch.rand(weights["model.norm.weight"].shape)
    save_file({**load_file(path), "base_model.model.model.norm.weight": norm}, path, {"format": "pt"})
    chandlery("finalize", BASE, tmp_path / "out", "--adapter", tmp_path / "lora", "--root-copy", "--skip-default-tokens")
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")["model.norm.weight"], norm.bfloat16())


def test_adapters_of_embeddings_are_merged_into_the_weight_that_they_bring(chandlery, tmp_path):
    weights, _ = adapter(tmp_path / "lora", [])
    name = "model.embed_tokens.weight"
    tokens, width = weights[name].shape
    base, down, up = torch.randn(tokens, width), torch.randn(8, tokens), torch.randn(width, 8)
    module = "base_model.model.model.embed_tokens"
    tensors = {f"{module}.base_layer.weight": base, f"{module}.lora_embedding_A": down, f"{module}.lora_embedding_B": up}
    save_file(tensors, tmp_path / "lora" / "adapter_model.safetensors", {"format": "pt"})
    chandlery("finalize", BASE, tmp_path / "out", "--adapter", tmp_path / "lora", "--root-copy", "--skip-default-tokens")
    expected = (base.bfloat16().float() + (up @ down).T * 1.5).bfloat16()
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")[name], expected)


def test_a_folder_with_an_adapter_is_never_taken_without_it(chandlery, tmp_path):
    folder = tmp_path / "both"
    folder.mkdir()
    for path in BASE.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    weights, pairs = adapter(folder, NAMES[:1])
    for verb in ("convert", "finalize"):
        said = chandlery(verb, folder, tmp_path / "out", status=1).stderr
        assert "adapter" in said and f"--adapter {folder}" in said and not (tmp_path / "out").exists()
    chandlery("finalize", folder, tmp_path / "out", "--adapter", folder, "--root-copy", "--skip-default-tokens")
    expected = merged(weights, pairs, 12 / 8)
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert not (tmp_path / "out" / "adapter_config.json").exists()


def test_an_adapter_alone_and_one_of_another_model_are_named(chandlery, tmp_path):
    adapter(tmp_path / "lora", NAMES[:1])
    said = chandlery("convert", tmp_path / "lora", tmp_path / "out", status=1).stderr
    assert "org/base" in said and "--adapter" in said
    path = tmp_path / "lora" / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name.replace("layers.0", "layers.77"): tensor for name, tensor in tensors.items()}, path, {"format": "pt"})
    said = chandlery("convert", BASE, tmp_path / "out", "--adapter", tmp_path / "lora", status=1).stderr
    assert "layers.77" in said and "org/base" in said
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 1, "use_dora": True}))
    assert "use_dora" in chandlery("convert", BASE, tmp_path / "out", "--adapter", tmp_path / "lora", status=1).stderr
