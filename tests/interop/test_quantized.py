"""Quantized folders: transformers loads them by itself, its weights equal ours bit for bit, and its logits nearly do."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
RECIPES = {
    "int8-dynamic-act-int4-weight": ("pack-quantized", 4, True),
    "int4-weight-only": ("pack-quantized", 4, False),
    "int8-weight-only": ("pack-quantized", 8, False),
    "int8-dynamic-act-int8-weight": ("int-quantized", 8, True),
    "float8-dynamic-act-float8-weight": ("float-quantized", 8, True),
    "float8-weight-only": ("float-quantized", 8, False),
}
MODELS = ["llama-gqa", "llama-tied", "llama-bias", "llama-bf16", "llama-headdim", "mistral-sw8", "qwen3-tied", "qwen3-4x"]
IDS = [[3, 17, 200, 9, 44, 5, 81, 7, 300, 12, 12, 64, 250, 31]]


@pytest.fixture(scope="module", params=RECIPES)
def recipe(request):
    return request.param


def finalize(chandlery, source, folder, recipe, *words, status=0):
    return chandlery("finalize", source, folder, "--quantize", recipe, *words, status=status)


def our_logits(chandlery, folder, scratch):
    ids, found = scratch / "ids.json", scratch / f"{folder.name}.safetensors"
    ids.write_text(json.dumps(IDS))
    chandlery("logits", folder, "--input-ids", ids, "-o", found)
    return load_file(found)["logits"]


def their(folder, dtype=torch.float32, **options):
    model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, output_loading_info=True, **options)
    assert not any(report.values()), report
    return model


def logits_of(model):
    with torch.no_grad():
        return model(torch.tensor(IDS)).logits.float()


def unpacked(folder):
    """Every quantized weight by name, in float32, from the file's numbers and scales alone."""
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    tensors = load_file(folder / "model.safetensors")
    weights = {}
    for name in (name for name in tensors if name.endswith(".weight_scale")):
        module = name.removesuffix(".weight_scale")
        scale = tensors[name].float()
        if f"{module}.weight_packed" in tensors:
            bits = config["config_groups"]["group_0"]["weights"]["num_bits"]
            outputs, inputs = tensors[f"{module}.weight_shape"].tolist()
            words = tensors[f"{module}.weight_packed"].to(torch.int64) & 0xFFFFFFFF
            shifts = torch.arange(0, 32, bits)
            numbers = (words[..., None] >> shifts & 2**bits - 1).reshape(outputs, -1)[:, :inputs] - 2 ** (bits - 1)
        else:
            numbers = tensors[f"{module}.weight"].float()
        outputs, inputs = numbers.shape
        values = numbers.float().reshape(outputs, scale.shape[1], -1) * scale[..., None]
        weights[module] = values.reshape(outputs, inputs)
    return weights


@pytest.mark.parametrize("name", MODELS)
def test_transformers_loads_it_and_sees_our_weights_and_logits(chandlery, name, recipe, tmp_path):
    folder = tmp_path / name
    finalize(chandlery, FIXTURES / name, folder, recipe)
    model = their(folder)
    before = logits_of(model)
    ours = our_logits(chandlery, folder, tmp_path)
    # Rounding activations depends on the last bits of sums in another order, so a number may round the other way.
    dynamic = RECIPES[recipe][2]
    scale = ours.abs().max()
    assert (before - ours).abs().max() <= (2e-2 if dynamic else 1e-5) * scale
    weights = unpacked(folder)
    assert len(weights) == 7 * model.config.num_hidden_layers
    # The forward pass has unpacked them.
    for module, values in weights.items():
        assert torch.equal(model.get_submodule(module).weight.float(), values), module
    assert AutoTokenizer.from_pretrained(folder)("a b")["input_ids"]


@pytest.mark.parametrize("name", ["llama-bf16", "llama-gqa"])
def test_their_dequantized_weights_are_ours_in_the_type_of_the_model(chandlery, name, recipe, tmp_path):
    folder = tmp_path / name
    finalize(chandlery, FIXTURES / name, folder, recipe)
    dtype = getattr(torch, json.loads((folder / "config.json").read_text())["dtype"])
    model = their(folder, dtype="auto")
    logits_of(model)
    for module, values in unpacked(folder).items():
        weight = model.get_submodule(module).weight
        assert weight.dtype == dtype and torch.equal(weight, values.to(dtype)), module


@pytest.mark.parametrize("project", ["llama", "qwen3", "single_head", "causal_lm", "deepone"])
def test_native_folders_load_with_their_own_sources(chandlery, project, recipe, tmp_path):
    source, folder = tmp_path / "source", tmp_path / "quantized"
    words = ["--num-hidden-layers", 2, "--hidden-size", 64, "--intermediate-size", 96, "--vocab-size", 2000]
    if project in ("llama", "qwen3"):
        words += ["--num-attention-heads", 4]
    chandlery("-p", project, "model", "construct", "--device", "cpu", "--save-checkpoint", "--output-dir", source, *words)
    finalize(chandlery, source, folder, recipe)
    model = their(folder, trust_remote_code=True)
    ours = our_logits(chandlery, folder, tmp_path)
    tolerance = 2e-2 if RECIPES[recipe][2] else 1e-4
    assert (logits_of(model) - ours).abs().max() <= tolerance * ours.abs().max()
    for module, values in unpacked(folder).items():
        assert torch.equal(model.get_submodule(module).weight.float(), values), module


