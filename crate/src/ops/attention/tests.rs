//! All implementations against the reference, values and gradients, for everything that decides which keys a query sees.

use candle_core::{DType, Device, Result, Tensor, Var};

use super::*;
use crate::ops::check::{Inputs, agree, close, gradients, values};

const FUSED: [AttentionImplementation; 3] =
    [AttentionImplementation::Sdpa, AttentionImplementation::FlashAttention2, AttentionImplementation::FlexAttention];

struct Case {
    name: &'static str,
    mask: AttentionMask,
    /// q, then k and v, `[b, heads, tokens, d]`.
    shapes: [[usize; 4]; 2],
    slopes: bool,
    sinks: bool,
    softcap: Option<f64>,
}

fn case(name: &'static str, mask: AttentionMask, heads: (usize, usize), slopes: bool) -> Case {
    let (rows, queries, keys) = (mask.rows(), mask.queries(), mask.keys());
    let shapes = [[rows, heads.0, queries, 8], [rows, heads.1, keys, 8]];
    Case { name, mask, shapes, slopes, sinks: false, softcap: None }
}

impl Case {
    fn with_sinks(self) -> Self {
        Self { sinks: true, ..self }
    }

    fn with_softcap(self, cap: f64) -> Self {
        Self { softcap: Some(cap), ..self }
    }
}

fn documents(rows: usize, keys: usize) -> Vec<Vec<u32>> {
    (0..rows).map(|row| (0..keys).map(|key| (key / (29 + 40 * row)) as u32).collect()).collect()
}

fn padding(rows: usize, keys: usize) -> Vec<Vec<bool>> {
    // Left in the first row (some queries see nothing), right in the second, holes in the third.
    let real = |row: usize, key: usize| match row {
        0 => key >= 7,
        1 => key + 9 < keys,
        _ => key % 5 != 2,
    };
    (0..rows).map(|row| (0..keys).map(|key| real(row, key)).collect()).collect()
}

/// Longer than one block of every implementation.
const LONG: usize = 150;

fn cases() -> Vec<Case> {
    let causal = |rows, tokens| AttentionMask::causal(rows, tokens, 0);
    vec![
        case("causal", causal(2, LONG), (2, 2), false),
        case("one token", causal(1, 1), (2, 1), false),
        case("after cached tokens", AttentionMask::causal(2, 5, 140), (4, 2), false),
        case("grouped", causal(1, LONG), (6, 2), false),
        case("window", causal(1, LONG).with_window(Some(19)), (2, 1), false),
        case("window of one", causal(1, 70).with_window(Some(1)), (2, 1), false),
        case("window wider than the row", causal(1, 70).with_window(Some(500)), (2, 1), false),
        case("padded", causal(3, LONG).with_padding(padding(3, LONG)).unwrap(), (2, 1), false),
        case("packed", causal(2, LONG).with_documents(documents(2, LONG)).unwrap(), (4, 2), false),
        case(
            "packed, in a window",
            causal(2, LONG).with_documents(documents(2, LONG)).unwrap().with_window(Some(11)),
            (2, 2),
            false,
        ),
        case(
            "documents that return",
            causal(1, 80).with_documents(vec![(0..80).map(|key| key / 10 % 3).collect()]).unwrap(),
            (2, 2),
            false,
        ),
        case("sloped", causal(2, LONG), (4, 2), true),
        case("sloped, padded", causal(3, 70).with_padding(padding(3, 70)).unwrap(), (2, 1), true),
        case(
            "sloped, packed, after cached tokens",
            AttentionMask::causal(2, 9, 60).with_documents(documents(2, 69)).unwrap(),
            (4, 4),
            true,
        ),
        case("sinks", causal(2, LONG), (4, 2), false).with_sinks(),
        case(
            "sinks, window, after cached tokens",
            AttentionMask::causal(2, 5, 140).with_window(Some(9)),
            (2, 1),
            false,
        )
        .with_sinks(),
        case("sinks and slopes, packed", causal(2, 90).with_documents(documents(2, 90)).unwrap(), (2, 2), true)
            .with_sinks(),
        case("capped", causal(2, LONG), (4, 2), false).with_softcap(0.7),
        case(
            "capped, padded right, in a window",
            causal(3, 70).with_padding(vec![(0..70).map(|key| key < 60).collect(); 3]).unwrap().with_window(Some(19)),
            (2, 1),
            false,
        )
        .with_softcap(0.7),
        case("capped, with sinks", causal(1, LONG), (2, 1), false).with_softcap(0.7).with_sinks(),
    ]
}

impl Case {
    fn inputs(&self) -> Inputs {
        let [q, k] = &self.shapes;
        let heads = [q[1]];
        let mut shapes: Vec<(&str, &[usize])> = vec![("q", q), ("k", k), ("v", k)];
        if self.slopes {
            shapes.push(("slopes", &heads));
        }
        if self.sinks {
            shapes.push(("sinks", &heads));
        }
        Inputs::new(&shapes)
    }

