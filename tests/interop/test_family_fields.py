"""Compares the fields that built-in families list with the configuration classes of transformers 4.57 and 5.

Names, defaults, and for each field what happens if it is changed: what is called harmless does not change the logits, and
whatever else does is converted right, refused, or not judged; never certified while the logits differ.
"""

import json
import random
import shutil
import subprocess
from functools import cache
from pathlib import Path

import jinja2
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from tiny_models import READ
from versions import VERSIONS, ask

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = {path.stem: path for path in sorted((REPOSITORY / "crate/families").glob("*.yaml"))}
DESCRIBED = {name: yaml.safe_load(path.read_text()) for name, path in FILES.items()}
FAMILIES = [name for name, family in DESCRIBED.items() if "config" in family]
# Fields that a class reads but does not declare.
UNDECLARED = {kind: {"head_dim"} for kind in READ - {"mistral"}}
UNDECLARED["cohere2"] |= {"sliding_window_pattern"}
UNDECLARED |= {"gemma3_text": {"sliding_window_pattern"}, "bloom": {"n_embed"}, "falcon": {"n_embed"}}
UNDECLARED["lfm2"] |= {"block_ff_dim", "tie_embedding"}
UNDECLARED |= {kind: {"full_attention_interval"} for kind in ("qwen3_5_text", "qwen3_5_moe_text", "qwen3_next")}
UNDECLARED |= {kind: {"head_dim"} for kind in ("glm4_moe", "phimoe", "qwen2_moe", "qwen3_moe")}
UNDECLARED["minimax_m2"] = {"rotary_dim"}
UNDECLARED |= {"mamba": {"intermediate_size", "max_position_embeddings"}, "mamba2": {"max_position_embeddings"}}
UNDECLARED |= {kind: {"head_dim"} for kind in ("bamba", "falcon_h1", "granitemoehybrid", "jamba")}
# What older files of it say.
UNDECLARED["nemotron_h"] = {"hybrid_override_pattern", "mtp_hybrid_override_pattern", "num_hidden_layers"}
UNDECLARED["nemotron_h"] |= {f"mamba_{word}" for word in ("n_groups", "d_conv", "expand", "dt_min", "dt_max", "dt_limit", "dt_init_floor", "conv_bias", "chunk_size")}
UNDECLARED["gemma4_text"] = {"global_head_dim", "num_global_key_value_heads"}
# Fields of published models that the class does not read, and that stand for what it has no field for.
UNDECLARED["bloom"] |= {"n_inner", "seq_length"}
# Defaults that transformers 5 changed: the new ones are those of published models.
CHANGED = {("cohere", "4.57", "rope_theta"), ("olmo3", "4.57", "rope_theta"), ("deepseek_v2", "4.57", "vocab_size")}
CHANGED |= {("gpt_oss", "4.57", "router_aux_loss_coef"), ("falcon_h1", "4.57", "rope_theta"), ("granitemoehybrid", "4.57", "layer_types")}
# Where both generations read rotary parameters, whether the class lists the older names or not.
ROTARY = {"rope_theta", "rope_scaling", "partial_rotary_factor"}
SIZES = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 56,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 40,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
}
# Latent attention gives every head a key of its own.
LATENT = {"deepseek_v2", "deepseek_v3"}


def entries(name):
    return DESCRIBED[name]["config"]


@cache
def classes(version):
    return ask(version, "describe_fields.py", kinds=FAMILIES)


def evaluated(expression, fields):
    """A default of a family's file: a value, or an expression over the other fields."""
    if not isinstance(expression, str):
        return expression
    value = jinja2.Environment().compile_expression(expression, undefined_to_none=False)(**fields)
    # As transformers 5 writes what JSON does not have.
    number = lambda one: float(one["__float__"]) if isinstance(one, dict) and "__float__" in one else one
    return [number(one) for one in value] if isinstance(value, list) else value


def test_families_are_told_from_files_without_a_class():
    assert {"llama", "mistral", "qwen3", "gpt2"} <= set(FAMILIES)
    assert not {"causal_lm", "deepone", "single_head"} & set(FAMILIES)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", FAMILIES)
