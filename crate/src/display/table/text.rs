//! Tables for terminals, `git diff` and tests.

use super::{Align, Row, TableView};

impl TableView {
    /// Columns are padded; marked rows begin with a letter.
    pub fn text(&self) -> String {
        let (first, _, last) = self.cut();
        let marked = self.is_marked();
        let mut widths: Vec<usize> =
            self.columns.iter().map(|head| width(&head.name).max(width(&head.below))).collect();
        let shown: Vec<bool> = self.shown().collect();
        for row in first.iter().chain(last) {
            for (width_so_far, cell) in widths.iter_mut().zip(&row.cells) {
                *width_so_far = (*width_so_far).max(width(&cell.text));
            }
        }
        let line = |mark: &str, cells: &mut dyn Iterator<Item = &str>| {
            let mut text = if marked { format!("{mark} ") } else { String::new() };
            let cells = cells.zip(&self.columns).zip(&widths).zip(&shown).filter(|(_, shown)| **shown);
            for (index, (((cell, head), wide), _)) in cells.enumerate() {
                let padding = " ".repeat(wide.saturating_sub(width(cell)));
                text.push_str(if index > 0 { "  " } else { "" });
                match head.align {
                    Align::Left => text.extend([&one_line(cell), padding.as_str()]),
                    Align::Right => text.extend([padding.as_str(), &one_line(cell)]),
                }
            }
            text.trim_end().to_owned()
        };
        let mut lines = vec![self.title.clone()];
        if !self.rows.is_empty() {
            lines.push(line(" ", &mut self.columns.iter().map(|head| head.name.as_str())));
            lines.push(line(" ", &mut self.columns.iter().map(|head| head.below.as_str())));
            let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            lines.push(line(" ", &mut rules.iter().map(String::as_str)));
        }
        let row_line = |row: &Row| line(row.mark.letter(), &mut row.cells.iter().map(|cell| cell.text.as_str()));
        lines.extend(first.iter().map(row_line));
        lines.extend(self.hidden_words());
        lines.extend(last.iter().map(row_line));
        lines.extend(self.notes.iter().cloned());
        lines.retain(|line| !line.is_empty());
        lines.join("\n")
    }
}

/// A cell stays on its line, whatever its text contains.
fn one_line(text: &str) -> String {
    text.replace('\n', "⏎").replace(['\r', '\t'], " ")
}

/// Columns of a terminal that a text takes: wide scripts take two, combining marks none.
fn width(text: &str) -> usize {
    text.chars()
        .map(|c| match c as u32 {
            0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
            0x1100..=0x115f
            | 0x2e80..=0xa4cf
            | 0xac00..=0xd7a3
            | 0xf900..=0xfaff
            | 0xfe30..=0xfe6f
            | 0xff00..=0xff60
            | 0xffe0..=0xffe6
            | 0x1f300..=0x1faff
            | 0x20000..=0x3fffd => 2,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::super::{Cell, Mark};
    use super::*;

    fn counted(rows: usize, limit: usize) -> TableView {
        let mut table = TableView::new("T", &[("name", Align::Left), ("n", Align::Right)]).limit(limit);
        for index in 0..rows {
            let mark = if index == 1 { Mark::Bad } else { Mark::None };
            table.row(mark, [format!("row {index}").into(), Cell::count(index as u64 * 1000)]);
        }
        table
    }

    #[test]
    fn text_is_aligned_marked_and_cut_in_the_middle() {
        let mut table = counted(9, 3);
        table.note("done");
        assert_eq!(
            table.text(),
            "T\n  name       n\n  ─────  ─────\n  row 0      0\n! row 1  1,000\n… 6 more rows\n  row 8  8,000\ndone"
        );
    }

    #[test]
    fn a_cut_that_would_hide_one_row_shows_it() {
        assert!(!counted(4, 3).text().contains("more row"));
        assert!(counted(5, 3).text().contains("… 2 more rows"));
    }

    #[test]
    fn a_sparse_table_leaves_out_what_says_nothing() {
        let table = || {
            let mut table =
                TableView::new("", &[("a", Align::Left), ("note", Align::Left), ("b", Align::Left)]).sparse();
            table.row(Mark::None, ["1".into(), "".into(), "2".into()]);
            table
        };
        assert_eq!(table().text(), "a  b\n─  ─\n1  2");
        assert!(!table().html().contains("note") && table().typed("t")["rows"][0]["note"] == "");
        let mut said = table();
        said.row(Mark::None, ["3".into(), "x".into(), "4".into()]);
        assert!(said.text().contains("note") && said.html().contains("note"));
    }

    #[test]
    fn wide_scripts_and_line_ends_keep_the_columns() {
        let mut table = TableView::new("", &[("a", Align::Left), ("b", Align::Left)]);
        table.row(Mark::None, ["漢字".into(), "1".into()]);
        table.row(Mark::None, ["x\ny".into(), "2".into()]);
        assert_eq!(table.text(), "a     b\n────  ─\n漢字  1\nx⏎y   2");
    }
}