    fn run(&self, implementation: AttentionImplementation, v: &[Tensor]) -> Result<Tensor> {
        let options = AttentionOptions {
            implementation,
            mask: &self.mask,
            scale: 0.35,
            slopes: self.slopes.then(|| &v[3]),
            sinks: self.sinks.then(|| &v[v.len() - 1]),
            softcap: self.softcap,
            dropout: None,
        };
        Ok(attention(&v[0], &v[1], &v[2], &options)?)
    }
}

#[test]
fn all_implementations_agree_with_the_reference() {
    for case in cases() {
        for dtype in [DType::F64, DType::F32] {
            let v = case.inputs().variables(dtype);
            let eager = |v: &[Tensor]| case.run(AttentionImplementation::Eager, v);
            // The reference sees the same inputs, in float64.
            let exact: Vec<Tensor> =
                v.iter().map(|v| Var::from_tensor(&v.to_dtype(DType::F64).unwrap()).unwrap().into_inner()).collect();
            let (expected, of_expected) = gradients(&exact, &eager, case.name);
            for implementation in AttentionImplementation::ALL {
                let what = format!("{}, {implementation}, {dtype:?}", case.name);
                let (found, of) = gradients(&v, &|v| case.run(implementation, v), &what);
                let tolerance = if dtype == DType::F64 { 1e-12 } else { 1e-5 };
                close(&found, &expected, tolerance, &what);
                for (input, (of, expected)) in of.iter().zip(&of_expected).enumerate() {
                    close(of, expected, tolerance, &format!("{what}, gradient of input {input}"));
                }
            }
        }
    }
}

#[test]
fn every_implementation_agrees_with_finite_differences_and_in_half_precision() {
    let mask = AttentionMask::causal(2, 9, 3).with_window(Some(6)).with_documents(documents(2, 12)).unwrap();
    for implementation in AttentionImplementation::ALL {
        for slopes in [false, true] {
            let case = case("small", mask.clone(), (2, 1), slopes);
            let reference = |v: &[Tensor]| case.run(AttentionImplementation::Eager, v);
            agree(&case.inputs(), |v| case.run(implementation, v), reference);
        }
        for case in [
            case("small", mask.clone(), (2, 1), false).with_sinks(),
            case("small", mask.clone(), (2, 1), false).with_softcap(0.7).with_sinks(),
        ] {
            let reference = |v: &[Tensor]| case.run(AttentionImplementation::Eager, v);
            agree(&case.inputs(), |v| case.run(implementation, v), reference);
        }
    }
}

#[test]
fn the_reference_is_attention_as_it_is_written_down() {
    // Two tokens, one head, by hand: the second sees both.
    let tensor = |values: [f64; 2]| Tensor::new(&values, &Device::Cpu).unwrap().reshape((1, 1, 2, 1)).unwrap();
    let (q, k, v) = (tensor([1.0, 2.0]), tensor([0.5, -1.0]), tensor([3.0, 7.0]));
    let mask = AttentionMask::causal(1, 2, 0);
    let slopes = Tensor::new(&[0.25f64], &Device::Cpu).unwrap();
    let weight = (2.0 * 0.5 * 0.5 - 0.25f64).exp() / ((2.0 * 0.5 * 0.5 - 0.25f64).exp() + (-2.0 * 0.5f64).exp());
    for implementation in AttentionImplementation::ALL {
        let options = AttentionOptions {
            implementation,
            mask: &mask,
            scale: 0.5,
            slopes: Some(&slopes),
            sinks: None,
            softcap: None,
            dropout: None,
        };
        let found = values(&attention(&q, &k, &v, &options).unwrap());
        close(&found, &[3.0, weight * 3.0 + (1.0 - weight) * 7.0], 1e-12, implementation.name());
    }
}

#[test]
fn a_mask_is_any_function_and_scores_are_added_to() {
    let (tokens, d) = (130, 4);
    // Even heads look back, odd ones look at every third token; scores favor near tokens by head.
    let visible = |_: usize, head: usize, query: usize, key: usize| match head % 2 {
        0 => key <= query,
        _ => key % 3 == query % 3 && query != 5,
    };
    let score = |_: usize, head: usize, query: usize, key: usize| -0.1 * (head + 1) as f32 * query.abs_diff(key) as f32;
    let mask = BlockMask::new(1, 2, tokens, tokens, visible).with_score(score);
    let shape = [2, 2, tokens, d];
    let v = Inputs::new(&[("q", &shape), ("k", &shape), ("v", &shape)]).variables(DType::F64);
    let dense = mask.dense(2, 2, &Device::Cpu).unwrap();
    let reference = |v: &[Tensor]| eager::eager((&v[0], &v[1], &v[2]), &dense, eager::Form::plain(0.5));
    let (expected, of_expected) = gradients(&v, &reference, "eager");
    let flex = |v: &[Tensor]| Ok(flex_attention(&v[0], &v[1], &v[2], &mask, 0.5)?);
    let (found, of) = gradients(&v, &flex, "flex");
    close(&found, &expected, 1e-6, "value");
    for (of, expected) in of.iter().zip(&of_expected) {
        close(of, expected, 1e-6, "gradient");
    }
}

