"""Files as other programs leave them: wrappers in names, old formats, settings of servers, tokenizers with holes."""

import json
import re
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
EMBEDDING = "model.embed_tokens.weight"


def copied(source, folder, without=()):
    """A copy of a reference model's folder without some files."""
    folder.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file() and path.name not in without:
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def same_weights(folder, expected):
    found = load_file(folder / "model.safetensors")
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


@pytest.fixture(scope="module")
def native(chandlery, tmp_path_factory):
    folder = tmp_path_factory.mktemp("native") / "llama-gqa"
    chandlery("convert", FIXTURES / "llama-gqa", folder, "--no-validate")
    return load_file(folder / "model.safetensors")


WRAPPERS = {
    "compile": lambda name: f"_orig_mod.{name}",
    "ddp": lambda name: f"module.{name}",
    "both": lambda name: f"module._orig_mod.{name}",
    "compiled-layers": lambda name: re.sub(r"(layers\.\d+)\.", r"\1._orig_mod.", name),
    "lightning": lambda name: f"model.{name}",
    "language-model": lambda name: f"language_model.{name}",
    "without-model": lambda name: name.removeprefix("model."),
    "fsdp": lambda name: f"_fsdp_wrapped_module.{name}".replace(".mlp.", "._checkpoint_wrapped_module.mlp."),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_names_with_wrappers_are_those_of_the_model(chandlery, native, tmp_path, wrapper):
    folder = copied(FIXTURES / "llama-gqa", tmp_path / "src", ["model.safetensors"])
    tensors = load_file(FIXTURES / "llama-gqa" / "model.safetensors")
    save_file({WRAPPERS[wrapper](name): tensor for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    report = json.loads(chandlery("convert", folder, tmp_path / "out", "--json").stdout)
    assert report["passed"] and report["warnings"] and same_weights(tmp_path / "out", native)
    chandlery("finalize", folder, tmp_path / "final", "--root-copy", "--skip-default-tokens")
    assert load_file(tmp_path / "final" / "model.safetensors").keys() == tensors.keys()


def legacy(tensors, path):
    torch.save(tensors, path, _use_new_zipfile_serialization=False)


def transposed(tensors, path):
    torch.save({name: tensor.T.contiguous().T if tensor.dim() == 2 else tensor for name, tensor in tensors.items()}, path)


def sliced(tensors, path):
    """Every second column of wider matrices, all in one storage, before 1.6."""
    wide = {name: torch.stack([tensor, tensor + 1], -1) for name, tensor in tensors.items()}
    legacy({name: tensor[..., 0] for name, tensor in wide.items()}, path)


def crowded(tensors, path):
    """With values that are not weights."""
    torch.save({**tensors, "step": 5, "config": {"a": 1}, "size": torch.Size([2]), "lr": 0.1, "done": True, 3: None}, path)


@pytest.mark.parametrize("save", [legacy, transposed, sliced, crowded])
def test_bin_files_are_read_as_torch_reads_them(chandlery, native, tmp_path, save):
    folder = copied(FIXTURES / "llama-gqa", tmp_path / "src", ["model.safetensors"])
    save(load_file(FIXTURES / "llama-gqa" / "model.safetensors"), folder / "pytorch_model.bin")
    report = json.loads(chandlery("convert", folder, tmp_path / "out", "--json").stdout)
    assert report["passed"] and same_weights(tmp_path / "out", native)
    assert bool(report["warnings"]) == (save is crowded)


def test_new_tokens_take_no_row_of_another(chandlery, tmp_path):
    """In a vocabulary with holes the next id by its size is the id of a token."""
    folder = copied(FIXTURES / "llama-gqa", tmp_path / "src")
    definition = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = definition["model"]["vocab"]
    taken = {token for entry in definition["model"]["merges"] for token in (entry if isinstance(entry, list) else entry.split(" "))}
    taken |= {"".join(entry if isinstance(entry, list) else entry.split(" ")) for entry in definition["model"]["merges"]}
    added = {entry["content"] for entry in definition["added_tokens"]}
    spare = [token for token in vocabulary if token not in taken and token not in added][:3]
    assert spare
    for token in spare:
        del vocabulary[token]
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    before = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    chandlery("finalize", folder, tmp_path / "out", "--root-copy", "--add-tokens", "chatml")
    after = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")).get_vocab()
    assert {token: after[token] for token in before} == before
    new = {token: at for token, at in after.items() if token not in before}
    assert "<|im_start|>" in new and not set(new.values()) & set(before.values()), new
    rows = [load_file(path / "model.safetensors")[EMBEDDING] for path in (folder, tmp_path / "out")]
    assert rows[1].shape[0] > max(after.values())
    assert all(torch.equal(rows[0][at], rows[1][at]) for at in before.values())


def test_gguf_files_have_the_ids_of_the_built_tokenizer(chandlery, tmp_path):
    folder = copied(FIXTURES / "llama-gqa", tmp_path / "src")
    definition = json.loads((folder / "tokenizer.json").read_text())
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False)
    word = next(iter(token for token in definition["model"]["vocab"] if len(token) > 3))
    # A gap, a token that the vocabulary has under another id, and one whose text is that of a row without a token.
    definition["added_tokens"] += [dict(id=1030, content="<a>", special=True, **flags), dict(id=1040, content=word, special=False, **flags)]
    definition["added_tokens"] += [dict(id=1050, content="[PAD1027]", special=True, **flags)]
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    truth = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    chandlery("finalize", folder, tmp_path / "out", "--format", "gguf", "--skip-default-tokens", "--pad-to-multiple", "1088")
    fields = GGUFReader(str(tmp_path / "out" / "model.gguf")).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    assert len(set(tokens)) == len(tokens)
    assert all(tokens[at] == token for token, at in truth.items())


def test_settings_in_tokenizer_files_do_not_act_on_prompts(chandlery, tmp_path):
    folder = copied(FIXTURES / "llama-gqa", tmp_path / "src")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(folder / "tokenizer.json"))
    text = "The candle burns, and the wax melts away."
    shown = json.loads(chandlery("tokenizer", "show", folder, "--text", text, "--json").stdout)
    found = [token["id"] for token in shown["sample"]["tokens"]]
    assert found == AutoTokenizer.from_pretrained(folder)(text)["input_ids"] and len(found) > 3


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"temperature": 0.0, "top_p": 0.9, "top_k": 40}, {"temperature": 0.7, "top_k": -1}])
def test_generation_configs_are_those_that_generate_accepts(chandlery, tmp_path, settings):
    (tmp_path / "preset.json").write_text(json.dumps({**settings, "max_tokens": 4}))
    folder = copied(FIXTURES / "llama-gqa", tmp_path / "src")
    carried = copied(FIXTURES / "llama-gqa", tmp_path / "carried")
    (carried / "generation_config.json").write_text(json.dumps({**settings, "do_sample": True, "max_new_tokens": 4}))
    chandlery("finalize", folder, tmp_path / "preset", "--root-copy", "--generation-config", tmp_path / "preset.json")
    chandlery("finalize", carried, tmp_path / "kept", "--root-copy")
    for out in (tmp_path / "preset", tmp_path / "kept"):
        written = json.loads((out / "generation_config.json").read_text())
        assert written["do_sample"] is (settings["temperature"] > 0) and "top_k" not in written, written
        model = AutoModelForCausalLM.from_pretrained(out)
        model.generate(torch.tensor([[5, 9]]))
        model.generation_config.save_pretrained(tmp_path / "again")


def test_special_tokens_of_the_older_file_survive(chandlery, tmp_path):
    folder = copied(FIXTURES / "llama-gqa", tmp_path / "src")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    for field in ("additional_special_tokens", "extra_special_tokens", "added_tokens_decoder"):
        config.pop(field, None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    word = next(token for token in Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab() if len(token) > 4)
    (folder / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": [word]}))
    before = AutoTokenizer.from_pretrained(folder).all_special_tokens
    chandlery("finalize", folder, tmp_path / "out", "--root-copy", "--add-tokens", "chatml")
    after = AutoTokenizer.from_pretrained(tmp_path / "out").all_special_tokens
    assert word in before and {word, "<|im_start|>"} <= set(after)
