//! One rustc and one link per cell.
//!
//! A compiler is started ahead of time and waits for the cell's text on its standard input. It reads the text late: the
//! root file is `extern crate chandlery; include!(<standard input>);`, and a compiler loads the crates a file names
//! before it expands the file's macros. So start-up and the metadata of three hundred crates are done when the cell
//! arrives. The text is included through a link with a name of its own, which messages and panics then show.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::cgroup::MemoryGroups;
use crate::engine::direct::dependencies::Built;
use crate::engine::direct::directives::Spent;
use crate::engine::direct::run::busy::{Busy, Stopped};
use crate::private_folder::PrivateFolder;
use crate::toolkit::Toolkit;

/// Compiles cells, in a private folder.
pub(crate) struct Compiler {
    toolkit: Toolkit,
    folder: PrivateFolder,
    units: u32,
    waiting: Option<WaitingCompiler>,
    /// The generation of types: how often types of cells were replaced by others of the same name.
    generation: u32,
    /// Cells are compiled with `--cfg test`.
    tests: bool,
    /// The options that name the notebook's dependencies.
    dependencies: Vec<std::ffi::OsString>,
}

/// Why the compiler does not explain an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoExplanation {
    /// It cannot be asked.
    #[error("rustc: {0}")]
    Rustc(#[from] std::io::Error),
    /// It does not know an error of this code; in its own words.
    #[error("{0}")]
    Unknown(String),
}

/// A compiler that waits for its text.
struct WaitingCompiler {
    child: Child,
    name: String,
}

/// The result of a compile.
pub(crate) enum Compiled {
    /// The shared object, the name by which messages call its source, and the compiler's warnings.
    Library(PathBuf, String, String),
    /// The compiler's messages, about the source of this name.
    Errors(String, String),
    /// The user stopped it.
    Stopped,
    /// It was ended by something else, such as a signal.
    Died(String),
}

impl Compiler {
    pub(crate) fn new(toolkit: Toolkit) -> std::io::Result<Self> {
        let folder = PrivateFolder::fresh(&std::env::temp_dir())?;
        let mut compiler =
            Self { toolkit, folder, units: 0, waiting: None, generation: 0, tests: false, dependencies: Vec::new() };
        compiler.warm();
        Ok(compiler)
    }

    /// The toolkit and its compiler.
    pub(crate) fn toolkit(&self) -> &Toolkit {
        &self.toolkit
    }

    /// Makes these crates available to the cells that follow.
    pub(crate) fn depend(&mut self, built: &Built) {
        self.dependencies = vec![joined("-Ldependency=", &built.search)];
        for (name, file) in &built.externs {
            self.dependencies.extend(["--extern".into(), joined(&format!("{name}="), file)]);
        }
        self.restart();
    }

    /// Gives the types of the cells that follow another identity, which distinguishes values of a type from those of the
    /// earlier type of the same name.
    pub(crate) fn renew(&mut self) {
        self.generation += 1;
        self.restart();
    }

    /// The generation of types that cells are compiled with.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Discards the waiting compiler, which does not know of a change.
    fn restart(&mut self) {
        if let Some(mut unit) = self.waiting.take() {
            end(&mut unit.child);
            self.clean(&unit.name);
        }
        self.warm();
    }

    /// Returns the folder in which cells are compiled.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sets whether the cells that follow are compiled with `cfg(test)`.
    pub(crate) fn compile_tests(&mut self, tests: bool) {
        self.tests = tests;
    }

    /// Returns the compiler's executable.
    pub(crate) fn rustc(&self) -> &Path {
        &self.toolkit.rustc
    }

    /// Starts the next cell's compiler.
    pub(crate) fn warm(&mut self) {
        if self.waiting.is_none() {
            // If this fails, starting the compiler for the cell fails as well and says why.
            self.waiting = self.start('0', false).ok();
        }
    }

    fn start(&mut self, level: char, tests: bool) -> std::io::Result<WaitingCompiler> {
        self.units += 1;
        let name = format!("u{}.rs", self.units);
        let root = format!("r{}.rs", self.units);
        std::os::unix::fs::symlink("/proc/self/fd/0", self.folder.path().join(&name))?;
        // The prelude is read while the compiler waits; the cell's own import of it then costs nothing.
        let warm = "mod __warm { use chandlery::prelude::*; }";
        let text = format!("extern crate chandlery;\n{warm}\ninclude!(\"{name}\");\n");
        std::fs::write(self.folder.path().join(&root), text)?;
        let mut command = Command::new(&self.toolkit.rustc);
        command
            .args(["--edition=2024", "--crate-name=cell", "--crate-type=cdylib", "--emit=obj"])
            // What a cell defines is for later cells.
            .args(["-Adead_code", "-Aunused_imports", "-Aunused_macros", "-Aunused_macro_rules"])
            // A constant name and salt, so that a type keeps its identity from cell to cell, as long as it is the same.
            .arg(format!("-Cmetadata=chandlery-cell-{}", self.generation))
            .args(["-Cdebuginfo=0", "-Ccodegen-units=1", "-Cprefer-dynamic"])
            .arg(format!("-Copt-level={level}"))
            .args(["--error-format=json", "--json=diagnostic-rendered-ansi,artifacts", "--diagnostic-width=110"])
            .arg("--extern")
            .arg(joined("chandlery=", &self.toolkit.library))
            .arg(joined("-Ldependency=", &self.toolkit.metadata))
            .args(&self.dependencies)
            .args(["-o", &format!("{name}.o"), &root])
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if tests {
            command.args(["--cfg", "test"]);
        }
        command.process_group(0);
        Ok(WaitingCompiler { child: command.spawn()?, name })
    }

