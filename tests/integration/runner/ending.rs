//! The end of a run: variables are dropped, and a signal saves what has run.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use super::*;

const ROWS: &str = "use std::io::Write;\nlet mut rows = std::io::BufWriter::new(std::fs::File::create(\"rows.csv\")?);\n\
                    writeln!(rows, \"a,b\")?;";

fn says_when_dropped(what: &str) -> String {
    format!("struct Guard;\nimpl Drop for Guard {{ fn drop(&mut self) {{ {what} }} }}\nlet guard = Guard;")
}

fn rows(folder: &Folder) -> String {
    std::fs::read_to_string(folder.path("rows.csv")).unwrap()
}

#[test]
fn variables_are_dropped_at_the_end_of_a_run() {
    let folder = Folder::with(&[cell(ROWS), cell(&says_when_dropped("println!(\"dropped\")")), cell("1 + 1")]);
    let done = command(&folder, &["in.ipynb", "-o", "out.ipynb"]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(rows(&folder), "a,b\n");
    // Their output belongs to the last cell.
    assert_eq!(folder.out()["cells"][2]["outputs"][1]["text"], json!(["dropped\n"]));

    let failing = Folder::with(&[cell(ROWS), cell("panic!(\"on purpose\")")]);
    assert!(!command(&failing, &["in.ipynb"]).status.success());
    assert_eq!(rows(&failing), "a,b\n");
}

#[test]
fn a_drop_that_fails_at_the_end_fails_the_run() {
    for (what, why) in [("panic!(\"cannot flush\")", "cannot flush"), ("std::process::abort()", "SIGABRT")] {
        let folder = Folder::with(&[cell(&says_when_dropped(what)), cell("1 + 1")]);
        let done = command(&folder, &["in.ipynb", "-o", "out.ipynb", "--junit", "junit.xml"]);
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(said.contains("failed at its end, when its variables were dropped"), "{said}");
        assert!(folder.out()["cells"][1]["outputs"].to_string().contains(why), "{}", folder.out());
        let junit = std::fs::read_to_string(folder.path("junit.xml")).unwrap();
        assert!(junit.contains("the end of the notebook") && junit.contains("failures=\"1\""), "{junit}");
    }
}

/// A run whose second cell runs.
fn running(folder: &Folder) -> (Child, impl Read + use<>) {
    let mut command = Command::new(program());
    command.args(["run", "in.ipynb", "-o", "out.ipynb", "--junit", "junit.xml"]).current_dir(folder.0.path());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("[1/") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the first cell ran");
    }
    while !folder.path("begun").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    (child, said)
}

fn send(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn every_signal_saves_what_has_run() {
    let listens = "println!(\"so far\"); std::fs::write(\"begun\", \"\")?; loop { chandlery::interrupt::check()?; }";
    let deaf = "println!(\"so far\"); std::fs::write(\"begun\", \"\")?; std::iter::repeat(0u8).for_each(|n| { std::hint::black_box(n); });";
    for (signals, code, work) in [
        (&["-TERM"][..], 143, listens),
        (&["-TERM"], 143, deaf),
        (&["-HUP"], 129, deaf),
        (&["-INT"], 130, deaf),
        (&["-INT", "-TERM"], 130, deaf),
    ] {
        let folder = Folder::with(&[cell(ROWS), cell(work), cell("1 + 1")]);
        let (mut child, mut said) = running(&folder);
        for (index, signal) in signals.iter().enumerate() {
            std::thread::sleep(Duration::from_millis(if index == 0 { 0 } else { 300 }));
            send(&child, signal);
        }
        let status = child.wait().unwrap();
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert_eq!(status.code(), Some(code), "{signals:?}: {rest}");
        let out = folder.out();
        assert_eq!(out["cells"][1]["outputs"][0]["text"], json!(["so far\n"]), "{signals:?}");
        // A notice about a cell that does not stop may be in between.
        let last = out["cells"][1]["outputs"].as_array().unwrap().last().unwrap();
        assert_eq!(last["ename"], "Interrupted");
        let junit = std::fs::read_to_string(folder.path("junit.xml")).unwrap();
        assert_eq!(junit.matches("<testcase").count(), 3, "{junit}");
        // A worker that was not killed dropped its variables.
        assert_eq!(rows(&folder), if work == listens { "a,b\n" } else { "" });
    }
}
