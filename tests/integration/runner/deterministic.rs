//! The command itself on a notebook in Rust: the same input, the same bytes; and its exit codes.

use super::*;

/// A notebook as older versions wrote it: without ids.
fn without_ids(sources: &[&str]) -> Folder {
    let folder = Folder::with(&[]);
    let cell = |source: &&str| json!({"cell_type": "code", "metadata": {}, "execution_count": null, "outputs": [], "source": source});
    let cells: Vec<Value> = sources.iter().map(cell).collect();
    let notebook = json!({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells});
    std::fs::write(folder.path("in.ipynb"), notebook.to_string()).unwrap();
    folder
}

#[test]
fn two_runs_of_a_notebook_in_rust_give_the_same_bytes() {
    let folder = without_ids(&[
        "for i in 0..50 { println!(\"out {i}\"); eprintln!(\"error {i}\"); }",
        "for i in 0..=100 { print!(\"\\r{i}%\"); }",
        "let unknown: u8 = 300 + missing;",
        "vec![1.5_f32; 2].iter().sum::<f32>()",
        "let none: Option<u8> = None; none.unwrap();",
    ]);
    let bytes = |name: &str| {
        let done = command(&folder, &["in.ipynb", "-o", name, "--allow-errors"]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        std::fs::read_to_string(folder.path(name)).unwrap()
    };
    let first = bytes("a.ipynb");
    assert_eq!(first, bytes("b.ipynb"));
    let notebook: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(notebook["cells"][0]["outputs"].as_array().unwrap().len(), 2, "a stream is one output");
    assert_eq!(notebook["cells"][1]["outputs"][0]["text"], json!(["100%"]));
    assert_eq!(notebook["cells"][3]["outputs"][0]["data"]["text/plain"], json!(["3.0"]));
    let temporary = std::env::temp_dir().display().to_string();
    assert!(!first.contains(&temporary) && !first.contains(&folder.0.path().display().to_string()), "{first}");
}

#[test]
fn exit_codes_distinguish_failure_death_and_usage() {
    let folder = without_ids(&["let a = 1;", "std::process::exit(0);"]);
    let done = command(&folder, &["in.ipynb"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "a cell that ends its process is not a success: {said}");
    let slow = without_ids(&["std::thread::sleep(std::time::Duration::from_secs(600));"]);
    let done = command(&slow, &["in.ipynb", "--timeout", "0.5"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.code() == Some(1) && said.contains("CellTimeout"), "{said}");
    // It sleeps and ignores the first signal; the second follows soon.
    let seconds =
        said.lines().find_map(|line| line.strip_prefix("[1/1]")?.trim().split(' ').next()?.parse::<f64>().ok());
    assert!(seconds.is_some_and(|seconds| seconds < 4.0), "{said}");
    for words in [&["in.ipynb", "-j", "0"][..], &["in.ipynb", "--accept"], &["in.ipynb", "in.ipynb", "-o", "x"]] {
        assert_eq!(command(&folder, words).status.code(), Some(2), "{words:?}");
    }
}
