//! Parts in the folders of projects: each file is compiled against the toolkit, as cells are, and loaded into this process,
//! where it registers its parts. The compiled files are cached for the next command, by their text and the toolkit.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{DirEntry, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use chandlery::diagnostic::{Diagnose, Diagnostic};
use chandlery::part::PartError;
use chandlery::project::own_parts::FOLDER;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use quote::ToTokens;
use sha2::{Digest, Sha256};

use crate::toolkit::{BUILT_WITH, Toolkit, ToolkitError, cache_folder};

/// The function that a compiled file exports.
const ENTRY: &str = "chandlery_parts";

/// How long unused files are kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The type of that function: the file is compiled by the compiler of this program.
type Register = fn(&str, &str) -> Result<(), PartError>;

/// Files that this process has loaded, with the text that each was compiled from. The toolkit is the same as long as it lives.
static LOADED: Mutex<BTreeMap<(PathBuf, String), Register>> = Mutex::new(BTreeMap::new());

/// Compiles and loads a file of parts, unless this process has it already, and registers them.
///
/// # Errors
/// The compiler's errors, or why there is no compiler.
pub fn register(file: &Path, text: &str) -> Result<(), Diagnostic> {
    registered(file, text).map_err(|error| error.diagnostic())
}

fn registered(file: &Path, text: &str) -> Result<(), SourceError> {
    let key = (file.to_owned(), text.to_owned());
    let known = LOADED.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
    let register = match known {
        Some(register) => register,
        None => {
            let register = load(&compiled(file, text)?)?;
            *LOADED.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(register)
        }
    };
    Ok(register(&name_in_project(file).display().to_string(), text)?)
}

/// Why a file of parts cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
enum SourceError {
    /// It does not implement the trait.
    NoPart,
    /// Nothing can compile it.
    Toolkit(#[from] ToolkitError),
    /// There is no place for compiled files.
    NoCache,
    /// A file or program that compiling needs, and what the system says.
    System { what: String, source: std::io::Error },
    /// The compiler's or the linker's messages.
    Messages(String),
    /// The compiler or the linker ended without messages.
    Ended { program: &'static str, status: ExitStatus },
    /// The compiled file cannot be loaded.
    Load(#[from] libloading::Error),
    /// Its parts cannot be registered.
    Part(#[from] PartError),
}

impl SourceError {
    fn system(what: impl Display) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.to_string();
        move |source| Self::System { what, source }
    }
}

impl Diagnose for SourceError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NoPart => Diagnostic::new("it does not have an `impl Part for …` at its top level"),
            Self::Toolkit(error) => error.diagnostic(),
            Self::NoCache => {
                Diagnostic::new("there is no cache folder for compiled parts").advise("set HOME or XDG_CACHE_HOME")
            }
            Self::System { what, source } => Diagnostic::new(format!("{what}: {source}")),
            Self::Messages(text) => Diagnostic::new(text.as_str()),
            Self::Ended { program, status } => Diagnostic::new(format!("{program} ended with {status}")),
            Self::Load(error) => Diagnostic::new(format!("the compiled part cannot be loaded: {error}")),
            Self::Part(error) => error.diagnostic(),
        }
    }
}

/// Returns the file's name in messages, relative to its project.
fn name_in_project(file: &Path) -> PathBuf {
    Path::new(FOLDER).join(file.file_name().unwrap_or_default())
}

/// Returns the types of a file that implement `Part`.
fn parts_in(parsed: &syn::File) -> Result<Vec<String>, SourceError> {
    let types = parsed.items.iter().filter_map(|item| match item {
        syn::Item::Impl(item) => {
            let (_, path, _) = item.trait_.as_ref()?;
            let part = path.segments.last()?.ident == "Part";
            part.then(|| item.self_ty.to_token_stream().to_string())
        }
        _ => None,
    });
    let types: Vec<String> = types.collect();
    if types.is_empty() {
        return Err(SourceError::NoPart);
    }
    Ok(types)
}

