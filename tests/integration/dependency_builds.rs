//! What a build of `:dep` includes, and what it leaves when it fails.

use std::time::Duration;

use chandlery_kernel::engine::{Engine, Outcome};

use crate::cells::{interrupted_after, name};
use crate::dependencies::Crates;

const LOCAL: &str = "#[derive(Debug)] pub struct S(pub i32);\npub fn f() -> S { S(3) }\n";

#[test]
fn a_failed_build_leaves_the_crate_and_its_values() {
    let crates = Crates::new();
    crates.write("local", "", &[("src/lib.rs", LOCAL)]);
    let mut nb = crates.notebook();
    let line = ":dep local = { path = \"local\" }";
    nb.ok(&format!("{line}\nlet s = local::f();"));
    let still_works = |nb: &mut crate::cells::Notebook, after: &str| {
        assert_eq!(nb.ok("(s.0, local::f().0)"), "(3, 3)", "after {after}");
    };
    // The crate itself, another one, one that the loader refuses, one that is stopped, and a cargo that is killed.
    crates.write("local", "", &[("src/lib.rs", "pub fn f() -> i32 { oops")]);
    assert_eq!(nb.fails(line).0, "DependencyError");
    still_works(&mut nb, "a crate that no longer compiles");
    crates.write("wrong", "", &[("src/lib.rs", "fn f() -> u8 { \"text\" }")]);
    crates.write("local", "", &[("src/lib.rs", LOCAL)]);
    assert_eq!(nb.fails(":dep wrong = { path = \"wrong\" }").0, "DependencyError");
    still_works(&mut nb, "another crate that does not compile");
    crates.write(
        "unlinked",
        "",
        &[("src/lib.rs", "unsafe extern \"C\" { fn chandlery_no_such_function(); }\npub fn f() { unsafe { chandlery_no_such_function() } }")],
    );
    let (kind, value, _) = nb.fails(":dep unlinked = { path = \"unlinked\" }");
    assert!(kind == "DependencyError" && value.contains("chandlery_no_such_function"), "{value}");
    still_works(&mut nb, "a crate that cannot be loaded");
    let slow = "fn main() { std::fs::write(\"../pid\", std::process::id().to_string()).unwrap(); std::thread::sleep(std::time::Duration::from_secs(60)); }";
    crates.write("slow", "build = \"build.rs\"", &[("build.rs", slow), ("src/lib.rs", "")]);
    let file = crates.path().join("pid");
    let wait = move || {
        let read = || std::fs::read_to_string(&file).ok().filter(|text| !text.is_empty());
        let found = (0..3000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(20));
            read()
        });
        let _ = std::fs::remove_file(&file);
        found
    };
    let press = nb.engine.interrupter();
    let waiting = std::thread::spawn({
        let wait = wait.clone();
        move || wait().map(|_| press())
    });
    let (outcome, _) = interrupted_after(&mut nb, ":dep slow = { path = \"slow\" }", &[]);
    waiting.join().unwrap();
    assert_eq!(name(&outcome), "Interrupted", "{outcome:?}");
    still_works(&mut nb, "a stop");
    let killer = std::thread::spawn(move || {
        // Cargo is the parent of the build script.
        let script = wait()?;
        let stat = std::fs::read_to_string(format!("/proc/{script}/stat")).ok()?;
        let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.to_owned();
        std::process::Command::new("kill").args(["-9", &parent, &script]).status().ok()
    });
    let (kind, value, _) = nb.fails(":dep slow = { path = \"slow\" }");
    killer.join().unwrap();
    assert!(kind == "DependencyError" && value.contains("signal 9"), "{kind}: {value}");
    still_works(&mut nb, "a killed cargo");
    // A restarted worker loads what works.
    assert_eq!(nb.fails("std::process::exit(1);").0, "WorkerDied");
    assert_eq!(nb.ok("local::f().0"), "3");
    assert_eq!(nb.run(":deps"), Outcome::Ok);
    assert!(nb.displays().contains("local") && !nb.displays().contains("slow"), "{}", nb.displays());
}

