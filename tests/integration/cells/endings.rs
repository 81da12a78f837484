//! Cells that end badly, and threads that outlive their cell: the kernel continues and reports what was lost.

use std::time::{Duration, Instant};

use chandlery_kernel::engine::{Engine, Stream};

use super::{Notebook, interrupted_after, name};

#[test]
fn every_death_of_the_worker_is_explained() {
    let mut nb = Notebook::new();
    nb.ok("fn helper() -> i32 { 7 }\nfn down(n: u64) -> u64 { if n == u64::MAX { 0 } else { down(n + 1) + n } }\nstruct D; impl Drop for D { fn drop(&mut self) { panic!(\"second\"); } }\nunsafe extern \"C\" { fn raise(signal: i32) -> i32; }");
    for (code, how) in [
        ("let v: Vec<u8> = Vec::with_capacity(1 << 60); v.len()", "SIGABRT: out of memory, an allocation failed"),
        ("down(0)", "SIGABRT: stack overflow"),
        ("std::thread::spawn(|| down(0)).join().is_ok()", "SIGABRT: stack overflow"),
        ("unsafe { std::ptr::null::<i32>().read_volatile() }", "SIGSEGV: invalid memory access"),
        ("unsafe { raise(9) };", "SIGKILL: ended from outside, perhaps because memory ran out"),
        ("std::process::exit(3)", "exit status 3"),
        ("std::process::abort()", "SIGABRT: abort"),
        ("{ let d = D; panic!(\"first\") }", "SIGABRT: a panic where none is allowed"),
    ] {
        nb.ok("let kept = 1;");
        let (name, value, _) = nb.fails(code);
        assert_eq!(name, "WorkerDied", "{value}");
        assert!(value.contains(how) && value.contains("variables lost: kept"), "{value}");
        assert_eq!(nb.ok("helper()"), "7");
    }
    nb.ok("let kept = 1;");
    nb.fails("{ let d = D; panic!(\"first\") }");
    let said = nb.text(Stream::Stderr);
    assert!(said.contains(": first") && said.contains(": second"), "{said}");
    let at = nb.count;
    assert!(said.contains(&format!("cell {at}:1:14")) && said.contains("cell 1:3:"), "{said}");
}

#[test]
fn a_variable_of_a_cell_that_failed_is_explained() {
    let mut nb = Notebook::new();
    nb.fails("if true { panic!(\"no\") }\nlet late = 1;");
    let (_, _, traceback) = nb.fails("late");
    assert!(traceback.contains("`late` was not stored: cell 1 did not run to completion"), "{traceback}");
}

#[test]
fn panics_of_threads_and_caught_ones_name_cell_and_line() {
    let mut nb = Notebook::new();
    assert_eq!(nb.ok("std::thread::spawn(|| {\n    panic!(\"in thread\");\n}).join().is_err()"), "true");
    assert!(nb.text(Stream::Stderr).contains("panicked at cell 1:2:5: in thread"), "{}", nb.text(Stream::Stderr));
    assert_eq!(nb.ok("\nstd::panic::catch_unwind(|| panic!(\"caught\")).is_err()"), "true");
    assert!(nb.text(Stream::Stderr).contains("panicked at cell 2:2:29: caught"), "{}", nb.text(Stream::Stderr));
}

#[test]
fn output_of_threads_appears_between_cells() {
    let mut nb = Notebook::new();
    nb.ok("std::thread::spawn(|| { std::thread::sleep(std::time::Duration::from_millis(300)); print!(\"late\"); panic!(\"later\"); });");
    let begun = Instant::now();
    nb.seen.events.clear();
    while begun.elapsed() < Duration::from_secs(20) && !nb.text(Stream::Stderr).contains("cell 1:1:101: later")
        || nb.text(Stream::Stdout) != "late"
    {
        std::thread::sleep(Duration::from_millis(20));
        nb.engine.between(&mut nb.seen);
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", nb.seen.events);
    }
    // A worker that dies between two cells is not an error of the next one, which gets a new worker.
    nb.ok("let kept = 1; std::thread::spawn(|| { std::thread::sleep(std::time::Duration::from_millis(100)); std::process::abort(); });");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(nb.ok("1 + 1"), "2");
    let said = nb.text(Stream::Stderr);
    assert!(
        said.contains("the worker ended before cell 3: SIGABRT") && said.contains("variables lost: kept"),
        "{said}"
    );
}

#[test]
fn text_of_c_code_keeps_its_order() {
    let mut nb = Notebook::new();
    nb.ok("unsafe extern \"C\" { fn puts(s: *const std::ffi::c_char) -> i32; }\nprintln!(\"1\"); unsafe { puts(c\"2\".as_ptr()); } println!(\"3\"); print!(\"4\");");
    assert_eq!(nb.text(Stream::Stdout), "1\n2\n3\n4");
    nb.ok("for i in 0..50_000 { println!(\"line {i}\"); }");
    assert_eq!(nb.text(Stream::Stdout).lines().count(), 50_000);
}

/// Whether a process ends, within a time that is long enough.
fn ends(process: &str) -> bool {
    (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.trim())).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z")
    })
}

#[test]
fn programs_that_cells_start_end_with_the_worker() {
    let folder = tempfile::tempdir().unwrap();
    let mut nb = Notebook::new();
    nb.ok("let kept = 1;");
    // A script and its child that ignore the first interrupt; the second kills the worker, and them with it.
    let file = folder.path().join("processes");
    let press = nb.engine.interrupter();
    let pressing = std::thread::spawn({
        let file = file.clone();
        move || {
            for _ in 0..3000 {
                std::thread::sleep(Duration::from_millis(10));
                if file.exists() {
                    press();
                    std::thread::sleep(Duration::from_millis(100));
                    return press();
                }
            }
        }
    });
    let shown = file.display();
    let script = format!("%%bash\ntrap '' INT\nsleep 600 &\necho $$ $! > {shown}.part; mv {shown}.part {shown}\nwait");
    let outcome = nb.run(&script);
    pressing.join().unwrap();
    assert_eq!(name(&outcome), "Interrupted", "{outcome:?}");
    let processes = std::fs::read_to_string(&file).unwrap();
    assert!(processes.split_whitespace().all(ends), "{processes}");

    // Programs in the background continue until the kernel ends or restarts.
    let mut beside = vec![nb.ok("std::process::Command::new(\"sleep\").arg(\"600\").spawn()?.id()")];
    nb.ok(&format!("%%bash\nsleep 600 & echo $! > {}", file.display()));
    beside.push(std::fs::read_to_string(&file).unwrap());
    assert_eq!(nb.ok("1 + 1"), "2");
    let runs = |process: &String| std::path::Path::new(&format!("/proc/{}", process.trim())).exists();
    assert!(beside.iter().all(runs), "{beside:?}");
    nb.engine.shutdown();
    assert!(beside.iter().all(|process| ends(process)), "{beside:?}");
}

#[test]
fn a_program_that_a_cell_waits_for_is_stopped_with_it() {
    let mut nb = Notebook::new();
    nb.ok("let kept = 1;");
    let code = "std::process::Command::new(\"sleep\").arg(\"600\").status()?; chandlery::interrupt::check()?;";
    let (outcome, took) = interrupted_after(&mut nb, code, &[1500]);
    assert_eq!(name(&outcome), "Interrupted", "{outcome:?}");
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert_eq!(nb.ok("kept"), "1");
}
