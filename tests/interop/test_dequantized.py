"""Quantized checkpoints of other tools, dequantized: every number is the one that the tool itself computes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

LLAMA = dict(vocab_size=96, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2)
NF4 = [-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0]
NF4 += [0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]


def tiny(folder, quantization=None, model_type="llama", **fields):
    """A random model of transformers, and its tensors."""
    torch.manual_seed(3)
    config = AutoConfig.for_model(model_type, **{**LLAMA, **fields})
    AutoModelForCausalLM.from_config(config).bfloat16().save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text())
    if quantization:
        written["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(written))
    return {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}


def linear(tensors):
    return [name for name in tensors if "proj.weight" in name]


def check(chandlery, folder, stored, expected, *words):
    """Converts and finalizes what is stored, and compares every bit with what is expected."""
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    refused = chandlery("convert", folder, folder.parent / "refused", status=1).stderr
    assert "--dequantize" in refused or "unsupported" in refused or "not supported" in refused, refused
    out = folder.parent / "out"
    report = json.loads(chandlery("finalize", folder, out, "--dequantize", "--root-copy", "--skip-default-tokens", "--json", *words).stdout)
    assert any("dequantized" in warning for warning in report["warnings"])
    found = load_file(out / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
    assert "quantization_config" not in json.loads((out / "config.json").read_text())
    words = ["--dequantize", "--require-agreement", "--json"]
    assert json.loads(chandlery("convert", folder, folder.parent / "native", *words).stdout)["passed"]
    AutoModelForCausalLM.from_pretrained(out)(torch.tensor([[5, 9, 3]]))


@pytest.mark.parametrize("block", [(32, 32), (48, 40), None])
def test_fp8_with_scales_of_blocks(chandlery, tmp_path, block):
    """As DeepSeek stores them; the last blocks may be smaller."""
    settings = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic"}
    tensors = tiny(tmp_path / "src", settings | ({"weight_block_size": list(block)} if block else {}))
    stored, expected = dict(tensors), dict(tensors)
    for name in linear(tensors):
        weight = tensors[name].float()
        rows, columns = weight.shape
        high, wide = block or (rows, columns)
        scales = torch.rand(-(-rows // high), -(-columns // wide)) / 100 + 0.001
        grown = scales.repeat_interleave(high, 0)[:rows].repeat_interleave(wide, 1)[:, :columns]
        low = (weight / grown).clamp(-448, 448).to(torch.float8_e4m3fn)
        stored |= {name: low, f"{name}_scale_inv": scales if block else scales.reshape(())}
        expected[name] = (low.float() * grown).bfloat16()
    check(chandlery, tmp_path / "src", stored, expected)


def test_mxfp4_experts_are_those_of_transformers(chandlery, tmp_path):
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    fields = dict(num_local_experts=2, num_experts_per_tok=2, head_dim=16, layer_types=["full_attention"], sliding_window=16)
    tensors = tiny(tmp_path / "src", {"quant_method": "mxfp4"}, "gpt_oss", **fields)
    stored, expected = dict(tensors), dict(tensors)
    for name in [name for name in tensors if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, columns, rows = tensors[name].shape
        blocks = torch.randint(0, 256, (experts, rows, columns // 32, 16), dtype=torch.uint8)
        scales = torch.randint(118, 124, (experts, rows, columns // 32), dtype=torch.uint8)
        del stored[name]
        stored |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        expected[name] = convert_moe_packed_tensors(blocks, scales).contiguous()
    check(chandlery, tmp_path / "src", stored, expected)


def packed(numbers, bits, axis=0, order=None):
    """Integers as a stream of bits in words, along an axis."""
    numbers = numbers.movedim(axis, -1).long()
    if order:
        numbers = numbers.unflatten(-1, (-1, len(order)))[..., order].flatten(-2)
    stream = numbers.unsqueeze(-1) >> torch.arange(bits) & 1
    words = stream.flatten(-2).unflatten(-1, (-1, 32)) << torch.arange(32)
    words = words.sum(-1)
    words = torch.where(words >= 1 << 31, words - (1 << 32), words).int()
    return words.movedim(-1, axis).contiguous()


@pytest.mark.parametrize(("bits", "format", "ordered"), [(4, "gptq", False), (4, "gptq_v2", True), (8, "gptq", True), (3, "gptq", False), (2, "gptq", False)])
def test_gptq(chandlery, tmp_path, bits, format, ordered):
    settings = {"quant_method": "gptq", "bits": bits, "group_size": 32, "sym": False, "desc_act": ordered, "checkpoint_format": format}
    tensors = tiny(tmp_path / "src", settings)
    stored, expected = dict(tensors), dict(tensors)
    for name in linear(tensors):
        outputs, inputs = tensors[name].shape
        groups = inputs // 32
        numbers = torch.randint(0, 1 << bits, (outputs, inputs))
        zeros = torch.randint(1, (1 << bits) - 1, (groups, outputs))
        scales = (torch.rand(groups, outputs) / 100).half()
        order = torch.arange(inputs) // 32
        order = (order[torch.randperm(inputs)] if ordered else order).int()
        module = name.removesuffix(".weight")
        del stored[name]
        stored |= {
            f"{module}.qweight": packed(numbers.T, bits),
            f"{module}.qzeros": packed(zeros - int(format == "gptq"), bits, 1),
            f"{module}.scales": scales,
            f"{module}.g_idx": order,
        }
        group = order.long()
        expected[name] = ((numbers - zeros.T[:, group]).float() * scales.float().T[:, group]).bfloat16()
    check(chandlery, tmp_path / "src", stored, expected)


def test_awq(chandlery, tmp_path):
    tensors = tiny(tmp_path / "src", {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True})
    stored, expected = dict(tensors), dict(tensors)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    for name in linear(tensors):
        outputs, inputs = tensors[name].shape
        numbers, zeros = torch.randint(0, 16, (inputs, outputs)), torch.randint(0, 16, (inputs // 32, outputs))
        scales = (torch.rand(inputs // 32, outputs) / 100).half()
        module = name.removesuffix(".weight")
        del stored[name]
        stored |= {f"{module}.qweight": packed(numbers, 4, 1, order), f"{module}.qzeros": packed(zeros, 4, 1, order), f"{module}.scales": scales}
        grow = lambda one: one.repeat_interleave(32, 0)  # noqa: E731
        expected[name] = ((numbers - grow(zeros)).float() * grow(scales).float()).T.contiguous().bfloat16()
    check(chandlery, tmp_path / "src", stored, expected)


@pytest.mark.parametrize("nested", [False, True])
def test_bitsandbytes_in_four_bits(chandlery, tmp_path, nested):
    tensors = tiny(tmp_path / "src", {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"})
    stored, expected = dict(tensors), dict(tensors)
    for name in linear(tensors):
        shape = tensors[name].shape
        indices = torch.randint(0, 16, (shape.numel(),))
        scales = torch.rand(shape.numel() // 64)
        state = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": list(shape)}
        parts = {"absmax": scales, "quant_map": torch.tensor(NF4)}
        if nested:
            low, table, wide = torch.randint(0, 256, scales.shape, dtype=torch.uint8), torch.rand(256), torch.rand(-(-len(scales) // 256))
            scales = table[low.long()] * wide.repeat_interleave(256)[: len(low)] + 0.25
            parts |= {"absmax": low, "nested_absmax": wide, "nested_quant_map": table}
            state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.25}
        stored[name] = (indices[::2] << 4 | indices[1::2]).byte().reshape(-1, 1)
        text = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
        stored |= {f"{name}.{part}": value for part, value in parts.items()} | {f"{name}.quant_state.bitsandbytes__nf4": text}
        expected[name] = (torch.tensor(NF4)[indices] * scales.repeat_interleave(64)).reshape(shape).bfloat16()
    check(chandlery, tmp_path / "src", stored, expected)


def test_bitsandbytes_in_eight_bits(chandlery, tmp_path):
    tensors = tiny(tmp_path / "src", {"quant_method": "bitsandbytes", "load_in_8bit": True})
    stored, expected = dict(tensors), dict(tensors)
    for name in linear(tensors):
        low, scales = torch.randint(-127, 128, tensors[name].shape, dtype=torch.int8), torch.rand(tensors[name].shape[0])
        stored |= {name: low, name.replace("weight", "SCB"): scales, name.replace("weight", "weight_format"): torch.tensor(0, dtype=torch.uint8)}
        expected[name] = (low.float() * scales.reshape(-1, 1) * 7.874015718698502e-3).bfloat16()
    check(chandlery, tmp_path / "src", stored, expected)


SCHEMES = {
    "int4-asymmetric": ("pack-quantized", dict(num_bits=4, type="int", symmetric=False, strategy="group", group_size=32)),
    "int4-symmetric": ("pack-quantized", dict(num_bits=4, type="int", symmetric=True, strategy="group", group_size=32)),
    "int8-channel": ("int-quantized", dict(num_bits=8, type="int", symmetric=True, strategy="channel")),
    "fp8-tensor": ("float-quantized", dict(num_bits=8, type="float", symmetric=True, strategy="tensor")),
    "fp8-block": ("float-quantized", dict(num_bits=8, type="float", symmetric=True, strategy="block", block_structure=[32, 32])),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_compressed_tensors_are_those_of_the_library(chandlery, tmp_path, scheme):
    """Static activations, which are not computed with here, do not stand in the way."""
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    format, arguments = SCHEMES[scheme]
    inputs = dict(num_bits=8, type=arguments["type"], symmetric=True, strategy="tensor", dynamic=False) if "8" in scheme[:4] else None
    group = {"targets": ["Linear"], "weights": arguments, "input_activations": inputs, "format": format}
    settings = {"quant_method": "compressed-tensors", "format": format, "quantization_status": "compressed", "ignore": ["lm_head"], "config_groups": {"group_0": group}}
    tensors = tiny(tmp_path / "src", settings)
    stored, expected = dict(tensors), dict(tensors)
    for name in linear(tensors):
        rows, columns = tensors[name].shape
        grid = {"group": (rows, columns // 32), "channel": (rows, 1), "tensor": (1,), "block": (rows // 32, columns // 32)}[arguments["strategy"]]
        scales = (torch.rand(grid) / 100 + 0.001).bfloat16()
        matrix = scales.float().reshape(1, 1) if len(grid) == 1 else scales.float()
        grown = matrix.repeat_interleave(rows // matrix.shape[0], 0).repeat_interleave(columns // matrix.shape[1], 1)
        module = name.removesuffix(".weight")
        del stored[name]
        stored[f"{module}.weight_scale"] = scales
        zero = torch.zeros(1)
        if format == "pack-quantized":
            numbers = torch.randint(-8, 8, (rows, columns), dtype=torch.int8)
            stored |= {f"{module}.weight_packed": pack_to_int32(numbers, 4), f"{module}.weight_shape": torch.tensor([rows, columns])}
            if not arguments["symmetric"]:
                small = torch.randint(-8, 8, grid, dtype=torch.int8)
                stored[f"{module}.weight_zero_point"] = pack_to_int32(small, 4, packed_dim=0).contiguous()
                zero = small.float().repeat_interleave(32, 1)
        elif arguments["type"] == "int":
            numbers = stored[name] = torch.randint(-127, 128, (rows, columns), dtype=torch.int8)
        else:
            numbers = stored[name] = torch.randn(rows, columns).mul(50).to(torch.float8_e4m3fn)
        if inputs:
            stored[f"{module}.input_scale"] = torch.rand(1).bfloat16()
        expected[name] = ((numbers.float() - zero) * grown).bfloat16()
    save_file(stored, tmp_path / "src" / "model.safetensors", {"format": "pt"})
    chandlery("finalize", tmp_path / "src", tmp_path / "out", "--dequantize", "--root-copy", "--skip-default-tokens")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    assert json.loads(chandlery("convert", tmp_path / "src", tmp_path / "native", "--dequantize", "--json").stdout)["passed"]


def test_a_weight_without_its_scales_is_an_error(chandlery, tmp_path):
    tensors = tiny(tmp_path / "src", {"quant_method": "gptq", "bits": 4, "group_size": 32})
    name = linear(tensors)[0].removesuffix(".weight")
    tensors[f"{name}.qweight"] = torch.zeros(8, 64, dtype=torch.int32)
    del tensors[f"{name}.weight"]
    save_file(tensors, tmp_path / "src" / "model.safetensors", {"format": "pt"})
    said = chandlery("convert", tmp_path / "src", tmp_path / "out", "--dequantize", status=1).stderr
    assert f"{name}.scales" in said and not (tmp_path / "out").exists()
    assert Path(tmp_path / "src" / "model.safetensors").is_file()
