"""Loads exported models with the transformers that is importable, exercises them, and reports numbers.

usage: exercise_export.py REPORT.json FOLDER...

Beside each model folder lies FOLDER.safetensors: ids, masks, positions, and the logits that Chandlery computed. Saved models are left in FOLDER-saved-VERSION.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

CODE = {"trust_remote_code": True}
TEXT = "The chandler lit 12 candles."


def furthest(found, expected, where=None):
    difference = (found - expected).abs()
    return (difference if where is None else difference[where]).max().item()


def logits(folder, batches):
    """Differences from Chandlery's logits, by attention implementation and batch."""
    report = {}
    for implementation in ("eager", "sdpa"):
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation=implementation, output_loading_info=True, **CODE
        )
        assert model.config._attn_implementation == implementation
        assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
        with torch.no_grad():
            plain = model(batches["ids"]).logits
            padded = model(batches["ids"], attention_mask=batches["mask"]).logits
            packed = model(batches["ids"], position_ids=batches["positions"]).logits
        report[implementation] = {
            "plain": furthest(plain, batches["plain"]),
            "padded": furthest(padded, batches["padded"], batches["mask"].bool()),
            "packed": furthest(packed, batches["packed"]),
        }
        assert torch.isfinite(padded).all()
    return report


def generation(model, batches):
    """Returns whether greedy text is the same with and without cache, for prompts of equal and of unequal length."""
    settings = {"max_new_tokens": 16, "min_new_tokens": 16, "do_sample": False, "pad_token_id": 1}
    same = []
    for mask in (torch.ones_like(batches["mask"]), batches["left"]):
        prompt = batches["ids"][:, :9], mask[:, :9]
        texts = [model.generate(prompt[0], attention_mask=prompt[1], use_cache=cache, **settings) for cache in (True, False)]
        same.append(torch.equal(*texts) and texts[0].shape[1] == 25)
    return same


def loss(model, batches):
    labels = batches["ids"].clone()
    labels[:, :4] = -100
    with torch.no_grad():
        found = model(batches["ids"], labels=labels).loss
    scores, wanted = batches["plain"][:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return abs(found.item() - torch.nn.functional.cross_entropy(scores, wanted).item())


def training(folder, batches):
    """Returns how much gradients with checkpointing differ from those without, and whether two passes differ (by dropout)."""
    gradients, losses = [], []
    for checkpointing in (False, True):
        model = AutoModelForCausalLM.from_pretrained(folder, **CODE).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        torch.manual_seed(1)
        value = model(batches["ids"], labels=batches["ids"]).loss
        value.backward()
        losses.append(value.item())
        trained = {name: parameter.grad for name, parameter in model.named_parameters()}
        gradients.append({name: gradient for name, gradient in trained.items() if gradient is not None})
    largest = max(gradient.abs().max().item() for gradient in gradients[0].values())
    with torch.no_grad():
        again = model(batches["ids"], labels=batches["ids"]).loss.item()
    return {
        "checkpointing": max(furthest(gradients[1][name], gradients[0][name]) for name in gradients[0]) / largest,
        "dropout": abs(again - losses[0]),
        "frozen": sorted(name for name, gradient in trained.items() if gradient is None),
    }


def saving(folder, model, batches):
    saved = Path(f"{folder}-saved-{transformers.__version__}")
    model.save_pretrained(saved)
    again = AutoModelForCausalLM.from_pretrained(saved, **CODE)
    headless = AutoModel.from_pretrained(saved, **CODE)
    with torch.no_grad():
        difference = furthest(again(batches["ids"]).logits, model(batches["ids"]).logits)
        below = again.lm_head(headless(batches["ids"]).last_hidden_state)
        below = below * getattr(again.config, "logits_multiplier", 1.0)
        if cap := getattr(again.config, "logits_softcap", None):
            below = torch.tanh(below / cap) * cap
    tied = again.lm_head.weight is again.get_input_embeddings().weight
    return {"difference": max(difference, furthest(below, again(batches["ids"]).logits)), "tied": tied}


def initialization(config):
    """Returns mean, standard deviation, minimum and maximum of each parameter of a model drawn from its configuration."""
    torch.manual_seed(2)
    model = AutoModelForCausalLM.from_config(config, **CODE)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    values = {name: tensor.float() for name, tensor in model.state_dict().items() if name not in tied}
    return {
        name: [tensor.mean().item(), tensor.std(correction=0).item(), tensor.min().item(), tensor.max().item()]
        for name, tensor in values.items()
    }


def narrow(folder, batches):
    """Returns the types of the tensors of a model loaded in bfloat16, and whether it computes."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, **CODE)
    with torch.no_grad():
        finite = torch.isfinite(model(batches["ids"], attention_mask=batches["left"]).logits).all().item()
    types = {name: str(tensor.dtype) for name, tensor in model.state_dict().items()}
    return {"finite": finite, "types": types}


def main():
    # The models are tiny: threads would only wait for each other.
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    report = {"version": transformers.__version__}
    for folder in sys.argv[2:]:
        batches = load_file(f"{folder}.safetensors")
        config = AutoConfig.from_pretrained(folder, **CODE)
        tokenizer = AutoTokenizer.from_pretrained(folder, **CODE)
        model = AutoModelForCausalLM.from_pretrained(folder, **CODE).eval()
        report[Path(folder).name] = {
            "default": model.config._attn_implementation,
            "text": TEXT,
            "tokens": tokenizer(TEXT)["input_ids"],
            "logits": logits(folder, batches),
            "generation": generation(model, batches),
            "loss": loss(model, batches),
            "training": training(folder, batches),
            "saving": saving(folder, model, batches),
            "initialization": initialization(config),
            "bfloat16": narrow(folder, batches),
        }
    Path(sys.argv[1]).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