    /// Compiles a cell, at another opt-level than 0 if one is named.
    pub(crate) fn compile(
        &mut self,
        source: &str,
        level: Option<char>,
        busy: &Busy,
        spent: &mut Spent,
    ) -> std::io::Result<Compiled> {
        let begun = Instant::now();
        // Optimized cells and tests are rare, so no compiler waits for them.
        let waiting = if level.is_none() && !self.tests { self.waiting.take() } else { None };
        let alive = waiting.and_then(|mut unit| matches!(unit.child.try_wait(), Ok(None)).then_some(unit));
        let unit = match alive {
            Some(unit) => unit,
            None => self.start(level.unwrap_or('0'), self.tests)?,
        };
        let WaitingCompiler { mut child, name } = unit;
        let groups = MemoryGroups::of_process(child.id());
        let kills = groups.kills();
        if busy.compiling(child.id()) == Err(Stopped) {
            end(&mut child);
            return Ok(Compiled::Stopped);
        }
        if let Some(mut input) = child.stdin.take() {
            // A compiler that stopped reading has written the reason to its error stream.
            let _ = input.write_all(source.as_bytes());
        }
        let (messages, complete) = match child.stderr.take() {
            Some(errors) => messages(errors)?,
            None => (String::new(), false),
        };
        let stopped = busy.compiled();
        if stopped == Err(Stopped) {
            child.wait()?;
            return Ok(Compiled::Stopped);
        }
        let status = if complete { None } else { Some(child.wait()?) };
        spent.compile += begun.elapsed();
        if let Some(signal) = status.and_then(|status| status.signal()) {
            self.clean(&name);
            let why = groups.blame(kills).unwrap_or_else(|| format!("it said: {:?}", messages.trim()));
            return Ok(Compiled::Died(format!("rustc was ended by signal {signal}: {why}")));
        }
        if status.is_some_and(|status| !status.success()) {
            return Ok(Compiled::Errors(messages, name));
        }
        let begun = Instant::now();
        let linked = self.link(&name, messages);
        child.wait()?;
        spent.link += begun.elapsed();
        // The next one warms up while this cell runs.
        self.warm();
        linked
    }

    /// Returns the compiler's explanation of one of its errors.
    ///
    /// # Errors
    /// [`NoExplanation`], such as for a code that does not exist.
    pub(crate) fn explain(&self, code: &str) -> Result<String, NoExplanation> {
        let answer = Command::new(&self.toolkit.rustc).args(["--explain", code]).stdin(Stdio::null()).output();
        let answer = answer?;
        if answer.status.success() {
            return Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned());
        }
        let said = String::from_utf8_lossy(&answer.stderr);
        Err(NoExplanation::Unknown(said.trim().trim_start_matches("error: ").to_owned()))
    }

    /// Links without naming any library: the worker has the toolkit loaded, and the loader finds all symbols there.
    /// Reading a 100 MB library would cost more than the rest of the cell.
    fn link(&self, name: &str, messages: String) -> std::io::Result<Compiled> {
        let library = self.folder.path().join(format!("{name}.so"));
        let (linker, words) = &self.toolkit.linker;
        let output = Command::new(linker)
            .args(words)
            .args(["-shared", "--eh-frame-hdr", "--hash-style=gnu", "--gc-sections", "-Bsymbolic-functions", "-o"])
            .arg(&library)
            .arg(self.folder.path().join(format!("{name}.o")))
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            Ok(Compiled::Library(library, name.to_owned(), messages))
        } else {
            let message = format!("linking failed: {}", String::from_utf8_lossy(&output.stderr).trim());
            Ok(Compiled::Errors(message, name.to_owned()))
        }
    }

    /// Removes a unit's files; a loaded library stays loaded.
    pub(crate) fn clean(&self, name: &str) {
        let root = name.replacen('u', "r", 1);
        for file in [name.to_owned(), root, format!("{name}.o"), format!("{name}.so")] {
            let _ = std::fs::remove_file(self.folder.path().join(file));
        }
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        if let Some(mut unit) = self.waiting.take() {
            end(&mut unit.child);
        }
    }
}

/// Returns the lines that a compiler writes, and whether it reported the object file as complete. After that it only frees
/// its memory, which need not be waited for.
fn messages(errors: impl Read) -> std::io::Result<(String, bool)> {
    let mut errors = BufReader::new(errors);
    let (mut messages, mut line) = (String::new(), Vec::new());
    while errors.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        if text.starts_with(COMPLETE) {
            return Ok((messages, true));
        }
        messages.push_str(&text);
        line.clear();
    }
    Ok((messages, false))
}

/// How `--json=artifacts` reports a file.
const COMPLETE: &str = r#"{"$message_type":"artifact""#;

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn joined(option: &str, path: &Path) -> std::ffi::OsString {
    let mut joined = std::ffi::OsString::from(option);
    joined.push(path);
    joined
}
