//! Compares an executed notebook with a golden one, cell by cell: numbers with tolerances, text by lines, images by a rule.

mod images;
mod outputs;
mod rules;
mod text;
mod values;

use serde_json::{Value, json};

use super::notebook::Notebook;

pub use rules::{Images, RuleError, Rules, Tolerance};

/// A difference in a cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    /// The output, and its form.
    place: String,
    /// A description, in one line or several.
    what: String,
}

/// A code cell of either notebook.
#[derive(Clone, Debug)]
pub(super) struct ComparedCell {
    /// Its number, from 1, in the executed notebook; in the golden one if it is missing there.
    pub(super) number: usize,
    id: String,
    differences: Vec<Difference>,
}

/// The result of a comparison.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    pub(super) cells: Vec<ComparedCell>,
}

/// Compares the code cells of two notebooks. The golden one's metadata may have rules, for all cells or one; those
/// given here override them.
///
/// # Errors
/// [`RuleError::Metadata`].
pub(super) fn compare(golden: &Notebook, now: &Notebook, given: &Rules) -> Result<Comparison, RuleError> {
    let rules = match golden.compare_rules(None) {
        Some(rules) => Rules::of_metadata(rules).map_err(|rule| in_metadata(None, rule))?,
        None => Rules::default(),
    };
    let mut cells = Vec::new();
    for pair in pairs(golden, now) {
        let cell = |notebook: &Notebook, index: usize, differences| ComparedCell {
            number: index + 1,
            id: notebook.id(index).unwrap_or("").to_owned(),
            differences,
        };
        let all = |what: &str| vec![Difference { place: "the cell".to_owned(), what: what.to_owned() }];
        cells.push(match pair {
            (Some(before), None) => cell(golden, before, all("is missing; its number is that in the golden notebook")),
            (None, Some(after)) => cell(now, after, all("was added")),
            (Some(before), Some(after)) => {
                let own = golden.compare_rules(Some(before));
                let ignored = own.is_some_and(|own| own["ignore"] == true)
                    || golden.has_tag(before, "nbval-ignore-output")
                    || now.has_tag(after, "nbval-ignore-output");
                let rules = match own.map(Rules::of_metadata).transpose() {
                    Ok(own) => own.map_or_else(|| rules.clone(), |own| rules.with(&own)).with(given),
                    Err(rule) => return Err(in_metadata(Some(before + 1), rule)),
                };
                let found = outputs::differences(golden.outputs(before), now.outputs(after), &rules);
                cell(now, after, if ignored { Vec::new() } else { found })
            }
            (None, None) => continue,
        });
    }
    Ok(Comparison { cells })
}

fn in_metadata(cell: Option<usize>, rule: RuleError) -> RuleError {
    RuleError::Metadata { cell, rule: Box::new(rule) }
}

/// Pairs cells by id, or by source if the ids have nothing in common.
fn pairs(golden: &Notebook, now: &Notebook) -> Vec<(Option<usize>, Option<usize>)> {
    let code = |notebook: &Notebook| (0..notebook.len()).filter(|&at| notebook.kind(at) == "code").collect::<Vec<_>>();
    let (before, after) = (code(golden), code(now));
    let ids = |notebook: &Notebook, cells: &[usize]| {
        cells.iter().map(|&at| notebook.id(at).unwrap_or("").to_owned()).collect::<Vec<_>>()
    };
    let (mut old, mut new) = (ids(golden, &before), ids(now, &after));
    if old.iter().filter(|id| new.contains(id)).count() * 2 < old.len() {
        let sources = |notebook: &Notebook, cells: &[usize]| cells.iter().map(|&at| notebook.source(at)).collect();
        (old, new) = (sources(golden, &before), sources(now, &after));
    }
    let mut pairs = Vec::new();
    for change in similar::capture_diff_slices(similar::Algorithm::Myers, &old, &new) {
        if change.tag() == similar::DiffTag::Equal {
            pairs.extend(change.old_range().zip(change.new_range()).map(|(a, b)| (Some(before[a]), Some(after[b]))));
        } else {
            pairs.extend(change.old_range().map(|a| (Some(before[a]), None)));
            pairs.extend(change.new_range().map(|b| (None, Some(after[b]))));
        }
    }
    pairs
}

impl ComparedCell {
    pub(super) fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }

    /// Returns the differences, below a line that names the cell.
    pub(super) fn report(&self) -> String {
        let mut text = format!("cell {} (id {})\n", self.number, self.id);
        for Difference { place, what } in &self.differences {
            text.push_str(&format!("  {place}"));
            if what.contains('\n') {
                text.push('\n');
                what.lines().for_each(|line| text.push_str(&format!("    {line}\n")));
            } else {
                text.push_str(&format!(": {what}\n"));
            }
        }
        text
    }
}

impl Comparison {
    /// Returns how many cells differ.
    pub(super) fn different(&self) -> usize {
        self.cells.iter().filter(|cell| !cell.is_equal()).count()
    }

    /// Returns a report for people.
    pub(super) fn report(&self) -> String {
        self.cells.iter().filter(|cell| !cell.is_equal()).map(ComparedCell::report).collect()
    }

    /// Returns a report for programs.
    pub(super) fn json(&self) -> Value {
        let difference = |found: &Difference| json!({"place": found.place, "what": found.what});
        let cell = |cell: &ComparedCell| {
            let differences: Vec<Value> = cell.differences.iter().map(difference).collect();
            json!({"cell": cell.number, "id": cell.id, "equal": cell.is_equal(), "differences": differences})
        };
        json!({"cells": self.cells.iter().map(cell).collect::<Vec<_>>(), "different": self.different()})
    }
}
