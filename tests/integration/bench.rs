//! `chandlery bench cells`, and the kernels it starts and asks as a front end does.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use chandlery_kernel::bench::{self, Language, Plan, Target};
use chandlery_kernel::client::{Kernelspec, Peer};
use chandlery_kernel::engine::{Cell, Echo, Engine, Event, Outcome, Stream};
use serde_json::json;

use crate::cells::Recorded;
use crate::kernel_process::{children_of, program, runs};

fn run(peer: &mut Peer, code: &str) -> (Outcome, Vec<Event>) {
    let mut seen = Recorded::default();
    let outcome = peer.execute(&Cell { code: code.to_owned(), number: 1 }, &mut seen);
    (outcome, seen.events.into_iter().map(|(_, event)| event).collect())
}

#[test]
fn a_kernel_is_an_engine_over_its_sockets() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("four"), "4444").unwrap();
    let mut peer = Peer::start(&Kernelspec::own(&program()), Some(folder.path())).unwrap();
    let (outcome, events) = run(&mut peer, "print!(\"a\"); chandlery::display::emit(&MimeBundle::text(\"b\")); 41 + 1");
    assert_eq!(outcome, Outcome::Ok);
    let text = Event::Text { stream: Stream::Stdout, text: "a".to_owned() };
    assert!(
        matches!(&events[..], [first, Event::Display { data, id: None }, Event::Result { data: last }]
        if *first == text && data.plain() == "b" && last.plain() == "42"),
        "{events:?}"
    );
    let (_, events) = run(&mut peer, "std::fs::read_to_string(\"four\")?.len()");
    assert!(matches!(&events[..], [Event::Result { data }] if data.plain() == "4"), "{events:?}");
    let (outcome, _) = run(&mut peer, "panic!(\"oh\")");
    let Outcome::Error { name, value, traceback, .. } = outcome else { panic!("reported as success") };
    assert_eq!((name.as_str(), value.as_str()), ("Panic", "oh"));
    assert!(!traceback.is_empty());

    let process = peer.process().unwrap();
    assert!(!children_of(process).is_empty());
    peer.shutdown();
    assert!(!runs(process));

    let mut peer = Peer::start(&Kernelspec::own(&program()), None).unwrap();
    let process = peer.process().unwrap().to_string();
    let end = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        Command::new("kill").args(["-KILL", &process]).status().unwrap();
    });
    let (outcome, _) = run(&mut peer, "loop { std::thread::sleep(std::time::Duration::from_millis(1)); }");
    assert!(matches!(outcome, Outcome::Error { name, .. } if name == "KernelLost"));
    end.join().unwrap();
}

#[test]
fn each_cell_that_an_engine_can_run_has_a_row() {
    let echo = |name, language| Target { name, language, start: Box::new(|_| Ok(Box::new(Echo::new()))) };
    let targets = [echo("rust", Language::Rust), echo("python", Language::Python), echo("all", Language::Toolkit)];
    let mut lines = Vec::new();
    let plan = Plan { runs: 2, pause: Duration::ZERO };
    bench::cells(&targets, plan, &mut |line| lines.push(line.to_owned())).unwrap();
    let rows = |name: &str| lines.iter().filter(|line| line.starts_with(&format!("| {name} |"))).count();
    // The start, and each cell: three are plain, five need the toolkit.
    assert_eq!([rows("rust"), rows("python"), rows("all")], [1 + 3, 1 + 3, 1 + 8], "{lines:#?}");
    let magic = lines.iter().find(|line| line.contains("| a magic | 2 |")).unwrap();
    assert_eq!(magic.matches('|').count(), 8, "{magic}");
    assert_eq!(magic.matches('-').count(), 3, "medians with their range: {magic}");

    let broken = Target { name: "broken", language: Language::Rust, start: Box::new(|_| Err("no luck".into())) };
    assert_eq!(bench::cells(&[broken], plan, &mut |_| {}).unwrap_err().to_string(), "broken: no luck");
}

/// `chandlery bench cells`, with the kernels that Jupyter would find in this folder and in no home.
fn bench_cells(jupyter: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(program());
    command
        .args(["bench", "cells", "-n", "1"])
        .args(words)
        .env("JUPYTER_PATH", jupyter)
        .env("JUPYTER_DATA_DIR", jupyter);
    command.output().unwrap()
}

#[test]
fn a_notebook_runs_through_engines_and_kernels_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("kernels/evcxr");
    std::fs::create_dir_all(&spec).unwrap();
    // A kernel that calls itself evcxr.
    let argv = json!([program(), "kernel", "start", "-f", "{connection_file}"]);
    let text = json!({"argv": argv, "language": "rust", "env": {"CHANDLERY_HISTORY": "off"}}).to_string();
    std::fs::write(spec.join("kernel.json"), text).unwrap();
    std::fs::write(folder.path().join("data"), "12345").unwrap();
    let code = |source: &str, tags: &[&str]| json!({"cell_type": "code", "metadata": {"tags": tags}, "outputs": [], "source": source, "execution_count": null});
    let cells = [
        json!({"cell_type": "markdown", "metadata": {}, "source": "# no code"}),
        code("let n = std::fs::read_to_string(\"data\")?.len();", &[]),
        code("n.no_such_method()", &[]),
        code("assert_eq!(n | 1, 5); // {n}", &[]),
        code("std::process::abort()", &["skip-execution"]),
    ];
    let book = folder.path().join("book.ipynb");
    let text = json!({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells}).to_string();
    std::fs::write(&book, text).unwrap();

    let book = book.display().to_string();
    let words = ["--notebook", &book, "--engine", "direct", "--engine", "kernel", "--engine", "evcxr-jupyter"];
    let ran = bench_cells(folder.path(), &words);
    let (out, err) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
    assert!(ran.status.success(), "{out}{err}");
    let table: Vec<Vec<&str>> = out
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").collect())
        .collect();
    assert_eq!(table[0], ["cell", "first line", "direct", "direct, as a kernel", "evcxr_jupyter"]);
    assert_eq!(table.len(), 2 + 3, "{out}");
    assert!([&table[2], &table[4]].iter().all(|row| row[2..].iter().all(|took| took.parse::<u32>().is_ok())), "{out}");
    assert_eq!(table[3][2..], ["failed"; 3]);
    assert!(out.contains("| `assert_eq!(n \\| 1, 5); // {n}` |"), "{out}");

    let ran = bench_cells(Path::new("/nowhere"), &["--engine", "evcxr-jupyter"]);
    let err = String::from_utf8(ran.stderr).unwrap();
    assert!(err.contains("evcxr_jupyter is left out: Jupyter does not have such a kernel"), "{err}");
    assert_eq!(ran.status.code(), Some(1));
}
