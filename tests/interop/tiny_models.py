"""Tiny models of every type that conversion knows, as transformers makes them: every parameter is drawn, norms and biases too, so that
a part that is left out or put in the wrong place shows in the logits. Sizes and settings vary with the seed.

    python tiny_models.py FOLDER SEED [TYPE ...]        writes FOLDER/TYPE with logits of some tokens in reference.safetensors
"""

import random
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

TOKENS = 40
WINDOWED = ["sliding_attention", "full_attention"]


def kinds_of_layers(draw, sizes):
    return [draw.choice(WINDOWED) for _ in range(sizes["num_hidden_layers"])]


def rope(draw, sizes, width, kinds=("default", "default", "linear", "dynamic", "yarn", "llama3")):
    """Rotary parameters of some kind, for heads of which `width` elements turn."""
    kind = draw.choice(kinds)
    found = {"rope_type": kind, "rope_theta": draw.choice([100.0, 10000.0])}
    if kind in ("linear", "dynamic", "yarn", "llama3"):
        found["factor"] = draw.choice([2.0, 4.0])
    if kind in ("yarn", "llama3"):
        found["original_max_position_embeddings"] = draw.choice([16, 32])
    if kind == "llama3":
        found |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    if kind == "yarn":
        found |= draw.choice([{}, {"mscale": 1.0, "mscale_all_dim": 0.5}, {"attention_factor": 1.3}, {"truncate": False}, {"beta_fast": 4.0}])
    if kind == "dynamic":
        # Stretched beyond this length alone.
        sizes["max_position_embeddings"] = draw.choice([24, 64])
    if kind == "longrope":
        pairs = width // 2
        found |= {key: [draw.uniform(1, 3) for _ in range(pairs)] for key in ("short_factor", "long_factor")}
    return found


def llama_like(draw, sizes):
    return {"rope_parameters": rope(draw, sizes, sizes["head_dim"])}


def partial(draw, sizes):
    part = draw.choice([0.25, 0.5, 1.0])
    if part * sizes["head_dim"] % 2:
        part = 0.5
    return {"rope_parameters": {"rope_theta": 1000.0, "rope_type": "default", "partial_rotary_factor": part}}


def two_ropes(draw, sizes):
    kinds = ("default", "linear", "yarn", "llama3")
    full = rope(draw, sizes, sizes["head_dim"], kinds)
    full.pop("truncate", None)
    sliding = {"rope_type": "default", "rope_theta": draw.choice([100.0, 5000.0])}
    return {"rope_parameters": {"full_attention": full, "sliding_attention": sliding}}


def phi3(draw, sizes):
    part = draw.choice([0.5, 1.0])
    sizes["max_position_embeddings"] = 64
    original = draw.choice([16, 64])
    parameters = rope(draw, sizes, int(part * sizes["head_dim"]), ("default", "longrope"))
    more = {"rope_parameters": parameters | {"partial_rotary_factor": part}, "original_max_position_embeddings": original}
    return more | {"sliding_window": draw.choice([None, 9]), "resid_pdrop": 0.1}


def falcon(draw, sizes):
    shape = draw.choice(["7b", "40b", "11b", "rw", "sequential"])
    more = {"ffn_hidden_size": draw.choice([64, 96]), "bias": draw.random() < 0.5, "num_kv_heads": sizes["num_key_value_heads"]}
    more["new_decoder_architecture"] = shape in ("40b", "11b")
    more["num_ln_in_parallel_attn"] = {"40b": draw.choice([2, None]), "11b": 1}.get(shape)
    more["multi_query"] = shape in ("7b", "sequential")
    more["parallel_attn"] = shape != "sequential"
    if shape == "rw":
        more["num_kv_heads"] = sizes["num_attention_heads"]
    return more


def mpt(draw, sizes):
    attention = {"softmax_scale": draw.choice([None, 0.2]), "clip_qkv": draw.choice([None, 1.5])}
    return {"d_model": sizes["hidden_size"], "n_heads": sizes["num_attention_heads"], "n_layers": sizes["num_hidden_layers"], "attn_config": attention}


