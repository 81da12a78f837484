//! What cells have in common with programs: arguments and environment, stack, standard streams.

use chandlery_kernel::engine::Stream;

use super::Notebook;

#[test]
fn a_cell_does_not_see_how_it_was_started() {
    let mut nb = Notebook::new();
    assert_eq!(nb.ok("std::env::args().count()"), "1");
    assert_eq!(
        nb.ok("std::env::args_os().next().is_some_and(|program| std::path::Path::new(&program).is_file())"),
        "true"
    );
    assert_eq!(nb.ok("std::fs::read(\"/proc/self/cmdline\")?.iter().filter(|byte| **byte == 0).count()"), "1");
    // Variables that the kernel sets would be visible here and in programs that cells start.
    nb.ok("let ours: Vec<String> = std::env::vars().map(|(name, _)| name).collect();");
    let added = "ours.into_iter().filter(|name| std::env::var_os(name).is_none() || name.to_lowercase().contains(\"worker\")).count()";
    assert_eq!(nb.ok(added), "0");
    nb.ok("let child = String::from_utf8(std::process::Command::new(\"env\").output()?.stdout)?;");
    assert_eq!(nb.ok("child.to_lowercase().contains(\"worker\")"), "false");
    assert_eq!(nb.ok("std::thread::current().name().map(str::to_owned)"), "Some(\"main\")");
}

#[test]
fn arrays_of_megabytes_fit_on_the_stack() {
    let mut nb = Notebook::new();
    nb.ok("let keep = 1usize;\nfn filled(with: u8) -> [[u8; 2500]; 3000] { let mut grid = [[0; 2500]; 3000]; grid[2999][0] = with; grid }");
    nb.ok(
        "let grid = filled(3);\nlet copy = grid;\nlet sum: u64 = copy.iter().flatten().map(|&b| u64::from(b)).sum();",
    );
    assert_eq!(nb.ok("(grid.len() + keep, grid[2999][0], sum)"), "(3001, 3, 3)");
    nb.ok("let moved = grid; let [first, ..] = moved;");
    assert_eq!(nb.ok("first.len() + moved[2999].len()"), "5000");
    assert_eq!(nb.ok("let boxed = Box::new([1u64; 900_000]); boxed.iter().sum::<u64>()"), "900000");
    assert_eq!(nb.ok("std::hint::black_box([[1.0f64; 900]; 1000])[999][899]"), "1.0");
}

#[test]
fn deep_recursion_of_a_cells_own_functions_returns() {
    let mut nb = Notebook::new();
    nb.ok("fn deep(n: u64) -> u64 { if n == 0 { 0 } else { std::hint::black_box(deep(n - 1)) + 1 } }");
    assert_eq!(nb.ok("deep(100_000)"), "100000");
    nb.ok("enum List { End, Item(Box<List>) }\nlet mut list = List::End; for _ in 0..100_000 { list = List::Item(Box::new(list)); }");
    assert_eq!(nb.ok("drop(list); 1"), "1");
    // Nested far too deep, it is distinguished from other deaths.
    nb.ok("let kept = 1;");
    let (_, value, _) = nb.fails("fn wide(n: u64) -> u64 { let room = [n; 20_000]; std::hint::black_box(&room); wide(n + 1) + room[7] }\nwide(0)");
    assert!(value.contains("SIGABRT: stack overflow") && value.contains("variables lost: kept"), "{value}");
}

#[test]
fn closed_standard_streams_do_not_end_the_worker() {
    let mut nb = Notebook::new();
    nb.ok("let kept = 7;\nunsafe extern \"C\" { fn close(descriptor: i32) -> i32; fn printf(format: *const std::ffi::c_char, ...) -> i32; }");
    nb.ok("unsafe { close(1); }\nprintln!(\"nobody hears this\"); unsafe { printf(c\"nor this\\n\".as_ptr()); }\neprintln!(\"but this\");");
    assert_eq!(nb.text(Stream::Stderr), "but this\n");
    nb.ok("unsafe { close(2); close(0); }\neprintln!(\"gone\"); emit(&MimeBundle::text(\"still shown\"));");
    assert_eq!(nb.ok("kept"), "7");
    let (name, value, _) = nb.fails("println!(\"gone\"); panic!(\"told\")");
    assert_eq!((name.as_str(), value.as_str()), ("Panic", "told"));
    nb.ok("%project list");
    assert_eq!(nb.ok("std::fs::read_to_string(\"/proc/self/comm\")?.len() > 1 && kept == 7"), "true");
}
