//! The views of polars' frames, series and queries. A query is described, not run.

mod form;

use polars::prelude::{AnyValue, Column, DataFrame, DataType, LazyFrame, Series};

use self::form::{Form, float};
use crate::display::numbers::{binary_bytes, thousands};
use crate::display::table::{Align, Cell, Mark, TableView};
use crate::display::{Html, MimeBundle, View};

/// Rows shown at first, and rows beside them that HTML unfolds.
const SHOWN: usize = 20;
const UNFOLDED: usize = 500;
/// Columns shown at most: twice as many from the left as from the right.
const COLUMNS: usize = 30;
/// Characters of a list, before it says how many values it has.
const LIST: usize = 40;
/// Characters of a text.
const TEXT: usize = 60;

impl View for DataFrame {
    fn view(&self) -> MimeBundle {
        let (rows, columns) = (self.height() as u64, self.width() as u64);
        let title = format!("DataFrame: {} × {}", counted(rows, "row"), counted(columns, "column"));
        table(self, &title).typed_bundle("frame")
    }
}

impl View for Series {
    fn view(&self) -> MimeBundle {
        column(&Column::from(self.clone()), "Series")
    }
}

impl View for Column {
    fn view(&self) -> MimeBundle {
        column(self, "Column")
    }
}

/// The schema and the plan of a query: what it will do when it is collected.
impl View for LazyFrame {
    fn view(&self) -> MimeBundle {
        let columns = [("column", Align::Left), ("type", Align::Left)];
        let mut table = TableView::new("LazyFrame: not collected yet", &columns);
        match self.clone().collect_schema() {
            Ok(schema) => {
                let title = format!("LazyFrame: {}, not collected yet", counted(schema.len() as u64, "column"));
                table = TableView::new(title, &columns);
                for (name, dtype) in schema.iter() {
                    table.row(Mark::None, [name.as_str().into(), dtype.to_string().into()]);
                }
            }
            Err(error) => table.note(format!("! its columns are unknown: {error}")),
        }
        let bundle = table.typed_bundle("query");
        let plans = [("plan", self.describe_plan()), ("optimized plan", self.describe_optimized_plan())];
        let (mut text, mut html, mut last) = (bundle.plain().to_owned(), Html::new(), String::new());
        html.raw(table.html());
        for (name, plan) in plans {
            let plan = plan.unwrap_or_else(|error| format!("! {error}"));
            if plan == last {
                continue;
            }
            text.push_str(&format!("\n\n{name}:\n{}", plan.trim_end()));
            html.raw("<details><summary>").text(name).raw("</summary><pre style=\"margin:0.2em 0\">");
            html.text(plan.trim_end()).raw("</pre></details>");
            last = plan;
        }
        bundle.with("text/plain", text).with_html(html.finish())
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(count), if count == 1 { "" } else { "s" })
}

fn column(column: &Column, kind: &str) -> MimeBundle {
    let title = format!("{kind} `{}`: {} of {}", column.name(), counted(column.len() as u64, "value"), column.dtype());
    table(&column.clone().into_frame(), &title).typed_bundle("frame")
}

