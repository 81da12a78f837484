//! The headless runner, with the echo engine: notebooks in, notebooks and pages out.

mod checking;
mod compare;
mod deterministic;
mod ending;
mod limits;
mod outputs;
mod resume;
mod several;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use chandlery_kernel::engine::{Echo, Engine};
use chandlery_kernel::runner::{Images, Options, Rules, RunError, StopRequest, StopSignal, Tolerance, run};
use serde_json::{Value, json};

use crate::kernel_process::program;

fn cell(source: &str) -> Value {
    json!({"cell_type": "code", "id": format!("id-{}", source.len()), "metadata": {"mine": true}, "execution_count": 9,
        "outputs": [{"output_type": "stream", "name": "stdout", "text": "old"}], "source": source})
}

fn tagged(source: &str, tag: &str) -> Value {
    let mut cell = cell(source);
    cell["metadata"]["tags"] = json!([tag]);
    cell
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(cells: &[Value]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let notebook =
            json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {"theirs": [1]}, "cells": cells, "odd": 1});
        std::fs::write(folder.path("in.ipynb"), notebook.to_string()).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn options(&self) -> Options {
        Options { notebooks: vec![self.path("in.ipynb")], output: Some(self.path("out.ipynb")), ..Default::default() }
    }

    fn out(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.path("out.ipynb")).unwrap()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn go(options: &Options) -> (Result<(), RunError>, String) {
    let mut report = Vec::new();
    let start = |notebook: &Path| {
        assert!(notebook.is_absolute());
        Ok(Box::new(Echo::new()) as Box<dyn Engine>)
    };
    let ran = run(options, &start, &mut report, &mut std::io::sink(), &StopRequest::default());
    (ran, String::from_utf8(report).unwrap())
}

/// `chandlery run` with these words, in a folder.
fn command(folder: &Folder, words: &[&str]) -> Output {
    Command::new(program()).arg("run").args(words).current_dir(folder.0.path()).output().unwrap()
}

#[test]
fn outputs_are_replaced_and_the_rest_of_the_file_stays() {
    let folder = Folder::with(&[
        json!({"cell_type": "markdown", "id": "m", "metadata": {}, "source": ["# A\n", "b"], "attachments": {}}),
        cell("write a\nprint b\nshow@p 0%"),
        cell("update@p 100%\nvalue"),
        tagged("fail skipped", "skip-execution"),
        tagged("fail on purpose", "raises-exception"),
        cell("clear\nprint last"),
    ]);
    let (ran, report) = go(&folder.options());
    ran.unwrap();
    let out = folder.out();
    assert_eq!((&out["odd"], &out["metadata"]["theirs"]), (&json!(1), &json!([1])));
    assert_eq!(out["metadata"]["language_info"]["name"], "rust");
    assert_eq!(out["cells"][0]["source"], json!(["# A\n", "b"]));
    assert_eq!(out["cells"][1]["metadata"], json!({"mine": true}));
    assert_eq!(out["cells"][1]["outputs"][0]["text"], json!(["ab\n"]));
    assert_eq!(out["cells"][1]["outputs"][1]["data"]["text/plain"], json!(["100%"]), "updated by a later cell");
    assert_eq!(out["cells"][2]["outputs"][0]["output_type"], "execute_result");
    assert_eq!(out["cells"][2]["outputs"][0]["execution_count"], 2);
    assert_eq!(out["cells"][3], tagged("fail skipped", "skip-execution"), "a skipped cell is left as it is");
    assert_eq!(out["cells"][4]["outputs"][0]["evalue"], "on purpose");
    assert_eq!(out["cells"][5]["execution_count"], 4);
    assert_eq!(report.lines().filter(|line| line.starts_with('[')).count(), 5, "{report}");
    assert_eq!(folder.names(), ["in.ipynb", "out.ipynb"], "nothing temporary is left");

    // The same input gives the same bytes.
    let first = std::fs::read(folder.path("out.ipynb")).unwrap();
    go(&folder.options()).0.unwrap();
    assert_eq!(std::fs::read(folder.path("out.ipynb")).unwrap(), first);
}

