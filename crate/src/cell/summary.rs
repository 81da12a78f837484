//! Short summaries of variables.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use candle_core::Tensor;
use polars::prelude::{Column, DataFrame, Series};

use crate::display::{beginning, binary_bytes, thousands};

/// The most characters that a summary takes.
const WIDTH: usize = 60;

/// A short summary of a value: the value itself if it is short, its length or shape, else its size on the stack.
pub(super) fn summary(value: &dyn Any) -> String {
    let known = scalar(value).or_else(|| collection(value)).or_else(|| data(value));
    known.unwrap_or_else(|| binary_bytes(size_of_val(value) as u64))
}

macro_rules! by_debug {
    ($value:ident: $($kind:ty),+) => { $(if let Some(value) = $value.downcast_ref::<$kind>() { return Some(short(value)); })+ };
}

fn scalar(value: &dyn Any) -> Option<String> {
    by_debug!(value: i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize, f32, f64, bool, char);
    by_debug!(value: String, &'static str, PathBuf, std::time::Duration, candle_core::DType);
    None
}

macro_rules! by_length {
    ($value:ident: $($item:ty),+) => {
        $(
            if let Some(value) = $value.downcast_ref::<Vec<$item>>() { return Some(items(value.len(), value)); }
            if let Some(value) = $value.downcast_ref::<Option<$item>>() { return Some(short(value)); }
            if let Some(value) = $value.downcast_ref::<Arc<Vec<$item>>>() { return Some(items(value.len(), value)); }
            if let Some(value) = $value.downcast_ref::<Rc<Vec<$item>>>() { return Some(items(value.len(), value)); }
            if let Some(value) = $value.downcast_ref::<HashMap<String, $item>>() { return Some(entries(value.len())); }
            if let Some(value) = $value.downcast_ref::<BTreeMap<String, $item>>() { return Some(entries(value.len())); }
        )+
    };
}

fn collection(value: &dyn Any) -> Option<String> {
    by_length!(value: i32, i64, u8, u32, u64, usize, f32, f64, bool, String, &'static str);
    if let Some(rows) = value.downcast_ref::<Vec<Vec<f32>>>() {
        return Some(format!("{} rows", thousands(rows.len() as u64)));
    }
    value.downcast_ref::<Vec<Tensor>>().map(|all| format!("{} tensors", thousands(all.len() as u64)))
}

fn data(value: &dyn Any) -> Option<String> {
    if let Some(tensor) = value.downcast_ref::<Tensor>() {
        let bytes = tensor.elem_count() * tensor.dtype().size_in_bytes();
        return Some(format!("{:?} {} {}", tensor.dims(), tensor.dtype().as_str(), binary_bytes(bytes as u64)));
    }
    if let Some(frame) = value.downcast_ref::<DataFrame>() {
        return Some(format!("{} rows × {} columns", thousands(frame.height() as u64), frame.width()));
    }
    let series = value.downcast_ref::<Series>().map(|series| (series.len(), series.dtype()));
    let column = value.downcast_ref::<Column>().map(|column| (column.len(), column.dtype()));
    if let Some((length, kind)) = series.or(column) {
        return Some(format!("{} × {kind}", thousands(length as u64)));
    }
    let json = value.downcast_ref::<serde_json::Value>()?;
    Some(cut(json.to_string()))
}

fn items(length: usize, all: &dyn Debug) -> String {
    match length {
        0..=8 => short(all),
        _ => format!("{} items", thousands(length as u64)),
    }
}

fn entries(length: usize) -> String {
    format!("{} entries", thousands(length as u64))
}

fn short(value: &dyn Debug) -> String {
    cut(beginning(&format_args!("{value:?}"), WIDTH * 4))
}

fn cut(text: String) -> String {
    match text.char_indices().nth(WIDTH) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_a_few_words() {
        assert_eq!(summary(&1.5_f32), "1.5");
        assert_eq!(summary(&vec![1_u8, 2]), "[1, 2]");
        assert_eq!(summary(&vec![0_i64; 12_345]), "12,345 items");
        assert_eq!(summary(&"é".repeat(1_000_000)).chars().count(), WIDTH + 1);
        let tensor = Tensor::zeros((2, 3), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        assert_eq!(summary(&tensor), "[2, 3] f32 24 B");
        assert_eq!(summary(&[0_u16; 8]), "16 B");
    }
}
