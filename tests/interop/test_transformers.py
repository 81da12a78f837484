"""transformers reads what Chandlery writes: Hugging Face -> native -> Hugging Face, then loaded and run."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
MODELS = sorted(path.parent.name for path in FIXTURES.glob("*/config.json"))
TOLERANCE = 1e-3


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return FIXTURES / request.param


@pytest.fixture(scope="module")
def native(model, chandlery, tmp_path_factory):
    folder = tmp_path_factory.mktemp("native") / model.name
    # By default Mistral's tokenizer would get a padding token.
    chandlery("convert", model, folder, "--skip-default-tokens")
    return folder


@pytest.fixture(scope="module")
def back(model, native, chandlery, tmp_path_factory):
    folder = tmp_path_factory.mktemp("back") / model.name
    chandlery("convert", native, folder)
    return folder


@pytest.fixture(scope="module")
def reference(model):
    return load_file(model / "reference.safetensors")


def stored(folder):
    """Every tensor of a model folder by name, in its own dtype, without a tied head, which .bin files repeat."""
    tensors = {}
    for shard in folder.glob("model*.safetensors"):
        tensors |= load_file(shard)
    for shard in folder.glob("pytorch_model*.bin"):
        tensors |= torch.load(shard, weights_only=True)
    if json.loads((folder / "config.json").read_text()).get("tie_word_embeddings"):
        tensors.pop("lm_head.weight", None)
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def test_tensors_come_back_bit_for_bit(model, back):
    before, after = stored(model), stored(back)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype, name
        assert torch.equal(after[name].view(torch.uint8), tensor.view(torch.uint8)), name
    for shard in back.glob("model*.safetensors"):
        # transformers 4 refuses files that do not say so.
        assert safe_open(shard, "pt").metadata().get("format") == "pt"


def test_transformers_computes_the_reference_logits(model, back, reference):
    loaded, report = AutoModelForCausalLM.from_pretrained(back, dtype=torch.float32, output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        for inputs in ("plain", "right_pad"):
            ids, mask = reference[f"{inputs}.input_ids"], reference.get(f"{inputs}.attention_mask")
            logits = loaded(ids, attention_mask=mask).logits
            real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
            assert (logits - reference[f"{inputs}.logits"])[real].abs().max() <= TOLERANCE, inputs
        prompt = reference["greedy.prompt_ids"]
        generated = loaded.generate(prompt, max_new_tokens=16, min_new_tokens=16, do_sample=False)
        assert torch.equal(generated[:, prompt.shape[1] :], reference["greedy.new_ids"])


def test_chandlery_computes_the_reference_logits(model, native, reference, chandlery, tmp_path):
    ids, found = tmp_path / "ids.json", tmp_path / "logits.safetensors"
    ids.write_text(json.dumps(reference["plain.input_ids"].tolist()))
    for folder in (model, native):
        chandlery("logits", folder, "--input-ids", ids, "-o", found)
        (logits,) = load_file(found).values()
        assert logits.dtype == torch.float32
        assert (logits - reference["plain.logits"]).abs().max() <= TOLERANCE
        found.unlink()


def test_the_configuration_comes_back(model, back):
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (model, back))
    assert {name: after.get(name) for name in before} == before


def test_a_new_configuration_reads_the_same_in_transformers_4_and_5(model, native, chandlery, tmp_path):
    """A changed length makes Chandlery rewrite the file: transformers 4 reads one form of each field, 5 the other."""
    chandlery("convert", native, tmp_path / "short", "--max-length", 128, "--no-validate")
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (model, tmp_path / "short"))
    rope = before.get("rope_parameters") or {**(before.get("rope_scaling") or {}), "rope_theta": before["rope_theta"]}
    assert after["max_position_embeddings"] == 128
    assert after["torch_dtype"] == after["dtype"] == before.get("dtype", before.get("torch_dtype"))
    assert after["rope_theta"] == after["rope_parameters"]["rope_theta"] == rope["rope_theta"]
    assert (after.get("rope_scaling") or {}).get("factor") == after["rope_parameters"].get("factor") == rope.get("factor")
    tokenizer = json.loads((tmp_path / "short" / "tokenizer_config.json").read_text())
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"


# AutoTokenizer also reads config.json, and transformers does not know native ones.
@pytest.mark.parametrize(("form", "loader"), [("native", PreTrainedTokenizerFast), ("back", AutoTokenizer)])
def test_the_tokenizer_is_the_same(model, form, loader, request):
    tokenizer = loader.from_pretrained(request.getfixturevalue(form))
    expected = json.loads((model / "tokenizer_reference.json").read_text())
    for sample in expected["samples"]:
        assert tokenizer(sample["text"])["input_ids"] == sample["ids"], sample["text"]
        assert tokenizer.decode(sample["ids"], skip_special_tokens=True) == sample["decoded_skip_special"]
    for chat in expected.get("chat", []):
        options = {"add_generation_prompt": chat["add_generation_prompt"]}
        assert tokenizer.apply_chat_template(chat["messages"], tokenize=False, **options) == chat["text"]
