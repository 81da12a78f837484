//! Tables for programs.

use serde_json::{Map, Value, json};

use super::TableView;

/// The most rows that are written; the others are counted.
const MOST_ROWS: usize = 2000;

impl TableView {
    /// `{"kind", "title", "columns", "rows", "hidden", "notes"}`; a row is an object by column, with numbers where
    /// the cell has one behind its text, else text. A row's mark is its `mark`.
    pub(in super::super) fn typed(&self, kind: &str) -> Value {
        let names = self.names();
        let row = |row: &super::Row| {
            let mut object = Map::new();
            if row.mark.letter() != " " {
                object.insert("mark".to_owned(), row.mark.letter().into());
            }
            for (name, cell) in names.iter().zip(&row.cells) {
                let value = cell.value.clone().unwrap_or_else(|| Value::from(cell.text.as_str()));
                object.insert(name.clone(), value);
            }
            Value::Object(object)
        };
        let rows: Vec<Value> = self.rows.iter().take(MOST_ROWS).map(row).collect();
        let total = self.rows.len() + self.left_out;
        json!({
            "kind": kind,
            "title": self.title,
            "columns": names,
            "hidden": total - rows.len(),
            "rows": rows,
            "notes": self.notes,
        })
    }

    /// The columns' names, each unique: a missing or repeated one is numbered.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (index, head) in self.columns.iter().enumerate() {
            let taken = head.name.is_empty() || head.name == "mark" || names.contains(&head.name);
            names.push(if taken { format!("{}#{index}", head.name) } else { head.name.clone() });
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Align, Cell, Mark, TableView};
    use serde_json::json;

    #[test]
    fn rows_hold_the_numbers_behind_the_text() {
        let mut table = TableView::new("T", &[("name", Align::Left), ("size", Align::Right), ("", Align::Left)]);
        table.row(Mark::Good, ["a".into(), Cell::bytes(1536), "x".into()]);
        assert_eq!(
            table.typed("sizes"),
            json!({"kind": "sizes", "title": "T", "columns": ["name", "size", "#2"], "hidden": 0, "notes": [],
                   "rows": [{"mark": "+", "name": "a", "size": 1536, "#2": "x"}]})
        );
    }
}