def test_no_field_of_the_class_is_missing(name, version):
    found = classes(version)
    if name not in found:
        pytest.skip(f"transformers {version} does not have it")
    known = {entry["hf"] for entry in entries(name)} | {alias for entry in entries(name) for alias in entry.get("aliases", [])}
    own = set(found[name]["declared"]) - (set(found["base"]) - known)
    own -= {"kwargs"}
    assert own <= known, sorted(own - known)
    for alias, field in found[name]["aliases"].items():
        if field not in found[name]["declared"] and field not in known:
            # What the class computes.
            continue
        entry = next(entry for entry in entries(name) if entry["hf"] == field)
        assert alias in entry.get("aliases", []), alias


@pytest.mark.parametrize("name", FAMILIES)
def test_no_field_is_invented(name):
    known = set()
    for version in VERSIONS:
        found = classes(version).get(name, {"declared": {}, "aliases": {}, "made": {}})
        known |= set(found["declared"]) | set(found["aliases"]) | set(found["made"])
    known |= ROTARY if "rope_parameters" in known else set()
    known |= UNDECLARED.get(name, set())
    listed = [entry["hf"] for entry in entries(name)]
    aliases = [alias for entry in entries(name) for alias in entry.get("aliases", [])]
    named = {field.split(".")[0] for field in listed + aliases}
    assert named <= known, sorted(named - known)
    # A field may have several entries, such as one for each number of a list, of which one writes it.
    written = [(entry["hf"], entry.get("when")) for entry in entries(name) if not entry.get("read_only")]
    assert len(written) == len(set(written)), "a field is written twice"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", FAMILIES)
def test_defaults_are_those_of_the_class(name, version):
    found = classes(version).get(name)
    if not found:
        pytest.skip(f"transformers {version} does not have it")
    fields, lists = {}, {}
    # Lists see all other fields, and of earlier lists the layer's value.
    for entry in sorted(entries(name), key=lambda entry: entry.get("each_layer") == "list"):
        field = entry["hf"]
        if field in fields and "default" not in entry:
            continue
        if field in found["declared"] and not entry.get("each_layer") == "list":
            assert "default" in entry, f"{field} has no default"
        if "default" not in entry:
            continue
        if entry.get("each_layer") == "list":
            layers = range(found["made"].get("num_hidden_layers", 4))
            seen = [{**fields, **{name: values[layer] for name, values in lists.items()}, "layer": layer} for layer in layers]
            ours = lists[field] = [evaluated(entry["default"], one) for one in seen]
        else:
            ours = evaluated(entry["default"], fields)
        fields[field] = ours
        if field in found["declared"]:
            theirs = [found["declared"][field], found["made"].get(field)]
            if (name, version, field) in CHANGED:
                continue
            if field.endswith("_token_id") and isinstance(theirs[0], int) and theirs[0] >= fields["vocab_size"]:
                theirs.append(None)
            assert ours in theirs, (field, ours, theirs)


STATES = ("mamba", "mamba2", "bamba", "falcon_h1", "granitemoehybrid", "nemotron_h", "jamba")