/// A crate whose build script compiles C code, in a library of its own.
fn with_c(crates: &Crates, name: &str, flags: &str, code: &str, rust: &str) {
    let script = format!(
        "fn main() {{\n\
         let out = std::env::var(\"OUT_DIR\").unwrap();\n\
         let ok = |c: &str, a: &[&str]| assert!(std::process::Command::new(c).args(a).status().unwrap().success());\n\
         ok(\"cc\", &[\"-c\", \"-O1\", \"-fPIC\", {flags:?}, \"c.c\", \"-o\", &format!(\"{{out}}/c.o\")]);\n\
         ok(\"ar\", &[\"crs\", &format!(\"{{out}}/lib{name}_c.a\"), &format!(\"{{out}}/c.o\")]);\n\
         println!(\"cargo:rustc-link-search=native={{out}}\");\n\
         println!(\"cargo:rustc-link-lib=static={name}_c\");\n}}\n"
    );
    crates.write(name, "", &[("build.rs", &script), ("c.c", code), ("src/lib.rs", rust)]);
}

#[test]
fn c_code_of_a_crate_is_called_from_cells() {
    let crates = Crates::new();
    let code = "static int calls; int c_sum(int a, int b) { calls++; return a + b; }\nint c_calls(void) { return calls; }\nint c_state = 7;\n";
    let rust = "unsafe extern \"C\" { pub fn c_sum(a: i32, b: i32) -> i32; pub fn c_calls() -> i32; pub static mut c_state: i32; }\n\
                pub fn plain(a: i32, b: i32) -> i32 { unsafe { c_sum(a, b) } }\n\
                #[inline] pub fn inlined(a: i32, b: i32) -> i32 { unsafe { c_sum(a, b) } }\n\
                pub fn generic<T: Into<i32>>(a: T, b: T) -> i32 { unsafe { c_sum(a.into(), b.into()) } }\n";
    with_c(&crates, "open", "-fvisibility=default", code, rust);
    // Names that are hidden, as those of compression libraries are.
    let hidden = |text: &str| text.replace("c_", "h_");
    with_c(&crates, "hidden", "-fvisibility=hidden", &hidden(code), &hidden(rust));
    let mut nb = crates.notebook();
    nb.ok(":dep open = { path = \"open\" }");
    assert_eq!(nb.ok("open::plain(1, 2)"), "3");
    assert_eq!(nb.ok("open::inlined(1, 2) + open::generic(1i8, 2i8)"), "6");
    assert_eq!(nb.ok("unsafe { open::c_sum(1, 2) + open::c_state }"), "10");
    assert_eq!(nb.ok("unsafe { open::c_calls() }"), "4", "the code is there once");
    // In a set that grows, too.
    nb.ok(":dep hidden = { path = \"hidden\" }");
    assert_eq!(nb.ok("hidden::plain(1, 2) + hidden::inlined(1, 2) + hidden::generic(1i8, 2i8)"), "9");
    assert_eq!(nb.ok("unsafe { hidden::h_sum(1, 2) + hidden::h_state + hidden::h_calls() }"), "14");
    assert_eq!(nb.ok("open::plain(1, 2); unsafe { open::c_calls() }"), "5");
}

#[test]
fn two_versions_of_a_crate_coexist() {
    let crates = Crates::new();
    for version in ["1", "2"] {
        let folder = crates.write(
            &format!("v{version}"),
            "",
            &[("src/lib.rs", &format!("pub fn version() -> u8 {{ {version} }}\n"))],
        );
        let manifest = format!("[package]\nname = \"same\"\nversion = \"{version}.0.0\"\nedition = \"2021\"\n");
        std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    }
    let user = "pub fn version() -> u8 { same::version() }\n";
    crates.write("user-of-old", "[dependencies]\nsame = { path = \"../v1\" }", &[("src/lib.rs", user)]);
    let mut nb = crates.notebook();
    let code = ":dep same = { path = \"v2\" }\n:dep a-old = { path = \"v1\", package = \"same\" }\n:dep user-of-old = { path = \"user-of-old\" }\n\
                (same::version(), a_old::version(), user_of_old::version())";
    assert_eq!(nb.ok(code), "(2, 1, 1)");
    assert!(nb.displays().contains("same 2.0.0, a-old 1.0.0"), "{}", nb.displays());
}

