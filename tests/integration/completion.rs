//! Completion and inspection: names at once, and by evcxr's rust-analyzer in the language process.

use std::time::{Duration, Instant};

use chandlery_kernel::engine::{Assist, Completions, Engine};
use chandlery_kernel::language::LanguageReply;
use chandlery_kernel::system;

use crate::cells::Notebook;

/// Generous, because the cores may be shared with everything else.
const PATIENCE: Duration = Duration::from_secs(300);

/// The matches at the end of the code.
fn matches(assist: &dyn Assist, code: &str) -> Vec<String> {
    assist.complete(code, code.len()).matches
}

/// Waits until an answer has what is expected; a busy machine may take longer than a person should wait.
fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A question, asked until its answer is the expected one.
struct Asking<'a>(&'a dyn Assist);

impl Asking<'_> {
    fn completes(&self, code: &str, wanted: &str) -> Completions {
        eventually(&format!("{code} has no {wanted}"), || {
            let found = self.0.complete(code, code.len());
            found.matches.iter().any(|found| found == wanted).then_some(found)
        })
    }

    /// At the `|` in the code: the text, and the Markdown.
    fn explains(&self, marked: &str, wanted: &str) -> (String, String) {
        let cursor = marked.find('|').unwrap();
        let code = marked.replacen('|', "", 1);
        eventually(&format!("{marked} is not explained by {wanted}"), || {
            let data = self.0.inspect(&code, cursor)?;
            let markdown = data.get("text/markdown")?.as_str()?.to_owned();
            (data.plain().contains(wanted)).then(|| (data.plain().to_owned(), markdown))
        })
    }
}

const COUNTER: &str = "/// Counts on.\npub fn next() -> u32 { 1 }\nfn secret() {}\npub struct Point<T> { pub across: T, hidden: () }\nimpl<T> Point<T> { pub fn at(across: T) -> Self { Self { across, hidden: () } } }";

