//! A table with a title, aligned columns, marked rows and notes, rendered as text and as HTML.

use super::{Html, MimeBundle};

/// Which way a column's cells lean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// What a row wants to say beyond its cells. The letter stands in text and for readers who see no colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mark {
    /// Nothing.
    #[default]
    None,
    /// Added or passed (`+`).
    Good,
    /// Missing, failed or different (`!`).
    Bad,
    /// Left out on purpose (`·`).
    Muted,
    /// A sum or a heading (bold).
    Strong,
}

impl Mark {
    fn letter(self) -> &'static str {
        match self {
            Mark::None | Mark::Strong => " ",
            Mark::Good => "+",
            Mark::Bad => "!",
            Mark::Muted => "·",
        }
    }

    /// Translucent backgrounds read on light and dark pages, and survive the sanitizer of untrusted notebooks.
    pub(super) fn style(self) -> &'static str {
        match self {
            Mark::None => "",
            Mark::Good => "background-color:rgba(46,160,67,0.15)",
            Mark::Bad => "background-color:rgba(248,81,73,0.22)",
            Mark::Muted => "background-color:rgba(128,128,128,0.10)",
            Mark::Strong => "font-weight:bold",
        }
    }
}

/// One cell: its text, and markup instead of it where HTML says more.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    html: Option<String>,
}

impl Cell {
    /// Text that also has markup, made by [`Html`].
    pub fn rich(text: impl Into<String>, html: Html) -> Self {
        Self { text: text.into(), html: Some(html.finish()) }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), html: None }
    }
}

#[derive(Clone, Debug)]
struct Row {
    cells: Vec<Cell>,
    mark: Mark,
}

/// A table under construction.
#[derive(Clone, Debug)]
pub struct TableView {
    title: String,
    columns: Vec<(String, Align)>,
    rows: Vec<Row>,
    notes: Vec<String>,
    limit: usize,
}

impl TableView {
    /// A table of these columns.
    pub fn new(title: impl Into<String>, columns: &[(&str, Align)]) -> Self {
        let columns = columns.iter().map(|(name, align)| ((*name).to_owned(), *align)).collect();
        Self { title: title.into(), columns, rows: Vec::new(), notes: Vec::new(), limit: 200 }
    }

