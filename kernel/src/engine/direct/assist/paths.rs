//! Completion of file paths in directives and in texts.

use std::path::Path;

/// Returns the completions of a path, relative to `base`: entries of its folder, folders with a slash. Hidden entries are listed only after a typed dot.
pub(crate) fn complete(typed: &str, base: &Path) -> Vec<String> {
    let (folder, name) = typed.rfind('/').map_or(("", typed), |at| typed.split_at(at + 1));
    let home = || std::env::var_os("HOME").map(std::path::PathBuf::from);
    let place = match folder.strip_prefix("~/") {
        Some(below) => home().map(|home| home.join(below)),
        None => Some(base.join(folder)),
    };
    let entries = place.and_then(|place| std::fs::read_dir(place).ok()).into_iter().flatten().flatten();
    let mut found: Vec<String> = entries
        .filter_map(|entry| {
            let found = entry.file_name().into_string().ok()?;
            let fits = found.starts_with(name) && (!found.starts_with('.') || name.starts_with('.'));
            let slash = if entry.path().is_dir() { "/" } else { "" };
            fits.then(|| format!("{folder}{found}{slash}"))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_end_in_a_slash_and_hidden_files_stay_hidden() {
        let root = std::env::temp_dir().join(format!("chandlery-paths-{}", std::process::id()));
        std::fs::create_dir_all(root.join("models")).unwrap();
        std::fs::write(root.join("model.json"), "").unwrap();
        std::fs::write(root.join(".model"), "").unwrap();
        assert_eq!(complete("mod", &root), ["model.json", "models/"]);
        let root = root.display().to_string();
        assert_eq!(
            complete(&format!("{root}/mod"), Path::new("/")),
            [format!("{root}/model.json"), format!("{root}/models/")]
        );
        assert_eq!(complete(&format!("{root}/."), Path::new("/")), [format!("{root}/.model")]);
        assert!(complete(&format!("{root}/none/x"), Path::new("/")).is_empty());
        std::fs::remove_dir_all(root).unwrap();
    }
}
