//! The checks of every operator: candle's composed autograd, finite differences, all element types, all gradients.

use candle_core::{DType, Device, Result, Tensor, Var};

/// Named inputs with fixed pseudo-random values in about ±1.5.
pub(super) struct Inputs(Vec<(String, Tensor)>);

impl Inputs {
    pub(super) fn new(shapes: &[(&str, &[usize])]) -> Self {
        let mut state = 7u64;
        let inputs = shapes.iter().map(|&(name, shape)| {
            let count: usize = shape.iter().product();
            let values: Vec<f64> = (0..count).map(|_| draw(&mut state)).collect();
            (name.to_owned(), Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
        });
        Self(inputs.collect())
    }

    pub(super) fn variables(&self, dtype: DType) -> Vec<Tensor> {
        let var = |tensor: &Tensor| Var::from_tensor(&tensor.to_dtype(dtype).unwrap()).unwrap();
        self.0.iter().map(|(_, tensor)| var(tensor).into_inner()).collect()
    }
}

fn draw(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    ((*state >> 33) as f64 / (1u64 << 31) as f64 - 0.5) * 3.0
}

pub(super) fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference, relative to the largest value (at least 1).
pub(super) fn close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0f64, |most, x| most.max(x.abs()));
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs() / scale;
        assert!(error <= tolerance, "{what}, element {place}: {found} instead of {expected}");
    }
}

/// Returns a scalar in which every output has a different weight.
fn scalar(y: &Tensor) -> Tensor {
    let mut state = 99u64;
    let weights: Vec<f64> = (0..y.elem_count()).map(|_| draw(&mut state)).collect();
    let weights = Tensor::from_vec(weights, y.shape(), &Device::Cpu).unwrap().to_dtype(y.dtype()).unwrap();
    let weights = weights.to_device(y.device()).unwrap();
    (y * weights).unwrap().sum_all().unwrap()
}

pub(super) fn gradients(
    v: &[Tensor],
    f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    what: &str,
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let y = f(v).unwrap();
    let store = scalar(&y).backward().unwrap();
    let of = |(index, v): (usize, &Tensor)| {
        values(store.get(v).unwrap_or_else(|| panic!("{what}: input {index} got no gradient")))
    };
    (values(&y), v.iter().enumerate().map(of).collect())
}

/// Values and every input's gradient of `ours` against `reference` in float64, float32, bfloat16 and float16, and
/// against central differences in float64.
pub(super) fn agree(
    inputs: &Inputs,
    ours: impl Fn(&[Tensor]) -> Result<Tensor>,
    reference: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5), (DType::BF16, 2e-2), (DType::F16, 3e-3)] {
        let v = inputs.variables(dtype);
        // The reference gets the same rounded inputs, in float64.
        let exact: Vec<Tensor> = v
            .iter()
            .map(|v| Var::from_tensor(&v.detach().to_dtype(DType::F64).unwrap()).unwrap().into_inner())
            .collect();
        let (y, of) = gradients(&v, &ours, "ours");
        let (expected, of_expected) = gradients(&exact, &reference, "reference");
        close(&y, &expected, tolerance, &format!("{dtype:?} value"));
        for ((of, expected), (name, _)) in of.iter().zip(&of_expected).zip(&inputs.0) {
            close(of, expected, tolerance, &format!("{dtype:?} gradient of {name}"));
        }
        if dtype == DType::F64 {
            against_differences(&v, &ours, &of);
        }
    }
}

fn against_differences(v: &[Tensor], ours: &dyn Fn(&[Tensor]) -> Result<Tensor>, of: &[Vec<f64>]) {
    const STEP: f64 = 1e-5;
    for (index, input) in v.iter().enumerate() {
        let at = values(input);
        // With a prime stride all inputs are moved at some time, but not each time for large ones.
        for place in (0..at.len()).step_by(if at.len() > 60 { 7 } else { 1 }) {
            let moved = |by: f64| {
                let mut values = at.clone();
                values[place] += by;
                let mut inputs: Vec<Tensor> = v.iter().map(Tensor::detach).collect();
                inputs[index] = Tensor::from_vec(values, input.shape(), &Device::Cpu).unwrap();
                scalar(&ours(&inputs).unwrap()).to_scalar::<f64>().unwrap()
            };
            let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            let error = (slope - of[index][place]).abs() / slope.abs().max(1.0);
            assert!(error < 1e-5, "input {index}, element {place}: {} instead of {slope}", of[index][place]);
        }
    }
}
