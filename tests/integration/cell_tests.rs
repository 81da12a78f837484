//! Tests that cells define, and `%test`.

use chandlery_kernel::engine::Event;

use crate::cells::Notebook;

/// The table of tests that the last cell showed.
fn table(nb: &Notebook) -> String {
    let shown = nb.seen.events.iter().rev().find_map(|(_, event)| match event {
        Event::Display { data, .. } => Some(data.plain().to_owned()),
        _ => None,
    });
    shown.unwrap_or_default()
}

/// The name, the result and the message of each test in it.
fn rows(nb: &Notebook) -> Vec<(String, String, String)> {
    let form = nb.seen.events.iter().find_map(|(_, event)| match event {
        Event::Display { data, .. } => data.get("application/vnd.chandlery.table+json").cloned(),
        _ => None,
    });
    let word = |row: &serde_json::Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let rows = form.unwrap()["rows"].as_array().cloned().unwrap();
    rows.iter().map(|row| (word(row, "test"), word(row, "result"), word(row, "message"))).collect()
}

const ADD: &str = "fn add(a: i32, b: i32) -> i32 { a - b }\n#[test]\nfn adds() {\n    println!(\"trying\");\n    assert_eq!(add(2, 2), 4);\n}";

#[test]
fn a_failing_test_fails_its_cell_and_tells_where() {
    let mut nb = Notebook::new();
    nb.ok(ADD);
    assert_eq!(table(&nb), "1 test defined; %test runs it");
    let (name, value, traceback) = nb.fails("%test");
    assert_eq!((name.as_str(), value.as_str()), ("TestFailed", "1 of 1 tests failed: adds"));
    for part in ["adds at cell 1:5:5", "left: 0", "right: 4", "it printed:\ntrying"] {
        assert!(traceback.contains(part), "{traceback}");
    }
    assert_eq!(rows(&nb)[0].1, "FAILED");
    // Definitions stay the same, and the next cell compiles without the tests.
    assert_eq!(nb.ok("add(3, 2)"), "1");
    nb.ok("fn add(a: i32, b: i32) -> i32 { a + b }");
    nb.ok("%test");
    assert!(table(&nb).contains("1 test: 1 passed, 0 failed"), "{}", table(&nb));
    // In one cell the tests run after the code.
    nb.ok("%test\n#[test]\nfn adds_more() { assert_eq!(add(1, 1), 2); }");
    assert_eq!(rows(&nb).len(), 2);
}

#[test]
fn tests_pass_and_fail_as_with_cargo() {
    let mut nb = Notebook::new();
    nb.ok("use std::num::ParseIntError;\n\
           fn half(n: i32) -> i32 { assert!(n % 2 == 0, \"{n} is odd\"); n / 2 }\n\
           #[cfg(test)]\n\
           mod tests {\n\
               use super::*;\n\
               #[test] fn halves() { assert_eq!(half(4), 2); assert!(cfg!(test)); }\n\
               #[test] #[should_panic(expected = \"is odd\")] fn odd() { half(3); }\n\
               #[test]\n    #[should_panic(expected = \"other words\")]\n    fn other() { half(3); }\n\
               #[test] #[should_panic] fn never() {}\n\
               #[test] fn parses() -> Result<(), ParseIntError> { \"7\".parse::<i32>().map(drop) }\n\
               #[test] fn refuses() -> Result<(), ParseIntError> { \"x\".parse::<i32>().map(drop) }\n\
               #[test] #[ignore = \"takes long\"] fn long() { panic!(\"it ran\") }\n\
               mod deeper { #[cfg(unix)] #[test] fn here() {} #[cfg(windows)] #[test] fn elsewhere() {} }\n\
               fn helper() {}\n\
           }");
    assert_eq!(table(&nb), "9 tests defined; %test runs them");
    let (_, value, _) = nb.fails("%test");
    assert_eq!(value, "3 of 8 tests failed: tests::other, tests::never, tests::refuses");
    let rows = rows(&nb);
    let of = |name: &str| rows.iter().find(|row| row.0 == format!("tests::{name}")).unwrap();
    assert_eq!((of("halves").1.as_str(), of("odd").1.as_str(), of("parses").1.as_str()), ("ok", "ok", "ok"));
    assert!(of("other").2.contains("does not contain the expected `other words`"));
    assert!(of("never").2.contains("did not panic"));
    assert!(of("refuses").2.contains("returned an error: ParseIntError"));
    assert_eq!((of("long").1.as_str(), of("long").2.as_str()), ("ignored", "takes long"));
    assert_eq!(of("deeper::here").1, "ok");
    nb.ok("%test halves deeper --skip other");
    assert!(nb.fails("%test --ignored").2.contains("it ran"));
    let (_, value, text) = nb.fails("%test nothing");
    assert!(value.contains("`%test nothing` does not select a test"), "{value}");
    assert!(text.contains("name one of the defined tests: tests::halves, "), "{text}");
    assert!(Notebook::new().fails("%test").1.contains("no cell defines a test"));
}

#[test]
fn tests_that_do_not_compile_or_kill_the_worker_are_reported() {
    let mut nb = Notebook::new();
    nb.ok("#[test]\nfn wrong() {\n    let n: u8 = \"x\";\n}");
    let (name, _, traceback) = nb.fails("%test");
    assert_eq!(name, "CompileError[E0308]");
    assert!(traceback.contains("cell 1:3:17"), "{traceback}");
    nb.ok("#[test] fn wrong(n: u8) {}");
    assert!(nb.fails("%test").2.contains("a test takes no arguments"));
    nb.ok("#[test] fn wrong() {}\n#[test] fn aborts() { println!(\"last words\"); std::process::abort() }");
    let (name, _, traceback) = nb.fails("%test aborts");
    assert_eq!(name, "WorkerDied");
    assert!(traceback.contains("aborts: did not finish") && traceback.contains("last words"), "{traceback}");
}

#[test]
fn a_module_that_replaces_tests_says_so() {
    let mut nb = Notebook::new();
    nb.ok("mod tests { #[test] fn first() {} #[test] fn second() {} }");
    nb.ok("mod tests { #[test] fn second() {} }");
    let said = nb.text(chandlery_kernel::engine::Stream::Stderr);
    assert!(said.contains("removed with") && said.contains("`tests::first` of cell 1"), "{said}");
}
