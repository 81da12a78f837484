//! The views of candle's tensors: shape and type, statistics, a picture, and the first numbers.

mod heat_map;
mod sample;
mod statistics;
mod values;

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use candle_core::{DeviceLocation, Tensor, Var};
use candle_nn::VarMap;
use serde_json::{Map, Value, json};

use self::sample::Grid;
use self::statistics::{Statistics, bars, statistics};
use crate::display::models::parameter_table::tensors_table;
use crate::display::numbers::{binary_bytes, real, thousands};
use crate::display::table::{Align, Cell, Mark, TableView};
use crate::display::{Html, MimeBundle, View};

impl View for Tensor {
    fn view(&self) -> MimeBundle {
        let heading = heading(self);
        let readable = sample::is_readable(self.dtype());
        let found = readable.then(|| sample::numbers(self).ok()).flatten().filter(|found| !found.values.is_empty());
        let grid = readable.then(|| sample::grid(self).ok()).flatten().flatten();
        let grid = grid.filter(Grid::is_varied);
        let (mut lines, mut html) = (vec![heading.clone()], Html::new());
        let mut typed = json!({
            "kind": "tensor",
            "shape": self.dims(),
            "dtype": self.dtype().as_str(),
            "device": device(self),
        });
        html.raw("<div style=\"margin:0.3em 0;max-width:100%;overflow-x:auto\"><div><b>")
            .text(&heading)
            .raw("</b></div>");
        if let Some(found) = found.as_ref().filter(|_| self.elem_count() > 1) {
            let about = statistics(&found.values);
            let mut table = facts(&about, found.sampled);
            if found.sampled {
                let (count, total) = (thousands(found.values.len() as u64), thousands(self.elem_count() as u64));
                table.note(format!("from a sample of {count} of the {total} numbers"));
            }
            lines.push(table.text());
            html.raw(table.html());
            if !about.histogram.is_empty() {
                let (low, high) = (real(about.min), real(about.max));
                lines.push(format!("{low} |{}| {high}", bars(&about.histogram)));
                html.raw("<div title=\"histogram\">")
                    .text(low)
                    .raw(" <code style=\"background-color:rgba(128,128,128,0.10)\">");
                html.text(bars(&about.histogram)).raw("</code> ").text(high).raw("</div>");
            }
            typed["sampled"] = found.sampled.into();
            typed["statistics"] = numbers_of(&about);
        }
        let values = match readable {
            true => values::text(self).unwrap_or_else(|error| error.to_string()),
            false => "numbers of this type are not read".to_owned(),
        };
        lines.push(values.clone());
        if let Some(grid) = &grid {
            picture(grid, &mut html);
        }
        // Next to a picture, the few numbers at the edges of a large tensor say little.
        let fold = grid.is_some() && self.elem_count() > values::ALL;
        html.raw(if fold { "<details><summary>values</summary>" } else { "" });
        html.raw("<pre style=\"margin:0.2em 0\">").text(&values).raw("</pre>");
        html.raw(if fold { "</details></div>" } else { "</div>" });
        let bundle = MimeBundle::text(lines.join("\n")).with_html(html.finish());
        let bundle = bundle.with("application/vnd.chandlery.tensor+json", typed);
        match grid.and_then(|grid| heat_map::png(&grid, 6)) {
            Some(png) => bundle.with_png(&png),
            None => bundle,
        }
    }
}

impl View for Var {
    fn view(&self) -> MimeBundle {
        self.as_tensor().view()
    }
}

impl<S> View for HashMap<String, Tensor, S> {
    fn view(&self) -> MimeBundle {
        named(self.iter().collect())
    }
}

impl View for BTreeMap<String, Tensor> {
    fn view(&self) -> MimeBundle {
        named(self.iter().collect())
    }
}

impl View for VarMap {
    fn view(&self) -> MimeBundle {
        let variables = self.data().lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        named(variables.iter().map(|(name, variable)| (name, variable.as_tensor())).collect())
    }
}

fn named(mut tensors: Vec<(&String, &Tensor)>) -> MimeBundle {
    tensors.sort_by(|a, b| a.0.cmp(b.0));
    tensors_table(&tensors).typed_bundle("tensors")
}

