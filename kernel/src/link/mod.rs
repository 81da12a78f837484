//! The linker of a set of dependencies: the system's, keeping the functions of C code in the set visible.
//!
//! A crate may hold C code that its build script compiled. Cells call it directly, where a function of the crate is generic, is
//! inlined, or is the C function itself. The compiler, which knows Rust alone, makes everything else in a shared library
//! invisible. So functions that the crates' metadata names and C code defines are added to the list of visible symbols. Anything
//! that cannot be understood here is linked as the compiler requests.

mod archive;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use archive::Archive;

/// The argument of `chandlery` that links.
pub const COMMAND: &str = "__link";

const VERSIONS: &str = "-Wl,--version-script=";

/// Links with these arguments of the compiler.
pub fn main(words: &[OsString]) -> ExitCode {
    let linker = || Command::new("cc");
    // Symbols that C code refers to may be missing if nothing used them so far: then link again without them.
    if let Some(more) = widened(words)
        && linker().args(&more).output().is_ok_and(|done| done.status.success())
    {
        return ExitCode::SUCCESS;
    }
    match linker().args(words).status() {
        Ok(status) => {
            let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// Returns the arguments with which C functions stay visible, if there are any.
fn widened(words: &[OsString]) -> Option<Vec<OsString>> {
    let mut words = words.to_vec();
    let versions = words.iter().position(|word| word.as_bytes().starts_with(VERSIONS.as_bytes()))?;
    let list = PathBuf::from(OsStr::from_bytes(&words[versions].as_bytes()[VERSIONS.len()..]));
    let folder = list.parent()?.to_owned();
    let mut foreign: Vec<(usize, Archive)> = Vec::new();
    let mut metadata = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let Some(archive) = archive_of(word).and_then(Archive::read) else { continue };
        metadata.extend(archive.metadata().map(<[u8]>::to_vec));
        foreign.extend(archive.has_foreign().then_some((at, archive)));
    }
    for (name, path) in native(&words) {
        let at = words.iter().position(|word| *word == *format!("-l{name}"));
        foreign.extend(at.zip(Archive::read(&path)));
    }
    let defined: BTreeSet<Vec<u8>> = foreign.iter().flat_map(|(_, archive)| archive.defined()).collect();
    let named: BTreeSet<Vec<u8>> = metadata.iter().flat_map(|text| archive::named(text, &defined)).collect();
    let text = std::fs::read_to_string(&list).ok()?;
    // The compiler lists some of them itself.
    let listed: BTreeSet<&str> = text.split(|c: char| c.is_whitespace() || c == ';').collect();
    let shared = shared(&words);
    if named.is_empty() {
        return (!shared.is_empty()).then(|| words.into_iter().chain(shared).collect());
    }
    for (at, archive) in &foreign {
        let Some(visible) = archive.with_visible(&named) else { continue };
        let name = format!("visible-{at}.a");
        std::fs::write(folder.join(&name), visible).ok()?;
        words[*at] = folder.join(name).into_os_string();
    }
    let names = named.iter().map(|name| String::from_utf8_lossy(name));
    let lines: String = names.filter(|name| !listed.contains(&**name)).map(|name| format!("    {name};\n")).collect();
    let text = match text.split_once("global:") {
        Some((before, after)) => format!("{before}global:\n{lines}{after}"),
        None => text.replacen('{', &format!("{{\n  global:\n{lines}"), 1),
    };
    let widened = folder.join("visible.list");
    std::fs::write(&widened, text).ok()?;
    let mut versions_word = OsString::from(VERSIONS);
    versions_word.push(&widened);
    words[versions] = versions_word;
    // The library itself may not use them, so they are requested by name.
    let wanted: String =
        named.iter().map(|name| format!("-Wl,--undefined={}\n", String::from_utf8_lossy(name))).collect();
    let file = folder.join("visible.args");
    std::fs::write(&file, wanted).ok()?;
    let mut file_word = OsString::from("@");
    file_word.push(file);
    words.push(file_word);
    words.extend(shared);
    Some(words)
}

/// The crate of the set that a word names, or the C code of one: the compiler's own come with their C code as well.
fn archive_of(word: &OsStr) -> Option<&Path> {
    let file = word.as_bytes().strip_prefix(b"-Wl,").unwrap_or(word.as_bytes());
    let file = Path::new(OsStr::from_bytes(file));
    let is_archive = file.extension().is_some_and(|kind| kind == "rlib" || kind == "a");
    (is_archive && !file.iter().any(|part| part == "rustlib")).then_some(file)
}

fn folders(words: &[OsString]) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_bytes() {
            b"-L" => folders.extend(words.next().map(PathBuf::from)),
            [b'-', b'L', path @ ..] => folders.push(PathBuf::from(OsStr::from_bytes(path))),
            _ => {}
        }
    }
    folders
}

/// Libraries that every program has.
const SYSTEM: &[&str] = &["c", "m", "rt", "pthread", "util", "dl", "gcc", "gcc_s", "gcc_eh"];

/// Returns the libraries in the arguments, except those of the system.
fn names(words: &[OsString]) -> impl Iterator<Item = &str> {
    words.iter().filter_map(|word| word.to_str()?.strip_prefix("-l")).filter(|name| !SYSTEM.contains(name))
}

/// Returns the static libraries among them, in the folders of the arguments.
fn native(words: &[OsString]) -> Vec<(&str, PathBuf)> {
    let folders = folders(words);
    let found = names(words).filter_map(|name| {
        let beside = |kind: &str, folder: &PathBuf| folder.join(format!("lib{name}.{kind}"));
        let first = folders.iter().find(|folder| beside("a", folder).is_file() || beside("so", folder).is_file())?;
        (!beside("so", first).is_file()).then(|| (name, beside("a", first)))
    });
    found.collect()
}

/// The words by which shared libraries that only cells use are loaded as well, from where build scripts put them.
fn shared(words: &[OsString]) -> Vec<OsString> {
    let native = native(words);
    let mut names: Vec<&str> = names(words).filter(|name| !native.iter().any(|(known, _)| known == name)).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Vec::new();
    }
    let brought = |folder: &PathBuf| {
        folder.is_absolute() && names.iter().any(|name| folder.join(format!("lib{name}.so")).is_file())
    };
    let path = |folder: PathBuf| {
        let mut word = OsString::from("-Wl,-rpath,");
        word.push(folder);
        word
    };
    let mut more = vec![OsString::from("-Wl,--no-as-needed")];
    more.extend(names.iter().map(|name| OsString::from(format!("-l{name}"))));
    more.push("-Wl,--as-needed".into());
    more.extend(folders(words).into_iter().filter(brought).map(path));
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_without_c_code_stay_the_same() {
        let words: Vec<OsString> = ["-shared", "-o", "x.so", "a.o", "-lc"].map(OsString::from).to_vec();
        assert_eq!(widened(&words), None);
        assert_eq!(folders(&["-L".into(), "/a".into(), "-L/b".into()]), [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert!(native(&["-L/no/such".into(), "-lz".into()]).is_empty());
        assert!(shared(&["-lz".into()]).contains(&"-lz".into()) && shared(&["-lm".into()]).is_empty());
    }
}
