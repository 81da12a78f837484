//! Generated source that remembers where each of its lines comes from.

/// Where a generated line comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The user's text, columns unchanged.
    Cell {
        /// The cell's number.
        cell: u32,
        /// Line in the cell, from 1.
        line: usize,
    },
    /// A generated line that moves a variable into the store.
    Variable(StoredVariable),
    /// Statements of earlier cells, repeated because the types of these variables follow from them.
    Witness(Vec<String>),
    /// A generated line that imports a name that would be defined by a cell that does not compile.
    Unknown(String),
    /// Another generated line.
    Ours,
}

/// A variable that is being stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoredVariable {
    pub(crate) name: String,
    /// Whether the cell made it; otherwise it was taken out of the store and is put back. A cell like `let x = f(x);` has both.
    pub(crate) made: bool,
    /// The statement that failed, when it is stored for that reason; `None` at the cell's end.
    pub(crate) failed: Option<usize>,
}

impl StoredVariable {
    pub(crate) fn made(name: &str) -> Self {
        Self { name: name.to_owned(), made: true, failed: None }
    }

    pub(crate) fn taken(name: &str) -> Self {
        Self { name: name.to_owned(), made: false, failed: None }
    }

    /// Returns the same variable, stored because a statement failed.
    pub(crate) fn when(self, failed: Option<usize>) -> Self {
        Self { failed, ..self }
    }
}

/// Text under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    text: String,
    origins: Vec<Origin>,
}

impl Source {
    /// Adds generated lines.
    pub(crate) fn ours(&mut self, lines: &str) {
        self.lines(lines, |_| Origin::Ours);
    }

    /// Adds lines that move a variable into the store.
    pub(crate) fn keeps(&mut self, variable: StoredVariable, lines: &str) {
        self.lines(lines, |_| Origin::Variable(variable.clone()));
    }

    /// Adds lines that determine the types of variables.
    pub(crate) fn witness(&mut self, names: &[String], lines: &str) {
        self.lines(lines, |_| Origin::Witness(names.to_vec()));
    }

    /// Adds lines that import an unknown name.
    pub(crate) fn unknown(&mut self, name: &str, lines: &str) {
        self.lines(lines, |_| Origin::Unknown(name.to_owned()));
    }

    /// Adds the user's text, whose first line is this line of the cell and starts at this column (from 0).
    pub(crate) fn cell(&mut self, text: &str, (cell, line, column): (u32, usize, usize)) {
        self.text.extend(std::iter::repeat_n(' ', column));
        self.lines(text, |offset| Origin::Cell { cell, line: line + offset });
    }

    fn lines(&mut self, text: &str, origin: impl Fn(usize) -> Origin) {
        self.text.push_str(text);
        self.text.push('\n');
        self.origins.extend((0..=text.matches('\n').count()).map(origin));
    }

    /// Returns the text, and the map of its lines.
    pub(crate) fn finish(self) -> (String, Lines) {
        (self.text, Lines(self.origins))
    }
}

/// Where the lines of a generated file come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Vec<Origin>);

impl Lines {
    /// Returns the origin of a line, counted from 1.
    pub(crate) fn origin(&self, line: usize) -> &Origin {
        line.checked_sub(1).and_then(|line| self.0.get(line)).unwrap_or(&Origin::Ours)
    }

    /// Returns cell and line of a generated line, if it is the user's.
    pub(crate) fn cell(&self, line: usize) -> Option<(u32, usize)> {
        match self.origin(line) {
            Origin::Cell { cell, line } => Some((*cell, *line)),
            Origin::Variable(_) | Origin::Witness(_) | Origin::Unknown(_) | Origin::Ours => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_map_back() {
        let mut source = Source::default();
        source.ours("fn cell() {\n{");
        source.cell("let x = 1;\nx", (3, 5, 4));
        source.keeps(StoredVariable::made("x"), "keep(x);");
        let (text, lines) = source.finish();
        assert_eq!(text.lines().nth(2), Some("    let x = 1;"));
        assert_eq!(lines.cell(2), None);
        assert_eq!(lines.cell(3), Some((3, 5)));
        assert_eq!(lines.cell(4), Some((3, 6)));
        assert_eq!(lines.origin(5), &Origin::Variable(StoredVariable::made("x")));
        assert_eq!(lines.cell(99), None);
    }
}
