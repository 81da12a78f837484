//! The files and lines that a cell's text names: `include_str!("name")` and the like, `mod name;`, `file!()` and `line!()`.
//!
//! A cell is compiled in another folder, so paths are made relative to the notebook's folder. Definitions are compiled again with
//! later cells: they include a copy from when their cell ran, so that a file that changes on disk does not change
//! the definitions of stored values.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::edits::Edit;

/// Macros that take the path of a file, relative to the file that they are in.
const INCLUDES: &[&str] = &["include", "include_str", "include_bytes"];

/// A part of a cell that names a file, or asks for its own file or line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mention {
    /// The path of a macro such as `include_str!`, and the range of its literal.
    Include { path: String, start: usize, end: usize },
    /// `mod name;`, and where it starts.
    Module { name: String, start: usize },
    /// `file!()`.
    File { start: usize, end: usize },
    /// `line!()`, and its line in the cell.
    Line { start: usize, end: usize, line: usize },
}

/// Returns the mentions in tokens, whose spans are positions in the cell.
pub(crate) fn mentions(tokens: TokenStream) -> Vec<Mention> {
    let mut found = Vec::new();
    scan(tokens, &mut found);
    found
}

fn scan(tokens: TokenStream, found: &mut Vec<Mention>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => scan(group.stream(), found),
            TokenTree::Ident(name) => {
                let [Some(TokenTree::Punct(mark)), Some(TokenTree::Group(group))] =
                    [tokens.get(index + 1), tokens.get(index + 2)]
                else {
                    continue;
                };
                if mark.as_char() != '!' {
                    continue;
                }
                let (start, end) = (name.span().byte_range().start, group.span().byte_range().end);
                let arguments: Vec<TokenTree> = group.stream().into_iter().collect();
                match (name.to_string().as_str(), arguments.as_slice()) {
                    ("file", []) if group.delimiter() != Delimiter::None => found.push(Mention::File { start, end }),
                    ("line", []) if group.delimiter() != Delimiter::None => {
                        found.push(Mention::Line { start, end, line: name.span().start().line });
                    }
                    (include, [TokenTree::Literal(literal), ..]) if INCLUDES.contains(&include) => {
                        if let Ok(path) = syn::parse_str::<syn::LitStr>(&literal.to_string()) {
                            let range = literal.span().byte_range();
                            let (start, end) = (range.start, range.end);
                            found.push(Mention::Include { path: path.value(), start, end });
                        }
                    }
                    _ => {}
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// The folders of a cell's files and of their copies.
pub(crate) struct FileFolders<'a> {
    /// The notebook's folder.
    pub(crate) notebook: &'a Path,
    /// A private folder for copies.
    pub(crate) copies: &'a Path,
    /// What `file!()` says.
    pub(crate) name: &'a str,
}

impl FileFolders<'_> {
    /// Returns the insertions for these mentions, and a text that identifies the contents of the files.
    /// `lasting` text is compiled again later.
    ///
    /// # Errors
    /// A module's file that is not there or cannot be read, by offset.
    pub(crate) fn edits(&self, mentions: &[Mention], lasting: bool) -> Result<(Vec<Edit>, String), (usize, String)> {
        let mut edits = Vec::new();
        let mut contents = DefaultHasher::new();
        for mention in mentions {
            match mention {
                Mention::Include { path, start, end } => {
                    let mut target = self.notebook.join(path);
                    if lasting {
                        target = self.copy(&target).unwrap_or(target);
                        std::fs::read(&target).unwrap_or_default().hash(&mut contents);
                    }
                    // The user's literal stays for the compiler's messages; the path around it is the whole path.
                    edits.push(Edit::new(*start, format!("{:?} /*", target.display().to_string())));
                    edits.push(Edit::new(*end, "*/"));
                }
                Mention::Module { name, start } => {
                    let root = self.module(name).map_err(|problem| (*start, problem))?;
                    hash_sources(root.parent().unwrap_or(&root), &mut contents);
                    edits.push(Edit::new(*start, format!("#[path = {:?}]", root.display().to_string())));
                }
                Mention::File { start, end } => {
                    edits.push(Edit::new(*start, format!("{:?} /*", self.name)));
                    edits.push(Edit::new(*end, "*/"));
                }
                Mention::Line { start, end, line } => {
                    edits.push(Edit::new(*start, format!("{line}u32 /*")));
                    edits.push(Edit::new(*end, "*/"));
                }
            }
        }
        edits.sort_by_key(|edit| edit.at);
        Ok((edits, format!("/* {:x} */", contents.finish())))
    }

    /// Copies a file, if it can be read; otherwise the compiler reports why it cannot.
    fn copy(&self, file: &Path) -> Option<PathBuf> {
        let folder = self.fresh()?;
        let target = folder.join(file.file_name()?);
        std::fs::copy(file, &target).ok()?;
        Some(target)
    }

    /// Copies a module's file and those of the modules in it. Returns the copy of its own.
    fn module(&self, name: &str) -> Result<PathBuf, String> {
        let beside = self.notebook.join(format!("{name}.rs"));
        let inside = self.notebook.join(name).join("mod.rs");
        let source = match (beside.is_file(), inside.is_file()) {
            (true, false) => beside,
            (false, true) => inside,
            (true, true) => return Err(format!("both {} and {} exist", beside.display(), inside.display())),
            (false, false) => {
                return Err(format!(
                    "there is no file for module `{name}`: neither {} nor {}",
                    beside.display(),
                    inside.display()
                ));
            }
        };
        let folder = self.fresh().ok_or("no folder for a copy of the module's file")?.join(name);
        let failed = |error: std::io::Error| format!("{}: {error}", source.display());
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let root = folder.join("mod.rs");
        std::fs::copy(&source, &root).map_err(failed)?;
        // Modules inside it have their files in the folder of its name.
        let below = self.notebook.join(name);
        if below.is_dir() {
            copy_sources(&below, &folder, &root).map_err(failed)?;
        }
        Ok(root)
    }

    fn fresh(&self) -> Option<PathBuf> {
        (0..).map(|number| self.copies.join(format!("copy-{number}"))).find_map(|folder| {
            match std::fs::create_dir(&folder) {
                Ok(()) => Some(Some(folder)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => None,
                Err(_) => Some(None),
            }
        })?
    }
}

/// Copies the Rust files below a folder, all but one that is there already.
fn copy_sources(from: &Path, to: &Path, root: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy_sources(&source, &target, root)?;
        } else if source.extension().is_some_and(|extension| extension == "rs") && target != root {
            std::fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

fn hash_sources(folder: &Path, contents: &mut DefaultHasher) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        path.file_name().hash(contents);
        match path.is_dir() {
            true => hash_sources(&path, contents),
            false => std::fs::read(&path).unwrap_or_default().hash(contents),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_lines_are_found_everywhere() {
        let code =
            "let a = include_str!(\"a.txt\");\nprintln!(\"{} {}\", file!(), line!());\ninclude_bytes!(concat!(\"a\"));";
        let found = mentions(code.parse().unwrap());
        assert_eq!(found.len(), 3);
        assert!(matches!(&found[0], Mention::Include { path, .. } if path == "a.txt"));
        assert!(matches!(&found[2], Mention::Line { line: 2, .. }));
        let places = FileFolders { notebook: Path::new("/n"), copies: Path::new("/c"), name: "cell 3" };
        let (edits, _) = places.edits(&found, false).unwrap();
        let text = super::super::edits::applied(code, 0, &edits);
        assert!(text.starts_with("let a = include_str!(\"/n/a.txt\" /*\"a.txt\"*/);"), "{text}");
        assert!(text.contains("\"cell 3\" /*file!()*/, 2u32 /*line!()*/"), "{text}");
    }

    #[test]
    fn a_module_is_copied_with_the_modules_in_it() {
        let root = std::env::temp_dir().join(format!("chandlery-files-{}", std::process::id()));
        let (notebook, copies) = (root.join("n"), root.join("c"));
        std::fs::create_dir_all(notebook.join("shapes")).unwrap();
        std::fs::create_dir_all(&copies).unwrap();
        std::fs::write(notebook.join("shapes.rs"), "pub mod flat;").unwrap();
        std::fs::write(notebook.join("shapes/flat.rs"), "").unwrap();
        let places = FileFolders { notebook: &notebook, copies: &copies, name: "x" };
        let copy = places.module("shapes").unwrap();
        assert!(copy.ends_with("shapes/mod.rs") && copy.with_file_name("flat.rs").is_file());
        assert!(places.module("none").unwrap_err().contains("none.rs"));
        std::fs::remove_dir_all(root).unwrap();
    }
}
