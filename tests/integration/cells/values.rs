//! What variables can hold, and how a cell can return early.

use super::Notebook;

#[test]
fn closures_are_variables() {
    let mut nb = Notebook::new();
    nb.ok("let k = 3; let add = move |x: i32| x + k; let length = |t: &str| t.len();");
    assert_eq!(nb.ok("(add(4), length(\"four\"))"), "(7, 4)");
    // A closure that holds another, one that mutates, and both used much later.
    nb.ok("let mut n = 0; let mut count = move || { n += 1; n }; let twice = move |x: i32| add(add(x));");
    assert_eq!(nb.ok("count(); count()"), "2");
    assert_eq!(nb.ok("let later = vec![twice(1)]; (count(), later)"), "(3, [7])");
    nb.ok("let sq = |x: i32| x * x; let all = (0..4).map(sq).filter(|x| x % 2 == 0);");
    assert_eq!(nb.ok("(twice(2), count(), all.clone().collect::<Vec<_>>())"), "(8, 4, [0, 4])");
    nb.ok("struct Held<F: Fn(i32) -> i32>(F); let held = Held(sq);");
    assert_eq!(nb.ok("(held.0)(3)"), "9");
}

#[test]
fn types_without_a_name_are_stored() {
    let mut nb = Notebook::new();
    nb.ok("fn squares() -> impl Iterator<Item = i32> { (1..).map(|x| x * x) }\nlet mut it = squares();");
    assert_eq!(nb.ok("it.next(); it.next()"), "Some(4)");
    assert_eq!(nb.ok("it.by_ref().take(2).collect::<Vec<_>>()"), "[9, 16]");
    nb.ok("let hidden = { #[derive(Debug, Clone)] struct Local(i32); Local(3) };");
    assert_eq!(nb.ok("hidden"), "Local(3)");
    nb.ok("let X = vec![1, 2]; let (Y, z) = (3, 4);");
    assert_eq!(nb.ok("(X.len(), Y, z)"), "(2, 3, 4)");
}

#[test]
fn awaiting_at_top_level() {
    let mut nb = Notebook::new();
    nb.ok("async fn fetch(n: u32) -> Result<u32, std::num::ParseIntError> { \"4\".parse::<u32>().map(|x| x + n) }\nlet r = fetch(3).await?;\nprintln!(\"{}\", fetch(1).await?);");
    assert_eq!(nb.text(chandlery_kernel::engine::Stream::Stdout), "5\n");
    assert_eq!(nb.ok("r"), "7");
    nb.ok("let pending = async move { r + 1 };");
    assert_eq!(nb.ok("pending.await"), "8");
    let (name, _, traceback) = nb.fails("fetch(1).await?;\n\"x\".parse::<u8>()?;");
    assert!(name == "ParseIntError" && traceback.contains("cell 5:2:"), "{traceback}");
}

#[test]
fn a_cell_may_return_or_be_a_program() {
    let mut nb = Notebook::new();
    nb.ok("let k = 3;");
    assert_eq!(nb.ok("if k == 3 { return; }\npanic!(\"not here\")"), "");
    let (name, value, _) = nb.fails("return Err(\"bad\".into());");
    assert_eq!((name.as_str(), value.as_str()), ("&str", "bad"));
    assert_eq!(nb.ok("let v = 'l: { if k > 2 { break 'l 5; } 6 }; v"), "5");
    nb.ok("//! A program.\n#![allow(unused)]\nfn main() -> Result<(), String> { let unused = 1; println!(\"run\"); Ok(()) }");
    assert_eq!(nb.text(chandlery_kernel::engine::Stream::Stdout), "run\n");
    assert_eq!(nb.text(chandlery_kernel::engine::Stream::Stderr), "");
    let (_, value, _) = nb.fails("\n#![feature(never_type)]\n1");
    assert!(value.contains("stable Rust") && value.contains("cell 6:2:1"), "{value}");
    assert_eq!(nb.ok("// only a comment"), "");
}

#[test]
fn a_million_values_show_their_count_and_both_ends() {
    let mut nb = Notebook::new();
    let all = "(0..1_000_000u32)";
    let ten_lines = |text: String, last: &str| {
        assert!(text.lines().count() <= 10 && text.contains("1,000,000 ") && text.contains(last), "{text}");
        text
    };
    let text = ten_lines(nb.ok(&format!("let xs: Vec<u32> = {all}.collect(); xs")), " 999999]\n1,000,000 values");
    assert!(text.starts_with("[0, 1, 2,") && text.contains("\n… 999,"), "{text}");
    ten_lines(nb.ok("&xs[..]"), "999999]");
    ten_lines(nb.ok("Some(xs.clone())"), "999999] (1,000,000 values)");
    ten_lines(nb.ok("xs.iter().map(|x| x.to_string()).collect::<Vec<_>>()"), "\"999999\"]");
    ten_lines(
        nb.ok("xs.iter().map(|x| vec![*x; 3]).collect::<std::collections::VecDeque<_>>()"),
        "[999999, 999999, 999999]]",
    );
    ten_lines(
        nb.ok("xs.iter().map(|x| (*x, x.to_string())).collect::<std::collections::BTreeMap<_, _>>()"),
        "999,999  999999",
    );
    ten_lines(nb.ok("xs.iter().copied().collect::<std::collections::HashSet<_>>()"), "}");
    ten_lines(nb.ok("\"é\".repeat(1_000_000)"), "1,000,000 characters");
    let text = nb.ok("#[derive(Debug)] struct Run { name: String, xs: Vec<u32> }\nRun { name: \"a\".into(), xs }");
    assert_eq!(text, "Run {\n    name: \"a\",\n    xs: [0, 1, 2, …, 999998, 999999] (1,000,000 values),\n}");
}