def test_the_files_are_as_compressed_tensors_lays_them_out(chandlery, recipe, tmp_path):
    folder = tmp_path / "folder"
    finalize(chandlery, FIXTURES / "llama-gqa", folder, recipe)
    layout, bits, dynamic = RECIPES[recipe]
    block = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert (block["quant_method"], block["format"], block["recipe"]) == ("compressed-tensors", layout, recipe)
    group = block["config_groups"]["group_0"]
    assert (group["weights"]["num_bits"], bool(group["input_activations"])) == (bits, dynamic)
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata()["format"] == "pt"
        names = list(file.keys())
    tensors = load_file(folder / "model.safetensors")
    assert tensors["model.embed_tokens.weight"].dtype == tensors["lm_head.weight"].dtype == torch.float32
    up = "model.layers.0.mlp.up_proj"
    if layout == "pack-quantized":
        assert tensors[f"{up}.weight_packed"].dtype == torch.int32 and f"{up}.weight" not in names
    else:
        assert tensors[f"{up}.weight"].dtype == (torch.int8 if layout == "int-quantized" else torch.float8_e4m3fn)


def test_what_compressed_tensors_writes_we_read(chandlery, tmp_path):
    """The library quantizes and packs the model by the schemes of its presets; we compute the same with the result."""
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config, preset_name_to_scheme

    for preset in ["W4A16", "W8A16", "W8A8", "FP8_DYNAMIC"]:
        folder = tmp_path / preset
        scheme = preset_name_to_scheme(preset, ["Linear"])
        if scheme.weights.group_size:
            scheme.weights.group_size = 16
        model = AutoModelForCausalLM.from_pretrained(FIXTURES / "llama-gqa", dtype=torch.float32)
        ignore = ["lm_head", "re:.*layers\\.1\\..*down_proj"]
        apply_quantization_config(model, QuantizationConfig(config_groups={"group_0": scheme}, ignore=ignore))
        limit = {("int", 4): 7.5, ("int", 8): 127.5, ("float", 8): 448}[(str(scheme.weights.type), scheme.weights.num_bits)]
        for module in model.modules():
            if getattr(module, "quantization_scheme", None):
                groups = module.weight_scale.shape[-1]
                largest = module.weight.detach().reshape(module.weight.shape[0], groups, -1).abs().amax(-1)
                module.weight_scale.data.copy_(largest / limit)
        compressor = ModelCompressor.from_pretrained_model(model)
        compressor.compress_model(model)
        model.save_pretrained(folder)
        compressor.update_config(folder)
        expected = logits_of(their(folder))
        ours = our_logits(chandlery, folder, tmp_path)
        dynamic = scheme.input_activations is not None
        assert (expected - ours).abs().max() <= (2e-2 if dynamic else 1e-5) * ours.abs().max(), preset
        listed = json.loads(chandlery("inspect", folder, "--json").stdout)["quantized"]
        assert len(listed) == 7 * model.config.num_hidden_layers - 1, preset


def test_weights_that_do_not_fit_the_block_are_refused(chandlery, tmp_path):
    folder = tmp_path / "folder"
    finalize(chandlery, FIXTURES / "llama-gqa", folder, "int4-weight-only", "--root-copy")
    tensors = load_file(folder / "model.safetensors")
    up = "model.layers.0.mlp.up_proj"

    def damaged(said, **changes):
        changed = {name: tensor.clone() for name, tensor in tensors.items()}
        for part, tensor in changes.items():
            if tensor is None:
                changed.pop(f"{up}.{part}")
            else:
                changed[f"{up}.{part}"] = tensor
        save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
        ids = tmp_path / "ids.json"
        ids.write_text(json.dumps(IDS))
        done = chandlery("logits", folder, "--input-ids", ids, "-o", tmp_path / "logits.safetensors", status=1)
        assert said in done.stderr and up in done.stderr and "panic" not in done.stderr, done.stderr
        assert not (tmp_path / "logits.safetensors").exists()

    packed, scale = tensors[f"{up}.weight_packed"], tensors[f"{up}.weight_scale"]
    damaged("weight_scale", weight_scale=None)
    damaged("weight_packed", weight_packed=None)
    damaged("weight_shape", weight_shape=None)
    damaged("weight_packed", weight_packed=packed[:, :-1].contiguous())
    damaged("weight_scale", weight_scale=scale[:-1].contiguous())
    damaged("weight_packed", weight_packed=packed.to(torch.int64))
    damaged("weight_shape", weight_shape=torch.tensor([1, 2]))