/// The frame's first and last rows, and as many between them as a page can hold.
fn table(frame: &DataFrame, title: &str) -> TableView {
    let columns = frame.columns();
    let cut = (columns.len() > COLUMNS + 1).then(|| columns.len() - COLUMNS);
    let (left, right) = match cut {
        Some(hidden) => (&columns[..COLUMNS * 2 / 3], &columns[COLUMNS * 2 / 3 + hidden..]),
        None => (columns, &columns[..0]),
    };
    let head = |column: &Column| (column.name().to_string(), align(column.dtype()), column.dtype().to_string());
    let mut heads: Vec<(String, Align, String)> = left.iter().map(head).collect();
    heads.extend(cut.map(|hidden| ("…".to_owned(), Align::Left, format!("{} more", thousands(hidden as u64)))));
    heads.extend(right.iter().map(head));
    let named: Vec<(&str, Align)> = heads.iter().map(|(name, align, _)| (name.as_str(), *align)).collect();
    let mut table = TableView::new(title, &named).limit(SHOWN);
    heads.iter().enumerate().for_each(|(index, (_, _, dtype))| table.below(index, dtype.as_str()));

    let height = frame.height();
    let forms: Vec<Form> = columns.iter().map(Form::of).collect();
    let held = SHOWN + UNFOLDED;
    let absent = height.saturating_sub(held);
    let last = if absent > 0 { height - SHOWN / 2 } else { height };
    for index in (0..height.min(held) - (height - last)).chain(last..height) {
        let formed = |columns: &[Column], forms: &[Form]| -> Vec<Cell> {
            columns.iter().zip(forms).map(|(column, form)| cell(column, index, *form)).collect()
        };
        let mut cells = formed(left, &forms);
        cells.extend(cut.map(|_| Cell::from("…")));
        cells.extend(formed(right, &forms[columns.len() - right.len()..]));
        table.row(Mark::None, cells);
    }
    table.leave_out(absent);
    let nulls: Vec<String> = columns
        .iter()
        .filter(|column| column.null_count() > 0)
        .take(COLUMNS)
        .map(|column| format!("{} in {}", thousands(column.null_count() as u64), column.name()))
        .collect();
    if !nulls.is_empty() {
        table.note(format!("null: {}", nulls.join(", ")));
    }
    if absent > 0 {
        table.note(format!("{} in memory", binary_bytes(frame.estimated_size() as u64)));
    }
    table
}

fn align(dtype: &DataType) -> Align {
    if dtype.is_primitive_numeric() { Align::Right } else { Align::Left }
}

fn cell(column: &Column, index: usize, form: Form) -> Cell {
    match column.get(index) {
        Ok(value) => value_cell(&value, form),
        Err(error) => error.to_string().into(),
    }
}

fn value_cell(value: &AnyValue<'_>, form: Form) -> Cell {
    match value {
        AnyValue::Null => {
            let mut html = Html::new();
            html.raw("<i style=\"opacity:0.75\">null</i>");
            Cell::rich("null", html).valued(serde_json::Value::Null)
        }
        AnyValue::Float32(number) => float(f64::from(*number), &number.to_string(), form),
        AnyValue::Float64(number) => float(*number, &number.to_string(), form),
        AnyValue::Boolean(truth) => Cell::from(truth.to_string()).valued(*truth),
        value if value.is_primitive_numeric() => match value.extract::<i128>() {
            Some(number) => Cell::integer(number),
            None => value.str_value().into_owned().into(),
        },
        AnyValue::List(values) => list(values),
        value => elided(&value.str_value()),
    }
}

/// The beginning of a list, and how many values it has in all where they do not fit.
fn list(values: &Series) -> Cell {
    let mut text = String::from("[");
    for (index, value) in values.iter().enumerate() {
        let word = match &value {
            AnyValue::String(text) => format!("{text:?}"),
            value => value_cell(value, Form::Each).text().to_owned(),
        };
        if text.chars().count() + word.chars().count() > LIST {
            return format!("{text}{}…] {} values", if index > 0 { ", " } else { "" }, thousands(values.len() as u64))
                .into();
        }
        text.push_str(if index > 0 { ", " } else { "" });
        text.push_str(&word);
    }
    (text + "]").into()
}

/// The beginning of a long text, the rest as far as a tooltip holds it.
fn elided(text: &str) -> Cell {
    let Some((end, _)) = text.char_indices().nth(TEXT) else { return text.into() };
    let short = format!("{}…", &text[..end]);
    let mut html = Html::new();
    html.raw("<span title=\"").text(text.chars().take(1000).collect::<String>()).raw("\">").text(&short).raw("</span>");
    Cell::rich(short, html)
}

