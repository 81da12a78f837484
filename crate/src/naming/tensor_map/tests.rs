//! Several tensors that are one in the model, such as the matrices of experts. No built-in part has them yet.

use super::*;
use crate::checkpoint::{IndexBox, Strides};
use crate::spec::DType;

const SIZES: &str = r#"{ "experts": 3, "inner": 4 }"#;

fn links(rule: &str, table: &[(&str, &[usize])]) -> Result<TensorMap, FamilyError> {
    let yaml = format!("family: stacked\nextends: llama\nto_native:\n  - {rule}\n");
    let family = Family::from_yaml(&yaml, "stacked.yaml").unwrap();
    let fields: Map<String, Value> = serde_json::from_str(SIZES).unwrap();
    let count = |text: &Spanned| Ok(size(&text.text, &fields).unwrap());
    let family = family.counted(&count, &|_| Ok(true)).unwrap();
    let row = |(name, shape): &(&str, &[usize])| TensorRow::stored((*name).into(), shape.to_vec(), DType::F32);
    TensorMap::of_table(&family, &TensorTable::from_rows(table.iter().map(row).collect()), &fields)
}

fn names(piece: &[Piece]) -> Vec<String> {
    piece
        .iter()
        .map(|piece| match piece {
            Piece::Tensor(name) => name.to_string(),
            Piece::Rows { tensor, start, count } => format!("{tensor}[{start}..{}]", start + count),
            _ => "gathered".to_owned(),
        })
        .collect()
}

/// Moves numbers as the boxes of pieces say.
fn gathered(pieces: &[Piece], sources: &dyn Fn(&ParamPath) -> Vec<usize>) -> Vec<usize> {
    let [Piece::Gathered { elements, boxes }] = pieces else { panic!("{pieces:?}") };
    let mut out = vec![usize::MAX; *elements];
    for IndexBox { tensor, sizes, from, to } in boxes {
        let source = sources(tensor);
        for index in 0..sizes.iter().product() {
            let at = |strides: &Strides, mut rest: usize| {
                let steps = strides.steps.iter().zip(sizes).rev();
                steps.fold(strides.start, |place, (step, size)| {
                    let next = place + rest % size * step;
                    rest /= size;
                    next
                })
            };
            out[at(to, index)] = source[at(from, index)];
        }
    }
    out
}

#[test]
fn matrices_of_experts_become_one_tensor_by_plain_copies() {
    let rule = r"{ match: 'experts\.{n}\.up\.weight', replace: 'mlp.up', stack: experts }";
    let map = links(rule, &[("mlp.up", &[3, 4, 2])]).unwrap();
    let [link] = map.links.as_slice() else { panic!("{map:?}") };
    assert_eq!(link.names(Naming::HuggingFace).len(), 3);
    assert_eq!((link.shape(Naming::HuggingFace, 1), link.shape(Naming::Native, 0)), (&[4, 2][..], &[3, 4, 2][..]));
    let same = |name: &ParamPath| name.clone();
    let expected = ["experts.0.up.weight", "experts.1.up.weight", "experts.2.up.weight"];
    assert_eq!(names(&link.pieces(Naming::Native, 0, &same)), expected);
    assert_eq!(names(&link.pieces(Naming::HuggingFace, 2, &same)), ["mlp.up[2..3]"]);
}

#[test]
fn gates_and_ups_of_experts_become_one_tensor() {
    let rule =
        r"{ match: ['e\.{n}\.gate', 'e\.{n}\.up'], replace: 'mlp.gate_up', stack: experts, sizes: [inner, inner] }";
    let map = links(rule, &[("mlp.gate_up", &[3, 8, 2])]).unwrap();
    let link = &map.links[0];
    let order: Vec<&str> = link.names(Naming::HuggingFace).into_iter().map(ParamPath::as_str).collect();
    assert_eq!(order, ["e.0.gate", "e.0.up", "e.1.gate", "e.1.up", "e.2.gate", "e.2.up"]);
    let same = |name: &ParamPath| name.clone();
    assert_eq!(names(&link.pieces(Naming::Native, 0, &same)), order);
    // The second half of the second matrix.
    let source = |_: &ParamPath| (0..48).collect();
    assert_eq!(gathered(&link.pieces(Naming::HuggingFace, 3, &same), &source), (24..32).collect::<Vec<_>>());
}

