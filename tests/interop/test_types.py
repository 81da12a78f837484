"""Every type that conversion knows, by what is shown of it: the columns of docs/families.md, which this test holds.

CHANDLERY_WRITE_TABLE=1 writes the table; CHANDLERY_TYPES names some types, for which the table is not compared.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from native_models import exercise
from tiny_models import STATES, make

REPOSITORY = Path(__file__).resolve().parents[2]
TABLE = REPOSITORY / "docs/families.md"
FAMILIES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((REPOSITORY / "crate/families").glob("*.yaml"))}
ALL = [name for name, family in FAMILIES.items() if "config" in family]
KINDS = os.environ.get("CHANDLERY_TYPES", " ".join(ALL)).split()
COLUMNS = {
    "logits": "native logits are those of transformers, and the reference forward agrees",
    "back": "every byte and config.json come back",
    "Python": "the exported Python computes the same in transformers",
    "gradients": "gradients are those of torch",
    "text": "greedy text with a cache is that of transformers",
    "int8": "the folder of the recipe int8-weight-only loads in transformers",
    "int4": "that of int8-dynamic-act-int4-weight",
    "GGUF": "the GGUF file computes the same in transformers",
}
SEED, START, NEW = 1, 12, 10
# Types whose GGUF files transformers cannot read, so that nothing is shown of them.
UNREAD = {"mixtral"}
SEEN = {}


def spread(logits):
    return logits.std().item()


def off(found, expected):
    return (found - expected).abs().max().item() / spread(expected)


class Made:
    def __init__(self, folder, model, ids, logits):
        self.folder, self.model, self.ids, self.logits = folder, model, ids, logits
        self.source, self.native = folder / "source", folder / "native"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("types")


@pytest.fixture(scope="module")
def made(root, command):
    """A model of every type, converted, with gradients and text of the native one."""
    transformers.logging.disable_progress_bar()
    models, faults = {}, {}
    for kind in KINDS:
        folder = root / kind
        one = Made(folder, *make(kind, folder / "source", SEED, block=32))
        (folder / "asked.json").write_text(json.dumps({"ids": one.ids.tolist(), "start": START, "new": NEW}))
        done = subprocess.run([command, "convert", one.source, one.native, "--json"], capture_output=True, text=True)
        if done.returncode == 0:
            one.report = json.loads(done.stdout)
        else:
            faults[kind] = done.stdout + done.stderr
        models[kind] = one
    failed = exercise(command, root, [root / kind for kind in KINDS if kind not in faults])
    faults |= {Path(folder).name: fault for folder, fault in failed.items()}
    return models, faults


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shown_of_every_type(kind, made, chandlery, command):
    models, faults = made
    assert kind not in faults, faults[kind]
    one = models[kind]
    ids_file = one.folder / "ids.json"
    ids_file.write_text(json.dumps(one.ids.tolist()))
    seen = SEEN.setdefault(kind, {})

    assert one.report["verdict"] == "agree", one.report["not_judged"]
    assert off(native_logits(chandlery, one, one.native), one.logits) <= 1e-3
    assert off(native_logits(chandlery, one, one.source), one.logits) <= 1e-3
    seen["logits"] = True

    back = one.folder / "back"
    chandlery("convert", one.native, back)
    assert json.loads((back / "config.json").read_text()) == json.loads((one.source / "config.json").read_text())
    before, after = load_file(one.source / "model.safetensors"), load_file(back / "model.safetensors")
    assert before.keys() == after.keys(), before.keys() ^ after.keys()
    first = FAMILIES[kind]["reference"].get("first_position", 0)
    for name, tensor in before.items():
        # Rows that no token reads are zeros.
        unread = first if "embed_positions" in name else 0
        assert after[name].dtype == tensor.dtype and torch.equal(after[name][unread:] if unread else after[name], tensor[unread:] if unread else tensor), name
    seen["back"] = True

    exported, report = AutoModelForCausalLM.from_pretrained(one.native, dtype=torch.float32, trust_remote_code=True, output_loading_info=True)
    assert not any(report.values()), report
    exported = exported.eval()
    with torch.no_grad():
        assert off(exported(one.ids).logits, one.logits) <= 1e-3
    seen["Python"] = True

    exported(one.ids, labels=one.ids).loss.backward()
    gradients = load_file(one.folder / "gradients.safetensors")
    torchs = {name: parameter.grad for name, parameter in exported.named_parameters() if parameter.grad is not None}
    assert gradients.keys() == torchs.keys(), gradients.keys() ^ torchs.keys()
    largest = max(gradient.norm().item() for gradient in torchs.values())
    for name, gradient in torchs.items():
        # Gradients that cancel out are compared with the largest.
        size = max(gradient.norm().item(), 1e-3 * largest)
        assert (gradients[name] - gradient).norm().item() <= 1e-4 * size, name
    seen["gradients"] = True

    prompt = one.ids[:, :START]
    greedy = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    mask = torch.ones_like(prompt)
    expected = one.model.generate(prompt, attention_mask=mask, use_cache=True, **greedy)[:, START:]
    assert torch.equal(exported.generate(prompt, attention_mask=mask, use_cache=True, **greedy)[:, START:], expected)
    assert torch.equal(torch.tensor(json.loads((one.folder / "text.json").read_text())).T, expected)
    seen["text"] = True

    for column, recipe in (("int8", "int8-weight-only"), ("int4", "int8-dynamic-act-int4-weight")):
        seen[column] = quantized(one, chandlery, recipe, one.folder / column)
    seen["GGUF"] = gguf(kind, one, chandlery, command)


def native_logits(chandlery, one, folder):
    chandlery("logits", folder, "--input-ids", one.folder / "ids.json", "-o", one.folder / "ours.safetensors")
    return load_file(one.folder / "ours.safetensors")["logits"]


def quantized(one, chandlery, recipe, folder):
    chandlery("finalize", one.native, folder, "--quantize", recipe, "--no-validate", "--skip-default-tokens")
    model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=True, output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        found = model.eval()(one.ids).logits
    ours = native_logits(chandlery, one, folder)
    # An activation that lies between two steps of 8 bits may be rounded up here and down there, and a state keeps the difference.
    difference, most = (found - ours).abs(), 2e-2 if one.folder.name in STATES else 1e-2
    assert (difference.mean() if "dynamic-act" in recipe else difference.max()) <= most * spread(ours)
    return True


def gguf(kind, one, chandlery, command):
    """Of a model with nothing unusual: the format cannot store everything."""
    source, out = one.folder / "plain", one.folder / "gguf"
    _, ids, logits = make(kind, source, SEED, block=32, plain=True)
    words = ["finalize", source, out, "--format", "gguf", "--gguf-type", "f32", "--skip-default-tokens"]
    if "gguf" not in FAMILIES[kind]:
        refused = subprocess.run([command, *map(str, words)], capture_output=True, text=True)
        assert refused.returncode == 1 and not out.exists()
        return False
    chandlery(*words)
    if kind in UNREAD:
        return False
    # transformers finds the class of a Mistral by the file alone.
    given = {} if kind == "mistral" else {"config": AutoConfig.from_pretrained(source)}
    model = AutoModelForCausalLM.from_pretrained(out, gguf_file="model.gguf", dtype=torch.float32, **given).eval()
    with torch.no_grad():
        assert off(model(ids).logits, logits) <= 1e-3
    return True


def rendered():
    lines = ["# Types of models", ""]
    lines += ["`chandlery families` lists the types of models at Hugging Face that conversion knows, and `chandlery families TYPE` the fields", "of one. `tests/run interop` shows this of each of them on tiny models, and writes this table:", ""]
    lines += [f"- {column}: {meaning}" for column, meaning in COLUMNS.items()]
    lines += ["", "| type | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for kind in KINDS:
        marks = {True: "yes", False: "no"}
        lines.append(f"| {kind} | " + " | ".join(marks[SEEN.get(kind, {}).get(column, False)] for column in COLUMNS) + " |")
    return "\n".join(lines) + "\n"


@pytest.mark.skipif(KINDS != ALL, reason="some types only")
def test_the_table_of_types_is_current():
    if os.environ.get("CHANDLERY_WRITE_TABLE"):
        TABLE.write_text(rendered())
    assert TABLE.read_text() == rendered(), "CHANDLERY_WRITE_TABLE=1 writes it"
