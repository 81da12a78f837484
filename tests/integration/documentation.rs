//! What the pages in Markdown say: their Rust compiles as cells, and their links lead somewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::kernel_process::program;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// (path below the repository, text) of every page for people who read the repository.
fn pages() -> Vec<(String, String)> {
    let mut pages: Vec<String> =
        ["README", "ARCHITECTURE", "CONTRIBUTING", "CHANGELOG"].map(|name| format!("{name}.md")).into();
    let listed = std::fs::read_dir(repository().join("docs")).unwrap().flatten();
    pages.extend(listed.map(|entry| format!("docs/{}", entry.file_name().to_string_lossy())));
    let read = |page: String| (page.clone(), std::fs::read_to_string(repository().join(page)).unwrap());
    pages.into_iter().map(read).collect()
}

/// The contents of the fenced blocks that are cells. (Programs have `fn main` and are examples of the library's documentation.)
fn cells(page: &str) -> Vec<&str> {
    let begin = ["```rust\n", "```rust,ignore\n"];
    let after = begin.into_iter().flat_map(|fence| page.split(fence).skip(1));
    after.map(|rest| rest.split("\n```").next().unwrap()).collect()
}

#[test]
fn rust_in_the_pages_compiles_as_cells() {
    let folder = tempfile::tempdir().unwrap();
    for (page, text) in pages() {
        let cells: Vec<Value> = cells(&text)
            .into_iter()
            .enumerate()
            .map(|(at, source)| {
                json!({"cell_type": "code", "id": format!("block-{at}"), "metadata": {}, "execution_count": null,
                    "outputs": [], "source": source})
            })
            .collect();
        if cells.is_empty() {
            continue;
        }
        let notebook = json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells});
        std::fs::write(folder.path().join("page.ipynb"), notebook.to_string()).unwrap();
        let run = ["run", "--check", "page.ipynb"];
        let done = Command::new(program()).args(run).current_dir(folder.path()).output().unwrap();
        assert!(done.status.success(), "{page}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn links_between_files_lead_somewhere() {
    let mut missing = Vec::new();
    for (page, text) in pages() {
        let folder = repository().join(&page).parent().unwrap().to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let pictures = ["srcset=\"", "src=\""].into_iter().flat_map(|word| text.split(word).skip(1));
        for link in links.chain(pictures.filter_map(|rest| rest.split('"').next())) {
            let path = link.split('#').next().unwrap();
            if !link.contains("://") && !path.is_empty() && !folder.join(path).exists() {
                missing.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// A list of CONTRIBUTING.md: what is added, the example, and the files with the words that they hold of it.
struct Recipe {
    title: String,
    example: String,
    files: Vec<(String, String)>,
}

fn recipes() -> Vec<Recipe> {
    let page = std::fs::read_to_string(repository().join("CONTRIBUTING.md")).unwrap();
    let quoted = |text: &str| text.split('`').nth(1).unwrap_or_default().to_owned();
    let sections = page.split("\n### ").skip(1);
    let recipe = |section: &str| {
        let example = quoted(section.lines().find(|line| line.starts_with("Example: ")).unwrap_or_default());
        let lines = section.lines().filter(|line| line.starts_with("- `"));
        let file = |line: &str| {
            let words = line.split("` (`").nth(1).and_then(|rest| rest.split('`').next());
            (quoted(line), words.unwrap_or(&example).to_owned())
        };
        let files = lines.map(file).collect();
        Recipe { title: section.lines().next().unwrap().to_owned(), example, files }
    };
    sections.map(recipe).collect()
}

/// The sources of the library, the kernel and the families, without their own tests: path and text.
fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
            found.push((path.strip_prefix(repository()).unwrap().to_string_lossy().into_owned(), code));
        }
    }
}

fn has_word(text: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word)
        .any(|(at, _)| !part(text[..at].chars().next_back()) && !part(text[at + word.len()..].chars().next()))
}

#[test]
fn lists_name_the_places_of_their_examples() {
    let mut all = Vec::new();
    for folder in ["crate/src", "crate/families", "kernel/src"] {
        sources(&repository().join(folder), &mut all);
    }
    let recipes = recipes();
    assert_eq!(recipes.len(), 7, "a part, a family, a view, a verb, a message, an operator, a scheme");
    let mut faults = Vec::new();
    for Recipe { title, example, files } in recipes {
        assert!(!example.is_empty() && files.len() > 1, "{title}");
        for (file, words) in &files {
            match std::fs::read_to_string(repository().join(file)) {
                Err(error) => faults.push(format!("{title}: {file}: {error}")),
                // The name of a family's file says it.
                Ok(text) if !has_word(&text, words) && !file.contains(words.as_str()) => {
                    faults.push(format!("{title}: {file} does not mention `{words}`"));
                }
                Ok(_) => {}
            }
        }
        for (file, text) in &all {
            if has_word(text, &example) && !files.iter().any(|(listed, _)| listed == file) {
                faults.push(format!("{title}: {file} mentions `{example}` and is not listed"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_that_pages_name_exist() {
    let mut all = Vec::new();
    let mut todo = vec![repository().join("crate"), repository().join("kernel"), repository().join("tests")];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                todo.push(path.clone());
            }
            all.push(path.strip_prefix(repository()).unwrap().to_string_lossy().into_owned());
        }
    }
    let mut missing = Vec::new();
    for (page, text) in pages() {
        let quoted = text.split('`').skip(1).step_by(2);
        let named = quoted.filter(|name| name.chars().all(|c| c.is_alphanumeric() || "_./-".contains(c)));
        // A file by the end of its path, such as `model/training.rs`.
        for name in named.filter(|name| name.ends_with(".rs") && *name != "NAME.rs" && !name.starts_with("parts/")) {
            if !all.iter().any(|path| path == name || path.ends_with(&format!("/{name}"))) {
                missing.push(format!("{page}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