def sizes_of_states(draw, sizes, kinds):
    """Sizes of state spaces, which depend on that of the model, and the layers that have them; with a draw, unusual ones."""
    width, flag = 2 * sizes["hidden_size"], lambda: draw is not None and draw.random() < 0.5
    of_layers = ["linear_attention"] * (len(kinds) - 1) + ["full_attention"]
    heads = {"mamba_n_heads": width // 8, "mamba_d_head": 8, "mamba_d_state": 6, "mamba_n_groups": 1 + flag(), "mamba_chunk_size": 16}
    heads |= {"mamba_conv_bias": not flag(), "mamba_proj_bias": flag()}
    return {
        "mamba": {"state_size": 6, "use_bias": flag(), "use_conv_bias": not flag(), "time_step_rank": 5 if flag() else "auto"},
        "mamba2": {"num_heads": width // 8, "state_size": 6, "n_groups": 1 + flag(), "chunk_size": 16, "use_bias": flag()},
        "bamba": heads | {"attn_layer_indices": [1], "attention_bias": flag()},
        "falcon_h1": heads | {"mamba_d_ssm": width, "mamba_rms_norm": flag(), "mamba_norm_before_gate": not flag(), "key_multiplier": 0.5 + flag()},
        "granitemoehybrid": heads | {"layer_types": of_layers, "shared_intermediate_size": 40, "num_local_experts": 0 if flag() else 4},
        "nemotron_h": {
            "layers_block_type": (["linear_attention", "moe", "full_attention", "mlp"] * 2)[: len(kinds)],
            "mamba_num_heads": 6,
            "mamba_head_dim": 8,
            "ssm_state_size": 6,
            "n_groups": 1 + flag(),
            "moe_shared_expert_intermediate_size": 40,
            "chunk_size": 16,
        },
        "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 6, "mamba_dt_rank": 3 + flag(), "mamba_proj_bias": flag()},
    }


def settings(name, seed):
    """Sizes, and what is unusual in the family, for a model of some seed."""
    draw = random.Random(f"{seed}-{name}")
    heads = draw.choice([4, 6])
    sizes = {"num_attention_heads": heads, "num_key_value_heads": draw.choice([1, 2, heads]), "hidden_size": 8 * heads}
    sizes |= {"num_hidden_layers": draw.choice([3, 4]), "tie_word_embeddings": draw.random() < 0.5}
    kinds = [draw.choice(["sliding_attention", "full_attention"]) for _ in range(sizes["num_hidden_layers"])]
    more = {
        "llama": {"attention_bias": True, "mlp_bias": True, "rope_parameters": {"rope_type": "default", "rope_theta": 300.0}},
        "mistral": {"sliding_window": draw.choice([9, None])},
        "qwen3": {"use_sliding_window": True, "sliding_window": 7, "layer_types": kinds, "attention_bias": True},
        "gpt2": {"n_inner": draw.choice([None, 40]), "num_key_value_heads": heads},
        "ministral": {"sliding_window": 7, "layer_types": kinds},
        "smollm3": {"no_rope_layers": [draw.choice([0, 1]) for _ in kinds], "attention_bias": draw.random() < 0.5},
        "helium": {"mlp_bias": True},
        "gemma": {"attention_bias": draw.random() < 0.5},
        "phi3": {"sliding_window": draw.choice([9, None])},
        "opt": {"ffn_dim": 40, "enable_bias": draw.random() < 0.5},
        "cwm": {"sliding_window": 7, "layer_types": kinds, "mlp_bias": draw.random() < 0.5},
        "ernie4_5": {"use_bias": draw.random() < 0.5},
        "starcoder2": {"use_bias": draw.random() < 0.5, "sliding_window": draw.choice([9, None])},
        "mixtral": {"sliding_window": draw.choice([9, None]), "num_local_experts": draw.choice([3, 6])},
        "qwen3_moe": {"mlp_only_layers": [draw.randrange(3)], "norm_topk_prob": draw.random() < 0.5, "num_experts": 6},
        "olmoe": {"clip_qkv": draw.choice([0.5, None]), "norm_topk_prob": draw.random() < 0.5},
        "qwen3_next": {"mlp_only_layers": [draw.randrange(3)], "norm_topk_prob": draw.random() < 0.5},
        "qwen2_moe": {"decoder_sparse_step": 2, "qkv_bias": draw.random() < 0.5},
        "glm4_moe": {"use_qk_norm": draw.random() < 0.5, "n_shared_experts": 2, "n_routed_experts": 6},
        "deepseek_v2": {"q_lora_rank": draw.choice([None, 20]), "topk_method": draw.choice(["greedy", "group_limited_greedy"])},
        "deepseek_v3": {"q_lora_rank": draw.choice([None, 20]), "attention_bias": draw.random() < 0.5},
    }
    # transformers has no cache for layers that all read tokens one after another.
    linear = ["linear_attention"] * (len(kinds) - 1) + ["full_attention"]
    more |= {kind: more.get(kind, {}) | {"layer_types": linear} for kind in ("qwen3_5_text", "qwen3_5_moe_text", "qwen3_next")}
    more["gemma4_text"] = {"layer_types": ["sliding_attention", *kinds[2:], "full_attention"]} | draw.choice([{}, {"enable_moe_block": True, "top_k_experts": 2}])
    more["llama4_text"] = {"interleave_moe_layer_step": draw.choice([1, 2]), "attention_chunk_size": 8, "floor_scale": 8}
    more["lfm2"] = {"layer_types": ["conv"] * (len(kinds) - 1) + ["full_attention"], "conv_bias": draw.random() < 0.5}
    more |= {kind: more.get(kind, {}) | sizes_of_states(draw, sizes, kinds)[kind] for kind in STATES}
    latent = {"num_key_value_heads": SIZES["num_attention_heads"]} if name in LATENT else {}
    if not seed:
        return latent | sizes_of_states(None, SIZES, range(SIZES["num_hidden_layers"])).get(name, {})
    latent = {"num_key_value_heads": heads} if name in LATENT else {}
    return sizes | more.get(name, {}) | latent


def tiny(name, folder, seed=0):
    torch.manual_seed(5 + seed)
    kind = AutoConfig.for_model(name)
    # A field that differs by layer is not an attribute of the whole.
    written = kind.to_dict()
    sizes = {field: value for field, value in (SIZES | settings(name, seed)).items() if field in written or hasattr(kind, field)}
    if name == "gemma4_text":
        sizes |= {"sliding_window": 9, "hidden_size_per_layer_input": 16, "vocab_size_per_layer_input": sizes["vocab_size"], "global_head_dim": 16}
    if name == "gptj":
        # The usual number is more than these heads have.
        sizes["rotary_dim"] = 4
    if name == "falcon":
        # A property of the class.
        sizes.pop("head_dim")
    config = AutoConfig.for_model(name, **sizes)
    made = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            drawn = torch.randn_like(parameter)
            parameter.copy_(1 + 0.2 * drawn if parameter.dim() == 1 else 1.5 * drawn * parameter.shape[-1] ** -0.5)
        for buffer_name, buffer in made.named_buffers():
            if buffer_name.endswith("e_score_correction_bias"):
                buffer.copy_(0.2 * torch.randn_like(buffer))
    made.save_pretrained(folder)
    return made


def logits_of_transformers(folder, ids):
    """`None` where transformers does not load the folder, or initializes some of the weights."""
    try:
        model, faults = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        if any(faults.values()):
            return None
        with torch.no_grad():
            return model.eval()(ids).logits
    except Exception:
        return None


def others(field, value, layers):
    """Other values for a field."""
    if isinstance(value, bool):
        return [not value]
    if field == "layer_types":
        kinds = ["sliding_attention", "full_attention"]
        return [[kinds[(layer + first) % 2] for layer in range(layers)] for first in (0, 1)]
    if isinstance(value, list):
        return [[1 - one for one in value] if all(one in (0, 1) for one in value) else value[::-1]]
    if field.endswith("_token_id"):
        return [5, None]
    if isinstance(value, int):
        return [value + 1, max(value // 2, 1)]
    if isinstance(value, float):
        return [value * 2 + 0.25]
    if isinstance(value, dict) or field == "rope_scaling":
        stretched = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8}
        return [
            {"rope_type": "default", "rope_theta": 100.0},
            {"rope_type": "llama3", "rope_theta": 500.0, **stretched},
            {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0},
        ]
    if field.startswith("rope_") or field == "partial_rotary_factor":
        return [0.5, 100.0]
    if isinstance(value, str):
        return ["gelu", "relu", "swish"]
    return [7, True, "relu"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    made = {}

    def model(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / "source"
            tiny(name, made[name])
        return made[name]

    return model


IDS = torch.arange(3, 43)[None] % 97


@pytest.mark.parametrize("name", FAMILIES)
def test_a_changed_field_is_never_certified_while_it_is_off(name, models, chandlery, command, tmp_path):
    source = models(name)
    text = (source / "config.json").read_text()
    made = AutoConfig.from_pretrained(source)
    whole, layers = made.to_dict(), made.num_hidden_layers
    usual = logits_of_transformers(source, IDS)
    (tmp_path / "ids.json").write_text(json.dumps(IDS.tolist()))
    folder = tmp_path / "changed"
    shutil.copytree(source, folder)
    report = json.loads(chandlery("convert", source, tmp_path / "native", "--json").stdout)
    assert report["verdict"] == "agree", report["not_judged"]
    seen = 0
    for entry in entries(name):
        for field in [entry["hf"], *entry.get("aliases", [])]:
            for value in others(field, whole.get(field, whole.get(entry["hf"])), layers):
                config = {**json.loads(text), field: value}
                (folder / "config.json").write_text(json.dumps(config))
                theirs = logits_of_transformers(folder, IDS)
                if entry.get("harmless"):
                    # Chunks of another size add the same numbers in another order.
                    assert theirs is None or torch.allclose(theirs, usual, rtol=1e-5, atol=1e-4), f"{field}: {value} is not harmless"
                done = run(command, "logits", folder, "--input-ids", tmp_path / "ids.json", "-o", tmp_path / "ours.safetensors")
                if done.returncode != 0:
                    # What transformers does not load either may be refused.
                    assert done.returncode == 1 and not (entry.get("harmless") and theirs is not None), f"{field}: {value}: {done.stderr}"
                    continue
                ours = load_file(tmp_path / "ours.safetensors")["logits"]
                if theirs is not None and ours.shape == theirs.shape and (ours - theirs).abs().max() < 2e-3:
                    seen += 1
                    continue
                said = run(command, "convert", folder, tmp_path / "native", "--force", "--json", "--prompt", "a b c " * 9)
                verdict = json.loads(said.stdout).get("verdict", "refused")
                assert verdict != "agree", f"{field}: {value} is certified, and off"
    assert seen > len(entries(name)) // 2, seen


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", FAMILIES)
def test_models_go_there_and_back(name, seed, chandlery, tmp_path):
    """Tiny models of other sizes and settings: logits on both sides, every bit restored, and transformers loads the result."""
    source, native, back = tmp_path / "source", tmp_path / "native", tmp_path / "back"
    made = tiny(name, source, seed=seed)
    ids = IDS % made.config.vocab_size
    with torch.no_grad():
        expected = made(ids).logits
    report = json.loads(chandlery("convert", source, native, "--json").stdout)
    assert report["verdict"] == "agree", report["not_judged"]
    (tmp_path / "ids.json").write_text(json.dumps(ids.tolist()))
    for folder in (source, native):
        chandlery("logits", folder, "--input-ids", tmp_path / "ids.json", "-o", tmp_path / "ours.safetensors")
        ours = load_file(tmp_path / "ours.safetensors")["logits"]
        assert (ours - expected).abs().max() < 2e-3, folder.name
    cast = json.loads(chandlery("convert", source, tmp_path / "cast", "--dtype", "bfloat16", "--json").stdout)
    assert cast["verdict"] == "agree", cast["not_judged"]
    chandlery("convert", native, back)
    assert json.loads((back / "config.json").read_text()) == json.loads((source / "config.json").read_text())
    before, after = load_file(source / "model.safetensors"), load_file(back / "model.safetensors")
    # Rows that no token reads are left out.
    first = DESCRIBED[name]["reference"].get("first_position", 0)
    used = {key: (before[key], after[key]) for key in before if "embed_positions" not in key}
    used |= {key: (before[key][first:], after[key][first:]) for key in before if "embed_positions" in key}
    assert before.keys() == after.keys() and all(torch.equal(*pair) for pair in used.values())
    # Without a record of its source, it is written as a configuration that means the same.
    config = json.loads((native / "config.json").read_text())
    (native / "config.json").write_text(json.dumps({key: config[key] for key in config if not key.startswith("hf_")}))
    chandlery("convert", native, tmp_path / "rewritten", "--model-type", name)
    assert (logits_of_transformers(tmp_path / "rewritten", ids) - expected).abs().max() < 2e-3


def run(command, *words):
    return subprocess.run([command, *map(str, words)], capture_output=True, text=True)
