//! Several notebooks: order, failures, and running at the same time.

use std::sync::Barrier;

use super::*;

fn write(folder: &Folder, name: &str, cells: &[Value]) -> PathBuf {
    let notebook = json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells});
    std::fs::write(folder.path(name), notebook.to_string()).unwrap();
    folder.path(name)
}

#[test]
fn notebooks_run_in_parallel_and_are_reported_in_order() {
    let folder = Folder::with(&[]);
    let a = write(&folder, "a.ipynb", &[cell("sleep 30"), cell("print a")]);
    let b = write(&folder, "b.ipynb", &[cell("print b")]);
    let options = Options { notebooks: vec![a, b], inplace: true, jobs: 2, ..Default::default() };
    // Neither engine starts before both are requested.
    let both = Barrier::new(2);
    let start = |_: &Path| {
        both.wait();
        Ok(Box::new(Echo::new()) as Box<dyn Engine>)
    };
    let mut report = Vec::new();
    run(&options, &start, &mut report, &mut std::io::sink(), &StopRequest::default()).unwrap();
    let report = String::from_utf8(report).unwrap();
    let at = |text: &str| report.find(text).unwrap_or_else(|| panic!("{text} is missing in\n{report}"));
    assert!(at("a.ipynb:") < at("print a") && at("print a") < at("b.ipynb:") && at("b.ipynb:") < at("print b"));
}

#[test]
fn the_first_failure_ends_the_run_unless_told_to_keep_going() {
    let folder = Folder::with(&[]);
    let names = ["a", "b", "c"].map(|name| {
        let last = if name == "b" { "print fine" } else { "fail here" };
        write(&folder, &format!("{name}.ipynb"), &[cell("print x"), cell(last)])
    });
    let options = Options {
        notebooks: names.to_vec(),
        inplace: true,
        junit: Some(folder.path("junit.xml")),
        ..Default::default()
    };
    let (ran, report) = go(&options);
    assert!(matches!(ran, Err(RunError::Cell { cell: 2, .. })), "{ran:?}");
    assert!(!report.contains("b.ipynb"), "{report}");
    let junit = std::fs::read_to_string(folder.path("junit.xml")).unwrap();
    assert_eq!((junit.matches("<testcase").count(), junit.matches("<skipped").count()), (6, 4), "{junit}");

    let (ran, report) = go(&Options { keep_going: true, ..options });
    assert!(matches!(ran, Err(RunError::Several { failed: 2, of: 3 })), "{ran:?}");
    assert!(report.contains("c.ipynb` failed at cell 2 of 2"), "{report}");
}
