//! Types whose meaning changes while values of them are stored.

use chandlery_kernel::engine::Stream;

use super::Notebook;

/// Cells: what makes `v`, what changes its type, what uses it, and what a new value shows.
const CHANGES: &[(&str, &str, &str)] = &[
    ("const N: usize = 3; struct P([u8; N]);\nlet v = P([7; N]);", "const N: usize = 400;", "v.0.len()"),
    (
        "struct A; impl A { const N: usize = 3; }\nstruct P([u8; A::N]); let v = P([7; 3]);",
        "impl A { const N: usize = 400; }",
        "v.0.len()",
    ),
    (
        "trait Tr { type Out; } struct A; impl Tr for A { type Out = u8; } struct H<T: Tr>(T::Out);\nlet v: H<A> = H(7);",
        "impl Tr for A { type Out = String; }",
        "v.0.len()",
    ),
    ("mod m { pub type T = u8; } struct P(m::T); let v = P(1);", "mod m { pub type T = String; }", "v.0.len()"),
    (
        "macro_rules! t { () => { u8 } }\nstruct P(t!()); let v = P(1);",
        "macro_rules! t { () => { String } }",
        "v.0.len()",
    ),
    (
        "const fn n() -> usize { 3 } struct P([u8; n()]); let v = P([1; 3]);",
        "const fn n() -> usize { 400 }",
        "v.0.len()",
    ),
    ("use std::rc::Rc as R; struct P(R<u8>); let v = P(R::new(1));", "use std::cell::Cell as R;", "v.0.get()"),
    ("type T = u8; struct P(Vec<T>); let v = vec![P(vec![1])];", "type T = String;", "v[0].0[0].len()"),
    (
        "fn make() -> impl std::fmt::Debug { #[derive(Debug)] struct L(u8); L(1) }\nlet v = make();",
        "fn make() -> impl std::fmt::Debug { #[derive(Debug)] struct L(String); L(\"x\".to_owned()) }",
        "format!(\"{v:?}\").len()",
    ),
    (
        "async fn f() -> u8 { 1 }\nlet v = f();",
        "async fn f() -> u8 { let s = String::from(\"x\"); async {}.await; s.len() as u8 }",
        "v.await",
    ),
    (
        "fn inner() -> u8 { 1 } fn make() -> impl Fn() -> usize { let x = inner(); move || x as usize }\nlet v = make();",
        "fn inner() -> usize { 1 << 40 }",
        "v()",
    ),
    (
        "trait Tr { fn a(&self) -> usize; } impl Tr for u8 { fn a(&self) -> usize { 1 } }\nlet v: Box<dyn Tr> = Box::new(1u8);",
        "trait Tr { fn b(&self) -> usize; fn a(&self) -> usize; } impl Tr for u8 { fn b(&self) -> usize { 2 } fn a(&self) -> usize { 1 } }",
        "v.b()",
    ),
    (
        "mod m { #[derive(Debug)] pub enum E { A(u8), B } }\nuse m::*; let v = vec![E::A(1)];",
        "mod m { #[derive(Debug)] pub enum E { B, A(String) } }",
        "format!(\"{v:?}\")",
    ),
];

#[test]
fn a_value_whose_type_changed_is_refused() {
    for (made, changed, used) in CHANGES {
        let mut nb = Notebook::new();
        nb.ok(&format!("let other = 5;\n{made}"));
        nb.ok(changed);
        assert!(
            nb.text(Stream::Stderr).contains("`v` was dropped: its type"),
            "{changed}: {}",
            nb.text(Stream::Stderr)
        );
        let (name, _, traceback) = nb.fails(used);
        assert!(name.starts_with("CompileError"), "{used}: {name}");
        assert!(traceback.contains("cell 2 changes `"), "{used}: {traceback}");
        assert_eq!(nb.ok("other"), "5");
    }
}

#[test]
fn a_value_whose_type_stays_is_kept() {
    let mut nb = Notebook::new();
    nb.ok("#[derive(Debug)] struct P { n: u8 }\nstruct Q(u8); const N: usize = 3; fn n() -> usize { 3 }\nlet p = P { n: 1 }; let q = Q(2); let ps: Vec<Box<P>> = vec![Box::new(P { n: 3 })]; let c = |x: i32| x + 1;");
    for code in [
        "impl P { fn get(&self) -> u8 { self.n } }",
        "impl P { fn get(&self) -> u8 { self.n + 10 } }",
        "fn n() -> usize { 4 }",
        "const N: usize = 4;",
        "struct Q(String);",
        "struct Other; mod m { pub struct In; } use m::*; macro_rules! mm { () => { 1 } }",
        "fn make() -> impl Fn() -> u8 { || 1 }",
        "fn make() -> impl Fn() -> u8 { || 2 }",
    ] {
        nb.ok(code);
        assert!(!nb.text(Stream::Stderr).contains("`p`"), "{code}: {}", nb.text(Stream::Stderr));
        // The identity of the session's types changes, and the values stay.
        assert_eq!(nb.ok("(p.n, ps[0].n, c(1))"), "(1, 3, 2)", "{code}");
    }
    assert_eq!(nb.ok("p.get()"), "11");
    nb.ok("let mut ps = ps; ps.push(Box::new(P { n: 4 }));");
    assert_eq!(nb.ok("format!(\"{ps:?}\")"), "\"[P { n: 3 }, P { n: 4 }]\"");
}

#[test]
fn a_changed_type_is_another_one_for_any() {
    let mut nb = Notebook::new();
    nb.ok("use std::any::Any;\nstruct P(u8);\nlet any: Box<dyn Any> = Box::new(P(7));");
    assert_eq!(nb.ok("any.downcast_ref::<P>().map(|p| p.0)"), "Some(7)");
    nb.ok("struct P(String);");
    assert_eq!(nb.ok("any.downcast_ref::<P>().is_none()"), "true");
}
