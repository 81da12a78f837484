//! `--from`: what runs, what is kept.

use super::*;

fn notebook() -> Folder {
    Folder::with(&[
        tagged("print setup", "setup"),
        cell("print costly"),
        cell("fn helper() {}"),
        cell("print here"),
        cell("show after"),
    ])
}

#[test]
fn earlier_cells_are_kept_and_preparing_ones_run_silently() {
    let folder = notebook();
    let (ran, report) = go(&Options { from: Some("4".to_owned()), ..folder.options() });
    ran.unwrap();
    let out = folder.out();
    for index in 0..3 {
        assert_eq!(out["cells"][index]["outputs"][0]["text"], "old", "the saved output of cell {}", index + 1);
        assert_eq!(out["cells"][index]["execution_count"], 9);
    }
    assert_eq!(out["cells"][3]["outputs"][0]["text"], json!(["here\n"]));
    assert_eq!((&out["cells"][3]["execution_count"], &out["cells"][4]["execution_count"]), (&json!(4), &json!(5)));
    let kept: Vec<&str> = report.lines().filter(|line| line.contains("kept")).collect();
    assert_eq!(kept, ["[2/5] kept     print costly"], "{report}");
}

#[test]
fn earlier_outputs_come_from_the_file_of_the_last_run() {
    let folder = notebook();
    go(&folder.options()).0.unwrap();
    let full = folder.out();
    go(&Options { from: Some("id-10".to_owned()), ..folder.options() }).0.unwrap();
    assert_eq!(folder.out(), full);
}

#[test]
fn a_cell_that_does_not_exist_is_refused_before_anything_runs() {
    let folder = notebook();
    for (from, reason) in [("6", "none of its 5 cells"), ("0", "none of"), ("loss", "no cell has the id `loss`")] {
        let (ran, report) = go(&Options { from: Some(from.to_owned()), ..folder.options() });
        assert!(ran.unwrap_err().to_string().contains(reason));
        assert_eq!(report, "");
    }
    let two = Options { notebooks: vec![folder.path("in.ipynb"); 2], from: Some("1".into()), ..Default::default() };
    assert!(matches!(go(&two).0, Err(RunError::Options(_))));
}

#[test]
fn a_failure_after_it_says_that_variables_may_be_missing() {
    let folder = Folder::with(&[cell("print a"), cell("fail no such variable")]);
    let (ran, report) = go(&Options { from: Some("2".to_owned()), ..folder.options() });
    assert!(matches!(ran, Err(RunError::Cell { cell: 2, .. })));
    assert!(report.contains("tag the cells that make them `setup`"), "{report}");
}
