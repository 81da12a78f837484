//! Files that cells include, modules in files, and the position of a cell.

use super::Notebook;

#[test]
fn files_are_found_in_the_notebooks_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("data.txt"), "one two").unwrap();
    std::fs::write(path("shapes.rs"), "pub mod flat;\npub const N: usize = 3;\npub struct Row(pub [u8; N]);").unwrap();
    std::fs::create_dir(path("shapes")).unwrap();
    std::fs::write(path("shapes/flat.rs"), "pub fn area() -> u32 { 6 }").unwrap();
    let mut nb = Notebook::new();
    nb.engine = nb.engine.in_folder(folder.path());
    assert_eq!(nb.ok("include_str!(\"data.txt\").len()"), "7");
    nb.ok("const TEXT: &str = include_str!(\"data.txt\");\nfn words() -> usize { TEXT.split(' ').count() }");
    nb.ok("mod shapes;\nlet row = shapes::Row([1; 3]);");
    assert_eq!(nb.ok("(shapes::flat::area(), row.0.len())"), "(6, 3)");
    // A changed file has no effect until its cell runs again.
    std::fs::write(path("data.txt"), "one").unwrap();
    std::fs::write(path("shapes.rs"), "pub mod flat;\npub const N: usize = 400;\npub struct Row(pub [u8; N]);")
        .unwrap();
    assert_eq!(nb.ok("(words(), row.0.len(), row.0[2])"), "(2, 3, 1)");
    nb.ok("mod shapes;");
    let (_, _, traceback) = nb.fails("row.0[2]");
    assert!(traceback.contains("`row` was dropped"), "{traceback}");
    let (_, value, _) = nb.fails("let a = 1;\nmod missing;");
    assert!(value.contains("there is no file for module `missing`") && value.contains(":2:1"), "{value}");
    nb.fails("include_str!(\"missing.txt\")");
}

#[test]
fn file_and_line_are_those_of_the_cell() {
    let mut nb = Notebook::new();
    assert_eq!(nb.ok("\n  line!()"), "2");
    assert_eq!(nb.ok("file!()"), "\"cell 2\"");
    assert_eq!(
        nb.ok("fn place() -> (u32, String) { (\n line!(), format!(\"{}\", file!())) }\nplace()"),
        "(2, \"cell 3\")"
    );
}
