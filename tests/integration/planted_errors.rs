//! Errors planted in a converter: names, shapes and bits are all right, so only the logits can tell. Validation fails, the
//! layer comparison says where, and nothing is written.

use chandlery::convert;
use chandlery::naming::{Family, Rule};
use chandlery_tests::{entries, fixture};
use tempfile::tempdir;

/// Converts a reference model by a faulty Llama family: which layer the two sides part at, and what the report says.
fn located(model: &str, family: Family) -> (Option<usize>, String) {
    let temp = tempdir().unwrap();
    let conversion = convert(fixture(model), temp.path().join("native")).family(family).run().unwrap();
    let (proof, logits) = (conversion.proof().unwrap(), conversion.logit_diff().unwrap());
    assert_eq!(proof.different().count(), 0, "the bits are where the rules want them");
    assert!(!conversion.passed() && !logits.passed() && logits.max_abs() > 0.1);
    assert_eq!(conversion.report()["first_divergent_layer"], serde_json::json!(logits.first_divergent_layer()));
    assert!(entries(temp.path()).is_empty(), "nothing is written");
    let text = chandlery::display::View::view(&conversion).plain().to_owned();
    assert!(text.starts_with("NOT converted: ") && text.contains("nothing was written: validation failed"), "{text}");
    (logits.first_divergent_layer(), text)
}

/// All of Llama's rules, and these before them.
fn llama(rules: impl IntoIterator<Item = Rule>) -> Family {
    rules.into_iter().fold(Family::builder("llama").extends("llama"), |family, rule| family.rule(rule)).build().unwrap()
}

fn plain(from: &str, to: &str) -> Rule {
    Rule::new(from, to)
}

#[test]
fn two_projections_swapped() {
    let layer = r"model\.layers\.1\.mlp\.";
    let swapped = [("gate", "up"), ("up", "gate")].map(|(from, to)| {
        plain(&format!(r"{layer}{from}_proj\."), &format!("causal_lm.layer_stack.layers.1.feedforward.{to}_proj."))
    });
    let (layer, text) = located("llama-gqa", llama(swapped));
    assert_eq!(layer, Some(1));
    assert!(text.contains("the residual streams diverge at layer 1"), "{text}");
}

#[test]
fn one_layer_shifted() {
    let inside = || {
        let attention = [("q", "query"), ("k", "key"), ("v", "value"), ("o", "output")]
            .map(|(hf, ours)| plain(&format!(r"{hf}_proj\."), &format!("{ours}_linear.")));
        [
            plain(r"self_attn\.", "attention.").inside(attention),
            plain(r"mlp\.", "feedforward."),
            plain(r"input_layernorm\.", "norm1."),
            plain(r"post_attention_layernorm\.", "norm2."),
        ]
    };
    let shifted = [(1, 2), (2, 1)].map(|(from, to)| {
        plain(&format!(r"model\.layers\.{from}\."), &format!("causal_lm.layer_stack.layers.{to}.")).inside(inside())
    });
    assert_eq!(located("llama-gqa", llama(shifted)).0, Some(1));
}

#[test]
fn a_square_matrix_transposed() {
    let to = "causal_lm.layer_stack.layers.2.attention.output_linear.";
    let transposed = plain(r"model\.layers\.2\.self_attn\.o_proj\.", to).transposed();
    assert_eq!(located("llama-gqa", llama([transposed])).0, Some(2));
}

/// The mapping looks for the rotary base where transformers 4 keeps it, and the model is one of transformers 5.
#[test]
fn a_wrong_rotary_base() {
    let fields = [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
        "rms_norm_eps",
        "tie_word_embeddings",
        "hidden_act",
    ];
    let family =
        fields.iter().fold(Family::builder("llama").extends("llama"), |family, field| family.field(field, field));
    let family = family.native("architecture", "llama").field_or("rope_theta", "rope_theta", "500.0").build().unwrap();
    assert_eq!(located("llama-gqa", family).0, Some(0));
}

/// What no layer sees: the norm after them.
#[test]
fn a_fault_behind_the_layers_is_said_to_be_there() {
    let swapped = [
        plain(r"model\.norm\.", "causal_lm.layer_stack.layers.2.norm2."),
        plain(r"model\.layers\.2\.post_attention_layernorm\.", "causal_lm.layer_norm."),
    ];
    assert_eq!(located("llama-gqa", llama(swapped)).0, Some(2));
    let head = [plain(r"lm_head\.", "causal_lm.input_encoder.embedding."), plain(r"model\.embed_tokens\.", "lm_head.")];
    let (layer, text) = located("llama-gqa", llama(head));
    assert_eq!(layer, Some(0));
    assert!(text.contains("look at the embedding and that layer"), "{text}");
}