/// One test for all, because rust-analyzer starts slowly.
#[test]
fn the_language_process_knows_the_toolkit_the_variables_and_std() {
    let mut nb = Notebook::new();
    nb.ok("/// A *place*.\nstruct Spot { height: f32 }\nlet spots = vec![Spot { height: 1.0 }];\nlet spot = Spot { height: 2.0 };");
    nb.ok("let opened = project(\"llama\")?;");
    // A crate of the notebook's own.
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("count-er");
    std::fs::create_dir_all(package.join("src")).unwrap();
    std::fs::write(
        package.join("Cargo.toml"),
        "[package]\nname = \"count-er\"\nversion = \"1.2.3\"\nedition = \"2021\"\n",
    )
    .unwrap();
    std::fs::write(package.join("src/lib.rs"), COUNTER).unwrap();
    nb.engine.keep_dependencies_in(folder.path().join("cache"));
    nb.ok(&format!(":dep count-er = {{ path = {package:?} }}\nuse count_er::Point;\nlet point = Point::at(1u8);"));
    let assist = nb.engine.assist();
    // It is started by the first question about code, which does not wait for it.
    assert!(nb.engine.language().unwrap().running().is_none(), "started before anybody asked");
    let began = Instant::now();
    assert_eq!(matches(&*assist, "let x = spo"), ["spot", "spots"]);
    assert_eq!(assist.inspect("spots", 5).unwrap().plain(), "spots: Vec<Spot>");
    assert!(assist.inspect("project", 5).unwrap().plain().contains("still starting"));
    assert!(began.elapsed() < Duration::from_secs(5), "names wait for nothing");
    let (id, ready) = eventually("it does not start", || {
        let language = nb.engine.language().unwrap();
        language.ask("", 0, false, Instant::now());
        let (id, ready) = language.running().unwrap_or_else(|| panic!("{:?}", language.problem()));
        Some((id, ready?))
    });
    assert!(matches!(&ready, LanguageReply::Ready { .. }), "{ready:?}");

    assert!(
        matches!(&ready, LanguageReply::Ready { dependencies, .. } if dependencies.iter().any(|name| name == "count_er")),
        "{ready:?}"
    );
    let asking = Asking(&*assist);
    // Methods and items of the toolkit, what is in a value, and what is in scope.
    asking.completes("chandlery::insp", "inspect");
    asking.completes("spot.", "height");
    asking.completes("let x = spo", "spots");
    // Below a directive, after letters of several bytes, in the middle of a statement.
    let code = "%time\nlet é = \"😀\"; if spot.he";
    let found = asking.completes(code, "height");
    assert_eq!(
        (&code[found.start..found.end], found.matches, found.kinds),
        ("he", vec!["height".to_owned()], vec!["instance".to_owned()])
    );
    let (plain, markdown) = asking.explains("Spo|t { height: 2.0 }", "A place.");
    assert!(
        plain.contains("struct Spot") && markdown.contains("```rust\nstruct Spot") && markdown.contains("A *place*."),
        "{markdown}"
    );
    let (_, markdown) = asking.explains("let s = \"😀\"; inspe|ct(\"x\")", "pub fn inspect");
    assert!(markdown.contains("](<https://docs.rs/") || markdown.contains("](https://docs.rs/"), "{markdown}");
    // Crates of `:dep`, and their values.
    asking.completes("count_er::ne", "next");
    asking.completes("use count_er::Po", "Point");
    asking.completes("use count_er; count_er::ne", "next");
    asking.completes("point.acr", "across");
    asking.explains("count_er::nex|t()", "Counts on.");
    // Where arguments are written, the call is explained.
    asking.explains("let p = project(\"lla|", "pub fn project(name: &str)");
    asking.explains("spot|", "let spot: Spot");
    // Through `?` and the standard library, whose sources this machine need not have.
    asking.completes("opened.conf", "config");
    asking.completes("project(\"llama\")?.config(\"4M\")?.con", "construct");
    asking.explains("opened.config(|)", "name: &str");
    asking.completes("let n = String::new(); n.is_em", "is_empty");
    asking.completes("spots[0].", "height");
    let code = "let ü = spots.le";
    let found = asking.completes(code, "len");
    assert_eq!(&code[found.start..found.end], "le");
    let kind = |name: &str| found.matches.iter().position(|found| found == name).map(|at| found.kinds[at].as_str());
    assert_eq!((kind("len"), kind("leak"), kind("iter")), (Some("function"), Some("function"), None), "{found:?}");
    asking.explains("spots.pus|h(Spot", "Appends an element");
    asking.explains("spots|", "let spots: Vec<Spot>");
    asking.explains("println!(\"{}\", |)", "Prints to the standard output");
    // Nothing private: fields of the toolkit's and std's types, and private items of a crate of the notebook.
    for (code, open, private) in [
        ("project(\"llama\")?.config(\"4M\")?.", "construct", "set_value"),
        ("spots.", "push", "buf"),
        ("point.", "across", "hidden"),
        ("count_er::", "next", "secret"),
    ] {
        let found = asking.completes(code, open);
        assert!(!found.matches.iter().any(|found| found == private), "{code}{private} is private");
    }

    // While a cell runs.
    let (begun, running) = std::sync::mpsc::channel();
    let other = nb.engine.assist();
    let asked = std::thread::spawn(move || {
        running.recv().unwrap();
        Asking(&*other).completes("spots; spot.hei", "height");
        Instant::now()
    });
    begun.send(()).unwrap();
    let mut ended = Instant::now();
    // A slow machine answers late: then another cell is running.
    while !asked.is_finished() {
        nb.ok("std::thread::sleep(std::time::Duration::from_secs(2))");
        ended = Instant::now();
    }
    assert!(asked.join().unwrap() < ended, "answered after the cell");

    // Another process that knows candle replaces it, if there is enough memory.
    let mut ids = vec![id];
    if matches!(ready, LanguageReply::Ready { more: true, .. }) {
        let known = eventually("no second takes its place", || {
            matches(&*assist, "spot.");
            let (now, ready) = nb.engine.language().unwrap().running()?;
            ids.extend(Some(now).filter(|now| *now != id));
            ready.filter(|_| now != id)
        });
        let LanguageReply::Ready { dependencies, .. } = &known else { panic!("{known:?}") };
        if dependencies.iter().any(|name| name == "candle-core") {
            asking.completes("use chandlery::candle::*; let t = Tensor::new(1f32, &Device::Cpu)?; t.sum_", "sum_all");
        }
    }

    // All end with the engine.
    nb.engine.shutdown();
    assert!(ids.iter().all(|id| !system::is_alive(*id)));
    assert_eq!(matches(&*assist, "spo"), ["spot", "spots"]);
}

#[test]
fn directives_complete_without_the_language_process() {
    let nb = Notebook::new();
    let assist = nb.engine.assist();
    let began = Instant::now();
    assert_eq!(matches(&*assist, "%conv"), ["convert"]);
    assert!(matches(&*assist, "%model -p llama -t ").contains(&"4M".to_owned()));
    assert_eq!(matches(&*assist, "%model -p qwen3 construct --hid"), ["--hidden-size"]);
    assert_eq!(matches(&*assist, "%inspect Cargo.to"), ["Cargo.toml"]);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(nb.engine.language().unwrap().running().is_none(), "directives need no rust-analyzer");
}
