//! `--compare`: an executed notebook against a golden one.

use super::*;

/// A cell as an earlier run saved it.
fn saved(source: &str, outputs: Value) -> Value {
    json!({"cell_type": "code", "id": source.split(' ').next(), "metadata": {}, "execution_count": 1,
        "outputs": outputs, "source": source})
}

fn text(text: &str) -> Value {
    json!({"output_type": "stream", "name": "stdout", "text": text})
}

fn loss(values: &[f64], step_ms: f64) -> Value {
    let typed = json!({"losses": values, "step_ms": step_ms, "steps": values.len()});
    json!({"output_type": "display_data", "metadata": {}, "data": {
        "text/plain": format!("took {step_ms} ms"), "application/vnd.chandlery.loss+json": typed,
        "image/svg+xml": format!("<svg width=\"4\" height=\"{}\"/>", values.len())}})
}

fn write(folder: &Folder, name: &str, cells: &[Value], metadata: Value) -> PathBuf {
    let notebook = json!({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells});
    std::fs::write(folder.path(name), notebook.to_string()).unwrap();
    folder.path(name)
}

/// Compares cells that are executed already.
fn compared(golden: &[Value], now: &[Value], rules: Rules, metadata: Value) -> (Result<(), RunError>, String) {
    let folder = Folder::with(&[]);
    let golden = write(&folder, "golden.ipynb", golden, metadata);
    let now = write(&folder, "now.ipynb", now, json!({}));
    go(&Options { notebooks: vec![now], compare: Some(golden), no_execute: true, rules, ..Default::default() })
}

#[test]
fn an_executed_notebook_equals_itself_until_it_changes() {
    let folder = Folder::with(&[cell("print a"), cell("show picture")]);
    let itself = Options {
        output: None,
        compare: Some(folder.path("in.ipynb")),
        junit: Some(folder.path("junit.xml")),
        ..folder.options()
    };
    let (ran, report) = go(&itself);
    assert!(matches!(ran, Err(RunError::Different { different: 2, of: 2, .. })), "{ran:?}");
    assert!(report.contains("-old\n") && report.contains("+a\n"), "{report}");
    let junit = std::fs::read_to_string(folder.path("junit.xml")).unwrap();
    assert!(junit.contains("cell 1 compared") && junit.contains("type=\"Different\""), "{junit}");

    let (ran, report) = go(&Options { accept: true, ..itself.clone() });
    ran.unwrap();
    assert!(report.contains("accepted as"), "{report}");
    let accepted = std::fs::read(folder.path("in.ipynb")).unwrap();
    let (ran, report) = go(&itself);
    ran.unwrap();
    assert!(report.contains("2 cells show the same as in"), "{report}");
    assert_eq!(std::fs::read(folder.path("in.ipynb")).unwrap(), accepted, "comparing writes nothing");
    assert_eq!(folder.names(), ["in.ipynb", "junit.xml"]);
}

#[test]
fn numbers_are_compared_with_tolerance_and_what_varies_is_not() {
    let golden = [saved("a", json!([loss(&[2.5, 2.25], 7.0)]))];
    let near = [saved("a", json!([loss(&[2.500001, 2.25], 900.0)]))];
    compared(&golden, &near, Rules::default(), json!({})).0.unwrap();

    let far = [saved("a", json!([loss(&[2.5, 2.3], 7.0)]))];
    let (ran, report) = compared(&golden, &far, Rules::default(), json!({}));
    assert!(matches!(ran, Err(RunError::Different { different: 1, of: 1, .. })), "{ran:?}");
    assert!(
        report.contains(
            "cell 1 (id a)\n  output 1, application/vnd.chandlery.loss+json: losses[1]: golden 2.25, now 2.3"
        ),
        "{report}"
    );

    for (rules, passes) in [
        (Rules { atol: Some(0.1), ..Rules::default() }, true),
        (Rules { rtol: Some(0.001), ..Rules::default() }, false),
        (Rules { fields: vec![("losses".into(), Tolerance::Relative(0.05))], ..Rules::default() }, true),
        (Rules { fields: vec![("losses".into(), Tolerance::Ignore)], ..Rules::default() }, true),
    ] {
        assert_eq!(compared(&golden, &far, rules.clone(), json!({})).0.is_ok(), passes, "{rules:?}");
    }
    let own = json!({"chandlery": {"compare": {"tolerance": {"losses": 0.1}}}});
    compared(&golden, &far, Rules::default(), own.clone()).0.unwrap();
    let over = Rules { fields: vec![("losses".into(), Tolerance::Absolute(0.0))], ..Rules::default() };
    assert!(compared(&golden, &far, over, own).0.is_err(), "the command line overrides the notebook");
}