def gpt(draw, sizes):
    return {"n_embd": sizes["hidden_size"], "n_head": sizes["num_attention_heads"], "n_layer": sizes["num_hidden_layers"], "n_positions": 64, "n_inner": draw.choice([None, 96])}


def windows(draw, sizes):
    return {"sliding_window": draw.choice([7, 9]), "layer_types": kinds_of_layers(draw, sizes)}


def flag(draw):
    return draw.random() < 0.5


def experts(draw, sizes):
    """Numbers of experts by the names of all classes, of which each takes its own."""
    count = draw.choice([4, 6])
    return {
        "num_experts": count,
        "num_local_experts": count,
        "n_routed_experts": count,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": draw.choice([32, 64]),
        "n_shared_experts": draw.choice([1, 2]),
        "decoder_sparse_step": draw.choice([1, 2]),
        "first_k_dense_replace": 1,
        "n_group": 2,
        "topk_group": 1,
        "norm_topk_prob": flag(draw),
    }


def latent(draw, sizes):
    """Attention whose keys and values are made of one compressed vector."""
    sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    sizes["head_dim"] = 8
    ranks = {"q_lora_rank": draw.choice([None, 32]), "kv_lora_rank": 32}
    return experts(draw, sizes) | ranks | {"qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 8}


def mixed(draw, sizes, other):
    """At least one layer of either kind."""
    kinds = [draw.choice([other, "full_attention"]) for _ in range(sizes["num_hidden_layers"] - 2)]
    kinds += [other, "full_attention"]
    draw.shuffle(kinds)
    return kinds


def gemma4(draw, sizes):
    """Layers that read the keys of others, heads of two widths, and parts that each published size has or does not have."""
    kinds = ["sliding_attention", "full_attention"] * 2
    sizes["num_hidden_layers"] = len(kinds)
    more = {"layer_types": kinds, "sliding_window": 9, "global_head_dim": draw.choice([8, 16]), "final_logit_softcapping": draw.choice([3.0, None])}
    # The class cannot have layers that share keys but are given nothing.
    more |= draw.choice([{"hidden_size_per_layer_input": 0}, {"hidden_size_per_layer_input": 32, "num_kv_shared_layers": draw.choice([0, 2])}])
    more |= {"vocab_size_per_layer_input": sizes["vocab_size"], "use_double_wide_mlp": flag(draw), "attention_bias": flag(draw)}
    more |= {"attention_k_eq_v": flag(draw), "num_global_key_value_heads": draw.choice([1, None])}
    return more | draw.choice([{}, {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 32}])


def llama4(draw, sizes):
    sizes["num_hidden_layers"] = 4
    rotary = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    more = {"rope_parameters": draw.choice([{"rope_type": "default"}, rotary]) | {"rope_theta": 1000.0}, "attention_chunk_size": draw.choice([8, 16])}
    more |= {"no_rope_layer_interval": draw.choice([2, 4]), "floor_scale": draw.choice([8, 16]), "attn_scale": draw.choice([0.1, 0.5])}
    more |= {"attn_temperature_tuning": flag(draw), "use_qk_norm": flag(draw), "attention_bias": flag(draw)}
    more |= {"interleave_moe_layer_step": draw.choice([1, 2]), "intermediate_size_mlp": 64, "num_local_experts": 4}
    return more | {"num_experts_per_tok": draw.choice([1, 2])}


def delta_net(draw, sizes):
    heads = {"linear_num_key_heads": 2, "linear_num_value_heads": draw.choice([2, 4]), "linear_key_head_dim": 16}
    more = {"linear_value_head_dim": 16, "linear_conv_kernel_dim": draw.choice([3, 4])}
    return heads | more | {"layer_types": mixed(draw, sizes, "linear_attention"), "attention_bias": flag(draw)}


def states(draw, sizes):
    """Mamba-2 by the names that most classes have."""
    heads = draw.choice([4, 8])
    width = 2 * sizes["hidden_size"]
    if width % heads:
        heads = 4
    more = {"mamba_n_heads": heads, "mamba_d_head": width // heads, "mamba_d_state": draw.choice([6, 8]), "mamba_n_groups": draw.choice([1, 2])}
    more |= {"mamba_chunk_size": draw.choice([16, 32]), "mamba_d_conv": draw.choice([3, 4]), "mamba_conv_bias": flag(draw)}
    return more | {"mamba_proj_bias": flag(draw), "time_step_limit": draw.choice([[0.0, float("inf")], [0.01, 0.7]])}


def mamba2(draw, sizes):
    own = states(draw, sizes)
    names = {"num_heads": "n_heads", "head_dim": "d_head", "state_size": "d_state", "n_groups": "n_groups", "conv_kernel": "d_conv"}
    names |= {"use_conv_bias": "conv_bias", "use_bias": "proj_bias", "chunk_size": "chunk_size"}
    return {field: own[f"mamba_{name}"] for field, name in names.items()} | {"time_step_limit": own["time_step_limit"]}


def falcon_h1(draw, sizes):
    own = states(draw, sizes)
    factors = ["lm_head", "embedding", "key", "attention_out", "attention_in", "ssm_in", "ssm_out"]
    more = {f"{name}_multiplier": draw.choice([0.5, 1.0, 1.5]) for name in factors}
    more |= {"mlp_multipliers": [0.75, 1.25], "ssm_multipliers": [draw.choice([0.5, 1.0, 1.25]) for _ in range(5)]}
    more |= {"mamba_rms_norm": flag(draw), "mamba_norm_before_gate": flag(draw), "projectors_bias": flag(draw), "mlp_bias": flag(draw)}
    return llama_like(draw, sizes) | own | more | {"mamba_d_ssm": own["mamba_n_heads"] * own["mamba_d_head"]}


def granitemoehybrid(draw, sizes):
    more = experts(draw, sizes) | {"embedding_multiplier": 3.0, "attention_multiplier": 0.2, "residual_multiplier": 0.5, "logits_scaling": 2.0}
    if flag(draw):
        more["num_local_experts"] = 0
    more |= {"layer_types": mixed(draw, sizes, "linear_attention"), "shared_intermediate_size": draw.choice([32, 64])}
    return states(draw, sizes) | more | {"position_embedding_type": draw.choice([None, "rope"])}


def nemotron_h(draw, sizes):
    kinds = ["linear_attention", "full_attention", "moe", "mlp", draw.choice(["linear_attention", "moe"])]
    draw.shuffle(kinds)
    sizes["num_hidden_layers"] = len(kinds)
    more = {"layers_block_type": kinds, "mamba_num_heads": 4, "mamba_head_dim": draw.choice([8, 16]), "ssm_state_size": draw.choice([6, 8])}
    more |= {"n_groups": draw.choice([1, 2]), "use_conv_bias": flag(draw), "use_bias": flag(draw), "chunk_size": 16}
    more |= {"attention_bias": flag(draw), "moe_shared_expert_intermediate_size": 64, "routed_scaling_factor": draw.choice([1.0, 2.5])}
    return experts(draw, sizes) | more | {"time_step_min": draw.choice([0.001, 0.3])}


def jamba(draw, sizes):
    sizes["num_hidden_layers"] = 4
    more = {"attn_layer_period": draw.choice([2, 3]), "attn_layer_offset": draw.choice([0, 1]), "mamba_d_state": draw.choice([6, 8])}
    more |= {"expert_layer_period": draw.choice([2, 3]), "expert_layer_offset": 1, "mamba_dt_rank": draw.choice(["auto", 4])}
    return experts(draw, sizes) | more | {"mamba_conv_bias": flag(draw), "mamba_proj_bias": flag(draw), "mamba_d_conv": draw.choice([3, 4])}


# What is special in each type.
MORE = {
    "llama": lambda d, s: llama_like(d, s) | {"attention_bias": flag(d), "mlp_bias": flag(d)},
    "mistral": lambda d, s: llama_like(d, s) | {"sliding_window": d.choice([9, None])},
    "ministral": lambda d, s: windows(d, s),
    "ministral3": lambda d, s: {
        "rope_parameters": rope(d, s, s["head_dim"], ("yarn",)) | {"llama_4_scaling_beta": d.choice([0.1, 0.5])},
        "sliding_window": d.choice([None, 9]),
    },
    "qwen2": lambda d, s: llama_like(d, s) | d.choice([{}, {"use_sliding_window": True, **windows(d, s)}]),
    "qwen3": lambda d, s: llama_like(d, s) | {"use_sliding_window": True, "attention_bias": flag(d), **windows(d, s)},
    "gemma": lambda d, s: {"attention_bias": flag(d)},
    "gemma2": lambda d, s: {
        "query_pre_attn_scalar": d.choice([24, 16, 256]),
        "attn_logit_softcapping": d.choice([5.0, None]),
        "final_logit_softcapping": d.choice([3.0, None]),
        **windows(d, s),
    },
    "gemma3_text": lambda d, s: two_ropes(d, s) | windows(d, s) | {"query_pre_attn_scalar": d.choice([24, 256]), "final_logit_softcapping": d.choice([3.0, None])},
    "phi": lambda d, s: partial(d, s) | {"qk_layernorm": flag(d), "resid_pdrop": 0.1},
    "phi3": phi3,
    "smollm3": lambda d, s: {"no_rope_layers": [d.choice([0, 1]) for _ in range(s["num_hidden_layers"])], "attention_bias": flag(d)},
    "olmo": lambda d, s: llama_like(d, s) | {"clip_qkv": d.choice([None, 1.0]), "attention_bias": flag(d)},
    "olmo2": lambda d, s: llama_like(d, s) | {"attention_bias": flag(d)},
    "olmo3": lambda d, s: two_ropes(d, s) | windows(d, s),
    "granite": lambda d, s: llama_like(d, s)
    | {"embedding_multiplier": 3.0, "attention_multiplier": d.choice([0.2, 1.0]), "residual_multiplier": 0.5, "logits_scaling": d.choice([2.0, 0.3])},
    "starcoder2": lambda d, s: {"use_bias": flag(d), "sliding_window": d.choice([9, None])},
    "gpt_neox": lambda d, s: partial(d, s) | {"use_parallel_residual": flag(d), "attention_bias": flag(d)},
    "stablelm": lambda d, s: partial(d, s) | {"use_parallel_residual": flag(d), "qk_layernorm": flag(d), "use_qkv_bias": flag(d)},
    "cohere": lambda d, s: llama_like(d, s) | {"use_qk_norm": flag(d), "logit_scale": 0.25, "attention_bias": flag(d)},
    "cohere2": lambda d, s: {"logit_scale": 0.25, **windows(d, s)},
    "glm4": lambda d, s: partial(d, s) | {"attention_bias": flag(d)},
    "nemotron": lambda d, s: partial(d, s) | {"attention_bias": flag(d), "mlp_bias": flag(d)},
    "exaone4": lambda d, s: llama_like(d, s) | d.choice([{"sliding_window": None, "layer_types": ["full_attention"] * s["num_hidden_layers"]}, windows(d, s)]),
    "seed_oss": lambda d, s: llama_like(d, s) | {"attention_bias": flag(d), "attention_out_bias": flag(d), "mlp_bias": flag(d)},
    "helium": lambda d, s: {"mlp_bias": flag(d)},
    "arcee": lambda d, s: llama_like(d, s) | {"attention_bias": flag(d), "mlp_bias": flag(d)},
    "hunyuan_v1_dense": lambda d, s: {
        "rope_parameters": d.choice([{"rope_type": "default", "rope_theta": 500.0}, {"rope_type": "dynamic", "alpha": 30.0, "factor": 1.0, "rope_theta": 500.0}]),
        "attention_bias": flag(d),
    },
    "apertus": lambda d, s: llama_like(d, s) | {"attention_bias": flag(d)},
    "gpt2": gpt,
    "gptj": lambda d, s: gpt(d, s) | {"rotary_dim": d.choice([4, s["head_dim"]])},
    "opt": lambda d, s: {"ffn_dim": 96, "enable_bias": flag(d), "word_embed_proj_dim": s["hidden_size"]},
    "bloom": lambda d, s: {"n_layer": s["num_hidden_layers"], "n_head": s["num_attention_heads"]},
    "falcon": falcon,
    "mpt": mpt,
    "cwm": lambda d, s: windows(d, s) | {"mlp_bias": flag(d)},
    "ernie4_5": lambda d, s: {"use_bias": flag(d)},
    "mixtral": lambda d, s: llama_like(d, s) | experts(d, s) | {"sliding_window": d.choice([9, None])},
    "qwen2_moe": lambda d, s: experts(d, s) | {"qkv_bias": flag(d)},
    "qwen3_moe": lambda d, s: llama_like(d, s) | experts(d, s) | {"attention_bias": flag(d)},
    "olmoe": lambda d, s: experts(d, s) | {"clip_qkv": d.choice([None, 1.0])},
    "gpt_oss": lambda d, s: experts(d, s)
    | windows(d, s)
    | {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 1000.0, "truncate": flag(d)}},
    "glm4_moe": lambda d, s: experts(d, s) | partial(d, s) | {"use_qk_norm": flag(d), "attention_bias": flag(d)},
    "deepseek_v2": latent,
    "deepseek_v3": latent,
    "minimax_m2": lambda d, s: experts(d, s) | {"rotary_dim": d.choice([4, s["head_dim"]])},
    "granitemoe": lambda d, s: experts(d, s) | {"embedding_multiplier": 3.0, "attention_multiplier": 0.2, "residual_multiplier": 0.5, "logits_scaling": 2.0},
    "phimoe": lambda d, s: experts(d, s) | {"attention_bias": flag(d), "lm_head_bias": flag(d)},
    "qwen3_5_text": delta_net,
    "qwen3_5_moe_text": lambda d, s: delta_net(d, s) | experts(d, s),
    "qwen3_next": lambda d, s: delta_net(d, s) | experts(d, s) | {"mlp_only_layers": d.choice([[], [0]])},
    "mamba": lambda d, s: {"state_size": d.choice([6, 8]), "expand": d.choice([1, 2]), "time_step_rank": d.choice(["auto", 5]), "use_bias": flag(d), "conv_kernel": d.choice([3, 4])},
    "mamba2": mamba2,
    "bamba": lambda d, s: states(d, s) | {"attn_layer_indices": [d.randrange(s["num_hidden_layers"])], "attention_bias": flag(d), "mlp_bias": flag(d)},
    "falcon_h1": falcon_h1,
    "granitemoehybrid": granitemoehybrid,
    "nemotron_h": nemotron_h,
    "jamba": jamba,
    "gemma4_text": gemma4,
    "llama4_text": llama4,
    "lfm2": lambda d, s: {"layer_types": mixed(d, s, "conv"), "conv_L_cache": d.choice([3, 4]), "conv_bias": flag(d), "block_auto_adjust_ff_dim": False},
}
# Types whose sizes of states depend on other sizes.
STATES = {"mamba", "mamba2", "bamba", "falcon_h1", "granitemoehybrid", "nemotron_h", "jamba"}
# Types whose heads make up the width.
WHOLE = {"gpt2", "gptj", "opt", "bloom", "mpt", "gpt_neox", "phi", "falcon", "stablelm", "biogpt", "cohere2", "phi3", "helium", "olmoe", "phimoe", "granitemoe"}
# Types that compute with as many key heads as heads.
SINGLE = {"gpt2", "gptj", "opt", "bloom", "mpt", "gpt_neox", "biogpt"}


def settings(kind, seed, block=1, plain=False):
    """The configuration of a model of some seed. Inputs of linear layers are multiples of `block`; a plain one has nothing unusual."""
    draw = random.Random(f"{seed}-{kind}")
    heads = draw.choice([2, 4, 6] if block == 1 else [4, 8])
    head_dim = draw.choice([8, 16])
    hidden = heads * head_dim if kind in WHOLE or flag(draw) else draw.choice([48, 80] if block == 1 else [64, 96])
    # Some classes require it.
    hidden += -hidden % heads
    sizes = {
        "vocab_size": draw.choice([97, 131]),
        "hidden_size": hidden,
        "intermediate_size": draw.choice([56, 104] if block == 1 else [64, 96]),
        "num_hidden_layers": draw.choice([2, 3]),
        "num_attention_heads": heads,
        "num_key_value_heads": heads if kind in SINGLE else draw.choice([1, heads // 2, heads]),
        "head_dim": head_dim,
        "max_position_embeddings": 64,
        "tie_word_embeddings": flag(draw),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    if plain and kind not in STATES:
        # Usual values that do not fit small heads, and one that GGUF files do not say.
        more = {"gptj": {"rotary_dim": head_dim}, "qwen3_moe": {"norm_topk_prob": True}}
        return sizes | (latent(draw, sizes) if MORE.get(kind) is latent else more.get(kind, {}))
    found = sizes | MORE.get(kind, lambda *_: {})(draw, sizes)
    if block != 1:
        # Models that also generate: there transformers forgets the limits of steps.
        found |= {"time_step_limit": [0.0, float("inf")], "time_step_min": 0.001}
    return found


# Read where present, although the classes do not declare it.
READ = {"qwen2", "phi", "phi3", "smollm3", "olmo", "olmo2", "olmo3", "granite", "starcoder2", "cohere", "cohere2", "exaone4", "apertus", "mistral", "lfm2", "falcon_h1"}


def config_of(kind, given):
    usual = AutoConfig.for_model(kind)
    written = usual.to_dict()
    # A field that differs by layer is not an attribute of the whole.
    has = lambda key: key in written or hasattr(usual, key) or kind == "gemma4_text" and "global" in key
    known = {key: value for key, value in given.items() if has(key) or key == "head_dim" and kind in READ}
    if kind == "falcon":
        known.pop("head_dim", None)
    return AutoConfig.for_model(kind, **known)


def model_of(kind, seed, block=1, plain=False):
    """A model with drawn parameters, its tokens and their logits."""
    config = config_of(kind, settings(kind, seed, block, plain))
    config._attn_implementation = "eager"
    torch.manual_seed(random.Random(f"{kind}-{seed}").randrange(1 << 30))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.copy_(0.2 * torch.randn_like(buffer))
            if name.endswith("layer_scalar"):
                buffer.copy_(1 + 0.2 * torch.randn_like(buffer))
        for name, parameter in model.named_parameters():
            drawn = torch.randn_like(parameter)
            if parameter.dim() == 1 or "norm" in name:
                parameter.add_(0.2 * drawn)
            else:
                parameter.copy_(drawn * (0.5 if "embed" in name or "wte" in name else parameter.shape[-1] ** -0.5))
        ids = torch.randint(3, config.vocab_size, (2, TOKENS))
        logits = model(ids, use_cache=False).logits
    assert torch.isfinite(logits).all()
    return model, ids, logits


def make(kind, folder, seed, block=1, plain=False):
    model, ids, logits = model_of(kind, seed, block, plain)
    model.save_pretrained(folder)
    return model, ids, logits


if __name__ == "__main__":
    root, seed, *kinds = sys.argv[1:]
    for kind in kinds or MORE:
        try:
            _, ids, logits = make(kind, Path(root, kind), seed)
            save_file({"input_ids": ids, "logits": logits.contiguous()}, Path(root, kind, "reference.safetensors"))
        except Exception as error:
            print(kind, type(error).__name__, str(error)[:300])
