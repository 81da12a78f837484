//! Parses the dependency of a `%dep` line, and writes the manifest of the package that has them all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chandlery::diagnostic::{Diagnose, Diagnostic};
use toml::{Table, Value};

/// Dependencies, by the name before the `=`.
pub(in crate::engine::direct) type Wanted = BTreeMap<String, Value>;

/// The toolkit's own crates that cells can use, with their paths.
const IN_TOOLKIT: &[(&str, &str)] = &[
    ("candle-core", "chandlery::candle"),
    ("candle-nn", "chandlery::candle_nn"),
    ("plotters", "chandlery::plotters"),
    ("polars", "chandlery::polars"),
    ("polars-io", "chandlery::polars_io"),
    ("serde_json", "chandlery::serde_json"),
];

/// The keys that a manifest may have for a dependency.
const KEYS: &[&str] = &[
    "version",
    "path",
    "git",
    "branch",
    "tag",
    "rev",
    "features",
    "default-features",
    "default_features",
    "package",
    "registry",
    "registry-index",
];

/// A line that is not a dependency.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub(in crate::engine::direct) enum DependencyError {
    /// It is not TOML; what the parser says.
    Syntax(String),
    /// It does not name one dependency.
    NotOne,
    /// Its value is neither a version nor a table.
    NotAVersion,
    /// A key that no dependency has, and the one that is nearest.
    UnknownKey { key: String, near: Option<&'static str> },
    /// Its path does not lead anywhere.
    Path { path: PathBuf, source: std::io::Error },
    /// It is the toolkit.
    Toolkit,
}

impl Diagnose for DependencyError {
    fn diagnostic(&self) -> Diagnostic {
        let how = "write `:dep name = \"1\"` or `:dep name = { path = \"../name\", features = [\"a\"] }`";
        match self {
            Self::Syntax(message) => Diagnostic::new(message.as_str()).advise(how),
            Self::NotOne => Diagnostic::new("this line does not name a dependency").advise(how),
            Self::NotAVersion => Diagnostic::new("a dependency is a version or a table").advise(how),
            Self::UnknownKey { key, near } => {
                let advice = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("use one of {}", KEYS.join(", ")),
                };
                Diagnostic::new(format!("`{key}` is not a key of a dependency")).advise(advice)
            }
            Self::Path { path, source } => Diagnostic::new(format!("{}: {source}", path.display()))
                .advise("name the folder of the crate; paths are relative to the folder that cells are in"),
            Self::Toolkit => {
                Diagnostic::new("`chandlery` is in scope in every cell").advise("remove the line, and use `chandlery`")
            }
        }
    }
}

/// Parses `name = "1"`, `name = { … }` or `name`. A path may be relative to `folder`.
///
/// # Errors
/// [`DependencyError`], which says what is wrong with it.
pub(super) fn parse(line: &str, folder: &Path) -> Result<(String, Value), DependencyError> {
    let line = line.trim();
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
    let (name, mut value) = if is_name(line) {
        (line.to_owned(), Value::String("*".to_owned()))
    } else {
        let syntax = |error: toml::de::Error| DependencyError::Syntax(error.message().to_owned());
        let table: Table = line.parse().map_err(syntax)?;
        let mut entries = table.into_iter();
        match (entries.next(), entries.next()) {
            (Some(entry), None) if is_name(&entry.0) => entry,
            _ => return Err(DependencyError::NotOne),
        }
    };
    match &mut value {
        Value::String(_) => {}
        Value::Table(table) => {
            if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
                let near = KEYS.iter().find(|known| strsim::damerau_levenshtein(known, unknown) <= 2).copied();
                return Err(DependencyError::UnknownKey { key: unknown.clone(), near });
            }
            if !["version", "path", "git"].iter().any(|key| table.contains_key(*key)) {
                table.insert("version".to_owned(), Value::String("*".to_owned()));
            }
            if let Some(Value::String(path)) = table.get_mut("path") {
                let full = folder.join(&*path);
                let full = full.canonicalize().map_err(|source| DependencyError::Path { path: full, source })?;
                *path = full.to_string_lossy().into_owned();
            }
        }
        _ => return Err(DependencyError::NotAVersion),
    }
    if name.replace('-', "_") == "chandlery" {
        return Err(DependencyError::Toolkit);
    }
    Ok((name, value))
}