#[test]
fn the_first_failing_cell_ends_the_run_and_is_shown() {
    let folder = Folder::with(&[cell("print a"), cell("print b\nfail here"), cell("print never")]);
    let (ran, report) = go(&folder.options());
    match ran {
        Err(RunError::Cell { cell: 2, of: 3, name, value, .. }) => assert_eq!((&*name, &*value), ("Failed", "here")),
        other => panic!("{other:?}"),
    }
    assert!(report.contains("cell 2 (id id-17, In [2]), line 2: fail here\nFailed: here\n"), "{report}");
    let out = folder.out();
    assert_eq!(out["cells"][0]["outputs"][0]["text"], json!(["a\n"]));
    assert_eq!(out["cells"][1]["outputs"][1]["ename"], "Failed");
    assert_eq!(out["cells"][2]["outputs"], json!([]));

    let (ran, _) = go(&Options { allow_errors: true, ..folder.options() });
    ran.unwrap();
    assert_eq!(folder.out()["cells"][2]["outputs"][0]["text"], json!(["never\n"]));
}

#[test]
fn a_cell_that_takes_too_long_is_stopped() {
    let folder = Folder::with(&[cell("sleep 60000")]);
    let (ran, _) = go(&Options { timeout: Some(Duration::from_millis(50)), ..folder.options() });
    assert!(ran.unwrap_err().to_string().contains("CellTimeout"));
    assert_eq!(folder.out()["cells"][0]["outputs"][0]["ename"], "CellTimeout");
}

