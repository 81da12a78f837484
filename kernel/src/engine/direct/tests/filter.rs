//! Selects the tests that `%test` runs, with the arguments of cargo's test harness.

use chandlery::diagnostic::{Diagnose, Diagnostic};

use super::found::Test;

/// Why a `%test` line does not run tests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub(super) enum FilterError {
    /// `--skip` without a name.
    NothingToSkip,
    /// A flag that does not exist.
    UnknownFlag(String),
    /// No cell defines a test.
    NoTests,
    /// No test fits.
    NothingSelected {
        /// The words of the line.
        words: String,
        /// The tests that are defined.
        defined: Vec<String>,
    },
}

impl Diagnose for FilterError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NothingToSkip => Diagnostic::new("--skip needs part of a name").advise("write `%test --skip slow`"),
            Self::UnknownFlag(flag) => Diagnostic::new(format!("%test does not have {flag}"))
                .advise("give parts of names, --exact, --skip NAME, --ignored or --include-ignored"),
            Self::NoTests => Diagnostic::new("no cell defines a test")
                .advise("write `#[test]` before a function that takes no arguments"),
            Self::NothingSelected { words, defined } => {
                Diagnostic::new(format!("`%test {words}` does not select a test"))
                    .advise(format!("name one of the defined tests: {}", defined.join(", ")))
            }
        }
    }
}

/// The arguments of `%test`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// Parts of names; empty for all tests.
    names: Vec<String>,
    skipped: Vec<String>,
    /// Whether the names are complete.
    exact: bool,
    ignored: Ignored,
}

/// The treatment of ignored tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ignored {
    #[default]
    No,
    /// They run as well.
    Include,
    /// Only they run.
    Only,
}

impl Filter {
    /// Reads the words of a line.
    pub(super) fn parse(words: &str) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        let mut words = words.split_whitespace();
        while let Some(word) = words.next() {
            match word {
                "--exact" => filter.exact = true,
                "--ignored" => filter.ignored = Ignored::Only,
                "--include-ignored" => filter.ignored = Ignored::Include,
                "--skip" => match words.next() {
                    Some(name) => filter.skipped.push(name.to_owned()),
                    None => return Err(FilterError::NothingToSkip),
                },
                flag if flag.starts_with('-') => {
                    return Err(FilterError::UnknownFlag(flag.to_owned()));
                }
                name => filter.names.push(name.to_owned()),
            }
        }
        Ok(filter)
    }

    /// Returns whether a test is selected by its name.
    pub(super) fn chooses(&self, test: &Test) -> bool {
        let fits = |part: &String| if self.exact { test.name == *part } else { test.name.contains(part) };
        (self.names.is_empty() || self.names.iter().any(fits)) && !self.skipped.iter().any(fits)
    }

    /// Returns whether a selected test runs; otherwise it is ignored or not listed.
    pub(super) fn runs(&self, test: &Test) -> bool {
        test.ignored.is_none() || self.ignored != Ignored::No
    }

    /// Returns whether a selected test is listed.
    pub(super) fn lists(&self, test: &Test) -> bool {
        test.ignored.is_some() || self.ignored != Ignored::Only
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str, ignored: bool) -> Test {
        Test {
            name: name.to_owned(),
            cell: 1,
            should_panic: None,
            ignored: ignored.then(String::new),
            problem: None,
            conditions: String::new(),
        }
    }

    #[test]
    fn tests_are_selected_as_by_cargo() {
        let all = [test("tests::adds", false), test("adds_more", true), test("other", false)];
        let chosen = |words: &str| {
            let filter = Filter::parse(words).unwrap();
            let listed = all.iter().filter(|test| filter.chooses(test) && filter.lists(test));
            listed.map(|test| format!("{}{}", test.name, if filter.runs(test) { "" } else { "?" })).collect::<Vec<_>>()
        };
        assert_eq!(chosen(""), ["tests::adds", "adds_more?", "other"]);
        assert_eq!(chosen("adds"), ["tests::adds", "adds_more?"]);
        assert_eq!(chosen("--exact other tests::adds"), ["tests::adds", "other"]);
        assert_eq!(chosen("--skip adds"), ["other"]);
        assert_eq!(chosen("--ignored"), ["adds_more"]);
        assert_eq!(chosen("--include-ignored adds"), ["tests::adds", "adds_more"]);
        assert!(Filter::parse("--nocapture").is_err() && Filter::parse("--skip").is_err());
    }
}
