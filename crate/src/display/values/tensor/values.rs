//! The numbers of a tensor as nested brackets: all of a small one, of a large one those at the edges of each dimension.

use candle_core::{DType, Device, Result, Tensor};

/// The most numbers that are written out.
pub(super) const ALL: usize = 100;
/// Otherwise, how many at each edge of the last two dimensions, and of those before them.
const EDGE: usize = 3;
const OUTER_EDGE: usize = 1;
/// Characters to a line.
const LINE: usize = 96;

/// The numbers as text.
pub(super) fn text(tensor: &Tensor) -> Result<String> {
    let rank = tensor.rank();
    let mut part = tensor.clone();
    let mut sides = Vec::with_capacity(rank);
    for (dim, size) in tensor.dims().iter().copied().enumerate() {
        let edge = if dim + 2 >= rank { EDGE } else { OUTER_EDGE };
        let cut = tensor.elem_count() > ALL && size > 2 * edge;
        if cut {
            part = Tensor::cat(&[part.narrow(dim, 0, edge)?, part.narrow(dim, size - edge, edge)?], dim)?;
        }
        sides.push(Side { shown: if cut { 2 * edge } else { size }, cut: cut.then_some(edge) });
    }
    let words = padded(words(&part)?);
    let mut text = String::new();
    block(&words, &sides, 0, &mut text);
    Ok(text)
}

/// A dimension: how many of its positions are shown, and after how many of them others are left out.
struct Side {
    shown: usize,
    cut: Option<usize>,
}

fn words(part: &Tensor) -> Result<Vec<String>> {
    let flat = part.flatten_all()?.to_device(&Device::Cpu)?;
    if part.dtype().is_int() {
        return Ok(flat.to_dtype(DType::I64)?.to_vec1::<i64>()?.iter().map(i64::to_string).collect());
    }
    Ok(floats(&flat.to_dtype(DType::F64)?.to_vec1()?))
}

/// All in one form: whole numbers, four decimals, or with exponents where those would show nothing.
fn floats(values: &[f64]) -> Vec<String> {
    let finite = || values.iter().filter(|value| value.is_finite());
    let most = finite().fold(0.0f64, |most, value| most.max(value.abs()));
    let whole = finite().all(|value| value.fract() == 0.0) && most < 1e8;
    let exponents = most >= 1e5 || (most > 0.0 && most < 1e-2);
    let word = |value: &f64| match value {
        value if !value.is_finite() => value.to_string(),
        value if whole => format!("{value:.0}."),
        value if exponents => format!("{value:.4e}"),
        value => format!("{value:.4}"),
    };
    values.iter().map(word).collect()
}

fn padded(words: Vec<String>) -> Vec<String> {
    let wide = words.iter().map(String::len).max().unwrap_or(0);
    words.into_iter().map(|word| format!("{word:>wide$}")).collect()
}

fn block(words: &[String], sides: &[Side], depth: usize, text: &mut String) {
    let Some((side, inner)) = sides.split_first() else {
        words.iter().for_each(|word| text.push_str(word));
        return;
    };
    text.push('[');
    let each = words.len() / side.shown.max(1);
    let mut line = 0;
    for index in 0..side.shown {
        let indent = " ".repeat(depth + 1);
        if inner.is_empty() {
            let words = if side.cut == Some(index) { ["...", &words[index]].join(", ") } else { words[index].clone() };
            line += words.len() + 2;
            if line > LINE {
                text.push_str(&format!("\n{indent}"));
                line = words.len();
            } else if index > 0 {
                text.push(' ');
            }
            text.push_str(&words);
        } else {
            text.push_str(&if index > 0 { format!("\n{indent}") } else { String::new() });
            text.push_str(&if side.cut == Some(index) { format!("...\n{indent}") } else { String::new() });
            block(&words[index * each..(index + 1) * each], inner, depth + 1, text);
        }
        text.push_str(if index + 1 < side.shown { "," } else { "" });
    }
    text.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(values: &[f64], shape: &[usize]) -> String {
        text(&Tensor::new(values, &Device::Cpu).unwrap().reshape(shape).unwrap()).unwrap()
    }

    #[test]
    fn numbers_of_one_tensor_have_one_form() {
        assert_eq!(shown(&[1.0, -20.0, f64::NAN], &[3]), "[  1., -20.,  NaN]");
        assert_eq!(shown(&[1.0, 0.25], &[2]), "[1.0000, 0.2500]");
        assert_eq!(shown(&[1e-5, -2e-6], &[2]), "[ 1.0000e-5, -2.0000e-6]");
        assert_eq!(shown(&[3.5], &[]), "3.5000");
        assert_eq!(shown(&[1.0, 2.0, 3.0, 4.0], &[2, 1, 2]), "[[[1., 2.]],\n [[3., 4.]]]");
        let ids = Tensor::new(&[1i64, i64::MAX], &Device::Cpu).unwrap();
        assert_eq!(text(&ids).unwrap(), "[                  1, 9223372036854775807]");
    }

    #[test]
    fn large_tensors_show_their_edges() {
        let counting: Vec<f64> = (0..1000).map(f64::from).collect();
        assert_eq!(shown(&counting, &[1000]), "[  0.,   1.,   2., ..., 997., 998., 999.]");
        let matrix = shown(&counting, &[10, 100]);
        assert!(matrix.starts_with("[[  0.,   1.,   2., ...,  97.,  98.,  99.],\n [100."), "{matrix}");
        assert!(matrix.contains("299.],\n ...\n [700.") && matrix.lines().count() == 7, "{matrix}");
        assert!(shown(&counting, &[10, 10, 10]).lines().count() <= 15);
        // As many as fit on a page are all there, in lines.
        let all = shown(&counting[..100], &[100]);
        assert!(
            all.lines().count() > 4 && all.lines().all(|line| line.len() <= LINE + 2) && !all.contains("..."),
            "{all}"
        );
    }
}
