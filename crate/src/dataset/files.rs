//! Files that match patterns.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use regex::Regex;

use super::DatasetError;

/// Returns the files below `root` that match `patterns`, sorted by name for each pattern, without duplicates.
///
/// `*` and `?` stand for parts of a name, `**` for any folders. A relative pattern does not match outside of `root`, not even
/// through a link; an absolute one may name anything.
///
/// # Errors
/// [`DatasetError::Content`] for a pattern that points outside the project or matches nothing.
pub(super) fn matching(root: &Path, patterns: &[String], place: &str) -> Result<Vec<PathBuf>, DatasetError> {
    let mut files = Vec::new();
    for pattern in patterns {
        let fault = |what: String, advice: &str| DatasetError::Content {
            what,
            place: place.to_owned(),
            advice: advice.to_owned(),
        };
        let path = Path::new(pattern);
        let absolute = path.is_absolute();
        let parts: Vec<&str> = path.components().filter_map(named).collect();
        let climbs = path.components().any(|part| part == Component::ParentDir);
        let outside = || {
            fault(
                format!("`{pattern}` points outside the dataset project"),
                "name a file below it, or an absolute path",
            )
        };
        if climbs && !absolute {
            return Err(outside());
        }
        let start = if absolute { PathBuf::from("/") } else { root.to_owned() };
        let mut found = BTreeSet::new();
        expand(&start, &parts, &mut found);
        if !absolute && found.iter().any(|file| leaves(root, file)) {
            return Err(outside());
        }
        if found.is_empty() {
            let advice = format!("correct `files`; the folder has {}", listing(root));
            return Err(fault(format!("no file matches `{pattern}`"), &advice));
        }
        for file in found {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

fn named(part: Component<'_>) -> Option<&str> {
    match part {
        Component::Normal(name) => name.to_str(),
        Component::ParentDir => Some(".."),
        _ => None,
    }
}

fn leaves(root: &Path, file: &Path) -> bool {
    match (root.canonicalize(), file.canonicalize()) {
        (Ok(root), Ok(file)) => !file.starts_with(root),
        _ => true,
    }
}

fn expand(folder: &Path, parts: &[&str], found: &mut BTreeSet<PathBuf>) {
    let Some((part, rest)) = parts.split_first() else { return };
    let mut take = |path: PathBuf| {
        if rest.is_empty() {
            if path.is_file() {
                found.insert(path);
            }
        } else if path.is_dir() {
            expand(&path, rest, found);
        }
    };
    if *part == "**" {
        expand(folder, rest, found);
        for name in entries(folder) {
            let path = folder.join(name);
            // A link may point upwards, and its folder would be walked for ever.
            if path.is_dir() && !path.is_symlink() {
                expand(&path, parts, found);
            }
        }
    } else if part.contains(['*', '?']) {
        let words = regex::escape(part).replace(r"\*", ".*").replace(r"\?", ".");
        let Ok(wanted) = Regex::new(&format!("^{words}$")) else { return };
        let visible = |name: &String| !name.starts_with('.') || part.starts_with('.');
        entries(folder)
            .into_iter()
            .filter(|name| visible(name) && wanted.is_match(name))
            .for_each(|name| take(folder.join(name)));
    } else {
        take(folder.join(part));
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn listing(root: &Path) -> String {
    let names = entries(root);
    let shown: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
    let more =
        if names.len() > shown.len() { format!(" and {} more", names.len() - shown.len()) } else { String::new() };
    if names.is_empty() { "no files".to_owned() } else { format!("{}{more}", shown.join(", ")) }
}
