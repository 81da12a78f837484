//! Parts of rows that are computed apart, each in a graph of its own.

use std::sync::Arc;

use candle_core::{Result, Tensor, Var};

use super::checkpoint::backward_from;
use super::collect::{collected, hand_over};
use super::precomputed_op::PrecomputedOp;

/// A part's rows as a leaf, and what was made of them.
struct Part {
    start: usize,
    rows: usize,
    leaf: Var,
    made: Tensor,
}

/// Cuts x `[rows, …]` into parts of these numbers of rows, computes each by `compute`, which gets the part's number, and joins
/// the results.
///
/// candle's backward would write and add a gradient of all rows for each part. Here a part's backward runs when the gradient
/// of the whole is known, and gradients of variables go to the running [`collected`]; without one, backward is an error.
///
/// # Errors
/// candle's error, if there are fewer rows, and the error of `compute`.
pub fn by_parts(x: &Tensor, sizes: &[usize], compute: impl Fn(usize, &Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let (whole, mut start, mut parts) = (x.detach(), 0, Vec::with_capacity(sizes.len()));
    for (index, &rows) in sizes.iter().enumerate() {
        // A copy of these rows alone: candle copies the whole storage of a window.
        let leaf = Var::from_tensor(&whole.narrow(0, start, rows)?.force_contiguous()?)?;
        let made = compute(index, leaf.as_tensor())?;
        parts.push(Part { start, rows, leaf, made });
        start += rows;
    }
    let value = Tensor::cat(&parts.iter().map(|part| part.made.detach()).collect::<Vec<_>>(), 0)?;
    let parts = Arc::new(parts);
    let backward = move |_: &[&Tensor], g: &Tensor| {
        let mut of_x = Vec::with_capacity(parts.len());
        for part in parts.iter() {
            let g = g.narrow(0, part.start, part.rows)?.contiguous()?;
            let (mut store, mut gradients) = collected(|| backward_from(&part.made, &g))?;
            let own = match (gradients.remove(part.leaf.as_tensor()), store.remove(part.leaf.as_tensor())) {
                (Some(one), Some(other)) => (one + other)?,
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => part.leaf.as_tensor().zeros_like()?,
            };
            of_x.push(own);
            hand_over(gradients, store)?;
        }
        Ok(vec![Some(Tensor::cat(&of_x, 0)?)])
    };
    x.apply_op1(PrecomputedOp::new("row-parts", &value, Box::new(backward))?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor, Var};

    use super::*;
    use crate::ops::{linear, split_rows};

    fn variable(from: f64, shape: (usize, usize)) -> Var {
        let values: Vec<f64> = (0..shape.0 * shape.1).map(|place| ((from + place as f64) * 0.9).sin()).collect();
        Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
    }

    #[test]
    fn parts_have_the_values_and_gradients_of_one_graph() {
        let (x, weights) = (variable(0.0, (7, 4)), [variable(5.0, (4, 4)), variable(9.0, (4, 4))]);
        let sizes = [3, 4];
        let compute = |index: usize, rows: &Tensor| linear(&rows.sqr()?, &weights[index], None)?.sqr();
        let factors = variable(2.0, (7, 4));
        let loss = |y: Tensor| (y * factors.as_tensor())?.sum_all();
        let together = || {
            let parts = split_rows(&(x.as_tensor() * 2.0)?, &sizes)?;
            let made: Vec<Tensor> =
                parts.iter().enumerate().map(|(index, rows)| compute(index, rows)).collect::<Result<_>>()?;
            loss(Tensor::cat(&made, 0)?)
        };
        let apart = || loss(by_parts(&(x.as_tensor() * 2.0)?, &sizes, compute)?);
        let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let gradients = |loss: &dyn Fn() -> Result<Tensor>| {
            let (mut store, mut gradients) = collected(|| loss()?.backward()).unwrap();
            let mut of =
                |variable: &Var| values(gradients.remove(variable).or_else(|| store.remove(variable)).unwrap());
            [of(&x), of(&weights[0]), of(&weights[1])]
        };
        assert_eq!(values(apart().unwrap()), values(together().unwrap()));
        for (found, expected) in gradients(&apart).iter().zip(&gradients(&together)) {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12));
        }
        assert!(apart().unwrap().backward().unwrap_err().to_string().contains("collected"));
    }
}