#[test]
fn older_notebooks_get_ids_and_broken_ones_a_reason() {
    let folder = Folder::with(&[]);
    let old = json!({"nbformat": 4, "nbformat_minor": 2, "metadata": {}, "cells": [
        {"cell_type": "code", "metadata": {}, "source": "x", "outputs": [], "execution_count": null}]});
    std::fs::write(folder.path("in.ipynb"), old.to_string()).unwrap();
    go(&folder.options()).0.unwrap();
    assert_eq!(folder.out()["cells"][0]["id"], "cell-1");
    assert_eq!(folder.out()["nbformat_minor"], 5);

    let before = std::fs::read(folder.path("out.ipynb")).unwrap();
    for (text, reason) in [
        ("{", "is not a notebook"),
        ("{}", "no `nbformat`"),
        (r#"{"nbformat": 3}"#, "`nbformat` is 3"),
        (r#"{"nbformat": 4, "cells": 1}"#, "no list of `cells`"),
        (r#"{"nbformat": 4, "cells": [7]}"#, "cell 1 has no `cell_type`"),
    ] {
        std::fs::write(folder.path("in.ipynb"), text).unwrap();
        let error = go(&folder.options()).0.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(std::fs::read(folder.path("out.ipynb")).unwrap(), before, "a failed run leaves the output alone");
    assert!(go(&Options { notebooks: vec![folder.path("gone.ipynb")], ..folder.options() }).0.is_err());
}

#[test]
fn the_page_is_self_contained_and_escaped() {
    let folder = Folder::with(&[
        json!({"cell_type": "markdown", "id": "m", "metadata": {}, "source": "# Title & more\n\n|a|b|\n|-|-|\n|1|2|\n"}),
        cell("print <script>\nshow bold\n\u{1b}[31mred\u{1b}[0m <value>"),
    ]);
    let (ran, _) = go(&Options { html: Some(folder.path("deep/page.html")), ..folder.options() });
    ran.unwrap();
    let page = std::fs::read_to_string(folder.path("deep/page.html")).unwrap();
    for part in [
        "<h1>Title &amp; more</h1>",
        "<td>1</td>",
        "&lt;script&gt;",
        "<b>bold</b>",
        "<span class=\"a31\">red</span>",
        "&lt;value&gt;",
        "prefers-color-scheme: dark",
    ] {
        assert!(page.contains(part), "{part} is missing in\n{page}");
    }
    assert!(!page.contains("http"), "nothing is fetched");
}

#[test]
fn contradicting_options_are_refused() {
    let folder = Folder::with(&[]);
    let two = Options { notebooks: vec![folder.path("in.ipynb"), folder.path("in.ipynb")], ..folder.options() };
    assert!(matches!(go(&two).0, Err(RunError::Options(_))));
    assert!(matches!(go(&Options { inplace: true, ..folder.options() }).0, Err(RunError::Options(_))));
    let inplace = Options { inplace: true, output: None, ..folder.options() };
    go(&inplace).0.unwrap();
    assert_eq!(folder.names(), ["in.ipynb"]);
}

#[test]
fn parameters_go_into_a_cell_after_the_declaring_one() {
    let folder =
        Folder::with(&[cell("print a"), tagged("let steps = 1;\nlet name = \"x\";", "parameters"), cell("print b")]);
    let with = |given: &[(&str, &str)]| Options {
        parameters: given.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        ..folder.options()
    };
    go(&with(&[("steps", "5"), ("name", "\"y"), ("steps", "6")])).0.unwrap();
    let out = folder.out();
    assert_eq!(out["cells"].as_array().unwrap().len(), 4);
    assert_eq!(out["cells"][2]["metadata"]["tags"], json!(["injected-parameters"]));
    assert_eq!(out["cells"][2]["source"][1], "let steps = 6;\n");
    assert_eq!(out["cells"][2]["source"][2], "let name: &'static str = \"\\\"y\";");

    // A second run replaces the cell of the first.
    std::fs::copy(folder.path("out.ipynb"), folder.path("in.ipynb")).unwrap();
    go(&with(&[("steps", "7")])).0.unwrap();
    let out = folder.out();
    assert_eq!(out["cells"].as_array().unwrap().len(), 4);
    assert_eq!(out["cells"][2]["source"][1], "let steps = 7;");
}

#[test]
fn parameters_that_do_not_fit_are_refused_before_anything_runs() {
    let folder = Folder::with(&[tagged("let steps = 1;", "parameters")]);
    for (name, value, reason) in [("step", "1", "did you mean `steps`?"), ("steps", "many", "`steps: integer`")] {
        let options = Options { parameters: vec![(name.to_owned(), value.to_owned())], ..folder.options() };
        let (ran, report) = go(&options);
        let error = ran.unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("cell 1 (tagged `parameters`)"), "{error}");
        assert_eq!(report, "");
    }
    let bare = Folder::with(&[cell("print a")]);
    let options = Options { parameters: vec![("steps".to_owned(), "1".to_owned())], ..bare.options() };
    assert!(go(&options).0.unwrap_err().to_string().contains("no code cell is tagged `parameters`"));
    assert_eq!((folder.names(), bare.names()), (vec!["in.ipynb".to_owned()], vec!["in.ipynb".to_owned()]));
}

#[test]
fn the_outputs_of_a_cell_tagged_remove_output_are_not_saved() {
    let folder = Folder::with(&[tagged("print secret", "remove-output"), cell("print shown")]);
    go(&folder.options()).0.unwrap();
    let out = folder.out();
    assert_eq!((&out["cells"][0]["outputs"], &out["cells"][0]["execution_count"]), (&json!([]), &json!(1)));
    assert_eq!(out["cells"][1]["outputs"][0]["text"], json!(["shown\n"]));
}

#[test]
fn the_junit_report_has_passed_skipped_and_failed_cells() {
    let folder =
        Folder::with(&[cell("print a"), tagged("fail x", "skip-execution"), cell("fail <here>"), cell("print b")]);
    let (ran, _) = go(&Options { junit: Some(folder.path("junit.xml")), ..folder.options() });
    assert!(matches!(ran, Err(RunError::Cell { cell: 3, .. })));
    let report = std::fs::read_to_string(folder.path("junit.xml")).unwrap();
    for part in [
        "tests=\"4\"",
        "failures=\"1\"",
        "name=\"cell 1\"",
        "skip-execution",
        "type=\"Failed\"",
        "&lt;here",
        "Failed: ",
        "an earlier cell failed",
    ] {
        assert!(report.contains(part), "{part} is missing in\n{report}");
    }
    assert!(!report.contains("[31m"), "{report}");
}
