//! `:dep`: crates that cargo builds, from local folders, so that no network is needed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chandlery_kernel::engine::{Cell, Engine, Event, Outcome, Stream};

use crate::cells::{Notebook, interrupted_after, name};

/// A folder with crates, and a cache of its own.
pub(crate) struct Crates {
    folder: tempfile::TempDir,
}

impl Crates {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a crate: the rest of its manifest after the package's name, and its files.
    pub(crate) fn write(&self, name: &str, manifest: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.path().join(name);
        std::fs::create_dir_all(folder.join("src")).unwrap();
        let text = format!("[package]\nname = \"{name}\"\nversion = \"1.2.3\"\nedition = \"2021\"\n{manifest}\n");
        std::fs::write(folder.join("Cargo.toml"), text).unwrap();
        for (file, text) in files {
            std::fs::write(folder.join(file), text).unwrap();
        }
        folder
    }

    pub(crate) fn notebook(&self) -> Notebook {
        let mut nb = Notebook::new();
        nb.engine.keep_dependencies_in(self.path().join("cache"));
        nb.ok(&format!("std::env::set_current_dir({:?})?;", self.path()));
        nb
    }
}

const COUNTER: &str = "use std::sync::atomic::{AtomicU32, Ordering::SeqCst};\nstatic COUNT: AtomicU32 = AtomicU32::new(0);\n\
    pub fn next() -> u32 { COUNT.fetch_add(1, SeqCst) + 1 }\n#[derive(Debug, Clone, PartialEq)] pub struct Point<T> { pub x: T }\n\
    impl<T: Copy> Point<T> { pub fn new(x: T) -> Self { Point { x } } pub fn get(&self) -> T { self.x } }";

#[test]
fn cells_share_the_statics_and_types_of_a_dependency() {
    let crates = Crates::new();
    crates.write("counter", "", &[("src/lib.rs", COUNTER)]);
    crates.write(
        "user-of",
        "[dependencies]\ncounter = { path = \"../counter\" }",
        &[("src/lib.rs", "pub fn twice() -> u32 { counter::next(); counter::next() }")],
    );
    let mut nb = crates.notebook();
    nb.ok(":dep counter = { path = \"counter\" }\nuse counter::Point;");
    let shown = nb.displays();
    assert!(shown.contains("counter 1.2.3 · 1 crate built in"), "{shown}");
    assert_eq!(nb.ok("counter::next()"), "1");
    assert_eq!(nb.ok("let p = Point::new(7u8); counter::next()"), "2");
    assert_eq!(nb.ok("p.get() as u32 + counter::next()"), "10");
    // Another one that uses the first: the same statics and types.
    nb.ok("%dep user-of = { path = \"user-of\" }");
    assert_eq!(nb.ok("user_of::twice()"), "5");
    assert_eq!(nb.ok("(counter::next(), p.x)"), "(6, 7)");
    nb.ok(":deps");
    assert!(nb.displays().contains("user-of") && nb.displays().contains("1.2.3"), "{}", nb.displays());
    // A new worker loads them again, and its statics start over.
    assert_eq!(nb.fails("std::process::exit(1);").0, "WorkerDied");
    assert_eq!(nb.ok("counter::next()"), "1");
    // Another kernel finds all of it built.
    let mut other = crates.notebook();
    other.ok(":dep counter = { path = \"counter\" }");
    assert!(other.displays().contains("counter 1.2.3 · was already built"), "{}", other.displays());
    assert_eq!(other.ok("counter::next()"), "1");
}

#[test]
fn a_changed_crate_is_built_and_loaded_again() {
    let crates = Crates::new();
    crates.write("fickle", "", &[("src/lib.rs", "#[derive(Debug)] pub struct A(pub u8);\npub fn f() -> u8 { 1 }")]);
    let mut nb = crates.notebook();
    nb.ok(":dep fickle = { path = \"fickle\" }");
    assert_eq!(nb.ok("let a = fickle::A(3); fickle::f()"), "1");
    crates.write("fickle", "", &[("src/lib.rs", "#[derive(Debug)] pub struct A(pub u16);\npub fn f() -> u8 { 22 }")]);
    nb.ok(":dep fickle = { path = \"fickle\" }");
    assert_eq!(nb.ok("fickle::f()"), "22");
    // A value of the old type is not mistaken for one of the new type.
    assert_eq!(nb.fails("a.0 + 1").0, "Refused");
}

#[test]
fn features_macros_and_build_scripts_work() {
    let crates = Crates::new();
    crates.write(
        "derives",
        "[lib]\nproc-macro = true",
        &[(
            "src/lib.rs",
            "extern crate proc_macro; use proc_macro::TokenStream;\n#[proc_macro_derive(Answer)]\npub fn answer(input: TokenStream) -> TokenStream {\n\
             let name = input.into_iter().nth(1).unwrap(); format!(\"impl {name} {{ fn answer(&self) -> i32 {{ 42 }} }}\").parse().unwrap() }",
        )],
    );
    crates.write(
        "built",
        "build = \"build.rs\"\n[features]\nextra = []\n[lib]\nname = \"built_lib\"",
        &[
            ("build.rs", "fn main() { println!(\"cargo:rustc-env=STAMP=from the script\"); }"),
            (
                "src/lib.rs",
                "pub const STAMP: &str = env!(\"STAMP\");\n#[cfg(feature = \"extra\")] pub fn extra() -> bool { true }\n\
                 #[macro_export] macro_rules! triple { ($e:expr) => { $e * 3 } }",
            ),
        ],
    );
    let mut nb = crates.notebook();
    // Two in one cell, with code that uses them.
    let code = ":dep derives = { path = \"derives\" }\n:dep built = { path = \"built\", features = [\"extra\"] }\n\
                use derives::Answer;\n#[derive(Answer)] struct Question;\nQuestion.answer()";
    assert_eq!(nb.ok(code), "42");
    assert_eq!(
        nb.ok("(built_lib::STAMP, built_lib::extra(), built_lib::triple!(5))"),
        "(\"from the script\", true, 15)"
    );
    // Under another name; cargo wants one name for one crate, so in another notebook.
    let mut other = crates.notebook();
    let code = ":dep other = { path = \"built\", package = \"built\", features = [\"extra\"] }\nother::extra()";
    assert_eq!(other.ok(code), "true");
}

