//! A matrix of values as colors: a chart that shows the value under the pointer, and a picture.

mod plot;

use serde_json::json;

use self::plot::Plot;
use crate::display::plots::picture::with_pictures;
use crate::display::plots::vega;
use crate::display::{MimeBundle, View, is_interactive};

/// Values by row and column, colored on a logarithmic scale: full at its `most`, empty at a millionth of that.
#[derive(Clone, Debug)]
pub struct HeatMap {
    title: String,
    axes: (String, String),
    rows: Vec<String>,
    columns: Vec<String>,
    most: f64,
    /// One for each cell, row after row.
    values: Vec<f64>,
}

/// The most cells that a picture has room for; of adjacent cells beyond that the greatest is kept.
const COLUMNS: usize = 128;
const ROWS: usize = 128;

/// The powers of ten that the colors span.
const DECADES: f64 = 6.0;

impl HeatMap {
    /// An empty map of these columns. `axes` name what runs to the right and what runs down.
    pub fn new(title: impl Into<String>, axes: (&str, &str), columns: Vec<String>, most: f64) -> Self {
        let axes = (axes.0.to_owned(), axes.1.to_owned());
        Self { title: title.into(), axes, rows: Vec::new(), columns, most, values: Vec::new() }
    }

    /// Adds a row. Values that are missing count as zero; more than there are columns are left out.
    pub fn row(&mut self, name: impl Into<String>, values: impl IntoIterator<Item = f64>) {
        self.rows.push(name.into());
        self.values.extend(values.into_iter().chain(std::iter::repeat(0.0)).take(self.columns.len()));
    }

    fn value(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.columns.len() + column]
    }

    /// From 0 to 1; 1 for values that are not finite.
    fn strength(&self, value: f64) -> f64 {
        let share = value.abs() / self.most;
        if share.is_nan() { 1.0 } else { (1.0 + share.log10() / DECADES).clamp(0.0, 1.0) }
    }

    /// Joins adjacent cells until the map fits a picture.
    fn fitted(&self) -> Self {
        let (tall, wide) = (self.rows.len().div_ceil(ROWS).max(1), self.columns.len().div_ceil(COLUMNS).max(1));
        let name = |names: &[String]| match names {
            [only] => only.clone(),
            [first, .., last] => format!("{first} to {last}"),
            [] => String::new(),
        };
        let columns: Vec<String> = self.columns.chunks(wide).map(name).collect();
        let mut fitted = Self { columns, rows: Vec::new(), values: Vec::new(), ..self.clone() };
        for row in (0..self.rows.len()).step_by(tall) {
            let rows = row..(row + tall).min(self.rows.len());
            fitted.rows.push(name(&self.rows[rows.clone()]));
            for column in (0..self.columns.len()).step_by(wide) {
                let columns = column..(column + wide).min(self.columns.len());
                let block = rows.clone().flat_map(|row| columns.clone().map(move |column| self.value(row, column)));
                let worst = block.max_by(|a, b| a.abs().total_cmp(&b.abs()));
                fitted.values.push(worst.unwrap_or_default());
            }
        }
        fitted
    }

    fn summary(&self) -> String {
        let worst = (0..self.values.len()).max_by(|a, b| self.values[*a].abs().total_cmp(&self.values[*b].abs()));
        let place = worst.map_or_else(String::new, |index| {
            let (row, column) = (index / self.columns.len(), index % self.columns.len());
            let (across, down) = (&self.axes.0, &self.axes.1);
            let value = crate::display::numbers::small(self.values[index]);
            format!(", the greatest {value} at {down} {}, {across} {}", self.rows[row], self.columns[column])
        });
        format!("{}: {} × {} values{place}", self.title, self.rows.len(), self.columns.len())
    }
}

impl View for HeatMap {
    fn view(&self) -> MimeBundle {
        let fitted = self.fitted();
        let typed = json!({
            "kind": "heat_map", "rows": fitted.rows, "columns": fitted.columns, "most": fitted.most, "values": fitted.values,
        });
        let bundle = MimeBundle::text(self.summary()).with("application/vnd.chandlery.heatmap+json", typed);
        if fitted.values.is_empty() {
            return bundle;
        }
        let bundle = with_pictures(bundle, &Plot(&fitted));
        match is_interactive() {
            true => bundle.with(vega::MIME, fitted.chart()),
            false => bundle,
        }
    }
}

impl HeatMap {
    fn chart(&self) -> serde_json::Value {
        let wide = self.columns.len();
        let cell = |index: usize| {
            let value = self.values[index];
            let strength = (self.strength(value) * 1000.0).round() / 1000.0;
            json!({"row": self.rows[index / wide], "column": self.columns[index % wide], "value": value, "strength": strength})
        };
        let values = (0..self.values.len()).map(cell).collect();
        let (width, height) = self.body();
        let side = |name: &str, names: &[String], labeled: Vec<usize>| vega::Side {
            name: name.to_owned(),
            all: names.to_vec(),
            labeled: labeled.into_iter().map(|index| names[index].clone()).collect(),
        };
        let sides = [
            side(&self.axes.0, &self.columns, self.labeled_columns()),
            side(&self.axes.1, &self.rows, self.labeled_rows()),
        ];
        let scale = format!("format({:e} * pow(10, {DECADES} * (datum.value - 1)), '.0e')", self.most);
        vega::cells(&self.title, sides, (width, height), values, &scale, plot::LABEL as f64 * plot::LETTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_map_is_joined_and_keeps_its_worst_value() {
        let mut map = HeatMap::new("m", ("position", "layer"), (0..1000).map(|n| n.to_string()).collect(), 1.0);
        for layer in 0..300 {
            map.row(
                layer.to_string(),
                (0..1000).map(|position| if (layer, position) == (200, 777) { -0.5 } else { 1e-4 }),
            );
        }
        assert_eq!(map.view().plain(), "m: 300 × 1000 values, the greatest -0.50 at layer 200, position 777");
        let fitted = map.fitted();
        assert_eq!((fitted.rows.len(), fitted.columns.len()), (100, 125));
        let worst = fitted.values.iter().position(|value| *value == -0.5).unwrap();
        assert_eq!((&*fitted.rows[worst / 125], &*fitted.columns[worst % 125]), ("198 to 200", "776 to 783"));
        assert!(map.view().get("image/png").is_some() && map.view() == map.view());
    }

    #[test]
    fn strength_is_between_0_and_1() {
        let map = HeatMap::new("m", ("x", "y"), Vec::new(), 1e-3);
        let shown = [1e-3, 1.0, 1e-6, 0.0, f64::NAN, f64::INFINITY].map(|value| map.strength(value));
        assert_eq!(shown, [1.0, 1.0, 0.5, 0.0, 1.0, 1.0]);
        assert_eq!(map.view().plain(), "m: 0 × 0 values");
        let mut narrow = HeatMap::new("m", ("x", "y"), vec!["a".to_owned()], 0.0);
        narrow.row("r", [f64::NAN]);
        assert!(narrow.view().get("image/png").is_some());
    }
}
