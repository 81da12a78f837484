//! What a failing cell keeps, and names that get another meaning.

use chandlery_kernel::engine::Stream;

use super::Notebook;

/// Runs a cell that fails, then a later one, and returns the value of that.
fn after(nb: &mut Notebook, fails: &str, then: &str) -> String {
    nb.fails(fails);
    nb.ok(then)
}

#[test]
fn what_was_completed_before_a_failure_is_kept() {
    let mut nb = Notebook::new();
    let (_, _, traceback) = nb.fails("let a = 1; let s = String::from(\"s\"); let n: i32 = \"x\".parse()?; let z = 3;");
    assert!(traceback.contains("kept, as completed before that: `a`, `s`"), "{traceback}");
    assert_eq!(nb.ok("(a, s.len())"), "(1, 1)");
    let (_, _, traceback) = nb.fails("z");
    assert!(traceback.contains("`z` was not stored: cell 1 did not run to completion"), "{traceback}");
    // Panics, values at the end, loops, patterns, moves, borrows, guards, temporaries, closures and `.await`.
    for (fails, then, shown) in [
        ("let b = 2; panic!(\"no\")", "b", "2"),
        ("let c = vec![1]; c[5]", "c", "[1]"),
        ("let mut n = 0; loop { n += 1; if n == 3 { break; } } None::<u8>.unwrap();", "n", "3"),
        ("let (d, mut e): (i32, Vec<_>) = (1, Vec::new()); e.push(2u8); let f = e[7];", "(d, e)", "(1, [2])"),
        ("let g = String::from(\"g\"); let h = g; let i = [1][h.len()];", "h", "\"g\""),
        (
            "let mut xs = vec![3, 1]; let r = &mut xs; r.sort(); let first = xs[0]; panic!()",
            "(xs, first)",
            "([1, 3], 1)",
        ),
        ("let t = String::from(\"abc\"); let part = &t[..1]; let w = part.len(); panic!()", "(t, w)", "(\"abc\", 1)"),
        (
            "let m = std::sync::Mutex::new(5); let guard = m.lock()?; let k = *guard; panic!()",
            "(m.lock()?.clone(), k)",
            "(5, 5)",
        ),
        ("let o = 1; let short = &String::from(\"t\"); let p = short.len(); panic!()", "(o, p)", "(1, 1)"),
        ("let q: Box<dyn Fn(i32) -> i32> = Box::new(|x| x + 1); let u = q(1); panic!()", "q(u)", "3"),
        ("let v = async { 5 }.await; let y = v + 1; Err::<(), _>(\"no\")?;", "(v, y)", "(5, 6)"),
        ("let Some(aa) = Some(1) else { return }; let bb = aa; let cc = Err::<u8, _>(\"x\")?;", "(aa, bb)", "(1, 1)"),
        ("let r#type = 5; let dd = [1][r#type];", "r#type", "5"),
    ] {
        assert_eq!(after(&mut nb, fails, then), shown, "{fails}");
    }
    // A cell that returns early succeeds, with what it has until then.
    nb.ok("let ee = 1; if ee == 1 { return; }\nlet ff = 2;");
    assert_eq!(nb.ok("ee"), "1");
    assert_eq!(nb.fails("ff").0, "CompileError[E0425]");
    nb.ok("let gg = 7; let None = Some(gg) else { return; }; let hh = 1;");
    assert_eq!(nb.ok("gg"), "7");
    // Variables that a failed cell took are as it left them.
    nb.ok("let mut kept = vec![1];");
    nb.fails("kept.push(2); let ii = kept.len(); panic!()");
    assert_eq!(nb.ok("(kept, ii)"), "([1, 2], 2)");
}

