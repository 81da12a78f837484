//! Where a project's files are: inside the library, or in a folder that templates cannot read outside of.

use std::path::{Component, Path, PathBuf};

use super::builtin::Builtin;
use super::error::ProjectError;
use super::shapes;

/// The file that makes a folder a project.
pub(super) const PROJECT_FILE: &str = "project.yaml";

/// Templates of built-in projects have this before their project's name: `builtin/llama/model.yaml`.
pub(super) const BUILTIN: &str = "builtin/";

/// The largest file that is read, in bytes. Definitions are a few kilobytes.
const MAX_FILE: u64 = 1 << 20;

/// A project's files.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Those of a project that ships inside the library.
    Builtin(&'static Builtin),
    /// Those below a folder, given without symbolic links.
    Folder(PathBuf),
}

impl Source {
    pub(super) fn builtin(name: &str) -> Option<Self> {
        shapes::built_in(name).map(Self::Builtin)
    }

    /// Returns what stands before a file's name to make it a template's.
    pub(super) fn prefix(&self) -> String {
        match self {
            Self::Builtin(project) => format!("{BUILTIN}{}/", project.name),
            Self::Folder(_) => String::new(),
        }
    }

    /// Returns the names of its files below `configs/`, without `.yaml`; a folder's are sorted.
    pub(super) fn configs(&self) -> Vec<String> {
        let name = |file: &str| file.strip_suffix(".yaml").map(str::to_owned);
        match self {
            Self::Builtin(project) => {
                project.files.iter().filter_map(|(file, _)| name(file.strip_prefix("configs/")?)).collect()
            }
            Self::Folder(root) => {
                let entries = std::fs::read_dir(root.join("configs")).into_iter().flatten().flatten();
                let names = entries.filter_map(|entry| name(entry.file_name().to_str()?));
                let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
                names.sort();
                names
            }
        }
    }

    /// Returns a file's name as a person can find it.
    pub(super) fn locate(&self, file: &str) -> String {
        match self {
            Self::Builtin(project) => format!("{BUILTIN}{}/{file}", project.name),
            Self::Folder(root) => root.join(file).display().to_string(),
        }
    }

    /// Returns the names that templates of this project may include, for suggestions.
    pub(super) fn templates(&self) -> Vec<String> {
        match self {
            Self::Builtin(project) => {
                let files = project.files.iter().map(|(file, _)| (*file).to_owned());
                files.filter(|file| file != PROJECT_FILE).collect()
            }
            Self::Folder(root) => {
                let mut names = Vec::new();
                for (folder, prefix) in [(root.clone(), ""), (root.join("configs"), "configs/")] {
                    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
                    let files = entries.filter_map(|entry| Some(format!("{prefix}{}", entry.file_name().to_str()?)));
                    names.extend(files.filter(|file| file.ends_with(".yaml") && file != PROJECT_FILE));
                }
                names.sort();
                names.truncate(50);
                names.push(format!("{BUILTIN}PROJECT/FILE"));
                names
            }
        }
    }

    /// Returns the text of a template, by its name; `None` if there is no such file.
    ///
    /// # Errors
    /// [`ProjectError::Refused`] for a name that points outside the folder, directly or through a symbolic link, and for what
    /// is too large, not a file, or not text.
    pub(super) fn template(&self, name: &str) -> Result<Option<String>, ProjectError> {
        if let Some((project, file)) = name.strip_prefix(BUILTIN).and_then(|rest| rest.split_once('/')) {
            let found = shapes::built_in(project);
            let files = found.into_iter().flat_map(|builtin| builtin.files);
            return Ok(files.filter(|(known, _)| *known == file).map(|(_, text)| (*text).to_owned()).next());
        }
        match self {
            Self::Builtin(_) => Ok(None),
            Self::Folder(root) => read_inside(root, name),
        }
    }
}