#[test]
fn blocks_without_a_visible_pair_are_known() {
    let causal = AttentionMask::causal(1, 256, 0);
    assert_eq!(causal.blocks().counts(), (6, 4, 6));
    let windowed = causal.clone().with_window(Some(64));
    assert_eq!(windowed.blocks().counts(), (9, 7, 0));
    let packed = causal.with_documents(vec![(0..256).map(|key| key / 64).collect()]).unwrap();
    assert_eq!(packed.blocks().counts(), (12, 4, 0));
}

#[test]
fn the_matrix_says_what_the_rule_says() {
    for case in cases() {
        let mask = &case.mask;
        let dense = mask.dense(&Device::Cpu).unwrap();
        let (rows, queries, keys) = (dense.dim(0).unwrap(), mask.queries(), mask.keys());
        let cells = dense.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (line, cell) in cells.iter().enumerate() {
            let (row, query, key) = (line / (queries * keys), line / keys % queries, line % keys);
            assert_eq!(*cell == 0.0, mask.allows(row, query, key), "{}: {row} {query} {key}", case.name);
            assert!(!mask.allows(row, query, key) || mask.range(row, query).contains(&key));
        }
        assert!(rows == 1 || rows == mask.rows());
    }
}

#[test]
fn only_eager_drops_weights_and_by_its_seed() {
    let case = case("dropout", AttentionMask::causal(1, 40, 0), (2, 1), false);
    let v = case.inputs().variables(DType::F32);
    let run = |implementation, seed| {
        let dropout = Some(Dropout { probability: 0.5, seed });
        let mask = &case.mask;
        let options =
            AttentionOptions { implementation, mask, scale: 1.0, slopes: None, sinks: None, softcap: None, dropout };
        attention(&v[0], &v[1], &v[2], &options)
    };
    for implementation in FUSED {
        let error = run(implementation, 1).unwrap_err();
        assert!(matches!(error, AttentionError::Dropout { .. }), "{error}");
        assert!(error.to_string().contains("use eager"));
    }
    let of = |seed| values(&run(AttentionImplementation::Eager, seed).unwrap());
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
    let mut mean = vec![0.0; of(1).len()];
    for seed in 0..600 {
        mean.iter_mut().zip(of(seed)).for_each(|(mean, x)| *mean += x / 600.0);
    }
    let undropped = values(&case_without_dropout(&case, &v));
    close(&mean, &undropped, 0.15, "the mean over seeds");
}

fn case_without_dropout(case: &Case, v: &[Tensor]) -> Tensor {
    let options = AttentionOptions {
        implementation: AttentionImplementation::Eager,
        mask: &case.mask,
        scale: 1.0,
        slopes: None,
        sinks: None,
        softcap: None,
        dropout: None,
    };
    attention(&v[0], &v[1], &v[2], &options).unwrap()
}

#[test]
fn names_are_read_as_they_are_written() {
    for implementation in AttentionImplementation::ALL {
        assert_eq!(implementation.to_string().parse::<AttentionImplementation>().unwrap(), implementation);
    }
    let error = "flash".parse::<AttentionImplementation>().unwrap_err().to_string();
    assert!(error.contains("eager, sdpa, flash_attention_2 or flex_attention"), "{error}");
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let tensor = |shape: [usize; 4]| Tensor::zeros(shape.to_vec(), DType::F32, &Device::Cpu).unwrap();
    let refuse = |q, k, mask: AttentionMask| {
        let options = AttentionOptions {
            implementation: AttentionImplementation::Sdpa,
            mask: &mask,
            scale: 1.0,
            slopes: None,
            sinks: None,
            softcap: None,
            dropout: None,
        };
        let error = attention(&tensor(q), &tensor(k), &tensor(k), &options).unwrap_err();
        assert!(matches!(error, AttentionError::Shape { .. }), "{error}");
    };
    refuse([1, 3, 4, 8], [1, 2, 4, 8], AttentionMask::causal(1, 4, 0));
    refuse([1, 2, 4, 8], [1, 2, 3, 8], AttentionMask::causal(1, 4, 0));
    refuse([1, 2, 4, 8], [1, 2, 4, 8], AttentionMask::causal(1, 4, 1));
    assert!(AttentionMask::causal(1, 4, 0).with_padding(vec![vec![true; 3]]).is_err());
}