#[test]
fn a_shadowed_name_never_shows_its_former_value() {
    let mut nb = Notebook::new();
    nb.ok("let q = 5; let r = 6; let s = 7; let kept = String::from(\"abc\");");
    nb.ok("let q = &kept[..1]; println!(\"{q}\");");
    let (_, _, traceback) = nb.fails("q");
    assert!(traceback.contains("`q` of cell 2 holds a reference"), "{traceback}");
    // Also when the cell fails after that, whichever way it runs; and not when it fails before.
    nb.fails("let r = &kept[1..]; panic!()");
    assert_eq!(nb.fails("r").0, "CompileError[E0425]");
    nb.fails("let open; open = 1; let s = &kept[..open]; panic!()");
    assert_eq!(nb.fails("s").0, "CompileError[E0425]");
    nb.ok("let t = 1;");
    nb.fails("panic!(); let t = &kept[..];");
    assert_eq!(nb.ok("t"), "1");
    nb.fails("let open: u8; if true { panic!() } open = 1; let t = &kept[..];");
    assert_eq!(nb.ok("t"), "1");
    // A function or a constant takes the name of a variable, and a variable that of a function.
    nb.ok("let f = 5; let N = 3;");
    nb.ok("fn f() -> i32 { 9 }\nconst N: i32 = 4;");
    assert!(nb.text(Stream::Stderr).contains("`f` is no longer a variable"), "{}", nb.text(Stream::Stderr));
    assert_eq!(nb.ok("f() + N"), "13");
    nb.ok("let f = f() + 1;");
    assert_eq!(nb.ok("f"), "10");
}

#[test]
fn a_moved_variable_gets_a_new_value() {
    let mut nb = Notebook::new();
    nb.ok("let mut name = String::from(\"ada\");\nlet taken = name;");
    assert_eq!(nb.ok("name = String::from(\"grace\");\nname.len()"), "5");
    assert_eq!(nb.ok("(name, taken)"), "(\"grace\", \"ada\")");
    // Of a type that follows from what moved it, moved by a later cell, and again.
    nb.ok("let mut v = Vec::new(); v.push(1); drop(v);");
    nb.ok("v = vec![7];");
    nb.ok("drop(v);");
    let (_, _, traceback) = nb.fails("v.len()");
    assert!(traceback.contains("`v` was moved in cell 6"), "{traceback}");
    nb.fails("if taken.is_empty() { v = vec![9]; }\nv");
    assert_eq!(nb.ok("v = vec![1, 2]; v"), "[1, 2]");
    nb.ok("let w = String::new(); drop(w);");
    assert_eq!(nb.fails("w = String::new();").0, "CompileError[E0425]");
}

#[test]
fn fields_that_were_not_moved_stay() {
    let mut nb = Notebook::new();
    nb.ok("struct P { a: String, b: String }\nlet p = P { a: \"x\".into(), b: \"yy\".into() };");
    nb.ok("let a = p.a;");
    assert_eq!(nb.ok("p.b.len()"), "2");
    let (name, _, _) = nb.fails("p.a.len()");
    assert_eq!(name, "CompileError[E0382]");
    // It is still not mutable, and the rest can be moved as well.
    assert_eq!(nb.fails("p.b.push('y');").0, "CompileError[E0596]");
    nb.ok("let b = p.b;");
    assert_eq!(nb.fails("p.b.len()").0, "CompileError[E0382]");
    assert_eq!(nb.ok("(a, b)"), "(\"x\", \"yy\")");
    // In the cell that makes it, in tuples, in nested fields, by patterns and in cells that fail behind it.
    nb.ok("let mut t = (String::from(\"t\"), (vec![1], vec![2]));\nlet first = t.0;\nlet (inner, _) = t.1;\nt.1.1.push(3);");
    assert_eq!(nb.ok("t.1.1.push(4); (t.1.1.len(), first, inner)"), "(3, \"t\", [1])");
    nb.ok("let q = P { a: \"q\".into(), b: \"r\".into() };");
    nb.fails("let P { a: taken, .. } = q; let n: i32 = \"x\".parse()?;");
    assert_eq!(nb.ok("(taken, q.b)"), "(\"q\", \"r\")");
    // Assigning to it makes it whole.
    nb.ok("t = (String::from(\"new\"), (vec![], vec![]));");
    assert_eq!(nb.ok("t.0"), "\"new\"");
    // The rest is dropped once, and the moved fields with their new owner.
    nb.ok("struct D(&'static str); impl Drop for D { fn drop(&mut self) { println!(\"drop {}\", self.0); } }");
    nb.ok("let pair = (D(\"left\"), D(\"right\"));");
    nb.ok("let left = pair.0;");
    nb.ok("let pair = 1;");
    assert_eq!(nb.text(Stream::Stdout), "drop right\n");
    nb.ok("drop(left);");
    assert_eq!(nb.text(Stream::Stdout), "drop left\n");
}