/// Reads a small text file below `root`.
fn read_inside(root: &Path, name: &str) -> Result<Option<String>, ProjectError> {
    let refused = |what: String, advice: &str| {
        Err(ProjectError::Refused { what, place: root.join(name).display().to_string(), advice: advice.to_owned() })
    };
    let outside = |word: &str| {
        let what = format!("`{name}` {word} the project");
        refused(what, "keep what a template includes inside the project, or include \"builtin/PROJECT/FILE\"")
    };
    let plain = Path::new(name).components().all(|component| matches!(component, Component::Normal(_)));
    if name.is_empty() || !plain || name.contains('\\') {
        return outside("points outside");
    }
    let Ok(path) = root.join(name).canonicalize() else { return Ok(None) };
    if !path.starts_with(root) {
        return outside("is a link that points outside");
    }
    match path.metadata() {
        Ok(found) if !found.is_file() => return refused(format!("`{name}` is not a file"), "name a file"),
        Ok(found) if found.len() > MAX_FILE => {
            let what = format!("`{name}` has {} bytes, and no file of a project may exceed {MAX_FILE}", found.len());
            return refused(what, "split it, or make it smaller");
        }
        _ => {}
    }
    match std::fs::read(&path).map(String::from_utf8) {
        Ok(Ok(text)) => Ok(Some(text)),
        Ok(Err(error)) => {
            let at = error.utf8_error().valid_up_to();
            refused(format!("`{name}` is not UTF-8 text (byte {at})"), "save it as UTF-8")
        }
        Err(error) => refused(format!("`{name}` cannot be read: {error}"), "check the file and its permissions"),
    }
}

/// Returns the full name of a template that another includes: names count from the root of the including template's
/// project.
pub(super) fn join(name: &str, including: &str) -> String {
    let project = including.strip_prefix(BUILTIN).and_then(|rest| rest.split_once('/'));
    match project {
        Some((project, _)) if !name.starts_with(BUILTIN) => format!("{BUILTIN}{project}/{name}"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_a_folder_is_read() {
        let temp = std::env::temp_dir().join(format!("chandlery-source-{}", std::process::id()));
        let root = temp.join("project");
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(temp.join("secret.yaml"), "secret").unwrap();
        std::fs::write(root.join("own.yaml"), "own").unwrap();
        std::os::unix::fs::symlink("../secret.yaml", root.join("link.yaml")).unwrap();
        std::os::unix::fs::symlink("own.yaml", root.join("inner.yaml")).unwrap();
        let source = Source::Folder(root.canonicalize().unwrap());
        for (name, expected) in [
            ("own.yaml", Ok(Some("own"))),
            ("inner.yaml", Ok(Some("own"))),
            ("gone.yaml", Ok(None)),
            ("../secret.yaml", Err("points outside the project")),
            ("a/../../secret.yaml", Err("points outside the project")),
            ("/etc/passwd", Err("points outside the project")),
            ("..\\secret.yaml", Err("points outside the project")),
            ("link.yaml", Err("is a link that points outside the project")),
            (".", Err("points outside the project")),
        ] {
            match (source.template(name), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.as_deref(), expected, "{name}"),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{name}: {error}"),
                (found, expected) => panic!("{name}: {found:?}, expected {expected:?}"),
            }
        }
        std::fs::remove_dir_all(temp).unwrap();
    }

    #[test]
    fn built_in_templates_include_their_own_project() {
        assert_eq!(join("model.yaml", "builtin/llama/configs/4M.yaml"), "builtin/llama/model.yaml");
        assert_eq!(join("builtin/qwen3/model.yaml", "builtin/llama/configs/4M.yaml"), "builtin/qwen3/model.yaml");
        assert_eq!(join("model.yaml", "configs/4M.yaml"), "model.yaml");
        let source = Source::builtin("llama").unwrap();
        assert!(source.template("builtin/mistral/model.yaml").unwrap().unwrap().contains("model_type: mistral"));
        assert!(source.template("builtin/mistral/../llama/model.yaml").unwrap().is_none());
        assert!(source.template("/etc/passwd").unwrap().is_none());
    }
}
