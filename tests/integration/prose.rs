//! Phrases that read as a translation, which texts of this repository avoid.

use std::path::{Path, PathBuf};

/// What `phrases` finds in one line: `x is no y`, and words for which there is a common one.
fn phrases(line: &str) -> Vec<String> {
    let words: Vec<&str> =
        line.split(|c: char| !(c.is_alphanumeric() || c == '\'')).filter(|w| !w.is_empty()).collect();
    let mut found = Vec::new();
    for four in words.windows(4) {
        let [subject, verb, no, next] = four else { continue };
        let existence = ["there", "here"].contains(&subject.to_lowercase().as_str());
        let idiom = ["longer", "more", "less", "other"].contains(next);
        if ["is", "are", "was", "were"].contains(verb) && *no == "no" && !existence && !idiom {
            found.push(four.join(" "));
        }
    }
    found.extend(words.iter().filter(|word| ["anew", "unaided"].contains(word)).map(|word| (*word).to_owned()));
    found
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    const OTHERS_WORDS: [&str; 6] = ["corpus", "datasets", "fixtures", "snapshots", "std", "target"];
    const KINDS: [&str; 6] = ["rs", "md", "py", "ipynb", "yaml", "jinja"];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !OTHERS_WORDS.contains(&name.as_str()) {
                files(&path, found);
            }
        } else if path.extension().is_some_and(|kind| KINDS.iter().any(|known| kind == *known)) && name != "prose.rs" {
            found.push(path);
        }
    }
}

#[test]
fn texts_use_the_common_phrases() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut all = Vec::new();
    for folder in ["crate", "kernel", "tests", "docs", "notebooks"] {
        files(&root.join(folder), &mut all);
    }
    all.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|page| root.join(page)));
    let mut faults = Vec::new();
    for path in all {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let place = path.strip_prefix(root).unwrap().display();
            faults.extend(phrases(line).into_iter().map(|phrase| format!("{place}:{}: {phrase}", number + 1)));
        }
    }
    assert!(faults.is_empty(), "say it as the Rust book would:\n{}", faults.join("\n"));
}

#[test]
fn uncommon_phrases_are_found() {
    assert_eq!(phrases("`x` is no tensor, and it is built anew"), ["x is no tensor", "anew"]);
    assert!(phrases("There is no tensor; it is no longer than that").is_empty());
}