fn device(tensor: &Tensor) -> String {
    match tensor.device().location() {
        DeviceLocation::Cpu => "cpu".to_owned(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

fn heading(tensor: &Tensor) -> String {
    let bytes = (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64;
    let layout = if tensor.is_contiguous() { "" } else { ", a view that is not contiguous" };
    format!(
        "Tensor {:?} {} {}: {} {}, {}{layout}",
        tensor.dims(),
        tensor.dtype().as_str(),
        device(tensor),
        thousands(tensor.elem_count() as u64),
        if tensor.elem_count() == 1 { "number" } else { "numbers" },
        binary_bytes(bytes)
    )
}

/// One row of statistics, marked if there are values that no weight should have.
fn facts(about: &Statistics, sampled: bool) -> TableView {
    let columns = ["min", "max", "mean", "std", "zero", "NaN", "±inf"].map(|name| (name, Align::Right));
    let mut table = TableView::new("", &columns);
    let mark = if about.nan + about.infinite > 0 { Mark::Bad } else { Mark::None };
    let number = |value: f64| if about.finite > 0 { Cell::from(real(value)).valued(value) } else { "none".into() };
    let total = (about.finite + about.nan + about.infinite).max(1) as f64;
    // For a sample a share says more; values that should not occur are counted.
    let zero = match sampled {
        true => Cell::from(format!("{:.1}%", about.zero as f64 / total * 100.0)).valued(about.zero as f64 / total),
        false => Cell::count(about.zero as u64),
    };
    let counts = [zero, Cell::count(about.nan as u64), Cell::count(about.infinite as u64)];
    let numbers = [about.min, about.max, about.mean, about.std].map(number);
    table.row(mark, numbers.into_iter().chain(counts));
    table
}

fn numbers_of(about: &Statistics) -> Value {
    let mut object = Map::new();
    if about.finite > 0 {
        for (name, value) in [("min", about.min), ("max", about.max), ("mean", about.mean), ("std", about.std)] {
            object.insert(name.to_owned(), value.into());
        }
    }
    for (name, count) in [("zero", about.zero), ("nan", about.nan), ("infinite", about.infinite)] {
        object.insert(name.to_owned(), count.into());
    }
    Value::Object(object)
}

fn picture(grid: &Grid, html: &mut Html) {
    let Some(png) = heat_map::png(grid, 1) else { return };
    let png = base64::engine::general_purpose::STANDARD.encode(png);
    let what = if grid.whole {
        "every number".to_owned()
    } else {
        format!("{} × {} of the numbers", grid.rows, grid.columns)
    };
    let (low, high) = (grid.values.iter().any(|value| *value < 0.0), grid.values.iter().any(|value| *value > 0.0));
    let most = real(grid.most());
    let colors = match (low, high) {
        (true, true) => format!("blue down to -{most}, orange up to {most}"),
        (true, false) => format!("blue down to -{most}"),
        _ => format!("orange up to {most}"),
    };
    let legend = format!("heat map of {}: {what}, {colors}", grid.slice);
    // The sizes are attributes too, for pages that strip styles.
    let scale = if grid.columns <= 24 { 10 } else { 5 };
    let (width, height) = (grid.columns * scale, grid.rows * scale);
    html.raw("<div style=\"margin:0.3em 0\"><img alt=\"").text(&legend);
    html.raw(format!(
        "\" width=\"{width}\" height=\"{height}\" style=\"image-rendering:pixelated;max-width:none\" src=\"data:image/png;base64,{png}\"></div>"
    ));
    html.raw("<div style=\"opacity:0.75\">").text(&legend).raw("</div>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn counting(count: u32, shape: &[usize]) -> Tensor {
        Tensor::arange(0f32, count as f32, &Device::Cpu).and_then(|t| t.reshape(shape)).unwrap()
    }

    #[test]
    fn tensors_say_shape_statistics_and_values() {
        let text = counting(4, &[2, 2]).view().plain().to_owned();
        assert_eq!(
            text,
            "Tensor [2, 2] f32 cpu: 4 numbers, 16 B\nmin  max   mean    std  zero  NaN  ±inf\n\
             ───  ───  ─────  ─────  ────  ───  ────\n  0    3  1.500  1.118     1    0     0\n\
             0 |█         █          █         █| 3\n[[0., 1.],\n [2., 3.]]"
        );
    }

    #[test]
    fn every_number_type_has_statistics_or_says_why_not() {
        for dtype in [DType::U8, DType::U32, DType::I16, DType::I32, DType::I64, DType::BF16, DType::F16, DType::F64] {
            let typed = counting(20, &[4, 5]).to_dtype(dtype).unwrap().view();
            let typed = typed.get("application/vnd.chandlery.tensor+json").unwrap();
            assert_eq!(
                (&typed["statistics"]["min"], &typed["statistics"]["max"]),
                (&json!(0.0), &json!(19.0)),
                "{dtype:?}"
            );
        }
        let eight_bits = counting(20, &[4, 5]).to_dtype(DType::F8E4M3).unwrap().view();
        assert!(eight_bits.plain().ends_with("\nnumbers of this type are not read"), "{}", eight_bits.plain());
    }

    #[test]
    fn values_that_are_not_numbers_are_marked() {
        let tensor = Tensor::new(&[f32::NAN, f32::INFINITY, 1.0], &Device::Cpu).unwrap();
        assert!(tensor.view().plain().contains("\n!   1"), "{}", tensor.view().plain());
        let empty = Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap().view();
        assert!(empty.plain().starts_with("Tensor [0, 3] f32 cpu: 0 numbers"), "{}", empty.plain());
        let scalar = Tensor::new(2f32, &Device::Cpu).unwrap().view();
        assert_eq!(scalar.plain(), "Tensor [] f32 cpu: 1 number, 4 B\n2.");
    }

    #[test]
    fn big_tensors_are_sampled_and_their_output_stays_small() {
        let bundle = counting(3_000_000, &[1000, 3000]).view();
        assert!(bundle.plain().contains("of the 3,000,000 numbers"), "{}", bundle.plain());
        assert!(serde_json::to_string(&bundle).unwrap().len() < 60_000);
        assert!(bundle.get("image/png").is_some());
    }

    #[test]
    fn named_tensors_are_a_folded_table() {
        let mut named = HashMap::new();
        for layer in 0..4 {
            named.insert(format!("layers.{layer}.weight"), counting(6, &[2, 3]));
        }
        let text = named.view().plain().to_owned();
        assert!(text.contains("layers.*.weight  ×4  [2, 3]"), "{text}");
    }
}
