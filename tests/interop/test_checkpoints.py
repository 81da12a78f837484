"""Weights files between Chandlery and torch: each reads what the other writes, and what cannot be read is an error."""

import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
EMBEDDING, HEAD = "causal_lm.input_encoder.embedding.weight", "lm_head.weight"
MODEL = ["--num-hidden-layers", 1, "--hidden-size", 64, "--intermediate-size", 96, "--vocab-size", 2000]


def construct(chandlery, folder, *words, status=0):
    return chandlery("model", "--device", "cpu", "--output-dir", folder, *MODEL, *words, "construct", status=status)


def shards(folder):
    """Every name and tensor of a folder's .bin files, loaded with torch's strictest checks."""
    tensors = {}
    for shard in sorted(folder.glob("pytorch_model*.bin")):
        tensors |= torch.load(shard, weights_only=True)
    return tensors


def same(left, right):
    return left.dtype == right.dtype and left.shape == right.shape and torch.equal(bits(left), bits(right))


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


@pytest.fixture(scope="module")
def source(chandlery, tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "model"
    construct(chandlery, folder, "--save-checkpoint")
    return folder


@pytest.fixture(scope="module")
def weights(source):
    return load_file(source / "model.safetensors")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("limit", ["5GB", "300kB"])
@pytest.mark.parametrize("tied", [True, False])
def test_torch_reads_what_construct_saves(chandlery, tmp_path, dtype, limit, tied):
    words = ["--save-checkpoint", "--dtype", dtype, "--max-shard-size", limit, f"--tie-word-embeddings={str(tied).lower()}"]
    construct(chandlery, tmp_path / "safe", *words)
    construct(chandlery, tmp_path / "bin", *words, "--format", "pytorch")
    expected = {}
    for shard in (tmp_path / "safe").glob("*.safetensors"):
        expected |= load_file(shard)
    found = shards(tmp_path / "bin")
    assert found.keys() == expected.keys() | {HEAD}
    for name, tensor in expected.items():
        assert tensor.dtype == getattr(torch, dtype)
        assert same(found[name], tensor), name
    assert (found[HEAD].data_ptr() == found[EMBEDDING].data_ptr()) == tied
    index = tmp_path / "bin" / "pytorch_model.bin.index.json"
    assert index.exists() == (limit != "5GB")
    if index.exists():
        assert json.loads(index.read_text())["weight_map"].keys() == found.keys()
    # Aligned storages can be mapped; the values are the same.
    for shard in (tmp_path / "bin").glob("*.bin"):
        for name, tensor in torch.load(shard, weights_only=True, mmap=True).items():
            assert same(tensor, found[name]), name


@pytest.mark.parametrize("limit", ["5GB", "300kB"])
def test_chandlery_reads_its_own_files_back(chandlery, source, weights, tmp_path, limit):
    words = ["--save-checkpoint", "--format", "pytorch", "--max-shard-size", limit]
    construct(chandlery, tmp_path / "bin", *words)
    load = ["--load-from-checkpoint", tmp_path / "bin", "--strict", "--no-init-weights", "--save-checkpoint"]
    construct(chandlery, tmp_path / "back", *load)
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["llama-gqa", "llama-tied", "llama-bf16", "qwen3-tied"])
def test_transformers_loads_a_converted_folder_of_pytorch_files(chandlery, tmp_path, name):
    chandlery("convert", FIXTURES / name, tmp_path / "native", "--format", "pytorch", "--max-shard-size", "200kB")
    chandlery("convert", tmp_path / "native", tmp_path / "hf", "--format", "pytorch", "--max-shard-size", "200kB")
    assert not list((tmp_path / "hf").glob("*.safetensors"))
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32, output_loading_info=True)
    assert not any(report.values()), report
    reference = load_file(FIXTURES / name / "reference.safetensors")
    with torch.no_grad():
        logits = model(reference["plain.input_ids"]).logits
    assert (logits - reference["plain.logits"]).abs().max() <= 1e-3


class Holder(torch.nn.Module):
    """A module whose state dict has the given names."""

    def __init__(self, tensors):
        super().__init__()
        for name, tensor in tensors.items():
            module = self
            *path, leaf = name.split(".")
            for part in path:
                if not hasattr(module, part):
                    module.add_module(part, torch.nn.Module())
                module = getattr(module, part)
            module.register_parameter(leaf, torch.nn.Parameter(tensor))


def within_a_larger_storage(tensor):
    """The same values as a slice of a tensor with more rows."""
    rows = torch.cat([torch.full_like(tensor[:1], 7.0), tensor, torch.full_like(tensor[:1], 9.0)])
    return rows[1:-1]


