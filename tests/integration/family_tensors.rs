//! What a family's rules can do with tensors: stack and interleave them, add constants, leave out rows; each there and back.

use std::path::Path;

use chandlery::checkpoint::Checkpoint;
use chandlery::convert;
use chandlery::convert::Conversion;
use chandlery::naming::Family;
use chandlery::spec::DType;
use chandlery_tests::{contents, copy_of, edit_config, fixture, json};
use serde_json::json;
use tempfile::tempdir;

/// A family of Llama's names but for these rules of a layer, and these of the model.
fn family(model: &str, layer: &str) -> Family {
    let yaml = format!(
        "family: other\nextends: llama\nto_native:\n  - match: 'model\\.'\n    replace: 'causal_lm.'\n    inside:\n{model}\
         \x20     - match: 'layers\\.(\\d+)\\.'\n        replace: 'layer_stack.layers.$1.'\n        inside:\n{layer}"
    );
    Family::from_yaml(&yaml, "other.yaml").unwrap()
}

/// Rows of a matrix, each as its bytes.
fn rows(folder: &Path, name: &str) -> Vec<Vec<u8>> {
    let data = Checkpoint::open(folder).unwrap().read(&name.into()).unwrap();
    let width = data.shape[1..].iter().product::<usize>() * data.dtype.bytes();
    data.bytes.chunks(width).map(<[u8]>::to_vec).collect()
}

fn shape(folder: &Path, name: &str) -> Vec<usize> {
    Checkpoint::open(folder).unwrap().table().get(&name.into()).unwrap().shape.clone()
}

fn proven(conversion: &Conversion) {
    let proof = conversion.proof.as_ref().unwrap();
    assert!(conversion.passed() && proof.lost.is_empty() && proof.different().next().is_none());
}

/// Converts a Llama to the family's names, looks at them, and converts them back.
fn there_and_back(family: &Family, look: impl Fn(&Path)) {
    let temp = tempdir().unwrap();
    let [native, hf, again] = ["native", "hf", "again"].map(|name| temp.path().join(name));
    convert(fixture("llama-gqa"), &native).run().unwrap();
    let asked = Some("other".to_owned());
    proven(&convert(&native, &hf).family(family.clone()).model_type(asked).run().unwrap());
    look(&hf);
    proven(&convert(&hf, &again).family(family.clone()).run().unwrap());
    assert_eq!(contents(&native), contents(&again));
}

#[test]
fn rows_of_gates_and_ups_alternate() {
    let own = family(
        "",
        "          - { match: 'mlp\\.gate_up\\.', replace: ['feedforward.gate_proj.', 'feedforward.up_proj.'], interleave: intermediate_size }\n",
    );
    there_and_back(&own, |hf| {
        let both = rows(hf, "model.layers.1.mlp.gate_up.weight");
        let one = |name: &str| rows(&fixture("llama-gqa"), &format!("model.layers.1.mlp.{name}_proj.weight"));
        for (index, (gate, up)) in one("gate").into_iter().zip(one("up")).enumerate() {
            assert_eq!((&both[2 * index], &both[2 * index + 1]), (&gate, &up));
        }
    });
}

#[test]
fn queries_keys_and_values_lie_group_by_group() {
    let own = family(
        "",
        "          - match: 'self_attn\\.qkv\\.'\n            interleave: num_key_value_heads\n            replace: ['attention.query_linear.', 'attention.key_linear.', 'attention.value_linear.']\n",
    );
    there_and_back(&own, |hf| {
        let all = rows(hf, "model.layers.0.self_attn.qkv.weight");
        let one = |name: &str| rows(&fixture("llama-gqa"), &format!("model.layers.0.self_attn.{name}_proj.weight"));
        // Two groups of four query heads, a key and a value head of eight rows each.
        assert_eq!((&all[..32], &all[32..40], &all[40..48]), (&one("q")[..32], &one("k")[..8], &one("v")[..8]));
        assert_eq!((&all[48..80], &all[88..]), (&one("q")[32..], &one("v")[8..]));
    });
}

