"""Tokenizers with added tokens, under transformers 5 and 4.57, and against what transformers adds itself."""

import json
from pathlib import Path

import pytest
from transformers import AddedToken, AutoTokenizer
from versions import VERSIONS, ask

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
MODELS = ["llama-gqa", "llama-gqa-4x", "llama-bf16", "mistral-sw8", "mistral-sw8-4x", "qwen3-tied", "qwen3-4x"]
YAML = """
eos_token: "<|im_end|>"
pad_token: {token: "<|fill|>", init: zero}
unk_token: {token: "<|unknown|>", if_missing: true}
mask_token: "<|mask|>"
special_tokens: ["<|im_start|>", {token: "<|tool call|>", init: mean}, "naïve<>"]
regular_tokens: [candela, "zwölf Kerzen", {token: "->>", init: "copy:5"}]
"""
ROLES = {"eos_token": "<|im_end|>", "pad_token": "<|fill|>", "mask_token": "<|mask|>"}
SPECIAL = ["<|im_start|>", "<|tool call|>", "naïve<>"]
REGULAR = ["candela", "zwölf Kerzen", "->>"]
TOKENS = [*ROLES.values(), *SPECIAL, *REGULAR]
TEXTS = [
    "<|im_start|>user\nOne candela, zwölf Kerzen.<|im_end|>",
    "a->>b candela candelas  candela\n",
    "<|tool call|>naïve<>naïve <|fill|><|mask|> x",
    "nothing new: def f(x): return x ** 2",
    " candela",
]


@pytest.fixture(scope="module")
def added(chandlery, tmp_path_factory):
    """Every tokenizer with the tokens added by our command."""
    home = tmp_path_factory.mktemp("added")
    (home / "tokens.yaml").write_text(YAML)
    for model in MODELS:
        words = ["--add-tokens", home / "tokens.yaml", "-t", "chatml", "-o", home / model]
        chandlery("tokenizer", "add", FIXTURES / model, *words)
    return home


@pytest.fixture(scope="module")
def described(added):
    folders = {model: str(added / model) for model in MODELS}
    return {version: ask(version, folders=folders, texts=TEXTS, tokens=TOKENS)["folders"] for version in VERSIONS}


def test_both_versions_read_the_same(described):
    for model in MODELS:
        older, newer = (dict(described[version][model]) for version in VERSIONS)
        # The versions put spaces around added tokens differently when they decode, with any tokenizer of this kind.
        if model.startswith("mistral"):
            del older["decoded"], newer["decoded"]
        assert older == newer, model


def test_roles_ids_and_lists_are_those_of_the_plan(chandlery, added, described):
    for model in MODELS:
        plan = json.loads(
            chandlery("tokenizer", "add", FIXTURES / model, "--add-tokens", added / "tokens.yaml", "--json").stdout
        )
        ids = {token["token"]: token["id"] for token in plan["tokens"]}
        seen = described["5"][model]
        assert seen["ids"] == [ids[token] for token in TOKENS]
        assert seen["length"] == plan["vocab_size"]
        assert (seen["roles"]["eos"], seen["roles"]["pad"], seen["roles"]["mask"]) == tuple(
            ids[token] for token in ROLES.values()
        )
        assert set(SPECIAL) <= set(seen["additional"])
        assert all(ids[token] in seen["special"] for token in [*ROLES.values(), *SPECIAL])
        assert not any(ids[token] in seen["special"] for token in REGULAR)
        assert "<|im_start|>assistant" in seen["chat_template"]


def test_our_ids_are_theirs(chandlery, added, described):
    for model in MODELS:
        for text, ids in zip(TEXTS, described["5"][model]["encoded"]):
            shown = json.loads(chandlery("tokenizer", "show", added / model, "--text", text, "--json").stdout)
            assert [token["id"] for token in shown["sample"]["tokens"]] == ids, (model, text)


def test_transformers_adds_the_same(described):
    for model in MODELS:
        theirs = AutoTokenizer.from_pretrained(FIXTURES / model)
        unknown = {} if theirs.unk_token else {"unk_token": "<|unknown|>"}
        # In our order: roles, special tokens, regular ones.
        for role in ["eos_token", "pad_token", "unk_token", "mask_token"]:
            if role in (ROLES | unknown):
                theirs.add_special_tokens({role: (ROLES | unknown)[role]})
        theirs.add_special_tokens({"extra_special_tokens": SPECIAL}, replace_extra_special_tokens=False)
        theirs.add_tokens(REGULAR)
        seen = described["5"][model]
        assert seen["ids"] == theirs.convert_tokens_to_ids(TOKENS), model
        assert seen["length"] == len(theirs)
        for text, ids, plain, decoded in zip(TEXTS, seen["encoded"], seen["plain"], seen["decoded"]):
            assert ids == theirs(text)["input_ids"], (model, text)
            assert plain == theirs(text, add_special_tokens=False)["input_ids"], (model, text)
            assert decoded == theirs.decode(ids, skip_special_tokens=True), (model, text)
        assert seen["special"] == sorted(theirs.all_special_ids)


def test_what_transformers_saves_can_be_added_to_again(chandlery, added, tmp_path):
    """New tokens are appended to a list of special tokens that version 5 wrote, and both versions read it."""
    theirs = AutoTokenizer.from_pretrained(FIXTURES / "llama-gqa")
    theirs.add_special_tokens({"extra_special_tokens": ["<|first|>", AddedToken("<|lean|>", lstrip=True, special=True)]})
    theirs.save_pretrained(tmp_path / "saved")
    (tmp_path / "more.yaml").write_text("special_tokens: ['<|second|>', '<|first|>']\nsep_token: '<|sep|>'\n")
    words = ["--add-tokens", tmp_path / "more.yaml", "-o", tmp_path / "more"]
    chandlery("tokenizer", "add", tmp_path / "saved", *words)
    tokens = ["<|first|>", "<|lean|>", "<|second|>", "<|sep|>"]
    texts = ["a <|lean|> b<|first|><|second|> <|sep|>c"]
    seen = [ask(version, folders={"more": str(tmp_path / "more")}, texts=texts, tokens=tokens) for version in VERSIONS]
    assert seen[0] == seen[1]
    seen = seen[1]["folders"]["more"]
    assert seen["ids"] == [1024, 1025, 1027, 1026]
    assert seen["additional"] == ["<|first|>", "<|lean|>", "<|second|>"]
    assert seen["roles"]["sep"] == 1026
