//! A table with a title, aligned columns, marked rows and notes, rendered as text, as HTML and as typed JSON. Every view
//! with rows is one of these, so they all cut, align, mark and sort alike.

mod cell;
mod markup;
mod sorting;
mod text;
mod typed;

pub use cell::{Align, Cell, Mark};
pub(super) use cell::{BAR, bar};
pub(super) use sorting::with_sorting;

use super::MimeBundle;
use super::numbers::thousands;

#[derive(Clone, Debug)]
struct Row {
    cells: Vec<Cell>,
    mark: Mark,
}

#[derive(Clone, Debug)]
struct Head {
    name: String,
    align: Align,
    /// A second line in smaller type: a unit or a data type.
    below: String,
}

/// A table under construction.
///
/// ```
/// use chandlery::display::{Align, Cell, Mark, TableView};
/// let mut table = TableView::new("Files", &[("file", Align::Left), ("size", Align::Right)]);
/// table.row(Mark::Good, ["model.safetensors".into(), Cell::bytes(2048)]);
/// assert_eq!(table.text().lines().last(), Some("+ model.safetensors  2.00 KiB"));
/// ```
#[derive(Clone, Debug)]
pub struct TableView {
    title: String,
    columns: Vec<Head>,
    rows: Vec<Row>,
    notes: Vec<String>,
    limit: usize,
    /// Whether columns that are empty in every row are left out.
    sparse: bool,
    /// Rows before the last ones shown that were not added to the table.
    left_out: usize,
}

impl TableView {
    /// A table of these columns.
    pub fn new(title: impl Into<String>, columns: &[(&str, Align)]) -> Self {
        let head =
            |(name, align): &(&str, Align)| Head { name: (*name).to_owned(), align: *align, below: String::new() };
        let columns = columns.iter().map(head).collect();
        Self {
            title: title.into(),
            columns,
            rows: Vec::new(),
            notes: Vec::new(),
            limit: 200,
            sparse: false,
            left_out: 0,
        }
    }

    /// Its title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Shows at most this many rows, from both ends; a line between them counts the rest, which HTML unfolds.
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = rows;
        self
    }

    /// Leaves out columns that are empty in every row. Programs still get them.
    pub(super) fn sparse(mut self) -> Self {
        self.sparse = true;
        self
    }

    /// For each column, whether it is shown.
    fn shown(&self) -> impl Iterator<Item = bool> {
        let says = |column: usize| self.rows.iter().any(|row| !row.cells[column].text.is_empty());
        (0..self.columns.len()).map(move |column| !self.sparse || says(column))
    }

    /// Puts a word below a column's name: its type or unit.
    pub(super) fn below(&mut self, column: usize, word: impl Into<String>) {
        if let Some(head) = self.columns.get_mut(column) {
            head.below = word.into();
        }
    }

    /// Adds a row.
    pub fn row(&mut self, mark: Mark, cells: impl IntoIterator<Item = Cell>) {
        let mut cells: Vec<Cell> = cells.into_iter().collect();
        // Rows are as wide as the table, so their lines are, too.
        cells.resize_with(self.columns.len(), Cell::default);
        self.rows.push(Row { cells, mark });
    }

    /// Says that this many rows before the last ones were not added, because they are too many to hold. They count as
    /// hidden.
    pub(super) fn leave_out(&mut self, count: usize) {
        self.left_out = count;
    }

    /// Adds a line below the table.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The rows before the cut, those it hides, and those after it.
    fn cut(&self) -> (&[Row], &[Row], &[Row]) {
        // A cut that hides one row takes as much room as the row.
        let kept = if self.left_out == 0 && self.rows.len() <= self.limit + 1 { self.rows.len() } else { self.limit };
        let kept = kept.min(self.rows.len());
        let (first, rest) = self.rows.split_at(kept.div_ceil(2));
        let (hidden, last) = rest.split_at(self.rows.len() - kept);
        (first, hidden, last)
    }

    /// How many rows are not shown at first.
    fn hidden(&self) -> usize {
        self.cut().1.len() + self.left_out
    }

    fn hidden_words(&self) -> Option<String> {
        match self.hidden() {
            0 => None,
            1 => Some("… 1 more row".to_owned()),
            count => Some(format!("… {} more rows", thousands(count as u64))),
        }
    }

    fn is_marked(&self) -> bool {
        self.rows.iter().any(|row| row.mark.letter() != " ")
    }

    /// Text and HTML.
    pub fn bundle(&self) -> MimeBundle {
        MimeBundle::text(self.text()).with_html(self.html())
    }

    /// Text, HTML and the rows as typed JSON, whose `kind` tells programs what the columns mean.
    pub fn typed_bundle(&self, kind: &str) -> MimeBundle {
        self.bundle().with("application/vnd.chandlery.table+json", self.typed(kind))
    }
}
