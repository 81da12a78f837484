//! Completion and inspection: names at once, and by evcxr's rust-analyzer in the language process.

use std::time::{Duration, Instant};

use chandlery_kernel::engine::{Assist, Engine};
use chandlery_kernel::language::Answer;
use chandlery_kernel::system;

use crate::cells::Notebook;

/// Generous: two cores may be shared with everything else.
const PATIENCE: Duration = Duration::from_secs(300);

/// The matches at the end of the code.
fn matches(assist: &dyn Assist, code: &str) -> Vec<String> {
    assist.complete(code, code.len()).matches
}

/// Until an answer has what is expected; a busy machine may take longer for one than a person should wait.
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

#[test]
#[ignore = "rust-analyzer takes tens of seconds and 2 GB: cargo test -- --ignored the_language_process"]
fn the_language_process_knows_the_toolkit_the_variables_and_std() {
    let mut nb = Notebook::new();
    nb.ok("/// A place.\nstruct Spot { height: f32 }\nlet spots = vec![Spot { height: 1.0 }];\nlet opened = project(\"llama\")?;");
    let assist = nb.engine.assist();
    // It is started by the first question about code, and nobody waits for it.
    assert!(nb.engine.language().unwrap().running().is_none(), "started before anybody asked");
    let began = Instant::now();
    assert_eq!(matches(&*assist, "let x = spo"), ["spots"]);
    assert!(began.elapsed() < Duration::from_secs(5), "names wait for nothing");
    let (id, ready) = eventually("it does not start", || {
        let (id, ready) = nb.engine.language().unwrap().running()?;
        assert!(system::is_alive(id), "{:?}", nb.engine.language().unwrap().problem());
        Some((id, ready?))
    });
    assert!(matches!(ready, Answer::Ready { .. }), "{ready:?}");

    let has = |code: &str, wanted: &str| {
        eventually(&format!("{code} has no {wanted}"), || {
            matches(&*assist, code).iter().any(|found| found == wanted).then_some(())
        });
    };
    has("spots[0].", "height");
    has("opened.conf", "config");
    has("chandlery::insp", "inspect");
    has("let n = String::new(); n.is_em", "is_empty");
    // Below a directive, after letters of several bytes.
    has("%time\nlet é = 1; spots[0].he", "height");
    let code = "let ü = spots.le";
    let found =
        eventually("no positions", || Some(assist.complete(code, code.len())).filter(|f| !f.matches.is_empty()));
    assert_eq!(
        (&code[found.start..found.end], found.matches.as_slice()),
        ("le", ["len".to_owned(), "leak".to_owned()].as_slice())
    );
    assert_eq!(found.kinds[0], "function");

    let about = |code: &str, cursor: usize, wanted: &str| {
        eventually(&format!("{code} is not explained by {wanted}"), || {
            let data = assist.inspect(code, cursor)?;
            let html = data.get("text/html")?.as_str()?.to_owned();
            (data.plain().contains(wanted) && html.contains("<code")).then_some(())
        });
    };
    about("Spot { height: 2.0 }", 2, "A place.");
    about("inspect(\"x\")", 3, "pub fn inspect");
    about("spots.push(Spot", 8, "Appends an element");
    about("spots", 5, "let spots: Vec<Spot>");

    // Cells run beside it as ever, and it ends with the engine.
    assert_eq!(nb.ok("spots.len()"), "1");
    nb.engine.shutdown();
    assert!(!system::is_alive(id));
    assert_eq!(matches(&*assist, "spo"), ["spots"]);
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
