//! Bars of progress in cells, as a notebook keeps them.

use std::process::Command;

use serde_json::{Value, json};

/// Runs these cells by the command, each allowed to fail: the outputs of each.
fn outputs(cells: &[&str], variables: &[(&str, &str)]) -> Vec<Vec<Value>> {
    let folder = tempfile::tempdir().unwrap();
    let cell = |(index, source): (usize, &&str)| {
        json!({"cell_type": "code", "id": format!("c{index}"), "metadata": {"tags": ["raises-exception"]},
            "execution_count": null, "outputs": [], "source": source})
    };
    let cells: Vec<Value> = cells.iter().enumerate().map(cell).collect();
    let notebook = json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells});
    let (source, out) = (folder.path().join("in.ipynb"), folder.path().join("out.ipynb"));
    std::fs::write(&source, notebook.to_string()).unwrap();
    let exe = std::env::current_exe().unwrap();
    let program = exe.ancestors().map(|folder| folder.join("chandlery")).find(|program| program.is_file()).unwrap();
    let mut command = Command::new(program);
    let done = command.arg("run").arg(&source).arg("-o").arg(&out).envs(variables.iter().copied()).output().unwrap();
    assert!(out.exists(), "{}", String::from_utf8_lossy(&done.stderr));
    let saved: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    let cells = saved["cells"].as_array().unwrap();
    cells.iter().map(|cell| cell["outputs"].as_array().unwrap().clone()).collect()
}

/// What each bar of an output says, without times.
fn bars(output: &Value) -> Vec<(String, Value, Value, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let bars = output["data"]["application/vnd.chandlery.progress+json"]["bars"].as_array().unwrap();
    bars.iter()
        .map(|bar| (text(&bar["label"]), bar["done"].clone(), bar["total"].clone(), text(&bar["outcome"])))
        .collect()
}

fn bar(label: &str, done: u64, total: Option<u64>, outcome: &str) -> (String, Value, Value, String) {
    (label.to_owned(), json!(done), json!(total), outcome.to_owned())
}

#[test]
fn bars_nest_and_leave_one_line_each_in_the_saved_notebook() {
    let loops = "for file in progress(0..3).named(\"files\") {\n    let lines = Progress::new(\"lines\", 200);\n    for _ in 0..200 { lines.inc(1); std::thread::sleep(std::time::Duration::from_micros(500)); }\n    lines.finish();\n    if file == 1 { Progress::new(\"copy\", 10u64).fail(\"disk full\"); }\n}";
    let threads = "let bar = Progress::new(\"threads\", 8);\nlet all: Vec<_> = (0..8).map(|_| { let bar = bar.clone(); std::thread::spawn(move || bar.inc(1)) }).collect();\nfor one in all { one.join().unwrap(); }\nbar.finish();";
    let seen = outputs(&[loops, threads], &[]);
    let [shown] = &seen[0][..] else { panic!("one output, not a stream of updates: {:?}", seen[0]) };
    // The inner bars that ended well made way; the one that failed says why.
    assert_eq!(bars(shown), [bar("files", 3, Some(3), "done"), bar("copy", 0, Some(10), "failed")]);
    let lines: Vec<&str> = shown["data"]["text/plain"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(
        lines[0].starts_with("files: done in ") && lines[1].starts_with("  copy: failed at 0 % after "),
        "{lines:?}"
    );
    assert_eq!(seen[1].iter().map(bars).collect::<Vec<_>>(), [[bar("threads", 8, Some(8), "done")]]);
}

#[test]
fn a_bar_that_ends_early_says_why() {
    let cells = [
        "for x in progress([1, 2, 3, 4]).named(\"risky\") { if x == 3 { panic!(\"ouch\") } }",
        "for _ in progress(std::iter::repeat(1)).named(\"endless\") { break; }",
        "let kept = Progress::new(\"kept\", 10);\nkept.inc(3);",
        "kept.inc(7); kept.finish();",
        "let copied: Result<(), String> = Progress::bytes(\"copy\", 100).end(Err(\"no <space>\".into()));\ncopied?",
    ];
    let seen = outputs(&cells, &[]);
    let of = |index: usize| bars(&seen[index][0]);
    assert_eq!(of(0), [bar("risky", 2, Some(4), "abandoned")]);
    assert_eq!(of(1), [bar("endless", 0, None, "stopped")]);
    // It went on in the next cell, and the first one's output shows its end.
    assert_eq!((of(2), seen[3].len()), (vec![bar("kept", 10, Some(10), "done")], 0));
    assert_eq!(of(4), [bar("copy", 0, Some(100), "failed")]);
    let html = seen[4][0]["data"]["text/html"].to_string();
    assert!(html.contains("no &lt;space&gt;") && !html.contains("<progress"), "{html}");
}

#[test]
fn without_interaction_charts_are_pictures_alone() {
    let chart = "Curve::of(\"loss\", [3.0, 2.0, 1.5])";
    let map = "let mut map = chandlery::display::HeatMap::new(\"m\", (\"x\", \"y\"), vec![\"a\".to_owned()], 1.0);\nmap.row(\"r\", [0.5]);\nmap";
    let allowed = format!("chandlery::display::interactive(true);\n{chart}");
    let seen = outputs(&[chart, map, &allowed], &[("CHANDLERY_INTERACTIVE", "off")]);
    let moves = |cell: usize| {
        let forms = seen[cell][0]["data"].as_object().unwrap();
        assert!(forms.contains_key("image/png") && forms.contains_key("image/svg+xml"), "{forms:?}");
        forms.keys().any(|mime| mime.contains("vegalite"))
    };
    assert_eq!([moves(0), moves(1), moves(2)], [false, false, true]);
}

#[test]
fn without_interaction_no_times_are_in_the_notebook() {
    let cells = ["for _ in progress(0..3) {}", "chandlery::display::interactive(true); for _ in progress(0..3) {}"];
    let seen = outputs(&cells, &[("CHANDLERY_INTERACTIVE", "off")]);
    assert_eq!((seen[0].len(), seen[1].len()), (0, 1));
}