#[test]
fn a_number_takes_the_type_that_a_later_cell_uses() {
    let mut nb = Notebook::new();
    nb.ok("let keep = 1; let mut total = 0; let rate = 0.5; let below = -1; let xs = vec![1.5f32, 2.0];");
    assert_eq!(nb.ok("xs.len() + keep"), "3");
    assert_eq!(nb.text(Stream::Stderr), "");
    assert_eq!(nb.ok("let exact: usize = keep; exact"), "1");
    nb.ok("total += xs.len();");
    assert_eq!(nb.ok("(total, xs[keep] * rate)"), "(2, 1.0)");
    // It stays the same if the value does not fit, or if it has a type.
    let (name, value, _) = nb.fails("xs.len() + below");
    assert!(name == "Refused" && value.contains("`below` is -1"), "{name}: {value}");
    assert_eq!(nb.ok("below"), "-1");
    nb.ok("let mut sum = 0.0; let x = 0.1f64;");
    nb.ok("sum += x;");
    assert!(nb.fails("xs[0] * sum").0.starts_with("CompileError"), "a sum of `f64` is not rounded in silence");
    nb.ok("let typed = 1i32; let used = 2; let user: i32 = used;");
    for code in ["xs.len() + typed", "xs.len() + used", "String::new() + keep"] {
        assert!(nb.fails(code).0.starts_with("CompileError"), "{code}");
    }
}

#[test]
fn a_panicking_drop_is_an_error_of_its_cell() {
    let mut nb = Notebook::new();
    nb.ok("struct D; impl Drop for D { fn drop(&mut self) { panic!(\"in drop\") } }\nlet kept = 5; let d = D; let e = D; let f = D;");
    let (name, value, traceback) = nb.fails("let d = 1;");
    assert_eq!(name, "Panic");
    assert!(
        value.contains("`d`") && value.contains("in drop") && traceback.contains("cell 1:1:"),
        "{value} {traceback}"
    );
    assert_eq!(nb.ok("kept + d"), "6");
    nb.fails("drop(e);");
    nb.fails("{ let local = D; }");
    assert_eq!(nb.ok("kept"), "5");
    nb.ok("struct D(u8);");
    assert!(nb.text(Stream::Stderr).contains("in drop"), "{}", nb.text(Stream::Stderr));
    assert_eq!(nb.ok("kept"), "5");
    nb.ok("struct E; impl Drop for E { fn drop(&mut self) { panic!(\"last\") } }\nlet g = E;");
    nb.fails("%reset");
    assert_eq!(nb.ok("1"), "1");
    assert_eq!(nb.fails("kept").0, "CompileError[E0425]");
}

#[test]
fn loops_of_cells_end_when_they_are_stopped() {
    let mut nb = Notebook::new();
    nb.ok("let kept = 1; let mut n = 0u64;\nfn spin() { loop {} }\nfn walk(n: &mut u64) { while true { *n += 1; } }");
    for code in [
        "loop {}",
        "let early = 7; loop { n += 1; }",
        "spin()",
        "walk(&mut n)",
        "for _ in 0.. { let c = || { loop {} }; c() }",
        "std::thread::spawn(|| loop {}).join().unwrap();",
    ] {
        let (outcome, _) = super::interrupted_after(&mut nb, code, &[700]);
        assert_eq!(super::name(&outcome), "Interrupted", "{code}: {outcome:?}");
        assert_eq!(nb.ok("kept"), "1", "{code}");
    }
    assert_eq!(nb.ok("(early, n > 1)"), "(7, true)");
}

#[test]
fn a_program_that_fails_is_a_failed_cell() {
    let mut nb = Notebook::new();
    let (name, value, _) = nb.fails("fn main() -> std::process::ExitCode { std::process::ExitCode::from(3) }");
    assert_eq!((name.as_str(), value.as_str()), ("ExitCode", "`main` returned exit code 3"));
    nb.ok("fn main() -> std::process::ExitCode { std::process::ExitCode::SUCCESS }");
    nb.fails("fn main() -> Result<std::process::ExitCode, String> { Ok(2.into()) }");
    nb.fails("fn main() -> Result<(), String> { Err(\"x\".into()) }");
    nb.ok("async fn main() -> Result<(), String> { Ok(()) }");
}
