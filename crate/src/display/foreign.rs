//! Renderings of candle's and polars' types.

use candle_core::Tensor;
use polars::prelude::{AnyValue, Column, DataFrame, Series};

use super::numbers::thousands;
use super::{Html, MimeBundle, View};

/// Rows and columns beyond these are left out of HTML tables; the heading still says how many there are.
const MAX_ROWS: usize = 100;
const MAX_COLUMNS: usize = 40;

const CELL: &str = "padding:2px 10px;border-bottom:1px solid rgb(128,128,128,0.3);";

impl View for DataFrame {
    fn view(&self) -> MimeBundle {
        let (rows, width) = (self.height(), self.width());
        let shown = rows.min(MAX_ROWS);
        let columns = &self.columns()[..width.min(MAX_COLUMNS)];
        let mut html = Html::new();
        html.raw("<div style=\"font-size:0.85em;opacity:0.7\">");
        html.text(format!("{rows} rows × {width} columns")).raw("</div>");
        html.raw("<table style=\"border-collapse:collapse;font-variant-numeric:tabular-nums\"><thead><tr>");
        for column in columns {
            html.raw(format!("<th style=\"{CELL}text-align:{}\">", align(column))).text(column.name());
            html.raw("<br><span style=\"font-weight:normal;opacity:0.7\">").text(column.dtype()).raw("</span></th>");
        }
        html.raw("</tr></thead><tbody>");
        for row in 0..shown {
            html.raw("<tr>");
            for column in columns {
                html.raw(format!("<td style=\"{CELL}text-align:{}\">", align(column)));
                match column.get(row) {
                    Ok(value) => html.text(cell_text(&value)),
                    Err(error) => html.text(error),
                };
                html.raw("</td>");
            }
            html.raw("</tr>");
        }
        html.raw("</tbody></table>");
        if shown < rows {
            html.raw("<div style=\"opacity:0.7\">").text(format!("… {} more rows", rows - shown)).raw("</div>");
        }
        MimeBundle::text(self.to_string()).with_html(html.finish())
    }
}

/// Whole numbers with their thousands separated, as in every table here.
fn cell_text(value: &AnyValue<'_>) -> String {
    match value.extract::<u64>().filter(|_| value.is_primitive_numeric() && !value.is_float()) {
        Some(number) => thousands(number),
        None => value.str_value().into_owned(),
    }
}

fn align(column: &Column) -> &'static str {
    if column.dtype().is_primitive_numeric() { "right" } else { "left" }
}

impl View for Series {
    fn view(&self) -> MimeBundle {
        let frame = self.clone().into_frame();
        let table = frame.view();
        let html = table.get("text/html").and_then(|html| html.as_str()).unwrap_or_default();
        MimeBundle::text(self.to_string()).with_html(html)
    }
}

impl View for Tensor {
    fn view(&self) -> MimeBundle {
        let shape: Vec<String> = self.dims().iter().map(ToString::to_string).collect();
        let device = match self.device().location() {
            candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
            candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
            candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
        };
        let heading = format!("Tensor [{}] {} {device}", shape.join(", "), self.dtype().as_str());
        // candle ends its own text with the same facts in brackets.
        let values = self.to_string();
        let values = values.rsplit_once("\nTensor[").map_or(values.as_str(), |(values, _)| values);
        let mut html = Html::new();
        html.raw("<div><b>").text(&heading).raw("</b></div><pre style=\"margin:0\">").text(values).raw("</pre>");
        MimeBundle::text(format!("{heading}\n{values}")).with_html(html.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polars::prelude::df;

    #[test]
    fn frames_are_escaped_tables() {
        let frame = df!["<name>" => ["a&b", "c"], "n" => [1, 2]].unwrap();
        let bundle = frame.view();
        let html = bundle.get("text/html").and_then(|html| html.as_str()).unwrap();
        assert!(html.contains("&lt;name&gt;") && html.contains("a&amp;b") && html.contains("2 rows × 2 columns"));
        assert!(bundle.plain().contains("a&b"));
    }

    #[test]
    fn tensors_say_shape_and_values() {
        let tensor = Tensor::arange(0_f32, 4.0, &candle_core::Device::Cpu).and_then(|t| t.reshape((2, 2))).unwrap();
        let bundle = tensor.view();
        assert!(bundle.plain().starts_with("Tensor [2, 2] f32 cpu\n[["), "{}", bundle.plain());
    }
}
