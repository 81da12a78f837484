//! Definitions across cells: statics, macros, imports, and what depends on a changed one.

use super::Notebook;
use chandlery_kernel::engine::Stream;

#[test]
fn statics_are_shared_by_all_cells() {
    let mut nb = Notebook::new();
    nb.ok("use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};\nstatic COUNT: AtomicUsize = AtomicUsize::new(10);\nCOUNT.fetch_add(1, Relaxed);");
    nb.ok("fn next() -> usize {\n    static N: AtomicUsize = AtomicUsize::new(0);\n    N.fetch_add(1, Relaxed)\n}\nnext();");
    assert_eq!(nb.ok("COUNT.fetch_add(1, Relaxed); next(); COUNT.load(Relaxed)"), "12");
    assert_eq!(nb.ok("next()"), "2");
    nb.ok("thread_local! { static T: std::cell::Cell<u8> = const { std::cell::Cell::new(1) }; }\nT.set(5);");
    assert_eq!(nb.ok("T.get()"), "5");
    // Redefined, it starts again.
    nb.ok("static COUNT: AtomicUsize = AtomicUsize::new(70);");
    assert_eq!(nb.ok("COUNT.load(Relaxed)"), "70");
}

#[test]
fn macros_that_make_items_are_definitions() {
    let mut nb = Notebook::new();
    nb.ok("macro_rules! make { ($name:ident, $value:expr) => { fn $name() -> i32 { $value } } }\nmake!(nine, 9);");
    nb.ok("make!(ten, 10);");
    assert_eq!(nb.ok("nine() + ten()"), "19");
}

#[test]
fn a_redefinition_reports_what_it_drops() {
    let mut nb = Notebook::new();
    nb.ok("struct P { x: i32 }\nimpl P { fn new() -> P { P { x: 1 } } }\nfn use_p(p: &P) -> i32 { p.x }\nfn other() -> i32 { 3 }\nlet p = P::new(); let makes: Box<dyn Fn() -> P> = Box::new(P::new); let kept = 1;");
    nb.ok("struct P { y: i32 }");
    let said = nb.text(Stream::Stderr);
    for part in [
        "`p` was dropped: its type `P` was redefined",
        "`makes` was dropped",
        "`impl P` of cell 1 was dropped: it does not compile with the new `P`",
        "`fn use_p` of cell 1 was dropped: it does not compile with the new `P`: no field `x`",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("other") && !said.contains("kept"), "{said}");
    assert_eq!(nb.ok("other() + kept + P { y: 1 }.y"), "5");
    let (_, _, traceback) = nb.fails("use_p(&P { y: 1 })");
    assert!(traceback.contains("note: `fn use_p` of cell 1 was dropped"), "{traceback}");
    // A function that another one calls; a comment is not a change; a constant that is part of a type.
    nb.ok("fn a() -> i32 { 1 }\nfn b() -> i32 { a() }\nconst N: usize = 2;\nstruct Row([f32; N]);\nlet row = Row([0.; N]);");
    nb.ok("fn a() -> i32 { 1 } // the same");
    assert_eq!((nb.ok("b()").as_str(), nb.text(Stream::Stderr).as_str()), ("1", ""));
    nb.ok("fn a() -> String { String::new() }");
    assert!(nb.text(Stream::Stderr).contains("`fn b` of cell 5 was dropped"), "{}", nb.text(Stream::Stderr));
    nb.ok("const N: usize = 3;");
    assert!(nb.text(Stream::Stderr).contains("`row` was dropped: its type `Row`"), "{}", nb.text(Stream::Stderr));
}

#[test]
fn imports_and_items_of_one_name_follow_each_other() {
    let mut nb = Notebook::new();
    nb.ok("use std::collections::HashMap as Map;");
    nb.ok("use std::collections::BTreeMap as Map;");
    assert!(nb.text(Stream::Stderr).contains("HashMap as Map` of cell 1 was dropped"), "{}", nb.text(Stream::Stderr));
    assert_eq!(nb.ok("let m: Map<i32, i32> = Map::from([(1, 2)]); m"), "{1: 2}");
    nb.ok("mod shapes { pub mod flat { pub struct Dot; impl Dot { pub fn n(&self) -> i32 { super::base() } } } fn base() -> i32 { 8 } }\nuse shapes::flat::*;");
    assert_eq!(nb.ok("Dot.n()"), "8");
    nb.ok("mod shapes { pub fn base() -> i32 { 9 } }");
    assert!(nb.text(Stream::Stderr).contains("use shapes::flat::*"), "{}", nb.text(Stream::Stderr));
    assert_eq!(nb.ok("shapes::base()"), "9");
}