#[test]
fn matrices_of_all_layers_lie_in_one_tensor() {
    let own = family(
        "      - { match: 'all_q', replace: 'layer_stack.layers.{n}.attention.query_linear.weight', stack: num_hidden_layers }\n\
         \x20     - match: 'all_gate_up'\n        stack: num_hidden_layers\n        transpose: true\n        interleave: intermediate_size\n\
         \x20       replace: ['layer_stack.layers.{n}.feedforward.gate_proj.weight', 'layer_stack.layers.{n}.feedforward.up_proj.weight']\n",
        "          - { match: 'input_layernorm\\.', replace: 'norm1.' }\n",
    );
    there_and_back(&own, |hf| {
        assert_eq!((shape(hf, "model.all_q"), shape(hf, "model.all_gate_up")), (vec![3, 64, 64], vec![3, 64, 320]));
        let matrices = rows(hf, "model.all_q");
        for (layer, matrix) in matrices.iter().enumerate() {
            let one = rows(&fixture("llama-gqa"), &format!("model.layers.{layer}.self_attn.q_proj.weight"));
            assert_eq!(*matrix, one.concat());
        }
        // Column 2 i of a matrix is row i of the gates, and the next one of the ups.
        let one = |name: &str| rows(&fixture("llama-gqa"), &format!("model.layers.2.mlp.{name}_proj.weight"));
        let (gate, up, both) = (one("gate"), one("up"), &rows(hf, "model.all_gate_up")[2]);
        for (row, column) in [(0, 0), (63, 159), (17, 80)] {
            let at = (row * 320 + 2 * column) * 4;
            assert_eq!(both[at..at + 4], gate[column][row * 4..row * 4 + 4]);
            assert_eq!(both[at + 4..at + 8], up[column][row * 4..row * 4 + 4]);
        }
    });
}

#[test]
fn a_constant_is_added_and_every_bit_comes_back() {
    let own = family("", "          - { match: 'input_layernorm\\.', replace: 'norm1.', add: 1.0 }\n");
    for name in ["llama-gqa", "llama-bf16"] {
        let temp = tempdir().unwrap();
        let (native, back) = (temp.path().join("native"), temp.path().join("back"));
        let folder = copy_of(name, temp.path());
        edit_config(&folder, |config| drop(config.insert("model_type".to_owned(), json!("other"))));
        proven(&convert(&folder, &native).family(own.clone()).run().unwrap());
        let read = |folder: &Path, name: &str| Checkpoint::open(folder).unwrap().read(&name.into()).unwrap();
        let norm = read(&native, "causal_lm.layer_stack.layers.0.norm1.weight");
        assert_eq!(norm.dtype, DType::F64);
        let first = f64::from_le_bytes(norm.bytes[..8].try_into().unwrap());
        let source = read(&folder, "model.layers.0.input_layernorm.weight");
        let stored = match source.dtype {
            DType::BF16 => f32::from_bits(u32::from(u16::from_le_bytes([source.bytes[0], source.bytes[1]])) << 16),
            _ => f32::from_le_bytes(source.bytes[..4].try_into().unwrap()),
        };
        assert_eq!(first, f64::from(stored) + 1.0);
        proven(&convert(&native, &back).family(own.clone()).run().unwrap());
        assert_eq!(contents(&folder), contents(&back), "{name}");
        // A cast is one of what is added to: in the narrower type the sum would lose bits.
        let narrow = temp.path().join("narrow");
        proven(&convert(&folder, &narrow).family(own.clone()).dtype(Some(DType::BF16)).run().unwrap());
        let norm = read(&narrow, "causal_lm.layer_stack.layers.0.norm1.weight");
        let bits = stored.to_bits();
        let cast = f64::from(f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)) + 1.0;
        assert_eq!((norm.dtype, f64::from_le_bytes(norm.bytes[..8].try_into().unwrap())), (DType::F64, cast));
    }
}

/// A table of positions whose first two rows no token reads.
#[test]
fn rows_that_no_token_reads_stay_behind() {
    let temp = tempdir().unwrap();
    let (native, back) = (temp.path().join("native"), temp.path().join("back"));
    let yaml = "family: offset\nextends: gpt2\nnative: { architecture: gpt2 }\nto_native:\n  - match: 'transformer\\.'\n    replace: 'causal_lm.'\n\
                \x20   inside:\n      - { match: 'wpe\\.', replace: 'input_encoder.positional_encoder.', skip_rows: 2 }\n";
    let own = Family::from_yaml(yaml, "offset.yaml").unwrap();
    let folder = copy_of("families/gpt2", temp.path());
    edit_config(&folder, |config| {
        config.insert("model_type".to_owned(), json!("offset"));
        config.insert("n_positions".to_owned(), json!(46));
    });
    let there = convert(&folder, &native).family(own.clone()).run().unwrap();
    proven(&there);
    assert!(there.report()["skipped"].to_string().contains("first rows"), "{}", there.report()["skipped"]);
    let of = "causal_lm.input_encoder.positional_encoder.weight";
    assert_eq!(rows(&native, of), rows(&folder, "transformer.wpe.weight")[2..]);
    proven(&convert(&native, &back).family(own).run().unwrap());
    let (before, after) = (rows(&folder, "transformer.wpe.weight"), rows(&back, "transformer.wpe.weight"));
    assert_eq!((after.len(), &after[2..]), (48, &before[2..]));
    assert!(after[..2].iter().flatten().all(|byte| *byte == 0));
    assert_eq!(json(back.join("config.json"))["n_positions"], 46);
}
