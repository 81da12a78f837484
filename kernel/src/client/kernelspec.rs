//! Jupyter's kernelspecs: `kernel.json` in the folders where it looks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::install::Places;

/// How a kernel is started.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Kernelspec {
    /// The folder it was found in.
    #[serde(skip)]
    folder: PathBuf,
    /// The command and its arguments; `{connection_file}` stands for the file's path.
    argv: Vec<String>,
    #[serde(default)]
    language: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

impl Kernelspec {
    /// Returns this command's own kernel, started like an installed one, but without the user's history.
    pub fn own(program: &Path) -> Self {
        let words = ["kernel", "start", "--connection-file", "{connection_file}"].map(str::to_owned);
        let argv = std::iter::once(program.display().to_string()).chain(words).collect();
        let env = BTreeMap::from([("CHANDLERY_HISTORY".to_owned(), "off".to_owned())]);
        Self { argv, env, language: "rust".to_owned(), ..Self::default() }
    }

    /// Returns evcxr's kernel, if it is installed where Jupyter looks.
    pub fn evcxr() -> Option<Self> {
        let is_evcxr = |name: &str, spec: &Self| {
            spec.language == "rust" && (name == "evcxr" || spec.program().is_some_and(|name| name == "evcxr_jupyter"))
        };
        find(&Places::searched(), is_evcxr)
    }

    /// Returns Python's kernel, if it is installed where Jupyter looks.
    pub fn ipykernel() -> Option<Self> {
        let is_ipykernel =
            |_: &str, spec: &Self| spec.argv.iter().any(|word| matches!(&**word, "ipykernel_launcher" | "ipykernel"));
        find(&Places::searched(), is_ipykernel)
    }

    fn program(&self) -> Option<&str> {
        Path::new(self.argv.first()?).file_name()?.to_str()
    }

    fn read(folder: PathBuf) -> Option<Self> {
        let text = std::fs::read_to_string(folder.join("kernel.json")).ok()?;
        let spec: Self = serde_json::from_str(&text).ok()?;
        (!spec.argv.is_empty()).then_some(Self { folder, ..spec })
    }

    /// Returns the command that starts the kernel on the sockets of a connection file.
    pub fn command(&self, connection_file: &Path) -> Command {
        let word = |word: &String| {
            word.replace("{connection_file}", &connection_file.display().to_string())
                .replace("{resource_dir}", &self.folder.display().to_string())
        };
        let mut command = Command::new(self.interpreter().unwrap_or_else(|| word(&self.argv[0]).into()));
        command.args(self.argv[1..].iter().map(word)).envs(&self.env);
        command
    }

    /// A kernelspec with just `python` means the Python of the environment that it is installed in.
    fn interpreter(&self) -> Option<PathBuf> {
        let python = matches!(&*self.argv[0], "python" | "python3");
        let prefix = self.folder.ancestors().find(|folder| folder.ends_with("share")).and_then(Path::parent)?;
        Some(prefix.join("bin").join(&self.argv[0])).filter(|program| python && program.is_file())
    }
}

/// Returns the first matching kernelspec, in Jupyter's order; within a folder, by name.
fn find(folders: &[PathBuf], meant: impl Fn(&str, &Kernelspec) -> bool) -> Option<Kernelspec> {
    folders.iter().find_map(|kernels| {
        let mut all: Vec<PathBuf> = std::fs::read_dir(kernels).ok()?.flatten().map(|entry| entry.path()).collect();
        all.sort();
        let named = |folder: PathBuf| Some((folder.file_name()?.to_str()?.to_owned(), Kernelspec::read(folder)?));
        all.into_iter().filter_map(named).find(|(name, spec)| meant(name, spec)).map(|(_, spec)| spec)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, text: &str) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("kernel.json"), text).unwrap();
    }

    #[test]
    fn kernels_are_found_where_jupyter_looks_and_started_as_it_does() {
        let prefix = std::env::temp_dir().join(format!("chandlery-kernelspecs-{}", std::process::id()));
        let kernels = prefix.join("share/jupyter/kernels");
        write(&kernels.join("broken"), "{");
        write(&kernels.join("empty"), r#"{"argv": [], "language": "python"}"#);
        write(
            &kernels.join("python3"),
            r#"{"argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}", "{resource_dir}"], "language": "python", "env": {"A": "b"}}"#,
        );
        let folders = [PathBuf::from("/nowhere"), kernels.clone()];
        let python = |_: &str, spec: &Kernelspec| spec.language == "python";
        let command = |spec: Kernelspec| {
            let command = spec.command(Path::new("/c.json"));
            let words = command.get_args().map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>();
            (PathBuf::from(command.get_program()), words, command.get_envs().count())
        };
        let (program, words, environment) = command(find(&folders, python).unwrap());
        assert_eq!((program, environment), (PathBuf::from("python"), 1));
        let resources = kernels.join("python3").display().to_string();
        assert_eq!(words, ["-m", "ipykernel_launcher", "-f", "/c.json", &resources]);

        // In an environment of its own, the interpreter is that environment's.
        std::fs::create_dir_all(prefix.join("bin")).unwrap();
        std::fs::write(prefix.join("bin/python"), "").unwrap();
        assert_eq!(command(find(&folders, python).unwrap()).0, prefix.join("bin/python"));
        assert!(find(&folders, |name, _| name == "evcxr").is_none());
        std::fs::remove_dir_all(prefix).unwrap();
    }
}
