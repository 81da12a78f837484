"""Vocabularies that `tokenizer train` made, and the built-in ones, as transformers reads them."""

import json

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

SPECIAL = ["<|BOS|>", "<|PAD|>", "<|EOS|>", "<|UNK|>", "<|im_start|>", "<|im_end|>"]
TEXTS = ["The chandler lit 12 candles.", "déjà vu — naïve façade", "    def f(x):\n        return x ** 2\n", "灯火 🕯️", ""]


@pytest.fixture(scope="module")
def trained(chandlery, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    text = "".join(f"The candle number {n} burns; others {n * 7} do not.\n" for n in range(2000))
    (folder / "text.txt").write_text(text)
    words = ["--vocab-size", 400, "--files", folder / "*.txt", "--special-tokens", "<|tool|>"]
    chandlery("tokenizer", "train", *words, "--model-max-length", 64, "-o", folder / "words")
    return folder / "words"


def test_a_trained_tokenizer_loads_and_keeps_every_text(trained):
    tokenizer = AutoTokenizer.from_pretrained(trained)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert len(tokenizer) == 400
    assert tokenizer.convert_tokens_to_ids([*SPECIAL, "<|tool|>"]) == list(range(7))
    roles = tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id
    assert roles == (0, 1, 2, 3)
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == 0 and 3 not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer.model_max_length == 64


def test_padding_and_truncation_are_on_the_right(trained):
    tokenizer = AutoTokenizer.from_pretrained(trained)
    batch = tokenizer(["a", "a longer text, " * 40], padding=True, truncation=True)
    short, long = batch["input_ids"]
    assert len(short) == len(long) == 64
    assert short[0] == long[0] == 0 and short[-1] == 1 and long[-1] != 1
    assert batch["attention_mask"][0][-1] == 0


@pytest.mark.parametrize(("name", "size", "length"), [("2k_32k", 2000, 32768), ("4k", 4000, 2048), ("8k", 8000, 32768)])
def test_a_built_in_tokenizer_splits_as_transformers_does(name, size, length, chandlery, tmp_path):
    project = tmp_path / "project"
    chandlery("project", "new", project)
    model = project / "model.yaml"
    model.write_text(model.read_text().replace('default("2k")', f'default("{name}")'))
    chandlery("-p", project, "model", "construct", "--output-dir", tmp_path / "model")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path / "model")
    assert (len(tokenizer), tokenizer.model_max_length) == (size, length)
    for text in filter(None, TEXTS):
        shown = json.loads(chandlery("tokenizer", "show", name, "--text", text, "--json").stdout)
        assert [piece["id"] for piece in shown["sample"]["tokens"]] == tokenizer(text)["input_ids"], text
