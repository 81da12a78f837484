"""A family in a YAML file: GPT-2 converted to native names and back, judged by both versions of transformers."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from versions import VERSIONS, ask

REPOSITORY = Path(__file__).resolve().parents[2]
GPT2 = REPOSITORY / "tests/fixtures/families/gpt2"
FAMILY = ("--converter-path", REPOSITORY / "notebooks/converters")
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def native(chandlery, tmp_path_factory):
    folder = tmp_path_factory.mktemp("native") / "gpt2"
    chandlery("convert", GPT2, folder, *FAMILY)
    return folder


@pytest.fixture(scope="module")
def back(native, chandlery, tmp_path_factory):
    folder = tmp_path_factory.mktemp("back") / "gpt2"
    chandlery("convert", native, folder, *FAMILY)
    return folder


def test_transformers_computes_the_reference_logits_from_what_came_back(back):
    reference = load_file(GPT2 / "reference.safetensors")
    loaded, report = AutoModelForCausalLM.from_pretrained(back, dtype=torch.float32, output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        logits = loaded(reference["plain.input_ids"]).logits
    assert (logits - reference["plain.logits"]).abs().max() <= TOLERANCE
    generated = loaded.generate(reference["greedy.prompt_ids"], max_new_tokens=8, do_sample=False, eos_token_id=None)
    assert torch.equal(generated[:, reference["greedy.prompt_ids"].shape[1] :], reference["greedy.new_ids"])


@pytest.mark.parametrize("version", VERSIONS)
def test_both_versions_of_transformers_load_it(version, back):
    reference = load_file(GPT2 / "reference.safetensors")
    found = ask(version, "describe_logits.py", folder=str(back), ids=reference["plain.input_ids"].tolist())
    assert found["version"].startswith(version) and not any(found["faults"].values()), found["faults"]
    assert (torch.tensor(found["logits"]) - reference["plain.logits"]).abs().max() <= TOLERANCE


def test_chandlery_computes_the_reference_logits_from_either_side(native, chandlery, tmp_path):
    reference = load_file(GPT2 / "reference.safetensors")
    ids = tmp_path / "ids.json"
    ids.write_text(json.dumps(reference["plain.input_ids"].tolist()))
    for name, folder in ("hf", GPT2), ("native", native):
        found = tmp_path / f"{name}.safetensors"
        chandlery("logits", folder, "--input-ids", ids, "-o", found, *FAMILY)
        assert (load_file(found)["logits"] - reference["plain.logits"]).abs().max() <= TOLERANCE, name


def test_a_gpt2_of_other_sizes_and_an_older_style_goes_there_and_back(chandlery, tmp_path):
    """A model as on the Hub: names without their first word, masks as buffers, and a feed-forward width that is set."""
    torch.manual_seed(7)
    sizes = {"vocab_size": 120, "n_positions": 40, "n_embd": 24, "n_layer": 3, "n_head": 3, "n_inner": 50}
    config = GPT2Config(**sizes, activation_function="gelu_pytorch_tanh", bos_token_id=1, eos_token_id=2)
    model = GPT2LMHeadModel(config).eval()
    source, native, back = tmp_path / "source", tmp_path / "native", tmp_path / "back"
    model.save_pretrained(source)
    stored = load_file(source / "model.safetensors")
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in stored.items()}
    tensors |= {f"h.{n}.attn.bias": torch.ones(1, 1, 40, 40, dtype=torch.uint8).tril() for n in range(3)}
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    said = chandlery("convert", source, native, "--json", *FAMILY)
    report = json.loads(said.stdout)
    assert report["passed"] and len(report["skipped"]) == 3, report
    chandlery("convert", native, back, *FAMILY)
    again = AutoModelForCausalLM.from_pretrained(back)
    ids = torch.randint(0, 120, (2, 20))
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)
    assert json.loads((back / "config.json").read_text()) == json.loads((source / "config.json").read_text())
