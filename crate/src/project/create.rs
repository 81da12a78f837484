//! A new project: a copy of a definition, with a page that says how to use it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::error::ProjectError;
use super::open::Project;
use super::own_parts;
use super::source::{PROJECT_FILE, Source};
use crate::checkpoint::{AtomicFolder, CheckpointError};

/// Writes a project's definition into a new folder, to be edited there: its files, named after the folder, and a README.
/// The folder appears whole or not at all. Returns the names of the files.
///
/// ```no_run
/// let llama = chandlery::project("llama")?;
/// chandlery::project::new_project("my_llama".as_ref(), &llama)?;
/// # Ok::<(), chandlery::project::ProjectError>(())
/// ```
///
/// # Errors
/// [`ProjectError::Folder`] if the folder exists or cannot be written.
pub fn new_project(folder: &Path, from: &Project) -> Result<Vec<String>, ProjectError> {
    let stage = AtomicFolder::create(folder)?;
    let name = folder.file_name().map_or_else(|| from.name().to_owned(), |name| name.to_string_lossy().into_owned());
    let mut written = Vec::new();
    for (file, text) in files(from)? {
        let text = if file == PROJECT_FILE { renamed(&text, &name) } else { text };
        let parent = stage.path().join(&file).parent().map_or_else(PathBuf::new, Path::to_owned);
        std::fs::create_dir_all(&parent).map_err(CheckpointError::io("creating", &parent))?;
        stage.write(&file, text)?;
        written.push(file);
    }
    stage.write("README.md", readme(&name, from))?;
    written.push("README.md".to_owned());
    stage.commit()?;
    Ok(written)
}

/// Returns a project's own files: the declaration, and every template it may include by a name without a folder above it.
fn files(project: &Project) -> Result<Vec<(String, String)>, ProjectError> {
    if let Source::Builtin(builtin) = &project.source {
        return Ok(builtin.files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect());
    }
    let mut names = vec![PROJECT_FILE.to_owned()];
    names.extend(project.source.templates().into_iter().filter(|name| !name.starts_with(super::source::BUILTIN)));
    let mut files = Vec::new();
    for file in project.folder().map(|folder| own_parts::files(&folder.join(own_parts::FOLDER))).unwrap_or_default() {
        let text = std::fs::read_to_string(&file).map_err(CheckpointError::io("reading", &file))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push((format!("{}/{name}", own_parts::FOLDER), text));
    }
    for name in names {
        if let Some(text) = project.source.template(&name)? {
            files.push((name, text));
        }
    }
    Ok(files)
}

/// Returns the declaration with another name; comments and order stay.
fn renamed(declaration: &str, name: &str) -> String {
    let quoted = serde_json::Value::from(name).to_string();
    let mut text = String::with_capacity(declaration.len());
    for line in declaration.split_inclusive('\n') {
        match line.strip_prefix("name:") {
            Some(_) => text.push_str(&format!("name: {quoted}\n")),
            None => text.push_str(line),
        }
    }
    text
}

fn readme(name: &str, from: &Project) -> String {
    let mut text = format!(
        "# {name}\n\nA model project, copied from `{}`: {}.\n\n\
         - `project.yaml` declares the project and its arguments.\n\
         - `configs/NAME.yaml` are the configurations: each sets variables and includes the definition.\n\
         - `model.yaml` is the definition: what it renders to is the model's configuration.\n\n\
         Templates may include each other by their path in this folder, and built-in ones as\n\
         `{{% include \"builtin/llama/model.yaml\" %}}`.\n\n\
         ```\nchandlery project show -p .              # each value, and the line it comes from\n\
         chandlery -p . model construct           # the default configuration, {}\n\
         chandlery -p . -t {} model --help        # with its arguments\n```\n\n\
         | argument | |\n|---|---|\n",
        from.name(),
        from.description(),
        from.default_config(),
        from.configs().last().map_or("NAME", String::as_str),
    );
    for argument in from.arguments() {
        let _ = writeln!(text, "| `--{}` | {} |", argument.flag(), argument.help.replace('|', "\\|"));
    }
    text
}
