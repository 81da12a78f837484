"""Verdicts compared with transformers: a family of two lines is never certified, and the fields of each class are known."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig


REPOSITORY = Path(__file__).resolve().parents[2]
SIZES = {
    "vocab_size": 211,
    "hidden_size": 48,
    "intermediate_size": 104,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
# Families whose tensors have Llama's names and shapes, but which compute something else.
LOOK_ALIKES = {
    "granite": {
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.2,
        "residual_multiplier": 0.5,
        "logits_scaling": 2.0,
    },
    "helium": {},
    "ernie4_5": {"use_bias": False},
    "smollm3": {"no_rope_layers": [1, 0]},
}


def tiny(kind, folder, **fields):
    torch.manual_seed(3)
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SIZES, **fields})).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            drawn = torch.randn_like(parameter)
            parameter.copy_(1 + 0.1 * drawn if parameter.dim() == 1 else 1.5 * drawn * parameter.shape[-1] ** -0.5)
    made.save_pretrained(folder)
    return made


@pytest.mark.parametrize("kind", LOOK_ALIKES)
def test_a_family_of_two_lines_is_never_certified(kind, chandlery, tmp_path):
    source, family, ids = tmp_path / kind, tmp_path / "family.yaml", torch.arange(3, 43)[None]
    made = tiny(kind, source, **LOOK_ALIKES[kind])
    family.write_text(f"family: {kind}\nextends: llama\n")
    known = ("--converter-path", family, "--allow-unknown-fields")
    (tmp_path / "ids.json").write_text(json.dumps(ids.tolist()))
    chandlery("logits", source, "--input-ids", tmp_path / "ids.json", "-o", tmp_path / "ours.safetensors", *known)
    with torch.no_grad():
        difference = (made(ids).logits - load_file(tmp_path / "ours.safetensors")["logits"]).abs().max()
    assert difference > 0.1, "the look-alike computes what Llama computes: it shows nothing"

    done = chandlery("convert", source, tmp_path / "native", "--json", *known)
    report = json.loads(done.stdout)
    assert report["verdict"] == "not judged" and report["not_judged"]
    unknown = {"granite": "logits_scaling", "smollm3": "no_rope_layers", "ernie4_5": "use_bias"}.get(kind)
    if unknown:
        assert unknown in report["unread_fields"]
        refused = chandlery("convert", source, tmp_path / "refused", *known[:2], status=1)
        assert unknown in refused.stderr
    said = chandlery("convert", source, tmp_path / "again", *known).stdout
    assert "NOT" in said and "agree" not in said
    chandlery("convert", source, tmp_path / "strict", "--require-agreement", *known, status=1)
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen3"])
def test_every_field_of_a_class_is_known(kind, chandlery, tmp_path):
    """Every field that both generations of transformers write is read, or known to be harmless."""
    source = tmp_path / kind
    tiny(kind, source)
    whole = AutoConfig.from_pretrained(source).to_dict()
    path = source / "config.json"
    path.write_text(json.dumps({**PreTrainedConfig().to_dict(), **whole, **json.loads(path.read_text())}))
    report = json.loads(chandlery("convert", source, tmp_path / "native", "--json").stdout)
    assert (report["verdict"], report["unread_fields"]) == ("agree", []), report["not_judged"]


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen3"])
def test_the_defaults_of_a_reference_are_those_of_the_class(kind):
    described = yaml.safe_load((REPOSITORY / f"crate/families/{kind}.yaml").read_text())
    own = AutoConfig.for_model(kind)
    for field, value in described["reference"].get("defaults", {}).items():
        # Qwen3 drops its window where windows are off.
        if (kind, field) != ("qwen3", "sliding_window"):
            assert getattr(own, field) == value, field
