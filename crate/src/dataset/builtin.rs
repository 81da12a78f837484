//! The datasets that ship inside the library.

use std::path::Path;

/// A dataset's name and its files.
#[derive(Debug)]
pub(super) struct Builtin {
    pub(super) name: &'static str,
    files: &'static [(&'static str, &'static str)],
}

macro_rules! dataset_files {
    ($dataset:literal: $($file:literal),+ $(,)?) => {
        Builtin {
            name: $dataset,
            files: &[$(($file, include_str!(concat!("../../projects/datasets/", $dataset, "/", $file)))),+],
        }
    };
}

/// Every built-in dataset.
pub(super) const BUILTIN: &[Builtin] = &[dataset_files!(
    "classics": "dataset.yaml", "gettysburg_address.txt", "second_inaugural.txt", "declaration_of_independence.txt",
    "bill_of_rights.txt", "genesis.txt", "sonnets.txt",
)];

impl Builtin {
    pub(super) fn declaration(&self) -> &'static str {
        self.text(Path::new("dataset.yaml")).unwrap_or_default()
    }

    pub(super) fn text(&self, file: &Path) -> Option<&'static str> {
        self.files.iter().find(|(name, _)| Path::new(name) == file).map(|(_, text)| *text)
    }
}