#[test]
fn matrices_of_experts_are_transposed_one_by_one() {
    let rule = r"{ match: 'experts\.{n}\.up', replace: 'mlp.up', stack: experts, transpose: true }";
    let map = links(rule, &[("mlp.up", &[3, 4, 2])]).unwrap();
    let link = &map.links[0];
    assert_eq!(link.shape(Naming::HuggingFace, 0), [2, 4]);
    let same = |name: &ParamPath| name.clone();
    let number = |name: &ParamPath| name.segments().nth(1).unwrap().parse::<usize>().unwrap();
    let made =
        gathered(&link.pieces(Naming::Native, 0, &same), &|name| (0..8).map(|n| 10 * number(name) + n).collect());
    assert_eq!(made[..8], [0, 4, 1, 5, 2, 6, 3, 7]);
    assert_eq!(made[16..], [20, 24, 21, 25, 22, 26, 23, 27]);
    let back = gathered(&link.pieces(Naming::HuggingFace, 2, &same), &|_| made.clone());
    assert_eq!(back, (20..28).collect::<Vec<_>>());
}

#[test]
fn a_part_of_each_group_of_rows_is_permuted() {
    let rule = r"{ match: 'q', replace: 'p', permute: { rows: [2, 2, 2], order: [0, 2, 1], of: 6 }, when: 'true' }";
    let map = links(rule, &[("p", &[12, 1])]).unwrap();
    let same = |name: &ParamPath| name.clone();
    let made = gathered(&map.links[0].pieces(Naming::Native, 0, &same), &|_| (0..12).collect());
    assert_eq!(made, [0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11]);
    let back = gathered(&map.links[0].pieces(Naming::HuggingFace, 0, &same), &|_| made.clone());
    assert_eq!(back, (0..12).collect::<Vec<_>>());
}

#[test]
fn columns_are_permuted_as_rows_are() {
    let rule = r"{ match: 'q', replace: 'p', permute: { columns: [3, 2], order: [1, 0] }, when: 'true' }";
    let map = links(rule, &[("p", &[2, 6])]).unwrap();
    let same = |name: &ParamPath| name.clone();
    let made = gathered(&map.links[0].pieces(Naming::Native, 0, &same), &|_| (0..12).collect());
    assert_eq!(made, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    let back = gathered(&map.links[0].pieces(Naming::HuggingFace, 0, &same), &|_| made.clone());
    assert_eq!(back, (0..12).collect::<Vec<_>>());
}

#[test]
fn rules_apply_to_the_models_of_their_condition() {
    let yaml = r"
family: conditional
extends: llama
to_native:
  - { match: 'one\.', replace: 'lm_head.', when: tie_word_embeddings }
  - { match: 'other\.', replace: 'lm_head.', when: not tie_word_embeddings }
";
    let family = Family::from_yaml(yaml, "conditional.yaml").unwrap();
    for (tied, name) in [(true, "one.weight"), (false, "other.weight")] {
        let json = serde_json::json!({
            "model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "tie_word_embeddings": tied,
        });
        let config = ModelConfig::from_project(&json, "a test").unwrap();
        let family = family.of_model(&config).unwrap();
        assert_eq!(family.name_on(Naming::HuggingFace, &"lm_head.weight".into()).as_str(), name);
    }
}

#[test]
fn numbers_that_do_not_fit_are_refused_with_the_rule() {
    let rule = r"{ match: 'experts\.{n}\.up', replace: 'mlp.up', stack: experts }";
    let error = links(rule, &[("mlp.up", &[2, 4, 2])]).unwrap_err().to_string();
    assert!(error.contains("not 3 stacked matrices") && error.contains("stacked.yaml:4:"), "{error}");
    for rule in [
        "{ match: 'a', replace: 'b', stack: experts }",
        "{ match: 'a{n}', replace: 'b{n}', stack: experts }",
        "{ match: ['a{n}', 'c'], replace: 'b', stack: experts }",
        "{ match: 'a', replace: 'b', interleave: '2' }",
        "{ match: 'a', replace: ['b', 'c'], add: 1.0 }",
        "{ match: 'a', replace: 'b', skip_rows: 2, transpose: true }",
        "{ match: 'a', replace: 'b', add: .nan }",
        "{ match: 'a', replace: 'b', permute: { order: [] } }",
        "{ match: 'a', replace: 'b', permute: { columns: [2, 2], order: [0, 1], of: 4 } }",
        "{ match: 'a', replace: 'b', permute: { rows: [2, 2], order: [1, 0], of: 4 } }",
    ] {
        let yaml = format!("family: stacked\nextends: llama\nto_native:\n  - {rule}\n");
        Family::from_yaml(&yaml, "stacked.yaml").unwrap_err();
    }
}
