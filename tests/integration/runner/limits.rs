//! Time, memory, text and Ctrl-C.

use super::*;

#[test]
fn the_whole_run_has_a_timeout_even_with_allowed_errors() {
    let folder = Folder::with(&[cell("print a"), cell("sleep 60000"), cell("print never")]);
    let limit = Some(Duration::from_millis(150));
    let options = Options {
        total_timeout: limit,
        timeout: Some(Duration::from_secs(50)),
        allow_errors: true,
        keep_going: true,
        notebooks: vec![folder.path("in.ipynb"), folder.path("in.ipynb")],
        output: None,
        junit: Some(folder.path("junit.xml")),
        inplace: true,
        ..Default::default()
    };
    let (ran, report) = go(&options);
    assert!(matches!(ran, Err(RunError::Late { cell: 2, of: 3, .. })), "{ran:?}");
    assert!(report.contains("RunTimeout"), "{report}");
    let junit = std::fs::read_to_string(folder.path("junit.xml")).unwrap();
    assert_eq!((junit.matches("<testcase").count(), junit.matches("<skipped").count()), (6, 4), "{junit}");
}

#[test]
fn after_ctrl_c_the_report_is_complete_and_results_are_saved() {
    let folder = Folder::with(&[cell("print a"), cell("sleep 60000"), cell("print never")]);
    let options = Options { junit: Some(folder.path("junit.xml")), allow_errors: true, ..folder.options() };
    let stop = StopRequest::default();
    let (pressing, mut report) = (stop.clone(), Vec::new());
    let start = |_: &Path| {
        let pressing = pressing.clone();
        // Whether the first or the second cell is running by then, the run ends in the second at the latest.
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            pressing.make(StopSignal::Interrupt);
        });
        Ok(Box::new(Echo::new()) as Box<dyn Engine>)
    };
    let ran = run(&options, &start, &mut report, &mut std::io::sink(), &stop);
    assert!(matches!(ran, Err(RunError::Stopped { .. })), "{ran:?}");
    let junit = std::fs::read_to_string(folder.path("junit.xml")).unwrap();
    assert_eq!(junit.matches("<testcase").count(), 3, "{junit}");
    assert!(junit.contains("stopped by Ctrl-C") && junit.contains("Interrupted"), "{junit}");
    assert_eq!(folder.out()["cells"][0]["outputs"][0]["text"], json!(["a\n"]));
    assert_eq!(folder.out()["cells"][1]["outputs"][0]["ename"], "Interrupted");
}

#[test]
fn timings_are_written_only_on_request_and_removed_later() {
    let folder = Folder::with(&[cell("print a")]);
    go(&Options { timings: true, ..folder.options() }).0.unwrap();
    let out = folder.out();
    let timing = &out["cells"][0]["metadata"]["chandlery"];
    assert!(timing["seconds"].as_f64().is_some_and(|seconds| seconds < 60.0), "{timing}");
    assert!(timing["peak_memory"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{timing}");
    std::fs::copy(folder.path("out.ipynb"), folder.path("in.ipynb")).unwrap();
    go(&folder.options()).0.unwrap();
    assert_eq!(folder.out()["cells"][0]["metadata"], json!({"mine": true}));
}

#[test]
fn progress_lines_are_collapsed_and_streams_are_limited() {
    let lines = (0..200).map(|n| format!("print line {n}")).collect::<Vec<_>>().join("\n");
    let folder = Folder::with(&[cell("write 1%\nwrite \r50%\nprint \r100%"), cell(&lines)]);
    go(&Options { max_output: Some(200), ..folder.options() }).0.unwrap();
    let out = folder.out();
    assert_eq!(out["cells"][0]["outputs"][0]["text"], json!(["100%\n"]));
    let text = out["cells"][1]["outputs"][0]["text"].as_array().unwrap();
    assert_eq!((&text[0], &text[text.len() - 1]), (&json!("line 0\n"), &json!("line 199\n")));
    assert!(text.len() < 40 && text.iter().any(|line| line.as_str().unwrap().contains("left out")), "{text:?}");
}