#[test]
fn only_the_redefined_name_of_a_grouped_import_is_dropped() {
    let mut nb = Notebook::new();
    nb.ok("use std::collections::{\n    BTreeMap, HashMap, hash_map::{Entry, Keys as Names},\n    BTreeSet};");
    nb.ok("struct HashMap;\nstruct Names;\nlet map = HashMap;");
    let said = nb.text(Stream::Stderr);
    assert!(said.contains("`HashMap` of `use std::collections::{` of cell 1 was dropped: cell 2 redefines"), "{said}");
    assert!(said.contains("`Names` of") && !said.contains("BTree"), "{said}");
    assert_eq!(
        nb.ok("let e: Option<Entry<u8, u8>> = None; (BTreeMap::<u8, u8>::new().len(), BTreeSet::from([1u8]))"),
        "(0, {1})"
    );
    nb.ok("mod parts { pub fn one() -> u8 { 1 } pub fn two() -> u8 { 2 } }\nuse parts::{one, two};");
    nb.ok("mod parts { pub fn one() -> u8 { 11 } }");
    let said = nb.text(Stream::Stderr);
    assert!(said.contains("`two` of `use parts::{one, two}` of cell 4 was dropped"), "{said}");
    assert_eq!(nb.ok("one()"), "11");
    let (_, _, traceback) = nb.fails("two()");
    assert!(traceback.contains("`two` of `use parts::{one, two}` of cell 4 was dropped"), "{traceback}");
}

#[test]
fn traits_generics_lifetimes_and_trait_objects() {
    let mut nb = Notebook::new();
    nb.ok("trait Shape { fn area(&self) -> f64; fn twice(&self) -> f64 { self.area() * 2.0 } }\n#[derive(Debug, Clone, PartialEq)] struct Sq(f64);\nimpl Shape for Sq { fn area(&self) -> f64 { self.0 * self.0 } }\nimpl std::fmt::Display for Sq { fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result { write!(f, \"Sq of {}\", self.0) } }\nstruct Pair<'a, T: 'a> { a: &'a T, b: T }\nimpl<'a, T: std::fmt::Display> Pair<'a, T> { fn show(&self) -> String { format!(\"{} {}\", self.a, self.b) } }\n/// The longer one.\nfn longest<'a>(a: &'a str, b: &'a str) -> &'a str { if a.len() > b.len() { a } else { b } }");
    nb.ok("let shapes: Vec<Box<dyn Shape>> = vec![Box::new(Sq(2.0))];");
    assert_eq!(
        nb.ok("(shapes[0].twice(), Sq(1.5).to_string(), longest(\"a\", \"bc\"))"),
        "(8.0, \"Sq of 1.5\", \"bc\")"
    );
    assert_eq!(nb.ok("let x = 5; Pair { a: &x, b: 6 }.show()"), "\"5 6\"");
    assert_eq!(nb.ok("let größe = r#\"a \"b\" {c}\"#; fn länge(t: &str) -> usize { t.len() } länge(größe)"), "9");
}

#[test]
fn a_repeated_import_is_silent() {
    let mut nb = Notebook::new();
    for code in [
        "use std::collections::HashMap;",
        "use std::collections::HashMap;",
        "use std::collections::{BTreeMap, HashMap};",
        "use std::collections::{BTreeMap, HashMap, HashSet}; let m: HashMap<u8, u8> = HashMap::new();",
        "pub use std::collections::HashSet; use std::fmt;",
        "use std::fmt::{self, Debug};",
        "let s: HashSet<u8> = HashSet::new(); let b: BTreeMap<u8, u8> = BTreeMap::new();",
    ] {
        nb.ok(code);
        assert_eq!(nb.text(Stream::Stderr), "", "{code}");
    }
    assert_eq!(nb.ok("(m.len(), s.len(), b.len())"), "(0, 0, 0)");
    // Another item under the same name is reported.
    nb.ok("use std::collections::BTreeMap as HashMap;");
    assert!(nb.text(Stream::Stderr).contains("`HashMap`"), "{}", nb.text(Stream::Stderr));
}
