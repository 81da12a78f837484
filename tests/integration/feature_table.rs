//! What docs/kernels.md and `tests/run` say of tests: each claim of the table of kernels has one, and every file is run.

use std::path::{Path, PathBuf};

/// Rows of the table, as cells without the outer bars.
fn rows() -> Vec<Vec<String>> {
    let page = std::fs::read_to_string(repository().join("docs/kernels.md")).unwrap();
    let table = page.lines().skip_while(|line| !line.starts_with("| kernel feature |"));
    let table = table.take_while(|line| line.starts_with('|'));
    table.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All sources of tests below a folder.
fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "py") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
            text.push('\n');
        }
    }
}

#[test]
fn every_feature_in_the_readme_names_a_test_that_exists() {
    let rows = rows();
    let head = &rows[0];
    let ours = head.iter().position(|cell| cell == "Chandlery").expect("a column for this kernel");
    let shown = head.iter().position(|cell| cell == "shown by").expect("a column of tests");
    assert!(rows.len() > 20, "{} rows", rows.len());

    let mut tests = String::new();
    for folder in ["tests/integration", "tests/lab", "kernel/src", "crate/src"] {
        sources(&repository().join(folder), &mut tests);
    }
    // A test of Rust follows its attribute; one of Python is a function or a suite.
    let is_test = |name: &str| {
        let rust = ["#[test]\nfn", "#[test]\n    fn", "#[tokio::test]\nasync fn", "]\nasync fn"];
        rust.iter().any(|before| tests.contains(&format!("{before} {name}(")))
            || name.starts_with("test_") && tests.contains(&format!("def {name}("))
            || name.starts_with("Test") && tests.contains(&format!("class {name}("))
    };
    for row in &rows[2..] {
        assert_eq!(row.len(), head.len(), "{row:?}");
        let named: Vec<&str> = row[shown].split('`').skip(1).step_by(2).collect();
        assert_eq!(named.is_empty(), row[ours] == "-", "{}: what is there has a test, what is not has none", row[0]);
        for name in named {
            assert!(is_test(name), "{}: there is no test `{name}`", row[0]);
        }
    }
}

/// The parts of `tests/run` name their files, because they need different things; a file that none names would never run.
#[test]
fn every_file_of_tests_in_jupyterlab_is_run() {
    let run = std::fs::read_to_string(repository().join("tests/run")).unwrap();
    let files = std::fs::read_dir(repository().join("tests/lab")).unwrap().flatten();
    let tests: Vec<String> = files
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("test_") && name.ends_with(".py"))
        .collect();
    assert!(tests.len() > 5, "{tests:?}");
    for name in tests {
        assert!(run.contains(&format!("tests/lab/{name}")), "tests/run does not run tests/lab/{name}");
    }
}