#[test]
fn errors_of_dependencies_are_readable_and_change_nothing() {
    let crates = Crates::new();
    crates.write("wrong", "", &[("src/lib.rs", "pub fn f() -> u8 {\n    \"text\"\n}")]);
    crates.write("fine", "", &[("src/lib.rs", "pub fn f() -> u8 { 7 }")]);
    let mut nb = crates.notebook();
    nb.ok("let kept = 1;\n");
    let (name, value, traceback) = nb.fails("\n:dep wrong = { path = \"wrong\" }\nkept + 1");
    assert_eq!((name.as_str(), value.as_str()), ("DependencyError", "mismatched types"));
    assert!(traceback.contains("\"text\"") && traceback.contains("cell 3:2"), "{traceback}");
    let (name, value, _) = nb.fails(":dep missing = { path = \"missing\" }");
    assert_eq!(name, "UsageError");
    assert!(value.contains("missing: No such file"), "{value}");
    let (_, _, traceback) = nb.fails(":dep fine = { path = \"fine\", features = [\"none\"] }");
    assert!(traceback.contains("`fine` does not have that feature"), "{traceback}");
    for line in [":dep", ":dep fine = 1", ":dep fine = { path = \"fine\"", ":dep chandlery = \"1\""] {
        assert_eq!(nb.fails(line).0, "UsageError", "{line}");
    }
    // None of them affects the others.
    assert_eq!(nb.ok(":dep fine = { path = \"fine\" }\nfine::f() + kept as u8"), "8");
}

#[test]
fn a_second_copy_of_a_toolkit_crate_is_reported() {
    let crates = Crates::new();
    crates.write("plotters", "", &[("src/lib.rs", "pub fn mine() -> u8 { 1 }")]);
    let mut nb = crates.notebook();
    assert_eq!(nb.ok(":dep plotters = { path = \"plotters\" }\nplotters::mine()"), "1");
    assert!(nb.text(Stream::Stderr).contains("the toolkit has this crate as `chandlery::plotters`"));
    assert_eq!(nb.ok("chandlery::plotters::style::BLACK.0"), "0");
}

#[test]
fn a_check_builds_what_cells_need_to_compile() {
    let crates = Crates::new();
    crates.write("counter", "", &[("src/lib.rs", COUNTER)]);
    let mut nb = crates.notebook();
    let mut check = |code: &str, number| {
        nb.seen.events.clear();
        let outcome = nb.engine.check(&Cell { code: code.to_owned(), number }, false, &mut nb.seen);
        (outcome, format!("{:?}", nb.seen.events))
    };
    let (outcome, _) =
        check(":dep counter = { path = \"counter\" }\nuse counter::Point;\nlet p = Point::new(7_u8);", 2);
    assert_eq!(outcome, Outcome::Ok);
    assert_eq!(check("let x: u8 = p.get();\nlet n: u32 = counter::next();", 3).0, Outcome::Ok);
    let (outcome, _) = check(":dep no-such = { path = \"no-such\" }\nuse no_such::Thing;\nlet t = Thing::new(n);", 4);
    let Outcome::Error { name, traceback, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(name, "UsageError");
    assert!(!traceback.join("\n").contains("E0432"), "the missing crate is told once: {traceback:?}");
    let (outcome, said) = check("no_such::more(t, x)", 5);
    assert_eq!(outcome, Outcome::Ok, "{said}");
    assert!(said.contains("`no_such` is not known: cell 4"), "{said}");
}

#[test]
fn the_stop_button_ends_cargo() {
    let crates = Crates::new();
    let script = "fn main() { std::fs::write(\"../pid\", std::process::id().to_string()).unwrap(); std::thread::sleep(std::time::Duration::from_secs(60)); }";
    crates.write("slow", "build = \"build.rs\"", &[("build.rs", script), ("src/lib.rs", "")]);
    let mut nb = crates.notebook();
    nb.ok("let kept = 1;");
    let file = crates.path().join("pid");
    let press = nb.engine.interrupter();
    let waiting = std::thread::spawn({
        let file = file.clone();
        move || {
            for _ in 0..3000 {
                std::thread::sleep(Duration::from_millis(20));
                if std::fs::read_to_string(&file).is_ok_and(|text| !text.is_empty()) {
                    press();
                    return;
                }
            }
        }
    });
    let (outcome, took) = interrupted_after(&mut nb, ":dep slow = { path = \"slow\" }", &[]);
    waiting.join().unwrap();
    assert_eq!(name(&outcome), "Interrupted", "{outcome:?}");
    assert!(took < Duration::from_secs(50), "{took:?}");
    let process = std::fs::read_to_string(file).unwrap();
    let gone = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        status.is_empty() || status.contains(") Z")
    });
    assert!(gone, "the build script is still there");
    assert!(
        nb.seen.events.iter().any(|(_, event)| matches!(event, Event::Display { id: Some(_), .. })),
        "no progress was shown"
    );
    assert_eq!(nb.ok("kept"), "1");
    assert_eq!(nb.run(":deps"), Outcome::Ok);
    assert!(nb.displays().contains("none"), "{}", nb.displays());
}
