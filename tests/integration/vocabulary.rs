//! Grown embeddings, against a plain computation of every row.

use std::collections::HashMap;
use std::path::Path;

use chandlery::checkpoint::{Checkpoint, CheckpointCopy, ShardPlan};
use chandlery::spec::{DType, ParamPath, TensorRow};
use chandlery::tokenizer::{AddTokens, RowInit, TokenPlan, TokenizerFiles};
use chandlery::vocabulary::{grown, grown_shape, has_row_per_token};
use chandlery_tests::fixture;

const YAML: &str = r#"
eos_token: "<|im_end|>"
pad_token: {token: "<|start|>", init: zero}
special_tokens: ["<|im_start|>", {token: "<|tool|>", init: zero}, {token: "<|call|>", init: "copy:7"}, "<|last|>"]
regular_tokens: [{token: candela, init: "copy:1023"}, lumen]
"#;

fn plan(model: &str, yaml: &str, multiple: Option<usize>) -> TokenPlan {
    let files = TokenizerFiles::read(&fixture(model)).unwrap();
    AddTokens::from_yaml(yaml, "tokens.yaml").unwrap().plan(&files, 1024, multiple).unwrap()
}

/// The numbers of a tensor, row by row.
fn rows(checkpoint: &Checkpoint, path: &ParamPath) -> Vec<Vec<f32>> {
    let data = checkpoint.read(path).unwrap();
    let numbers: Vec<f32> = match data.dtype {
        DType::F32 => data.bytes.chunks_exact(4).map(|raw| f32::from_le_bytes(raw.try_into().unwrap())).collect(),
        DType::BF16 => data
            .bytes
            .chunks_exact(2)
            .map(|raw| f32::from_bits(u32::from(u16::from_le_bytes(raw.try_into().unwrap())) << 16))
            .collect(),
        other => panic!("{other}"),
    };
    numbers.chunks_exact(numbers.len() / data.shape[0]).map(<[f32]>::to_vec).collect()
}

/// To nearest even, which is how a float32 becomes a bfloat16.
fn to_bf16(number: f32) -> f32 {
    let bits = number.to_bits();
    f32::from_bits((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff_0000)
}

fn write_grown(plan: &TokenPlan, from: &Checkpoint, tensors: &[ParamPath], folder: &Path) -> Checkpoint {
    let pieces: HashMap<_, _> = tensors.iter().map(|path| (path.clone(), grown(plan, from, path).unwrap())).collect();
    let table = tensors.iter().map(|path| {
        let row = from.table().get(path).unwrap();
        TensorRow { shape: grown_shape(plan, &row.shape), ..row.clone() }
    });
    ShardPlan::new(table, u64::MAX).write(folder, &CheckpointCopy::new(from, pieces)).unwrap();
    Checkpoint::open(folder).unwrap()
}

fn check(model: &str, plan: &TokenPlan) {
    let from = Checkpoint::open(fixture(model)).unwrap();
    let tensors: Vec<ParamPath> = ["model.embed_tokens.weight", "lm_head.weight"]
        .into_iter()
        .map(ParamPath::from)
        .filter(|path| from.table().get(path).is_some())
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let to = write_grown(plan, &from, &tensors, folder.path());
    for tensor in &tensors {
        let (old, new) = (rows(&from, tensor), rows(&to, tensor));
        assert_eq!(new.len(), plan.vocab_size());
        let bf16 = from.table().get(tensor).unwrap().dtype == DType::BF16;
        let mean: Vec<f32> = (0..old[0].len())
            .map(|column| {
                let sum: f64 = old[..plan.known_rows()].iter().map(|row| f64::from(row[column])).sum();
                let mean = (sum / plan.known_rows() as f64) as f32;
                if bf16 { to_bf16(mean) } else { mean }
            })
            .collect();
        for (id, row) in new.iter().enumerate() {
            let edit = plan.edits().iter().find(|edit| edit.id as usize == id).map(|edit| edit.init);
            let expected = match edit {
                Some(RowInit::Zero) => vec![0.0; row.len()],
                Some(RowInit::Copy(source)) => old[source as usize].clone(),
                Some(RowInit::Mean) => mean.clone(),
                None => old.get(id).unwrap_or(&mean).clone(),
            };
            assert_eq!(*row, expected, "{model}, {tensor}, row {id}, {edit:?}");
        }
    }
}

#[test]
fn rows_match_the_plan_in_every_kind_of_file() {
    for model in ["llama-gqa", "llama-tied", "llama-bf16", "llama-sharded", "llama-bin", "llama-bin-sharded"] {
        let plan = plan(model, YAML, None);
        assert_eq!(plan.vocab_size(), 1031);
        check(model, &plan);
    }
}

#[test]
fn rows_up_to_the_multiple_are_the_mean_too() {
    let plan = plan("llama-bf16", YAML, Some(128));
    assert_eq!(plan.vocab_size(), 1152);
    check("llama-bf16", &plan);
}

#[test]
fn rows_change_where_the_vocabulary_does_not_grow() {
    let plan = plan("llama-gqa", "eos_token: {token: '<|end|>', init: 'copy:3'}", None);
    assert_eq!(plan.vocab_size(), 1024);
    check("llama-gqa", &plan);
}

#[test]
fn an_embedding_of_another_vocabulary_is_refused() {
    let files = TokenizerFiles::read(&fixture("llama-gqa")).unwrap();
    let plan = AddTokens::open("chatml").unwrap().plan(&files, 1100, None).unwrap();
    let from = Checkpoint::open(fixture("llama-gqa")).unwrap();
    let error = grown(&plan, &from, &"lm_head.weight".into()).unwrap_err().to_string();
    assert!(error.contains("`lm_head.weight` has 1024 rows, but the configuration says vocab_size 1100"), "{error}");
    let error = grown(&plan, &from, &"lm_haed.weight".into()).unwrap_err().to_string();
    assert!(error.contains("is not in the checkpoint"), "{error}");
}

#[test]
fn the_tensors_with_a_row_per_token_are_those_of_the_contract() {
    let names = ["causal_lm.input_encoder.embedding.weight", "lm_head.weight", "lm_head.bias"];
    assert!(names.iter().all(|name| has_row_per_token(&ParamPath::from(*name))));
    assert!(!has_row_per_token(&"causal_lm.layer_norm.weight".into()));
}