#[test]
fn images_are_compared_by_rule_and_text_by_lines() {
    let golden = [saved("a", json!([loss(&[1.0], 1.0)])), saved("b", json!([text("x 1.5\ny\n")]))];
    let now = [saved("a", json!([loss(&[1.0], 1.0)])), saved("b", json!([text("x 1.500001\ny\n")]))];
    let (ran, report) = compared(&golden, &now, Rules::default(), json!({}));
    assert!(ran.is_err() && report.contains("cell 2 (id b)\n  output 1, stdout\n    --- golden"), "{report}");
    compared(&golden, &now, Rules { text_numbers: Some(true), ..Rules::default() }, json!({})).0.unwrap();

    let mut larger = golden.clone();
    larger[0]["outputs"][0]["data"]["image/svg+xml"] = json!("<svg width=\"5\" height=\"1\"/>");
    compared(&golden, &larger, Rules::default(), json!({})).0.unwrap();
    let size = Rules { images: Some(Images::Size), ..Rules::default() };
    let (ran, report) = compared(&golden, &larger, size, json!({}));
    assert!(ran.is_err() && report.contains("golden 4×1, now 5×1"), "{report}");
}

#[test]
fn missing_and_added_cells_and_outputs_are_reported() {
    let error =
        |name: &str, value: &str| json!({"output_type": "error", "ename": name, "evalue": value, "traceback": []});
    let golden = [
        saved("a", json!([text("one\n"), error("Panic", "at line 3")])),
        saved("b", json!([])),
        saved("c", json!([error("Panic", "x")])),
    ];
    let now = [
        saved("a", json!([error("Panic", "at line 4")])),
        saved("c", json!([error("Refused", "x")])),
        saved("d", json!([])),
    ];
    let (ran, report) = compared(&golden, &now, Rules::default(), json!({}));
    assert!(matches!(ran, Err(RunError::Different { different: 4, of: 4, .. })), "{ran:?}");
    for part in [
        "output 1 of the golden: stdout is missing: one",
        "cell 2 (id b)\n  the cell: is missing",
        "the kind of error: golden \"Panic\", now \"Refused\"",
        "cell 3 (id d)\n  the cell: was added",
    ] {
        assert!(report.contains(part), "{part} is missing in\n{report}");
    }
    assert!(!report.contains("line 4"), "what an error says may change: {report}");
}

#[test]
fn a_cell_may_be_left_out_and_bad_rules_are_refused() {
    let mut golden = [saved("a", json!([text("1")]))];
    let now = [saved("a", json!([text("2")]))];
    golden[0]["metadata"] = json!({"chandlery": {"compare": {"ignore": true}}});
    compared(&golden, &now, Rules::default(), json!({})).0.unwrap();
    golden[0]["metadata"] = json!({"chandlery": {"compare": {"rtoll": 1}}});
    let (ran, _) = compared(&golden, &now, Rules::default(), json!({}));
    let error = ran.unwrap_err().to_string();
    assert!(error.contains("cell 1") && error.contains("rtoll") && error.contains("there are atol"), "{error}");
}

#[test]
fn an_unreadable_golden_notebook_stops_the_run_at_the_start() {
    let folder = Folder::with(&[cell("print a")]);
    let with = |golden: &str| Options { compare: Some(folder.path(golden)), ..folder.options() };
    let (ran, report) = go(&with("gone.ipynb"));
    assert!(matches!(ran, Err(RunError::NoGolden { .. })) && report.is_empty());
    std::fs::write(folder.path("bad.ipynb"), "{\"nbformat\": 4,").unwrap();
    let (ran, report) = go(&with("bad.ipynb"));
    assert!(ran.unwrap_err().to_string().contains("is not a notebook") && report.is_empty());
    assert!(matches!(go(&Options { accept: true, ..folder.options() }).0, Err(RunError::Options(_))));

    go(&Options { accept: true, ..with("deep/new.ipynb") }).0.unwrap();
    go(&with("deep/new.ipynb")).0.unwrap();
    go(&with("deep")).0.unwrap_err(); // a folder holds one of the same name, `in.ipynb`, or none
    let failing = Folder::with(&[cell("fail here")]);
    let options = Options { compare: Some(failing.path("new.ipynb")), accept: true, ..failing.options() };
    assert!(matches!(go(&options).0, Err(RunError::Cell { .. })));
    assert!(!failing.path("new.ipynb").exists(), "what failed is not accepted");
}

#[test]
fn programs_get_the_comparison_as_json() {
    let folder = Folder::with(&[cell("print a")]);
    let options = Options { compare: Some(folder.path("in.ipynb")), json: true, ..folder.options() };
    let start = |_: &Path| Ok(Box::new(Echo::new()) as Box<dyn Engine>);
    let mut data = Vec::new();
    run(&options, &start, &mut std::io::sink(), &mut data, &StopRequest::default()).unwrap_err();
    let data: Value = serde_json::from_slice(&data).unwrap();
    let notebook = &data["notebooks"][0];
    assert_eq!((&notebook["passed"], &notebook["comparison"]["different"]), (&json!(false), &json!(1)));
    assert_eq!(notebook["comparison"]["cells"][0]["differences"][0]["place"], "output 1, stdout");
}
