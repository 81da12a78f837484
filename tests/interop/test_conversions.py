"""transformers 4.57 and 5 run what `convert` writes: the same logits, also with casts, lengths and added tokens."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from versions import VERSIONS, ask

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
MODELS = sorted(path.parent.name for path in FIXTURES.glob("*/tokenizer_reference.json"))
IDS = [5, 17, 300, 42, 8, 999, 640, 77, 3, 512]
TEXTS = ["<|im_start|>user\nA candle.<|im_end|>", "nothing new: def f(x): return x ** 2"]
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def converted(chandlery, tmp_path_factory):
    """Every model converted and converted back: unchanged, shortened (so that the configuration is rewritten), and with tokens."""
    home = tmp_path_factory.mktemp("converted")
    for model in MODELS:
        chandlery("convert", FIXTURES / model, home / f"{model}-native", "--skip-default-tokens")
        chandlery("convert", home / f"{model}-native", home / f"{model}-short", "--max-length", 128)
        tokens = ["--add-tokens", "chatml", "-t", "chatml", "--pad-to-multiple", 16, "-g"]
        chandlery("convert", FIXTURES / model, home / f"{model}-native-chat", *tokens)
        chandlery("convert", home / f"{model}-native-chat", home / f"{model}-chat")
        chandlery("convert", home / f"{model}-native", home / f"{model}-late", *tokens)
    return home


@pytest.fixture(scope="module")
def answers(converted):
    forms = ["short", "chat", "late"]
    folders = {f"{model}-{form}": str(converted / f"{model}-{form}") for model in MODELS for form in forms}
    # 4.57 reads a 5.x configuration wrong, so only 5 reads the originals.
    originals = {model: str(FIXTURES / model) for model in MODELS}
    ask_both = {"script": "run_models.py", "ids": IDS, "texts": TEXTS}
    return {
        version: ask(version, folders=folders | (originals if version == "5" else {}), **ask_both) for version in VERSIONS
    }


def test_logits_are_those_of_the_original_in_both_versions(answers):
    for model in MODELS:
        expected = torch.tensor(answers["5"][model]["logits"])
        for version in VERSIONS:
            for form in ("short", "chat", "late"):
                found = torch.tensor(answers[version][f"{model}-{form}"]["logits"])[:, : expected.shape[1]]
                assert (found - expected).abs().max() <= TOLERANCE, (version, model, form)


def test_added_tokens_have_the_same_ids_and_rows_whichever_way_they_came(answers):
    for model in MODELS:
        for version in VERSIONS:
            one, other = answers[version][f"{model}-chat"], answers[version][f"{model}-late"]
            assert one["encoded"] == other["encoded"] == answers["5"][f"{model}-chat"]["encoded"], (version, model)
            assert one["roles"] == other["roles"], (version, model)
            assert one["config"] == other["config"] and one["config"]["vocab_size"] % 16 == 0, (version, model)
            assert one["config"]["eos_token_id"] == one["roles"]["eos"] in one["stop"], (version, model)
            assert one["config"]["pad_token_id"] == one["roles"]["pad"], (version, model)
            assert one["template"] == other["template"] and "<|im_start|>" in one["template"]


def test_the_length_given_counts_for_model_and_tokenizer(answers):
    for model in MODELS:
        for version in VERSIONS:
            short = answers[version][f"{model}-short"]
            assert (short["config"]["max_position_embeddings"], short["length"]) == (128, 128), (version, model)


def stored(folder):
    """The bytes of every tensor of a folder of safetensors."""
    tensors = {}
    for shard in folder.glob("*.safetensors"):
        with safe_open(shard, "pt") as file:
            tensors |= {name: file.get_tensor(name).contiguous().view(torch.uint8).numpy().tobytes() for name in file.keys()}
    return tensors


@pytest.mark.parametrize("model", ["llama-gqa", "llama-sharded", "llama-bf16"])
@pytest.mark.parametrize("dtype", [None, "float16", "float32"])
def test_digests_are_those_of_the_bytes(model, dtype, chandlery, tmp_path):
    words = ["--debug-params", "--json", *(["--dtype", dtype] if dtype else [])]
    report = json.loads(chandlery("convert", FIXTURES / model, tmp_path / "native", *words).stdout)
    # reference.safetensors is next to the weights of the fixtures.
    before, after = stored(FIXTURES / model), stored(tmp_path / "native")
    assert len(report["parameters"]) == len(after) == report["tensors"]
    for pair in report["parameters"]:
        assert pair["from_sha256"] == hashlib.sha256(before[pair["from"]]).hexdigest(), pair["from"]
        assert pair["to_sha256"] == hashlib.sha256(after[pair["to"]]).hexdigest(), pair["to"]


@pytest.mark.parametrize("source", ["llama-gqa", "llama-bf16", "llama-bin"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_casts_are_those_of_torch(source, dtype, chandlery, tmp_path):
    report = json.loads(
        chandlery("convert", FIXTURES / source, tmp_path / "native", "--debug-params", "--json", "--dtype", dtype).stdout
    )
    original = {}
    for shard in FIXTURES.joinpath(source).glob("model*.safetensors"):
        original |= load_file(shard)
    for shard in FIXTURES.joinpath(source).glob("pytorch_model*.bin"):
        original |= torch.load(shard, weights_only=True)
    cast = load_file(tmp_path / "native" / "model.safetensors")
    for pair in report["parameters"]:
        expected = original[pair["from"]].to(getattr(torch, dtype))
        assert cast[pair["to"]].dtype == expected.dtype and torch.equal(cast[pair["to"]], expected), pair["to"]
