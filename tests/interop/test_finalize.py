"""Finalized and updated folders, under transformers 4.57 and 5: tokenizers, models and settings load and agree."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from versions import VERSIONS, ask

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
PRESET = {"max_tokens": 6, "temperature": 0.25, "top_p": 0.9, "server": "ours"}
CHATML = ["--add-tokens", "chatml", "-t", "chatml"]
PIECES = ["--max-shard-size", "200kB"]

# name: (reference model, whether it is converted first, words of finalize)
CASES = {
    "hf": ("llama-gqa", False, []),
    "hf-at-root": ("llama-tied", False, ["--root-copy", "--format", "pytorch"]),
    "hf-with-tokens": ("llama-gqa", False, [*CHATML, *PIECES]),
    "hf-tied-with-tokens": ("qwen3-tied", False, [*CHATML, "--pad-to-multiple", "64", "--root-copy"]),
    "hf-without-padding-token": ("mistral-sw8", False, []),
    "hf-4x-cast": ("llama-rope3-4x", False, ["--dtype", "bfloat16", *CHATML]),
    "hf-preset": ("llama-gqa", False, ["--generation-config", "PRESET", "--stop-tokens", "<|pad|>"]),
    "native": ("llama-gqa", True, PIECES),
    "native-with-tokens": ("llama-gqa", True, [*CHATML, *PIECES]),
    "native-tied-with-tokens": ("llama-tied", True, [*CHATML, "--format", "pytorch", "--root-copy"]),
}
IDS = list(range(40, 60))


@pytest.fixture(scope="module")
def folders(chandlery, tmp_path_factory):
    home = tmp_path_factory.mktemp("finalized")
    (home / "preset.json").write_text(json.dumps(PRESET))
    (home / "ids.json").write_text(json.dumps([IDS]))
    for name, (model, native, words) in CASES.items():
        source = FIXTURES / model
        if native:
            source = home / f"{name}-source"
            chandlery("convert", FIXTURES / model, source, "--no-validate")
        words = [home / "preset.json" if word == "PRESET" else word for word in words]
        chandlery("finalize", source, home / name, *words)
        chandlery("logits", home / name, "--input-ids", home / "ids.json", "-o", home / f"{name}.safetensors")
        chandlery("logits", source, "--input-ids", home / "ids.json", "-o", home / f"{name}-source.safetensors")
    return home


@pytest.fixture(scope="module", params=VERSIONS)
def described(request, folders):
    question = {"folders": {name: str(folders / name) for name in CASES}, "ids": {name: IDS for name in CASES}}
    found = ask(request.param, script="describe_model.py", tokens=["<|im_start|>", "<|im_end|>"], **question)
    assert all(one["version"].startswith(request.param) for one in found.values())
    return found


def read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", CASES)
def test_weights_and_vocabulary_load_whole(name, described, folders):
    found, config = described[name], read(folders / name / "config.json")
    assert not any(found["faults"].values()), found["faults"]
    assert found["rows"] == found["head"] == found["vocab_size"] == config["vocab_size"]
    assert found["tied"] == config["tie_word_embeddings"]


@pytest.mark.parametrize("name", CASES)
def test_logits_are_ours_and_those_of_old_tokens_the_sources(name, described, folders):
    theirs = load_file(folders / f"{name}-{described[name]['version']}.safetensors")["logits"]
    ours = load_file(folders / f"{name}.safetensors")["logits"]
    before = load_file(folders / f"{name}-source.safetensors")["logits"]
    assert (theirs - ours).abs().max() <= 1e-3
    # A cast rounds the weights; nothing else may change the logits of the tokens that the model had.
    tolerance = 0.25 if "cast" in name else 0.0
    assert (ours[..., : before.shape[-1]] - before).abs().max() <= tolerance
    assert torch.isfinite(ours).all()


@pytest.mark.parametrize("name", CASES)
def test_ids_of_roles_agree_in_every_file(name, described, folders):
    found = described[name]
    written = read(folders / name / "generation_config.json")
    for role in ("bos_token_id", "pad_token_id"):
        assert found["roles"][role] == found["config"][role] == written.get(role) == found["generation"][role], role
    stops = written["eos_token_id"]
    assert found["generation"]["eos_token_id"] == stops
    stops = stops if isinstance(stops, list) else [stops]
    assert found["roles"]["eos_token_id"] in stops
    source = read(FIXTURES / CASES[name][0] / "generation_config.json")["eos_token_id"]
    # Tokens that stopped generation before still stop it, and come first.
    source = source if isinstance(source, list) else [source]
    assert stops[: len(source)] == source
    if "tokens" in name or "cast" in name:
        assert found["tokens"][1] in stops
        assert found["roles"]["eos_token_id"] == found["config"]["eos_token_id"] == found["tokens"][1]
        assert len(set(found["tokens"])) == 2 and max(found["tokens"]) < found["vocab_size"]
        assert found["chat"].count("<|im_start|>") == found["chat"].count("<|im_end|>") == 2
    for token in found["generated"][:-1]:
        assert token not in stops


def test_a_preset_speaks_the_words_of_transformers(described):
    settings = described["hf-preset"]["generation"]
    assert (settings["max_new_tokens"], settings["temperature"], settings["do_sample"]) == (6, 0.25, True)
    assert len(settings["eos_token_id"]) >= 2


def test_a_padding_token_was_added_where_there_was_none(described):
    found = described["hf-without-padding-token"]
    assert found["roles"]["pad_token_id"] is not None
    assert found["config"]["pad_token_id"] == found["roles"]["pad_token_id"] < found["vocab_size"]


def test_an_updated_folder_loads_and_computes_the_same(chandlery, folders, tmp_path):
    """From Forgather's names and fields to ours; the generated code is not copied."""
    source, updated = tmp_path / "source", tmp_path / "updated"
    chandlery("convert", FIXTURES / "llama-gqa", source, "--no-validate", "--format", "pytorch")
    weights = source / "pytorch_model.bin"
    tensors = torch.load(weights, weights_only=True)
    tensors["causal_lm.layer_stack.layer_norm.weight"] = tensors.pop("causal_lm.layer_norm.weight")
    torch.save(tensors, weights)
    config = read(source / "config.json")
    for field in ("chandlery_arch", "chandlery_arch_version", "hf_model_type", "hf_source_config"):
        del config[field]
    config |= {"model_type": "forgather-dynamic-causal-llama", "auto_map": {"AutoConfig": "llama.DynamicCausalLMConfig"}}
    (source / "config.json").write_text(json.dumps(config))
    for code in source.glob("*.py"):
        code.unlink()
    (source / "llama.py").write_text("raise RuntimeError('the old code')")
    chandlery("update", source, updated)
    for version in VERSIONS:
        question = {"folders": {"updated": str(updated)}, "ids": {"updated": IDS}, "tokens": []}
        found = ask(version, script="describe_model.py", **question)["updated"]
        assert not any(found["faults"].values()), found["faults"]
        logits = load_file(f"{updated}-{found['version']}.safetensors")["logits"]
        before = load_file(folders / "native-source.safetensors")["logits"]
        assert (logits - before).abs().max() <= 1e-3
