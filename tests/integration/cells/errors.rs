//! The compiler's messages, about the cell's own text and positions.

use super::Notebook;
use chandlery_kernel::engine::{Outcome, Stream};

/// Words of the generated source around a cell.
const OURS: &[&str] = &["__store", "__new_", "__key_", "__like", "chandlery::cell", "generated", "u1.rs", "r1.rs"];

fn clean(traceback: &str) {
    for word in OURS {
        assert!(!traceback.contains(word), "{word}: {traceback}");
    }
}

#[test]
fn generated_source_is_never_shown() {
    let mut nb = Notebook::new();
    for code in [
        "let o: Option<i32> = None; o?;",
        "break;",
        "let y = self;",
        "yield 5;",
        "let v = vec![1, 2, 3];\nlet first = &v[0];\nv.push(4);\nprintln!(\"{first}\");",
        "let h = HashMap::new();",
        "let rc = std::rc::Rc::new(1); std::thread::spawn(move || { println!(\"{rc}\"); });",
        "match Some(1) { Some(x) => x };",
        "let c = |x| x;",
        "fn g() {} g().await",
        "{ let s = String::new(); let r = &s; drop(s); r.len() }",
    ] {
        let (_, value, traceback) = nb.fails(code);
        clean(&traceback);
        assert!(value.contains("(cell "), "{value}");
    }
}

#[test]
fn excerpts_show_the_line_as_it_was_written() {
    let mut nb = Notebook::new();
    let (_, _, traceback) = nb.fails("struct P { x: i32 } impl P { fn f(&self) -> String { self.x } }");
    assert!(traceback.contains("1 | struct P { x: i32 } impl P {"), "{traceback}");
    let (_, value, traceback) = nb.fails("let a = 1\nlet b = 2;");
    assert!(
        value.contains("cell 2:1:10") && traceback.contains("help: change this to `;`")
            || traceback.contains("expected `;`"),
        "{value}\n{traceback}"
    );
    clean(&traceback);
    nb.ok("macro_rules! text { ($e:expr) => { let s: String = $e + 1; } }");
    let (_, value, traceback) = nb.fails("let x = 1;\ntext!(x);");
    assert!(value.contains("(cell 4:2:"), "{value}");
    assert!(traceback.contains("cell 3:1") && traceback.contains("cell 4:2"), "{traceback}");
    nb.ok("fn one(x: &str) {}");
    let (_, _, traceback) = nb.fails("one(1);");
    assert!(traceback.contains("--> cell 6:1:5") && traceback.contains("--> cell 5:1:4"), "{traceback}");
    let (_, _, traceback) =
        nb.fails("let n: Vec<i32> = (0..3).collect::<Vec<i64>>();\nOption::<i32>::None.unwrap_or(\"x\");");
    assert!(!traceback.contains("/rustc/") && !traceback.contains("/toolchains/"), "{traceback}");
}

#[test]
fn warnings_are_about_the_users_text_only() {
    let mut nb = Notebook::new();
    nb.ok("let unused = 1; let mut never = 2; use std::fmt; fn later() {}");
    assert_eq!(nb.text(Stream::Stderr), "");
    for (code, warning) in [
        ("{\n  let inner = 2;\n}", "unused variable: `inner`"),
        ("fn dead() -> i32 { return 5; println!(\"x\"); }", "unreachable statement"),
        ("#[deprecated(note = \"old\")] fn old() {}\nold();", "use of deprecated function `old`: old"),
        ("fn res() -> Result<i32, String> { Ok(1) }\nres();", "unused `Result` that must be used"),
    ] {
        nb.ok(code);
        let said = nb.text(Stream::Stderr);
        assert!(said.contains(warning) && said.contains(&format!("cell {}:", nb.count)), "{said}");
        clean(&said);
    }
    // Not again in the next cell that compiles the same definitions.
    nb.ok("dead(); let r = res();");
    assert_eq!(nb.text(Stream::Stderr), "");
}

#[test]
fn question_marks_keep_what_where_and_what_to_do_as_fields() {
    let mut nb = Notebook::new();
    nb.ok("fn boxed() -> Result<(), Box<dyn std::error::Error>> { chandlery::inspect(\"gone\")?; Ok(()) }");
    for (code, kind) in [
        ("chandlery::inspect(\"gone\")?;", "CheckpointError"),
        ("boxed()?;", "Box<dyn Error>"),
        ("%inspect gone", "CheckpointError"),
    ] {
        let outcome = nb.run(code);
        let Outcome::Error { name, value, diagnostic: Some(says), .. } = outcome else { panic!("{code}: {outcome:?}") };
        assert_eq!((name.as_str(), says.what.as_str()), (kind, "no weights found"), "{code}");
        assert!(says.origin.as_deref().is_some_and(|origin| origin.contains("gone")), "{says:?}");
        assert!(says.advice.as_deref().is_some_and(|advice| advice == "check the path"), "{says:?}");
        assert_eq!(value, says.to_string());
    }
}