WRITTEN = {
    "a dictionary": dict,
    "an ordered dictionary": OrderedDict,
    "a module's state dict": lambda tensors: Holder(tensors).state_dict(),
    "parameters": lambda tensors: dict(Holder(tensors).named_parameters()),
    "rows of larger storages": lambda tensors: {name: within_a_larger_storage(one) for name, one in tensors.items()},
    "a training checkpoint": lambda tensors: {"model": tensors, "optimizer": {"lr": 0.1}, "step": 5},
    "a lightning checkpoint": lambda tensors: {"epoch": 1, "state_dict": OrderedDict(tensors), "loss": torch.ones(())},
}


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("protocol", [2, 4])
def test_chandlery_loads_what_torch_saves(chandlery, source, weights, tmp_path, form, protocol):
    torch.save(WRITTEN[form](weights), tmp_path / "weights.bin", pickle_protocol=protocol)
    load = ["--load-from-checkpoint", tmp_path / "weights.bin", "--strict", "--no-init-weights", "--save-checkpoint"]
    construct(chandlery, tmp_path / "out", *load)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()


def test_every_element_type_is_read(chandlery, tmp_path):
    names = "float32 bfloat16 float16 float64 int64 int32 int16 int8 uint8 bool float8_e4m3fn float8_e5m2".split()
    tensors = {name: torch.arange(6).reshape(2, 3).to(getattr(torch, name)) for name in names}
    torch.save(tensors, tmp_path / "types.bin")
    report = json.loads(chandlery("inspect", tmp_path / "types.bin", "--json").stdout)
    assert {one["name"]: one["dtype"] for one in report["tensors"]} == {name: name for name in names}
    assert all(one["shape"] == [2, 3] for one in report["tensors"])


REFUSED = {
    "complex": (lambda: {"w": torch.ones(2, dtype=torch.complex64)}, "ComplexFloatStorage"),
    "quantized": (lambda: {"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, "_rebuild_qtensor"),
    "sparse": (lambda: {"w": torch.eye(2).to_sparse()}, "_rebuild_sparse_tensor"),
    "a number": (lambda: {"step": 3}, "no tensors"),
    "an unknown nesting": (lambda: {"weights": {"w": torch.ones(2)}}, "`weights` is a dictionary"),
    "a module": (lambda: torch.nn.Linear(2, 2), "not a dictionary of tensors"),
    "one tensor": (lambda: torch.ones(2), "not a dictionary of tensors"),
    "nothing": (dict, "no tensors"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_an_error(chandlery, tmp_path, case):
    make, word = REFUSED[case]
    torch.save(make(), tmp_path / "bad.bin")
    said = chandlery("inspect", tmp_path / "bad.bin", status=1).stderr
    assert word in said and "  do: " in said


def test_nothing_is_passed_over_in_silence(chandlery, tmp_path):
    torch.save({"w": torch.ones(4, 6)[:, ::2].T, "step": 3, "size": torch.Size([2])}, tmp_path / "mixed.bin")
    report = json.loads(chandlery("inspect", tmp_path / "mixed.bin", "--json").stdout)
    assert [one["shape"] for one in report["tensors"]] == [[3, 4]] and "step, size" in report["warnings"][0]


def test_programs_and_cut_files_of_the_format_before_torch_1_6_are_named(chandlery, tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    assert "`w`" not in chandlery("inspect", tmp_path / "old.bin").stderr
    (tmp_path / "cut.bin").write_bytes((tmp_path / "old.bin").read_bytes()[:-4])
    assert "ends early" in chandlery("inspect", tmp_path / "cut.bin", status=1).stderr
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "program.pt")
    assert "TorchScript" in chandlery("inspect", tmp_path / "program.pt", status=1).stderr


def test_what_forgather_saves_is_loaded(chandlery, source, weights, tmp_path):
    """Its final norm has another name, its exports carry rotary buffers, and its checkpoints lie in numbered folders."""
    names = {name: name.replace("causal_lm.layer_norm.", "causal_lm.layer_stack.layer_norm.") for name in weights}
    tensors = {names[name]: tensor for name, tensor in weights.items()}
    tensors["causal_lm.layer_stack.layers.0.attention.pos_encoder.cos_cached"] = torch.ones(4)
    checkpoint = tmp_path / "model" / "checkpoints" / "checkpoint-7"
    checkpoint.mkdir(parents=True)
    torch.save(tensors, checkpoint / "pytorch_model-00001-of-00001.bin")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(tensors, "pytorch_model-00001-of-00001.bin")}
    (checkpoint / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    for at, path in enumerate([tmp_path / "model", checkpoint]):
        words = ["--load-from-checkpoint", path, "--strict", "--save-checkpoint", "--json"]
        report = json.loads(construct(chandlery, tmp_path / f"out-{at}", *words).stdout)
        assert [one["tensor"][-10:] for one in report["load"]["skipped"]] == ["cos_cached"]
        assert same(load_file(tmp_path / f"out-{at}" / "model.safetensors")[HEAD], weights[HEAD])


def test_a_file_of_either_kind_is_cast_while_it_is_loaded(chandlery, weights, tmp_path):
    torch.save(weights, tmp_path / "wide.bin")
    save_file(weights, tmp_path / "wide.safetensors")
    for name in ("wide.bin", "wide.safetensors"):
        words = ["--load-from-checkpoint", tmp_path / name, "--dtype", "bfloat16", "--save-checkpoint", "--strict"]
        construct(chandlery, tmp_path / f"{name}-out", *words)
        found = load_file(tmp_path / f"{name}-out" / "model.safetensors")
        assert all(same(found[key], tensor.to(torch.bfloat16)) for key, tensor in weights.items())