/// Returns the path at which the toolkit has a crate of this name.
pub(super) fn in_toolkit(name: &str) -> Option<&'static str> {
    let same = |known: &str| known.replace('-', "_") == name.replace('-', "_");
    IN_TOOLKIT.iter().find(|(known, _)| same(known)).map(|(_, path)| *path)
}

/// Returns the manifest of a package that depends on all of them and is one shared library.
pub(super) fn write(wanted: &Wanted, package: &str) -> String {
    let mut text = format!(
        "[package]\nname = \"{package}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [lib]\npath = \"lib.rs\"\ncrate-type = [\"dylib\"]\n\n[workspace]\n\n\
         [profile.release]\ndebug = false\nstrip = \"debuginfo\"\n\n[dependencies]\n"
    );
    for (name, value) in wanted {
        text.push_str(&format!("{name} = {}\n", inline(value)));
    }
    text
}

/// Returns the value for any key in a manifest that means the dependency that was requested as `name`.
pub(super) fn of_package(name: &str, value: &Value) -> String {
    let mut table = match value {
        Value::Table(table) => table.clone(),
        version => Table::from_iter([("version".to_owned(), version.clone())]),
    };
    table.entry("package").or_insert_with(|| Value::String(name.to_owned()));
    inline(&Value::Table(table))
}

/// Writes a value on one line.
pub(super) fn inline(value: &Value) -> String {
    let joined = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", joined(items.iter().map(inline).collect())),
        Value::Table(table) => {
            let entries = table.iter().map(|(key, value)| format!("{} = {}", key_of(key), inline(value)));
            format!("{{ {} }}", joined(entries.collect()))
        }
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(yes) => yes.to_string(),
        Value::Datetime(when) => when.to_string(),
    }
}

fn key_of(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if bare { key.to_owned() } else { quoted(key) }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(line: &str) -> Result<String, DependencyError> {
        let (name, value) = parse(line, Path::new("/"))?;
        Ok(format!("{name} = {}", inline(&value)))
    }

    #[test]
    fn the_forms_of_a_dependency() {
        assert_eq!(manifest("itoa").unwrap(), "itoa = \"*\"");
        assert_eq!(manifest(" rand = \"0.8\" ").unwrap(), "rand = \"0.8\"");
        assert_eq!(
            manifest("a-b = { version = \"1\", features = [\"x\", 'y\"'], default-features = false }").unwrap(),
            "a-b = { default-features = false, features = [\"x\", \"y\\\"\"], version = \"1\" }"
        );
        assert_eq!(
            manifest("r = { features = [\"bundled\"] }").unwrap(),
            "r = { features = [\"bundled\"], version = \"*\" }"
        );
        assert!(manifest("x = { path = \"no/such/folder\" }").unwrap_err().to_string().contains("/no/such/folder"));
        for wrong in ["", "x = 1", "x = ", "two words", "a.b = \"1\"", "chandlery = \"1\"", "x = { vresion = \"1\" }"] {
            assert!(manifest(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn manifests_are_read_back() {
        let wanted = Wanted::from([parse("x = { git = \"https://a/b\", rev = \"c\" }", Path::new("/")).unwrap()]);
        let read: Table = write(&wanted, "p").parse().unwrap();
        assert_eq!(read["dependencies"]["x"], wanted["x"]);
        assert_eq!(of_package("a-b", &Value::String("1".to_owned())), "{ package = \"a-b\", version = \"1\" }");
        assert!(of_package("y", &"package = \"x\"".parse::<Table>().unwrap().into()).contains("\"x\""));
        assert_eq!(in_toolkit("candle_core"), Some("chandlery::candle"));
        assert_eq!(in_toolkit("rand"), None);
    }
}
