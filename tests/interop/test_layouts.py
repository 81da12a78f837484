"""Models of types that no family describes, and models that hold a text model among others, as transformers writes them."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    CLIPVisionConfig,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

IDS = torch.tensor([[3, 17, 40, 9, 44, 5, 61, 7, 30, 12, 12, 64]])


def logits_of(model):
    with torch.no_grad():
        return model(IDS).logits


def drawn(model):
    """The model with every parameter drawn again, so that a tensor in the wrong place shows."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + 0.1)
    return model.eval()


def loaded(folder):
    model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not any(report.values()), report
    return model


@pytest.fixture(scope="module")
def gpt_neo(tmp_path_factory):
    """A type that no family describes."""
    folder = tmp_path_factory.mktemp("gpt-neo") / "model"
    sizes = {"vocab_size": 97, "hidden_size": 48, "num_layers": 4, "num_heads": 4, "intermediate_size": 64}
    config = GPTNeoConfig(**sizes, attention_types=[[["global", "local"], 2]], window_size=5, max_position_embeddings=32)
    drawn(GPTNeoForCausalLM(config)).save_pretrained(folder)
    return folder


def test_a_drafted_layout_moves_an_unknown_type_there_and_back(chandlery, gpt_neo, tmp_path):
    said = chandlery("convert", gpt_neo, tmp_path / "x", status=1).stderr
    assert "model_type `gpt_neo` is not supported" in said and "--draft-family" in said
    family, native, back = tmp_path / "gpt_neo.yaml", tmp_path / "native", tmp_path / "back"
    chandlery("convert", gpt_neo, "--draft-family", family)
    words = ("--layout-only", "--converter-path", family)
    report = json.loads(chandlery("convert", gpt_neo, native, *words, "--json").stdout)
    assert (report["passed"], report["verdict"], report["lost"]) == (True, "not judged", []), report
    chandlery("convert", native, back, *words)
    assert json.loads((back / "config.json").read_text()) == json.loads((gpt_neo / "config.json").read_text())
    assert torch.equal(logits_of(loaded(back)), logits_of(loaded(gpt_neo)))


def test_an_unknown_type_is_finalized_as_transformers_loads_it(chandlery, gpt_neo, tmp_path):
    plain, low_bit = tmp_path / "plain", tmp_path / "low_bit"
    chandlery("finalize", gpt_neo, plain)
    expected = logits_of(loaded(gpt_neo))
    assert torch.equal(logits_of(loaded(plain)), expected)
    chandlery("finalize", gpt_neo, low_bit, "--quantize", "int8-weight-only")
    stored = load_file(low_bit / "model.safetensors")
    assert "transformer.h.0.mlp.c_fc.weight_packed" in stored and "transformer.wte.weight" in stored
    difference = (logits_of(loaded(low_bit)) - expected).abs().max()
    assert 0 < difference < 0.05 * expected.std(), difference


@pytest.mark.parametrize("older_names", [False, True])
def test_the_text_model_of_a_llava_computes_what_it_did_there(chandlery, older_names, tmp_path):
    text = LlamaConfig(
        vocab_size=97, hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2
    )
    vision = CLIPVisionConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8)
    model = drawn(LlavaForConditionalGeneration(LlavaConfig(text_config=text, vision_config=vision, image_token_index=96)))
    source, native, back = tmp_path / "source", tmp_path / "native", tmp_path / "back"
    model.save_pretrained(source)
    if older_names:
        # As transformers 4 wrote them, and as the files of that time on the Hub are.
        tensors = load_file(source / "model.safetensors")
        prefixes = {"model.language_model.": "language_model.model.", "lm_head.": "language_model.lm_head.", "model.": ""}
        renamed = {}
        for name, tensor in tensors.items():
            prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
            renamed[prefixes.get(prefix, "") + name.removeprefix(prefix)] = tensor
        save_file(renamed, source / "model.safetensors", metadata={"format": "pt"})
    report = json.loads(chandlery("convert", source, native, "--json").stdout)
    assert (report["passed"], report["verdict"]) == (True, "agree"), report
    (note,) = [note for note in report["notes"] if "only the text model" in note]
    assert "vision_tower" in note and "multi_modal_projector" in note, note
    chandlery("convert", native, back)
    with torch.no_grad():
        expected = model(input_ids=IDS).logits
    assert (logits_of(loaded(back)) - expected).abs().max() < 1e-5
    whole = tmp_path / "whole"
    chandlery("finalize", source, whole, "--root-copy")
    assert set(load_file(whole / "model.safetensors")) == set(load_file(source / "model.safetensors"))
