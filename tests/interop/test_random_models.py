"""Models of shapes that no fixture has, made by transformers during the test: converted and back, and computed."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}
TOLERANCE = 1e-3


def drawn(family, seed):
    """A configuration and an element type."""
    pick = random.Random(f"{family} {seed}").choice
    heads = pick([4, 6, 8])
    settings = {
        "vocab_size": pick([257, 1000, 1031]),
        "hidden_size": heads * pick([8, 12]),
        "intermediate_size": pick([96, 130]),
        "num_hidden_layers": pick([1, 2, 11]),
        "num_attention_heads": heads,
        "num_key_value_heads": pick([1, 2, heads]),
        "head_dim": pick([8, 16, 20]),
        "max_position_embeddings": pick([64, 512]),
        "rms_norm_eps": pick([1e-5, 1e-6]),
        "rope_parameters": {"rope_type": "default", "rope_theta": pick([1e4, 5e5])},
        "tie_word_embeddings": pick([True, False]),
    }
    if family == "llama":
        settings |= {"attention_bias": pick([True, False]), "mlp_bias": pick([True, False])}
        if pick([True, False]):
            settings["rope_parameters"] |= {
                "rope_type": "llama3",
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            }
    if family == "mistral":
        settings["sliding_window"] = pick([None, 5, 4096])
    if family == "qwen3":
        settings["attention_bias"] = pick([True, False])
    return settings, pick([torch.float32, torch.bfloat16, torch.float16]), pick(["5GB", "60KB"]), pick([True, False])


def in_the_old_style(folder):
    """config.json as transformers 4 wrote it."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config))


def stored(folder):
    return {name: tensor for shard in folder.glob("*.safetensors") for name, tensor in load_file(shard).items()}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("family", FAMILIES)
def test_a_random_model_comes_back_and_computes_the_same(family, seed, chandlery, tmp_path):
    settings, dtype, shard_size, old_style = drawn(family, seed)
    make_config, make_model = FAMILIES[family]
    torch.manual_seed(seed)
    model = make_model(make_config(**settings))
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.2 if parameter.dim() > 1 else 1)
    source, native, back = tmp_path / "source", tmp_path / "native", tmp_path / "back"
    model.to(dtype).save_pretrained(source, max_shard_size=shard_size)
    if old_style:
        in_the_old_style(source)
    # Loaded again, because casting a model in memory rounds its rotary buffers, which no file holds.
    model = make_model.from_pretrained(source, dtype=torch.float32).eval()
    ids = torch.randint(0, settings["vocab_size"], (2, 40))
    with torch.no_grad():
        expected = model(ids).logits

    chandlery("convert", source, native)
    chandlery("convert", native, back)
    before, after = stored(source), stored(back)
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name].view(torch.uint8), tensor.view(torch.uint8)) for name, tensor in before.items())
    assert json.loads((back / "config.json").read_text()) == json.loads((source / "config.json").read_text())

    (tmp_path / "ids.json").write_text(json.dumps(ids.tolist()))
    for folder in (source, native):
        chandlery("logits", folder, "--input-ids", tmp_path / "ids.json", "-o", tmp_path / "logits.safetensors")
        found = load_file(tmp_path / "logits.safetensors")["logits"]
        assert (found - expected).abs().max() <= TOLERANCE, (folder.name, settings)
