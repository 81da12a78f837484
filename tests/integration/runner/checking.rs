//! `--check`: every cell compiled, none run.

use std::collections::BTreeMap;

use super::*;

struct Checked {
    code: Option<i32>,
    said: String,
}

impl Checked {
    fn by(folder: &Folder, words: &[&str]) -> Self {
        let done = command(folder, &[&["--check"], words].concat());
        Self { code: done.status.code(), said: String::from_utf8_lossy(&done.stderr).into_owned() }
    }

    /// Of a notebook with these cells.
    fn of(cells: &[Value]) -> Self {
        Self::by(&Folder::with(cells), &["in.ipynb"])
    }

    /// The numbers of the cells that failed, with the report of each.
    fn failed(&self) -> BTreeMap<usize, &str> {
        let mut failed = BTreeMap::new();
        for (at, _) in self.said.match_indices("in.ipynb: cell ") {
            let story = &self.said[at + "in.ipynb: cell ".len()..];
            let story = story.split("\n[").next().unwrap_or(story);
            failed.insert(story.split(' ').next().unwrap().parse().unwrap(), story);
        }
        failed
    }

    fn numbers(&self) -> Vec<usize> {
        self.failed().into_keys().collect()
    }

    fn passes(&self) {
        assert_eq!(self.code, Some(0), "{}", self.said);
    }
}

#[test]
fn a_check_runs_nothing_and_writes_nothing() {
    let folder = Folder::with(&[
        cell("std::fs::write(\"from-a-cell\", \"x\")?;\nlet a = 1;"),
        cell("loop { std::hint::black_box(a); }"),
        cell("%%bash\ntouch from-a-script\nexit 1"),
        cell("%bash touch from-a-line"),
        cell("%project new from-a-verb"),
        cell("panic!(\"never {a}\")"),
        cell("%time std::fs::write(\"from-a-time\", \"x\")?;"),
        cell("%vars"),
    ]);
    let before = std::fs::read(folder.path("in.ipynb")).unwrap();
    let checked = Checked::by(&folder, &["in.ipynb"]);
    checked.passes();
    assert!(checked.said.contains("8 cells compile"), "{}", checked.said);
    assert_eq!(folder.names(), ["in.ipynb"]);
    assert_eq!(std::fs::read(folder.path("in.ipynb")).unwrap(), before);
}

#[test]
fn what_cells_define_is_known_to_later_ones() {
    Checked::of(&[
        cell("#[derive(Debug, Clone)] struct Point<T> { x: T }\nimpl<T: Copy> Point<T> { fn get(&self) -> T { self.x } }"),
        cell("let p = Point { x: 7_u8 };\nlet mut names = Vec::new();\nnames.push(String::from(\"a\"));"),
        cell("let origin = p.clone();\nlet add = move |y: u8| origin.get() + y;\nlet again = add.clone();\nlet all = vec![add.clone(), again];"),
        cell("let n: u8 = all.iter().map(|f| f(1)).sum();\nnames.push(n.to_string());"),
        cell("async fn later(n: u8) -> Result<u8, std::num::ParseIntError> { Ok(n + \"1\".parse::<u8>()?) }"),
        cell("let future = later(n);\nlet lazy = async { 5_i64 };"),
        cell("let m: u8 = future.await?;\nlet k: i64 = lazy.await;\nif m > 3 { return; }"),
        cell("let p = p.clone();\nlet moved = names;\nlet frame = chandlery::polars::prelude::df!(\"a\" => [1, 2])?;"),
        cell("frame.height() + moved.len() + usize::from(p.get())"),
        cell("%inspect some/model --as model"),
        cell("%model construct --as made"),
        cell("let table: String = format!(\"{:?}\", model.view().plain());\nlet c: &chandlery::Construction = &made;"),
        cell("%%release\nlet mut sum = 0_u64;\nfor i in 0..10 { sum += i; }"),
        cell("%time let later = sum + 1;"),
        cell(":type later"),
        cell("sum + later"),
        cell("%reset"),
        cell("struct Point;\nlet sum = Point;"),
    ])
    .passes();
}

#[test]
fn every_error_names_cell_and_line() {
    let checked = Checked::of(&[
        cell("let text = String::from(\"a\");\nlet n = 1_u8;"),
        cell("// note\nlet m: u16 = n;"),
        cell("fn f() {\n    let = 1;\n}"),
        cell("let other = text;"),
        cell("\ntext.len()"),
        cell("%inspect some/folder\n%convert a b --dtyp float32"),
        cell("%inspct model"),
        cell("%model -t 4B construct"),
        cell("%project list --as projects"),
        cell("%time let t: bool = n;"),
        cell("%%time\n%%release\nmissing(n);"),
        cell("%inspect \"model\nlet a: u8 = \"x\";"),
        cell("n + 1"),
    ]);
    assert_eq!(checked.code, Some(1), "{}", checked.said);
    assert_eq!(checked.numbers(), [2, 3, 5, 6, 7, 8, 9, 10, 11, 12], "{}", checked.said);
    let failed = checked.failed();
    let told = |cell: usize, parts: &[&str]| {
        parts.iter().for_each(|part| assert!(failed[&cell].contains(part), "{cell}: {part}\n{}", failed[&cell]));
    };
    told(2, &["In [2]), line 2: let m: u16 = n;", "E0308", "expected `u16`"]);
    told(3, &["line 2: let = 1;", "expected pattern"]);
    told(5, &["line 2: text.len()", "E0425", "`text` was moved in cell 4"]);
    told(6, &["line 2: %convert", "--dtyp", "--dtype"]);
    told(7, &["did you mean %inspect?"]);
    told(8, &["line 1", "4B", "4M"]);
    told(9, &["--as projects", "does not have a result to keep"]);
    told(10, &["line 1", "E0308"]);
    told(11, &["line 3: missing(n);", "E0425"]);
    told(12, &["line 1: %inspect", "missing closing", "cell 12:2", "E0308"]);
    assert!(checked.said.contains("10 of 13 code cells that do not compile"), "{}", checked.said);
}

