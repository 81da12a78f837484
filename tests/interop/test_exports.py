"""The Python sources of output folders, under transformers 5 and 4.57: they load, compute, generate, train and save.

The two versions cannot share a process. `CHANDLERY_TRANSFORMERS_4` names a folder that holds the older one, as tests/run makes it.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
SMALL = ["--hidden-size", 32, "--intermediate-size", 48, "--num-hidden-layers", 2, "--vocab-size", 2000]
HEADS = ["--num-attention-heads", 4]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
# Every project, and combinations of parts that no project has: (project, configuration, flags).
MODELS = {
    "llama": ("llama", "4M", [*SMALL, *HEADS]),
    "llama_small": ("llama", "small", [*SMALL, *HEADS, "--num-key-value-heads", 2, "--tie-word-embeddings"]),
    "llama3": ("llama", "4M", [*SMALL, *HEADS, "--rope-parameters", json.dumps(LLAMA3), "--attention-bias", "--mlp-bias"]),
    "mistral": ("mistral", "4M", [*SMALL, *HEADS, "--sliding-window", 5]),
    "qwen3": ("qwen3", "4M", [*SMALL, *HEADS]),
    "causal_lm": ("causal_lm", "4M", [*SMALL, *HEADS]),
    "causal_lm_small": ("causal_lm", "small", [*SMALL, "--num-attention-heads", 2, "--attention-dropout", 0.1]),
    "deepone": ("deepone", "4M", [*SMALL, *HEADS]),
    "single_head": ("single_head", "4M", SMALL),
    "layers": (FIXTURES / "mixes", "layers", []),
    "alibi_post_norm": (FIXTURES / "mixes", "alibi_post_norm", []),
    "deepnet_layer_norm": (FIXTURES / "mixes", "deepnet_layer_norm", []),
    "learned_positions": (FIXTURES / "mixes", "learned_positions", []),
    "latent": (FIXTURES / "mixes", "latent", []),
    "experts": (FIXTURES / "mixes", "experts", []),
    "experts_clamped": (FIXTURES / "mixes", "experts_clamped", []),
    "experts_by_layer": (FIXTURES / "mixes", "experts_by_layer", []),
    # A part defined by the project, with its own Python.
    "differential": (FIXTURES / "mixes", "differential", []),
    # The parts of other families.
    **{
        name: (FIXTURES / "mixes", name, [])
        for name in (
            "sandwich",
            "parallel",
            "two_norms",
            "output_norm",
            "sinks",
            "geometric",
            "longrope",
            "delta_net",
            "short_conv",
            "mamba2",
            "hybrid",
            "mamba",
            "shared_keys",
            "chunks",
        )
    },
}
DROPPING = {"causal_lm_small", "deepnet_layer_norm", "learned_positions"}
TIED = {"llama_small", "single_head", "deepnet_layer_norm", "learned_positions", "geometric", "short_conv"}
# Those whose ALiBi slopes, or the corrections of whose routers, are not trained.
FROZEN = {"layers", "alibi_post_norm", "experts"}
# Those whose rotary frequencies depend on the length of the text, so that cached keys were turned by others.
CHANGING = {"two_norms", "longrope"}
TOLERANCE = 1e-4


def enliven(folder):
    """Gives every parameter values that matter: recipes leave biases at zero, norms at one, and scores close to each other."""
    path = folder / "model.safetensors"
    shutil.copy(path, f"{folder}-fresh.safetensors")
    torch.manual_seed(0)
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if "slope" not in name:
            around = 1.0 if "norm" in name and name.endswith("weight") or "scal" in name else 0.0
            tensor.uniform_(around - 0.5, around + 0.5)
    save_file(tensors, path, metadata={"format": "pt"})


def batches():
    torch.manual_seed(1)
    ids = torch.randint(4, 2000, (2, 24))
    left, mask = torch.ones_like(ids), torch.ones_like(ids)
    left[0, :5] = 0
    mask[0, :5], mask[1, -4:] = 0, 0
    positions = torch.cat([torch.arange(10), torch.arange(14)]).expand(2, -1).contiguous()
    return {"ids": ids, "mask": mask, "left": left, "positions": positions}


@pytest.fixture(scope="module")
def folders(chandlery, tmp_path_factory):
    """All models, each with the logits that Chandlery computes next to it in NAME.safetensors."""
    root = tmp_path_factory.mktemp("exports")
    given = batches()
    asked = {
        "plain": {},
        "padded": {"attention_mask": given["mask"].tolist()},
        "packed": {"position_ids": given["positions"].tolist()},
    }
    for name, (project, config, flags) in MODELS.items():
        folder = root / name
        words = ["-p", project, "-t", config, "model", "construct", "--device", "cpu", "--save-checkpoint"]
        chandlery(*words, "--output-dir", folder, *flags)
        enliven(folder)
        computed = {}
        for batch, more in asked.items():
            (root / "ids.json").write_text(json.dumps({"input_ids": given["ids"].tolist(), **more}))
            out = root / f"{name}-{batch}.safetensors"
            chandlery("logits", "-p", FIXTURES / "mixes", folder, "--input-ids", root / "ids.json", "-o", out)
            (computed[batch],) = load_file(out).values()
        save_file(given | computed, f"{folder}.safetensors")
    return root


@pytest.fixture(scope="module", params=["5", "4.57"])
def report(request, folders):
    """Runs exercise_export.py under one version of transformers."""
    environment = os.environ | {"HF_MODULES_CACHE": str(folders / f"modules-{request.param}"), "HF_HUB_OFFLINE": "1"}
    if request.param == "4.57":
        older = os.environ.get("CHANDLERY_TRANSFORMERS_4")
        if older is None:
            pytest.skip("CHANDLERY_TRANSFORMERS_4 names no folder; tests/run makes one")
        environment["PYTHONPATH"] = older
    out = folders / f"report-{request.param}.json"
    script = Path(__file__).with_name("exercise_export.py")
    done = subprocess.run(
        [sys.executable, script, out, *(folders / name for name in MODELS)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-6000:]
    found = json.loads(out.read_text())
    assert found["version"].startswith(request.param)
    return found


@pytest.mark.parametrize("name", MODELS)
def test_it_computes_what_the_candle_model_computes(name, report, folders):
    found = report[name]
    assert found["default"] == "sdpa"
    # A state sums over all tokens before, and small factors on layers leave little of them, so that rounding differs more.
    tolerance = 10 * TOLERANCE if name in ("delta_net", "shared_keys") else TOLERANCE
    for implementation, differences in found["logits"].items():
        assert max(differences.values()) <= tolerance, (implementation, differences)
    largest = load_file(folders / f"{name}.safetensors")["plain"].abs().max()
    assert largest > 1
    assert found["generation"] == [True, True] or name in CHANGING
    assert found["loss"] <= TOLERANCE
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folders / name)
    assert found["tokens"] == tokenizer(found["text"])["input_ids"]


@pytest.mark.parametrize("name", MODELS)
def test_it_trains_and_saves(name, report, folders, chandlery, tmp_path):
    training, saving, types = report[name]["training"], report[name]["saving"], report[name]["bfloat16"]["types"]
    assert training["checkpointing"] <= 1e-5
    assert (training["dropout"] > 1e-4) == (name in DROPPING)
    assert all("slope" in parameter or parameter.endswith("router_correction") for parameter in training["frozen"])
    assert bool(training["frozen"]) == (name in FROZEN)
    assert saving["difference"] <= TOLERANCE and saving["tied"] == (name in TIED)
    assert report[name]["bfloat16"]["finite"]
    for parameter, dtype in types.items():
        kept = "slope" in parameter or parameter.endswith("router_correction")
        assert dtype == ("torch.float32" if kept else "torch.bfloat16"), parameter
    # Chandlery reads what transformers saved.
    given = load_file(folders / f"{name}.safetensors")
    (tmp_path / "ids.json").write_text(json.dumps(given["ids"].tolist()))
    saved = folders / f"{name}-saved-{report['version']}"
    before, after = (load_file(folder / "model.safetensors") for folder in (folders / name, saved))
    assert before.keys() == after.keys() and all(torch.equal(after[key], tensor) for key, tensor in before.items())
    chandlery("logits", "-p", FIXTURES / "mixes", saved, "--input-ids", tmp_path / "ids.json", "-o", tmp_path / "logits.safetensors")
    (again,) = load_file(tmp_path / "logits.safetensors").values()
    assert (again - given["plain"]).abs().max() <= TOLERANCE


@pytest.mark.parametrize("name", MODELS)
def test_a_new_model_is_drawn_by_the_recipe(name, report, folders):
    """Compares with the initial values that Chandlery drew."""
    found, expected = report[name]["initialization"], load_file(f"{folders / name}-fresh.safetensors")
    assert found.keys() == expected.keys()
    for parameter, tensor in expected.items():
        mean, deviation, least, largest = found[parameter]
        reach, spread = tensor.abs().max().item(), tensor.std(correction=0).item()
        if spread == 0 or "slope" in parameter:
            bounds = [tensor.min().item(), tensor.max().item()]
            assert [least, largest] == pytest.approx(bounds, abs=1e-6), parameter
        elif tensor.numel() < 8:
            # Too few numbers to tell a distribution by.
            assert abs(mean - tensor.mean().item()) <= 3 * max(spread, deviation), parameter
        else:
            # Two samples of one distribution: n values give its deviation to within a few times 1 / sqrt(2 n).
            assert deviation == pytest.approx(spread, rel=6 / tensor.numel() ** 0.5), parameter
            assert abs(mean - tensor.mean().item()) <= 6 * spread / tensor.numel() ** 0.5, parameter
            assert max(-least, largest) == pytest.approx(reach, rel=0.5 if tensor.numel() >= 64 else 1.5), parameter


@pytest.mark.parametrize("name", MODELS)
def test_it_imports_torch_and_transformers_alone(name, folders):
    allowed = {"dataclasses", "functools", "math", "types", "typing", "torch", "transformers"}
    for file in ("configuration_chandlery.py", "modeling_chandlery.py"):
        for node in ast.walk(ast.parse((folders / name / file).read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed
            if isinstance(node, ast.ImportFrom):
                assert node.level == 1 or node.module.split(".")[0] in allowed