#[cfg(test)]
mod tests {
    use super::*;
    use polars::prelude::{IntoLazy, NamedFrom, col, df, lit};

    fn html(bundle: &MimeBundle) -> &str {
        bundle.get("text/html").and_then(|html| html.as_str()).unwrap()
    }

    #[test]
    fn frames_are_escaped_aligned_tables_with_types_and_nulls() {
        let frame = df!["<name>" => [Some("a&b"), None], "n" => [1_234_567, -2], "x" => [0.5, f64::NAN]].unwrap();
        let bundle = frame.view();
        assert!(html(&bundle).contains("&lt;name&gt;") && html(&bundle).contains("a&amp;b"));
        assert_eq!(
            bundle.plain(),
            "DataFrame: 2 rows × 3 columns\n<name>          n    x\nstr           i32  f64\n──────  ─────────  ───\n\
             a&b     1,234,567  0.5\nnull           -2  NaN\nnull: 1 in <name>"
        );
        let typed = bundle.get("application/vnd.chandlery.table+json").unwrap();
        assert_eq!(typed["rows"][0]["n"], 1_234_567);
        assert!(typed["rows"][1]["<name>"].is_null());
    }

    #[test]
    fn long_frames_show_both_ends_and_count_the_rest() {
        let numbers: Vec<i64> = (0..10_000).collect();
        let bundle = df!["n" => numbers].unwrap().view();
        let lines: Vec<&str> = bundle.plain().lines().collect();
        assert_eq!(lines.len(), 1 + 3 + 20 + 1 + 1, "{}", bundle.plain());
        assert_eq!((lines[14], lines[24]), ("… 9,980 more rows", "9,999"));
        assert!(html(&bundle).contains("… and 9,480 that are not on this page"));
        assert_eq!(html(&bundle).matches("<tr>").count(), 1 + 520 + 1);
    }

    #[test]
    fn wide_frames_and_long_texts_are_cut() {
        let columns = (0..50).map(|index| Column::new(format!("c{index}").into(), ["x".repeat(500)])).collect();
        let bundle = DataFrame::new(1, columns).unwrap().view();
        assert!(
            bundle.plain().contains("20 more") && bundle.plain().contains("c49") && !bundle.plain().contains("c25")
        );
        assert!(bundle.plain().lines().all(|line| line.chars().count() < 2000));
    }

    #[test]
    fn lists_show_as_much_as_fits_and_say_how_long_they_are() {
        let lists = [Series::new("".into(), [1i64, 2, 3, 4]), Series::new("".into(), (0..100).collect::<Vec<i64>>())];
        let text = Series::new("s".into(), lists).view().plain().to_owned();
        assert!(
            text.contains("[1, 2, 3, 4]")
                && text.contains(", …] 100 values")
                && text.lines().all(|line| line.chars().count() <= 60),
            "{text}"
        );
    }

    #[test]
    fn series_and_columns_say_their_type() {
        let series = Series::new("s".into(), [1.5f32, 2.0]);
        assert!(series.view().plain().starts_with("Series `s`: 2 values of f32\n"));
        assert!(Column::from(series).view().plain().starts_with("Column `s`: 2 values of f32\n"));
    }

    #[test]
    fn queries_are_described_and_not_run() {
        let frame = df!["n" => [1, 2]].unwrap();
        let query = frame.clone().lazy().filter(col("n").gt(lit(1))).select([col("n").alias("m")]);
        let text = query.view().plain().to_owned();
        assert!(
            text.starts_with("LazyFrame: 1 column, not collected yet\ncolumn  type\n") && text.contains("\nm"),
            "{text}"
        );
        assert!(text.contains("plan:\n") && text.contains("FILTER"), "{text}");
        let wrong = frame.lazy().select([col("nothing")]).view();
        assert!(wrong.plain().contains("! its columns are unknown"), "{}", wrong.plain());
    }
}
