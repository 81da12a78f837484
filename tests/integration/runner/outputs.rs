//! The files that a run is asked to write.

use super::*;

#[test]
fn an_unwritable_file_is_reported_before_the_work() {
    let folder = Folder::with(&[cell("std::fs::write(\"ran\", \"\")?;")]);
    std::fs::create_dir(folder.path("folder")).unwrap();
    for option in ["-o", "--html", "--junit"] {
        for file in ["folder", "in.ipynb/below", "folder/new/", "/proc/new/file"] {
            let done = command(&folder, &["in.ipynb", option, file]);
            let said = String::from_utf8(done.stderr).unwrap();
            assert_eq!(done.status.code(), Some(1), "{option} {file}: {said}");
            assert!(said.contains("where: ") && said.contains("do: "), "{said}");
        }
    }
    let done = command(&folder, &["in.ipynb", "--compare", "in.ipynb/golden", "--accept"]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert_eq!(folder.names(), ["folder", "in.ipynb"], "nothing ran, and nothing is left of the probes");
}

#[test]
fn two_outputs_to_one_file_are_refused() {
    let folder = Folder::with(&[cell("std::fs::write(\"ran\", \"\")?;")]);
    for words in [
        &["-o", "x", "--html", "x"][..],
        &["-o", "-", "--junit", "-"],
        &["-o", "-", "--json"],
        &["--html", "in.ipynb"],
        &["--junit", "./in.ipynb"],
    ] {
        let done = command(&folder, &[&["in.ipynb"], words].concat());
        assert_eq!(done.status.code(), Some(2), "{words:?}: {done:?}");
    }
    assert_eq!(folder.names(), ["in.ipynb"]);
}

#[test]
fn standard_output_holds_the_notebook_and_nothing_else() {
    let folder = Folder::with(&[cell("println!(\"shown\");")]);
    let done = command(&folder, &["in.ipynb", "-o", "-"]);
    assert!(done.status.success());
    let out: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(out["cells"][0]["outputs"][0]["text"], json!(["shown\n"]));
    assert_eq!(folder.names(), ["in.ipynb"]);
}

#[test]
fn a_saved_notebook_keeps_its_mode_and_the_link_to_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::with(&[cell("print a")]);
    std::fs::write(folder.path("kept.ipynb"), "").unwrap();
    std::fs::set_permissions(folder.path("kept.ipynb"), std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("kept.ipynb", folder.path("out.ipynb")).unwrap();
    go(&folder.options()).0.unwrap();
    assert_eq!(folder.out()["cells"][0]["outputs"][0]["text"], json!(["a\n"]));
    assert!(folder.path("out.ipynb").is_symlink());
    assert_eq!(std::fs::metadata(folder.path("kept.ipynb")).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn tests_of_cells_are_cases_of_the_junit_report() {
    let defines =
        "#[test] fn passes() {}\n#[test] fn fails() { panic!(\"<on> purpose\") }\n#[test] #[ignore] fn waits() {}";
    let folder = Folder::with(&[cell(defines), cell("%test")]);
    let done = command(&folder, &["in.ipynb", "--junit", "junit.xml"]);
    assert_eq!(done.status.code(), Some(1));
    let junit = std::fs::read_to_string(folder.path("junit.xml")).unwrap();
    for part in
        ["tests=\"5\"", "failures=\"2\"", "skipped=\"1\"", "cell 2: passes", "cell 2: fails", "&lt;on&gt; purpose"]
    {
        assert!(junit.contains(part), "{part} is missing in\n{junit}");
    }
}

#[test]
fn cells_know_the_name_of_their_notebook() {
    let folder = Folder::with(&[cell("(file!(), line!())")]);
    let done = command(&folder, &["in.ipynb", "-o", "out.ipynb"]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(folder.out()["cells"][0]["outputs"][0]["data"]["text/plain"], json!(["(\"in.ipynb\", 1)"]));
}