#[test]
fn consequences_of_a_cell_that_does_not_compile_are_not_errors() {
    let checked = Checked::of(&[
        cell("fn half(n: u32) -> u32 { n / 2 }\nlet a = 8_u32;"),
        cell(
            "fn half(n: u32) -> u32 { n / \"2\" }\nlet b = half(a);\nstruct Kept(u8);\nuse std::collections::{BTreeMap, HashMap as Map};",
        ),
        cell("let c = half(b) + 1;\nlet m: Map<u8, Kept> = Map::new();"),
        cell("println!(\"{c}\");\nlet wrong: u8 = \"x\";"),
        cell("let b = 1_u32;\nlet d = b + a;"),
        cell("let e: u32 = d + b;"),
        cell("fn half(n: u32) -> u32 { n / 2 }"),
        cell("let e: u8 = half(d);"),
        cell("let (broken, = 1;"),
        cell("broken + 1"),
        tagged("let on_purpose: u8 = \"x\";", "raises-exception"),
        cell("on_purpose"),
    ]);
    assert_eq!(checked.numbers(), [2, 4, 8, 9, 12], "{}", checked.said);
    assert!(
        checked.said.contains("not checked completely: `b` is not known: cell 2 would define it"),
        "{}",
        checked.said
    );
    let failed = checked.failed();
    assert!(failed[&4].contains("line 2: let wrong") && !failed[&4].contains("E0432"), "{}", failed[&4]);
    assert!(failed[&4].contains("note: `c` is not known: cell 3 would define it"), "{}", failed[&4]);
    assert!(failed[&12].contains("E0425"), "what a cell that may fail does not define is missing: {}", failed[&12]);
    assert!(checked.said.contains("; allowed)"), "{}", checked.said);
}

#[test]
fn a_check_has_parameters_skips_reports_and_timeouts() {
    let folder = Folder::with(&[
        tagged("let steps: usize = 5;\nlet name = String::from(\"a\");", "parameters"),
        cell("let left: usize = steps + name.len();"),
        tagged("nonsense here", "skip-execution"),
    ]);
    let bad = Folder::with(&[cell("let n: u8 = \"a\";"), cell("let n = 1;")]);
    std::fs::copy(bad.path("in.ipynb"), folder.path("bad.ipynb")).unwrap();
    Checked::by(&folder, &["in.ipynb", "-p", "steps=7", "-p", "name=b"]).passes();
    let checked =
        Checked::by(&folder, &["bad.ipynb", "in.ipynb", "-j", "2", "--junit", "report.xml", "--timeout", "60"]);
    assert_eq!(checked.code, Some(1), "{}", checked.said);
    assert!(checked.said.contains("3 code cells") || checked.said.contains("1 of 2 code cells"), "{}", checked.said);
    let report = std::fs::read_to_string(folder.path("report.xml")).unwrap();
    assert_eq!(report.matches("<failure").count(), 1, "{report}");
    assert_eq!(report.matches("<skipped").count(), 1, "{report}");
    assert_eq!(report.matches("<testcase").count(), 5, "every notebook is checked: {report}");

    let endless =
        Folder::with(&[cell("const fn f() -> u8 { loop {} }\n#[allow(long_running_const_eval)]\nconst N: u8 = f();")]);
    let checked = Checked::by(&endless, &["in.ipynb", "--timeout", "1"]);
    assert!(checked.code == Some(1) && checked.said.contains("CellTimeout"), "{}", checked.said);
    for words in [&["in.ipynb", "-o", "x"][..], &["in.ipynb", "--inplace"], &["in.ipynb", "--allow-errors"]] {
        let checked = Checked::by(&folder, words);
        assert!(checked.code == Some(2) && checked.said.contains("`--check`"), "{words:?} {}", checked.said);
    }
}

#[test]
fn the_notebooks_of_this_repository_compile() {
    let notebooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../notebooks");
    let paths = std::fs::read_dir(&notebooks).unwrap().map(|entry| entry.unwrap().path());
    let paths: Vec<String> = paths.map(|path| path.display().to_string()).filter(|p| p.ends_with(".ipynb")).collect();
    let words: Vec<&str> = paths.iter().map(String::as_str).chain(["-j", "2"]).collect();
    assert!(paths.len() >= 3);
    Checked::by(&Folder::with(&[]), &words).passes();
}

#[test]
fn a_notebook_of_another_kernel_is_refused() {
    let folder = Folder::with(&[]);
    let write = |name: &str, metadata: Value| {
        let cells = [cell("std::fs::write(\"ran\", \"\")?;")];
        let notebook = json!({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells});
        std::fs::write(folder.path(name), notebook.to_string()).unwrap();
    };
    write("in.ipynb", json!({"kernelspec": {"name": "chandlery", "display_name": "Rust", "language": "rust"}}));
    write("python.ipynb", json!({"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}));
    for words in [&["python.ipynb"][..], &["--check", "python.ipynb"], &["in.ipynb", "python.ipynb"]] {
        let done = command(&folder, words);
        assert_eq!(done.status.code(), Some(1), "{words:?}");
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(said.contains("this notebook is for python3, a kernel of python"), "{said}");
        assert!(!folder.path("ran").exists());
    }
    assert!(command(&folder, &["in.ipynb"]).status.success());
}