/// Returns a hash of everything that the result depends on.
fn key(toolkit: &Toolkit, file: &Path, text: &str) -> Result<String, SourceError> {
    let library = std::fs::metadata(&toolkit.library);
    let library = library.map_err(SourceError::system(toolkit.library.display()))?;
    let mut hash = Sha256::new();
    for part in [
        BUILT_WITH.to_owned(),
        format!("{} {:?}", library.len(), library.modified().ok()),
        toolkit.library.display().to_string(),
        file.display().to_string(),
        text.to_owned(),
    ] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// Returns the shared object of a file, from the cache or compiled into it.
fn compiled(file: &Path, text: &str) -> Result<PathBuf, SourceError> {
    let toolkit = Toolkit::locate()?;
    // A file that cannot be parsed does not have parts; rustc reports its errors better than the parser.
    let types = syn::parse_file(text).map_or(Ok(Vec::new()), |parsed| parts_in(&parsed))?;
    let key = key(&toolkit, file, text)?;
    let cache = cache_folder().ok_or(SourceError::NoCache)?.join("parts");
    let library = cache.join(format!("{key}.so"));
    if let Ok(kept) = File::open(&library) {
        // Its modification time is that of its last use.
        let _ = kept.set_modified(SystemTime::now());
        return Ok(library);
    }
    tidy(&cache);
    std::fs::create_dir_all(&cache).map_err(SourceError::system(cache.display()))?;
    let folder = tempfile_in(&cache).map_err(SourceError::system(cache.display()))?;
    let result = compile_in(&folder, &toolkit, file, text, &types, &key);
    let result = result.and_then(|object| {
        // Another process that compiled the same file meanwhile made the same library.
        std::fs::rename(object, &library).map_err(SourceError::system(library.display()))?;
        Ok(library)
    });
    let _ = std::fs::remove_dir_all(&folder);
    result
}

/// Removes files that were not used for a long time, and the leftovers of killed compilers.
fn tidy(cache: &Path) {
    let old = |entry: &DirEntry| {
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        modified.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > KEPT)
    };
    for entry in std::fs::read_dir(cache).into_iter().flatten().flatten().filter(old) {
        // A loaded library stays loaded.
        let _ = std::fs::remove_file(entry.path()).or_else(|_| std::fs::remove_dir_all(entry.path()));
    }
}

/// Creates a folder for this process.
fn tempfile_in(cache: &Path) -> std::io::Result<PathBuf> {
    let folder = cache.join(format!("building-{}", uuid::Uuid::new_v4().simple()));
    std::fs::create_dir(&folder)?;
    Ok(folder)
}

fn compile_in(
    folder: &Path,
    toolkit: &Toolkit,
    file: &Path,
    text: &str,
    types: &[String],
    key: &str,
) -> Result<PathBuf, SourceError> {
    let name = name_in_project(file);
    let calls = types.iter().map(|part| format!("::chandlery::part::register_source::<{part}>(file, text)?; "));
    // Absolute paths, because the file may give these names another meaning.
    let entry = format!(
        "#[unsafe(no_mangle)] pub fn {ENTRY}(file: &str, text: &str) -> \
         ::core::result::Result<(), ::chandlery::part::PartError> {{ {}::core::result::Result::Ok(()) }}",
        calls.collect::<String>()
    );
    // Messages about a text that cannot be parsed must be about that text only.
    let source = if types.is_empty() { text.to_owned() } else { format!("{text}\n{entry}\n") };
    let written = std::fs::create_dir(folder.join(FOLDER)).and_then(|()| std::fs::write(folder.join(&name), source));
    written.map_err(SourceError::system(folder.display()))?;

    let option = |option: &str, path: &Path| {
        let mut joined = OsString::from(option);
        joined.push(path);
        joined
    };
    let mut rustc = Command::new(&toolkit.rustc);
    rustc
        .args(["--edition=2024", "--crate-name=parts", "--crate-type=cdylib", "--emit=obj", "-Cdebuginfo=0"])
        .args(["-Ccodegen-units=1", "-Cprefer-dynamic", "-Copt-level=1", "-Adead_code", "--color=never"])
        .arg(format!("-Cmetadata=chandlery-part-{key}"))
        .arg("--extern")
        .arg(option("chandlery=", &toolkit.library))
        .arg(option("-Ldependency=", &toolkit.metadata))
        .args(["-o", "part.o"])
        .arg(&name)
        .current_dir(folder)
        .stdin(Stdio::null());
    run(rustc, "rustc")?;
    let (linker, words) = &toolkit.linker;
    let mut link = Command::new(linker);
    link.args(words)
        .args(["-shared", "--eh-frame-hdr", "--hash-style=gnu", "--gc-sections", "-Bsymbolic-functions"])
        .args(["-o", "part.so", "part.o"])
        .current_dir(folder)
        .stdin(Stdio::null());
    run(link, "the linker")?;
    Ok(folder.join("part.so"))
}

fn run(mut command: Command, program: &'static str) -> Result<(), SourceError> {
    let Output { status, stderr, .. } = command.output().map_err(SourceError::system(program))?;
    let said = String::from_utf8_lossy(&stderr);
    // rustc's summary lines.
    let more =
        |line: &&str| !(line.starts_with("error: aborting due to") || line.starts_with("For more information about"));
    let said = said.lines().filter(more).collect::<Vec<_>>().join("\n").trim().to_owned();
    match status.success() {
        true => Ok(()),
        false if said.is_empty() => Err(SourceError::Ended { program, status }),
        false => Err(SourceError::Messages(said)),
    }
}

/// Loads a compiled file for the rest of the process's life: models point into it.
fn load(path: &Path) -> Result<Register, SourceError> {
    // SAFETY: the compiler made this file of the project's own code, which the user asked for; it does not have initializers.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }?;
    // SAFETY: this function was written above with this signature, for this compiler.
    let entry = unsafe { library.get::<Register>(ENTRY.as_bytes()) }.map(|symbol| *symbol);
    std::mem::forget(library);
    Ok(entry?)
}