    /// What it is about.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Shows at most this many rows; a note counts the rest.
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = rows;
        self
    }

    /// Adds a row.
    pub fn row(&mut self, mark: Mark, cells: impl IntoIterator<Item = Cell>) {
        let mut cells: Vec<Cell> = cells.into_iter().collect();
        // Rows are as wide as the table, so that their lines are.
        while cells.len() < self.columns.len() {
            cells.push(Cell::from(""));
        }
        self.rows.push(Row { cells, mark });
    }

    /// Adds a line below the table.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    fn hidden(&self) -> usize {
        self.rows.len().saturating_sub(self.limit)
    }

    fn all_notes(&self) -> impl Iterator<Item = String> {
        let cut = (self.hidden() > 0).then(|| format!("… and {} more rows", self.hidden()));
        cut.into_iter().chain(self.notes.iter().cloned())
    }

    /// Text and HTML.
    pub fn bundle(&self) -> MimeBundle {
        MimeBundle::text(self.text()).with_html(self.html())
    }

    /// For terminals, `git diff` and tests. Columns are padded; marked rows begin with a letter.
    pub fn text(&self) -> String {
        let shown = &self.rows[..self.rows.len() - self.hidden()];
        let marked = shown.iter().any(|row| row.mark.letter() != " ");
        let mut widths: Vec<usize> = self.columns.iter().map(|(name, _)| name.chars().count()).collect();
        for row in shown {
            for (width, cell) in widths.iter_mut().zip(&row.cells) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let line = |mark: &str, cells: &mut dyn Iterator<Item = &str>| {
            let mut text = if marked { format!("{mark} ") } else { String::new() };
            for (index, cell) in cells.enumerate() {
                let Some(((_, align), width)) = self.columns.get(index).zip(widths.get(index)) else { break };
                if index > 0 {
                    text.push_str("  ");
                }
                match align {
                    Align::Left => text.push_str(&format!("{cell:<width$}")),
                    Align::Right => text.push_str(&format!("{cell:>width$}")),
                }
            }
            text.trim_end().to_owned()
        };
        let mut lines = vec![self.title.clone()];
        if !shown.is_empty() {
            lines.push(line(" ", &mut self.columns.iter().map(|(name, _)| name.as_str())));
            lines.push(line(
                " ",
                &mut widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>().iter().map(String::as_str),
            ));
        }
        for row in shown {
            lines.push(line(row.mark.letter(), &mut row.cells.iter().map(|cell| cell.text.as_str())));
        }
        lines.extend(self.all_notes());
        lines.retain(|line| !line.is_empty());
        lines.join("\n")
    }

    /// For notebooks. Colours are inline and translucent; text inherits the page's colour.
    pub fn html(&self) -> String {
        let mut html = Html::new();
        html.raw("<div style=\"margin:0.3em 0;overflow-x:auto\">");
        if !self.title.is_empty() {
            html.raw("<div style=\"font-weight:bold;margin-bottom:0.3em\">").text(&self.title).raw("</div>");
        }
        if !self.rows.is_empty() {
            self.table_markup(&mut html);
        }
        for note in self.all_notes() {
            html.raw("<div style=\"opacity:0.75;margin-top:0.2em\">").text(note).raw("</div>");
        }
        html.raw("</div>");
        html.finish()
    }

    fn table_markup(&self, html: &mut Html) {
        let align = |index: usize| match self.columns.get(index) {
            Some((_, Align::Right)) => "right",
            _ => "left",
        };
        let padding = "padding:0.15em 0.7em";
        html.raw("<table style=\"border-collapse:collapse;font-variant-numeric:tabular-nums;margin:0\"><thead><tr>");
        for (index, (name, _)) in self.columns.iter().enumerate() {
            html.raw(format!(
                "<th style=\"text-align:{};{padding};border-bottom:1px solid rgba(128,128,128,0.6)\">",
                align(index)
            ));
            html.text(name).raw("</th>");
        }
        html.raw("</tr></thead><tbody>");
        for row in &self.rows[..self.rows.len() - self.hidden()] {
            html.raw(format!("<tr style=\"{}\">", row.mark.style()));
            for (index, cell) in row.cells.iter().enumerate() {
                html.raw(format!("<td style=\"text-align:{};{padding};white-space:nowrap\">", align(index)));
                match &cell.html {
                    Some(markup) => html.raw(markup),
                    None => html.text(&cell.text),
                };
                html.raw("</td>");
            }
            html.raw("</tr>");
        }
        html.raw("</tbody></table>");
    }
}

/// A bar whose length is `share` (0 to 1) of its box, for shares and magnitudes.
pub(super) fn bar(share: f64) -> Html {
    let width = (share.clamp(0.0, 1.0) * 80.0).round();
    let mut html = Html::new();
    html.raw(format!(
        "<span style=\"display:inline-block;width:80px;background-color:rgba(128,128,128,0.15)\">\
         <span style=\"display:inline-block;width:{width}px;height:0.7em;background-color:rgb(214,125,46)\"></span></span>"
    ));
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_aligned_marked_and_cut() {
        let mut table = TableView::new("T", &[("name", Align::Left), ("n", Align::Right)]).limit(2);
        table.row(Mark::None, ["a".into(), "5".into()]);
        table.row(Mark::Bad, ["longer".into(), "1,000".into()]);
        table.row(Mark::None, ["hidden".into(), "1".into()]);
        table.note("done");
        assert_eq!(
            table.text(),
            "T\n  name        n\n  ──────  ─────\n  a           5\n! longer  1,000\n… and 1 more rows\ndone"
        );
    }

    #[test]
    fn names_cannot_inject_markup() {
        let mut table = TableView::new("<t>", &[("<c>", Align::Left)]);
        table.row(Mark::None, ["<script>alert(1)</script>".into()]);
        table.note("<n>");
        let html = table.html();
        assert!(!html.contains("<script") && !html.contains("<t>") && !html.contains("<c>") && !html.contains("<n>"));
    }
}