#[test]
fn dependencies_may_be_among_comments_and_code() {
    let crates = Crates::new();
    crates.write(
        "one",
        "[features]\nmore = []",
        &[("src/lib.rs", "pub fn n() -> u8 { 1 }\n#[cfg(feature = \"more\")] pub fn more() -> u8 { 5 }")],
    );
    crates.write("two", "", &[("src/lib.rs", "pub fn n() -> u8 { 2 }")]);
    let mut nb = crates.notebook();
    for code in [
        "/* what\nthis needs */\n:dep one = { path = \"one\" }\none::n()",
        ":dep one = { path = \"one\" } // a note\none::n()",
        "use std::fmt;\nfn f() -> u8 { one::n() }\n:dep one = { path = \"one\" } /* a note */\nf()",
    ] {
        assert_eq!(nb.ok(code), "1", "{code}");
    }
    let code = "// two\nlet a = one::n();\n:dep two = { path = \"two\" }\n:dep one = { path = \"one\",\n    features = [\"more\"] } # a table\none::more() + two::n()";
    assert_eq!(nb.ok(code), "7");
    let (name, value, traceback) = nb.fails("let b = 1;\n:vars\nb");
    assert!(
        name == "UsageError" && value.contains("start of the cell") && traceback.contains(":2"),
        "{value}\n{traceback}"
    );
    let (_, _, traceback) = nb.fails(":dep one = { path = \"one\" }\n:dep none = { path = \"none\" }");
    assert!(traceback.contains(":2"), "the line that is wrong: {traceback}");
}

/// What cells use of tokio, in a crate that needs no network: a runtime that says whether one is inside it.
const TOKIO: &str = "use std::cell::Cell; thread_local! { static INSIDE: Cell<bool> = const { Cell::new(false) } }\n\
    pub fn inside() -> bool { if !INSIDE.get() { panic!(\"there is no reactor running, must be called from the context of a Tokio 1.x runtime\") } true }\n\
    #[cfg(feature = \"rt\")] pub mod runtime {\n\
    pub struct Builder; pub struct Runtime(pub u32); pub struct Guard; use std::sync::atomic::*; static COUNT: AtomicU32 = AtomicU32::new(0);\n\
    impl Builder { pub fn new_current_thread() -> Self { Self } pub fn enable_all(self) -> Self { self }\n\
    pub fn build(self) -> std::io::Result<Runtime> { Ok(Runtime(COUNT.fetch_add(1, Ordering::SeqCst))) } }\n\
    impl Runtime { pub fn enter(&self) -> Guard { super::INSIDE.set(true); Guard }\n\
    pub fn block_on<F: Future>(&self, _: F) { loop { std::thread::park() } } }\n\
    impl Drop for Guard { fn drop(&mut self) { super::INSIDE.set(false) } }\n\
    pub fn made() -> u32 { COUNT.load(Ordering::SeqCst) } }\n";

#[test]
fn cells_run_inside_the_runtime_of_their_tokio() {
    let crates = Crates::new();
    let folder = crates.write("tokio", "", &[("src/lib.rs", TOKIO)]);
    let manifest = "[package]\nname = \"tokio\"\nversion = \"1.99.0\"\nedition = \"2024\"\n[features]\nrt = []\n";
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    crates.write("other", "", &[("src/lib.rs", "")]);
    let mut nb = crates.notebook();
    nb.ok(":dep tokio = { path = \"tokio\" }");
    let (name, _, traceback) = nb.fails("tokio::inside()");
    assert!(name == "Panic" && traceback.contains("help: ") && traceback.contains(":dep tokio"), "{traceback}");
    assert_eq!(nb.ok("std::future::ready(1).await"), "1");
    let mut nb = crates.notebook();
    nb.ok(":dep tokio = { path = \"tokio\", features = [\"rt\"] }");
    assert_eq!(nb.ok("tokio::inside()"), "true");
    assert_eq!(nb.ok("std::future::ready(()).await; tokio::inside()"), "true");
    assert_eq!(nb.fails("panic!(\"no\")").1, "no");
    // A set that grows keeps the runtime, in which tasks live.
    nb.ok(":dep other = { path = \"other\" }");
    assert_eq!(nb.ok("(tokio::inside(), tokio::runtime::made())"), "(true, 1)");
    let (name, _, traceback) =
        nb.fails("std::thread::spawn(|| tokio::inside()).join().unwrap_or_else(|e| std::panic::resume_unwind(e))");
    assert!(name == "Panic", "{traceback}");
}
