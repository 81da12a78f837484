//! Rust cells and magics through the `direct` engine, with a real worker and a real compiler.

mod definitions;
mod endings;
mod errors;
mod files;
mod instances;
mod keeping;
mod memory;
mod program;
mod redefinitions;
mod values;

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use chandlery_kernel::engine::direct::DirectEngine;
use chandlery_kernel::engine::{Cell, Engine, Event, Outcome, Output, Stream};
use chandlery_kernel::session::Session;

#[derive(Default)]
pub(crate) struct Recorded {
    pub(crate) events: Vec<(Instant, Event)>,
    answers: Vec<String>,
}

impl Output for Recorded {
    fn event(&mut self, event: Event) {
        self.events.push((Instant::now(), event));
    }

    fn input(&mut self, _prompt: &str, _password: bool) -> Option<String> {
        self.answers.pop()
    }
}

pub(crate) struct Notebook {
    pub(crate) engine: DirectEngine,
    count: u32,
    pub(crate) seen: Recorded,
}

impl Notebook {
    pub(crate) fn new() -> Self {
        let exe = std::env::current_exe().unwrap();
        let program = exe.ancestors().map(|folder| folder.join("chandlery")).find(|program| program.is_file());
        let engine = DirectEngine::new(program.expect("`cargo build --release` makes the command these tests run"));
        assert!(engine.problem().is_none(), "{:?}", engine.problem());
        Self { engine, count: 0, seen: Recorded::default() }
    }

    pub(crate) fn run(&mut self, code: &str) -> Outcome {
        self.count += 1;
        self.seen.events.clear();
        self.engine.execute(&Cell { code: code.to_owned(), number: self.count }, &mut self.seen)
    }

    /// Runs a cell that must succeed; the value it shows.
    pub(crate) fn ok(&mut self, code: &str) -> String {
        let outcome = self.run(code);
        assert_eq!(outcome, Outcome::Ok, "{code}\n{:?}", self.seen.events);
        let mut shown = self.seen.events.iter().filter_map(|(_, event)| match event {
            Event::Result { data } => Some(data.plain().to_owned()),
            _ => None,
        });
        shown.next_back().unwrap_or_default()
    }

    /// Runs a cell that must fail: kind, message, traceback without colors.
    pub(crate) fn fails(&mut self, code: &str) -> (String, String, String) {
        match self.run(code) {
            Outcome::Ok => panic!("{code} did not fail: {:?}", self.seen.events),
            Outcome::Error { name, value, traceback, .. } => {
                let mut plain = String::new();
                let mut colored = false;
                for c in traceback.join("\n").chars() {
                    match c {
                        '\u{1b}' => colored = true,
                        'm' if colored => colored = false,
                        c if !colored => plain.push(c),
                        _ => {}
                    }
                }
                (name, value, plain)
            }
        }
    }

    pub(crate) fn text(&self, which: Stream) -> String {
        let text = self.seen.events.iter().filter_map(|(_, event)| match event {
            Event::Text { stream, text } if *stream == which => Some(text.as_str()),
            _ => None,
        });
        text.collect()
    }
}

#[test]
fn variables_without_types() {
    let mut nb = Notebook::new();
    nb.ok("let mut xs: Vec<_> = (1..4).map(|x| x * 2).collect();\nlet name = \"n\".to_string(); let pair = (1u8, 2.5f32);");
    assert_eq!(nb.ok("xs.push(99);\nxs"), "[2, 4, 6, 99]");
    assert_eq!(nb.ok("format!(\"{name} {:?}\", pair)"), "\"n (1, 2.5)\"");
    // A type that cannot be written.
    nb.ok("let it = Box::new(xs.clone().into_iter().chain(0..1)) ;");
    assert_eq!(nb.ok("it.collect::<Vec<i32>>()"), "[2, 4, 6, 99, 0]");
    let (name, _, traceback) = nb.fails("it.count()");
    assert_eq!(name, "CompileError[E0425]");
    assert!(traceback.contains("`it` was moved in cell 5"), "{traceback}");
    nb.ok("let t = chandlery::candle::Tensor::arange(0f32, 4., &chandlery::candle::Device::Cpu)?;");
    assert!(nb.ok("t").starts_with("Tensor [4] f32 cpu"));
    assert_eq!(nb.ok("t.dims().to_vec()"), "[4]");
    assert_eq!(nb.ok("let f: Box<dyn Fn(i32) -> i32> = Box::new(|x| x + 1);"), "");
    assert_eq!(nb.ok("f(1)"), "2");
}

#[test]
fn a_panic_keeps_variables_and_mutations() {
    let mut nb = Notebook::new();
    nb.ok("let mut xs = vec![1];");
    let (name, value, traceback) = nb.fails("xs.push(2);\n  let y: i32 = xs[7]; ");
    assert_eq!(name, "Panic");
    assert!(value.contains("index out of bounds"), "{value}");
    assert!(traceback.contains("panicked at cell 2:2:"), "{traceback}");
    assert!(traceback.contains("let y: i32 = xs[7];"), "{traceback}");
    assert_eq!(nb.ok("xs"), "[1, 2]");
    assert_eq!(nb.text(Stream::Stderr), "");
}

#[test]
fn errors_without_display_are_shown_by_debug() {
    let mut nb = Notebook::new();
    nb.ok("#[derive(Debug)] struct Mine { at: u8 }\nfn fails(n: u8) -> Result<u8, Mine> { if n > 2 { Err(Mine { at: n }) } else { Ok(n) } }");
    let (name, value, traceback) = nb.fails("let one = fails(1)?;\nlet é = fails(one + 6)  ?;");
    assert_eq!((name.as_str(), value.as_str()), ("Mine", "Mine { at: 7 }"));
    assert!(traceback.contains("returned at cell 2:2:9"), "{traceback}");
    // Beside one that has a `Display`, which is shown by that; in macros, and as the last value.
    let (name, value, _) = nb.fails("let n: u8 = \"x\".parse()?; fails(n)?");
    assert_eq!((name.as_str(), value.as_str()), ("ParseIntError", "invalid digit found in string"));
    assert_eq!(nb.fails("println!(\"{}\", fails(9)?);").1, "Mine { at: 9 }");
    assert_eq!(nb.ok("fails(2)?"), "2");
    // A type of others, boxes and text.
    let (name, value, _) =
        nb.fails("use std::os::unix::ffi::OsStringExt;\nstd::ffi::OsString::from_vec(vec![255]).into_string()?");
    assert_eq!((name.as_str(), value.as_str()), ("OsString", "\"\\xFF\""));
    assert_eq!(nb.fails("Err::<(), Box<dyn std::error::Error>>(\"boxed\".into())?").1, "boxed");
    assert_eq!(nb.fails("Err::<(), String>(\"owned\".to_owned())?").1, "owned");
    assert_eq!(nb.fails("Err::<(), &str>(\"borrowed\")?").1, "borrowed");
    assert_eq!(nb.fails("fn main() -> Result<(), Mine> { fails(8).map(drop) }").1, "Mine { at: 8 }");
    assert_eq!(nb.fails("async { fails(5) }.await?;").1, "Mine { at: 5 }");
    // Later cells infer the types of such a cell's variables.
    nb.ok("let counted = (0..fails(2)?).map(|n| n + 1);");
    assert_eq!(nb.ok("counted.sum::<u8>()"), "3");
    // An error that has neither is refused with the message of the first attempt.
    nb.ok("struct Mute; fn mute() -> Result<(), Mute> { Err(Mute) }");
    let (name, value, traceback) = nb.fails("mute()?;");
    assert_eq!(name, "CompileError[E0277]");
    assert!(value.contains("`?` couldn't convert the error") && !traceback.contains("by_debug"), "{traceback}");
}

#[test]
fn question_mark_errors_name_type_and_place() {
    let mut nb = Notebook::new();
    nb.ok("let text = \"12x\";\nfn parse(t: &str) -> Result<i32, std::num::ParseIntError> {\n    t.parse()\n}");
    let (name, value, traceback) = nb.fails("let fine = parse(\"1\")?;\nlet n = parse(text)?;");
    assert_eq!((name.as_str(), value.as_str()), ("ParseIntError", "invalid digit found in string"));
    assert!(traceback.contains("returned at cell 2:2:9"), "{traceback}");
    assert_eq!(nb.ok("text"), "\"12x\"");
}

#[test]
fn compile_errors_name_cell_and_line() {
    let mut nb = Notebook::new();
    let (name, value, traceback) = nb.fails("let a = 1;\nlet b: u8 = \"x\";");
    assert_eq!(name, "CompileError[E0308]");
    assert_eq!(value, "mismatched types (cell 1:2:13)");
    assert!(
        traceback.contains("--> cell 1:2:13") && traceback.contains("2  | let b: u8")
            || traceback.contains("2 | let b: u8"),
        "{traceback}"
    );
    let (name, value, _) = nb.fails("let x = ;");
    assert_eq!(name, "CompileError");
    assert!(value.contains("cell 2:1:9"), "{value}");
    nb.ok("trait Shape { fn area(&self) -> f64; }\nfn double<S: Shape>(s: &S) -> f64 {\n  s.area() * 2.0\n}");
    // The error is in an earlier definition, which the new trait breaks.
    let (_, value, traceback) = nb.fails("trait Shape { fn size(&self) -> f64; }\nstruct S; impl Shape for S { fn size(&self) -> f64 { 1.0 } }\ndouble(&S)");
    assert!(value.starts_with("cannot find function `double`"), "{value}");
    assert!(
        traceback.contains("`fn double` of cell 3 was dropped: it does not compile with the new `Shape`"),
        "{traceback}"
    );
    assert!(traceback.contains("(cell 3:3:"), "{traceback}");
}

#[test]
fn moved_and_borrowing_variables() {
    let mut nb = Notebook::new();
    nb.ok("let v = vec![1, 2]; let w = vec![3];");
    nb.ok("drop(v);");
    let (_, _, traceback) = nb.fails("v.len()");
    assert!(traceback.contains("`v` was moved in cell 2; clone it there to keep it"), "{traceback}");
    nb.ok("let first = &w[0]; println!(\"{first}\");");
    assert_eq!(nb.text(Stream::Stdout), "3\n");
    let (_, _, traceback) = nb.fails("first + 1");
    assert!(traceback.contains("`first` of cell 4 holds a reference"), "{traceback}");
    assert_eq!(nb.ok("w"), "[3]");
    // Shadowing with a move, and within one cell.
    nb.ok("let w = w.into_iter().map(|x| x as f64).collect::<Vec<_>>();");
    assert_eq!(nb.ok("let w = w.len(); let w = w + 1; w"), "2");
    assert_eq!(nb.ok("w * 2"), "4");
    let (_, _, traceback) = nb.fails("w = 5;");
    assert!(traceback.contains("cannot assign twice") || traceback.contains("not declared as mutable"), "{traceback}");
}

#[test]
fn definitions_outlive_their_cell() {
    let mut nb = Notebook::new();
    nb.ok("use std::collections::HashMap;\n#[derive(Debug, Clone)] struct Point { x: i32 }\nmacro_rules! twice { ($e:expr) => { $e * 2 } }\nconst N: i32 = 3;");
    nb.ok("impl Point { fn x2(&self) -> i32 { twice!(self.x) } }\ntrait Name { fn name(&self) -> String; }\nimpl Name for Point { fn name(&self) -> String { \"P\".into() } }");
    nb.ok("let p = Point { x: 4 }; let mut m = HashMap::new(); m.insert(1, p.clone());");
    assert_eq!(nb.ok("(p.x2(), p.name(), N, m.len(), twice!(p.x))"), "(8, \"P\", 3, 1, 8)");
    nb.ok("fn f() -> i32 { 1 }");
    nb.ok("fn f() -> i32 { 2 }");
    assert_eq!(nb.ok("f()"), "2");
    // Redefining a type drops the variables of that type.
    nb.ok("#[derive(Debug, Clone)] struct Point { x: i32, y: i32 }");
    assert!(nb.text(Stream::Stderr).contains("`p` was dropped"), "{}", nb.text(Stream::Stderr));
    let (_, _, traceback) = nb.fails("p.x");
    assert!(traceback.contains("`Point` was redefined"), "{traceback}");
    assert_eq!(nb.ok("Point { x: 1, y: 2 }.x2()"), "2");
}

#[test]
fn text_appears_while_the_cell_runs() {
    let mut nb = Notebook::new();
    nb.ok("use std::time::Duration;");
    nb.ok("print!(\"a\"); std::thread::sleep(Duration::from_millis(400)); print!(\"b\"); eprint!(\"ä\");");
    let first = nb.seen.events.first().unwrap().clone();
    // Text that arrives together is one event.
    assert_eq!(first.1, Event::Text { stream: Stream::Stdout, text: "a".into() });
    assert_eq!((nb.text(Stream::Stdout).as_str(), nb.text(Stream::Stderr).as_str()), ("ab", "ä"));
}

#[test]
fn displays_and_text_keep_their_order() {
    let mut nb = Notebook::new();
    nb.ok("print!(\"1\"); emit(&MimeBundle::text(\"2\")); print!(\"3\");\nlet mut u = chandlery::display::Updating::new();\nu.update(|| MimeBundle::text(\"4\")); print!(\"5\"); u.finish(&MimeBundle::text(\"6\")); chandlery::display::clear(true); print!(\"7\"); MimeBundle::text(\"8\")");
    let order: String = nb
        .seen
        .events
        .iter()
        .map(|(_, event)| match event {
            Event::Text { text, .. } => text.clone(),
            Event::Display { data, .. } | Event::Update { data, .. } | Event::Result { data } => {
                data.plain().to_owned()
            }
            Event::Clear { .. } => "c".to_owned(),
        })
        .collect();
    assert_eq!(order, "123456c78");
}

#[test]
fn both_streams_keep_their_order() {
    let mut nb = Notebook::new();
    nb.ok(
        "for i in 0..100 { println!(\"{i}\"); eprintln!(\"{i} on error\"); print!(\"E\\nEVCXR_BEGIN\"); println!(); }",
    );
    let text = |(_, event): &(_, Event)| match event {
        Event::Text { text, .. } => text.clone(),
        other => panic!("{other:?}"),
    };
    let shown: String = nb.seen.events.iter().map(text).collect();
    assert_eq!(shown, (0..100).map(|i| format!("{i}\n{i} on error\nE\nEVCXR_BEGIN\n")).collect::<String>());
    // Also beside a program that the cell starts, and displays.
    nb.ok("for i in 0..10 { eprintln!(\"a{i}\"); std::process::Command::new(\"echo\").arg(format!(\"b{i}\")).status()?; eprintln!(\"c{i}\"); emit(&MimeBundle::text(\"d\")); }");
    let shown: String = nb
        .seen
        .events
        .iter()
        .map(|(_, event)| match event {
            Event::Text { text, .. } => text.replace('\n', " "),
            _ => "d ".to_owned(),
        })
        .collect();
    assert_eq!(shown, (0..10).map(|i| format!("a{i} b{i} c{i} d ")).collect::<String>());
}

#[test]
fn an_ignored_stop_says_what_a_second_one_loses() {
    let mut nb = Notebook::new();
    nb.ok("let first = 1; let second = 2;");
    let deaf = "std::thread::sleep(std::time::Duration::from_secs(600));";
    let (outcome, _) = interrupted_after(&mut nb, deaf, &[700, 2500]);
    assert_eq!(name(&outcome), "Interrupted", "{outcome:?}");
    let said = nb.text(Stream::Stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in ["still running", "`chandlery::interrupt::check()?`", "`.await`", "standard input", "`first`, `second`"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    // A cell that stops does not get a notice.
    let (outcome, _) = interrupted_after(&mut nb, "loop { chandlery::interrupt::check()?; }", &[700]);
    assert_eq!((name(&outcome), nb.text(Stream::Stderr).as_str()), ("Interrupted", ""));
}

#[test]
fn values_are_shown_by_their_richest_form() {
    let mut nb = Notebook::new();
    assert_eq!(nb.ok("1 + 1"), "2");
    assert_eq!(nb.ok("()"), "");
    assert_eq!(nb.ok("let x = 1;"), "");
    assert_eq!(nb.ok("struct Opaque; Opaque"), "Opaque");
    nb.ok("use chandlery::polars::prelude::*; let d = df![\"a\" => [1, 2]]?;");
    assert!(nb.ok("d").contains("DataFrame: 2 rows × 1 column"));
    assert!(nb.seen.events.iter().any(|(_, e)| matches!(e, Event::Result { data } if data.get("text/html").is_some())));
    assert_eq!(nb.ok("d.clone().lazy().filter(col(\"a\").gt(lit(1))).collect()?.height()"), "1");
    assert_eq!(nb.ok("if x > 0 { \"yes\" } else { \"no\" }"), "\"yes\"");
    assert_eq!(nb.ok("for i in 0..2 { print!(\"{i}\"); }"), "");
}

#[test]
fn input_reaches_the_cell() {
    let mut nb = Notebook::new();
    nb.seen.answers.push("Ada".to_owned());
    assert_eq!(nb.ok("chandlery::cell::input(\"name? \").unwrap_or_default()"), "\"Ada\"");
}

pub(crate) fn interrupted_after(nb: &mut Notebook, code: &str, presses: &[u64]) -> (Outcome, Duration) {
    let press = nb.engine.interrupter();
    let presses = presses.to_vec();
    let (stop, stopped) = channel::<()>();
    let thread = std::thread::spawn(move || {
        for after in presses {
            if stopped.recv_timeout(Duration::from_millis(after)).is_ok() {
                return;
            }
            press();
        }
    });
    let start = Instant::now();
    let outcome = nb.run(code);
    let took = start.elapsed();
    let _ = stop.send(());
    thread.join().unwrap();
    (outcome, took)
}

pub(crate) fn name(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Ok => "Ok",
        Outcome::Error { name, .. } => name,
    }
}

#[test]
fn interrupts() {
    let mut nb = Notebook::new();
    nb.ok("let mut n = 1;");
    // A loop that asks.
    let (outcome, took) = interrupted_after(
        &mut nb,
        "loop { n += 1; std::thread::sleep(std::time::Duration::from_millis(5)); chandlery::interrupt::check()?; }",
        &[700],
    );
    assert_eq!(name(&outcome), "Interrupted", "{outcome:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(nb.ok("n > 1"), "true");
    // A compile: type recursion that takes the compiler long.
    let slow = "struct W<T>(T); trait Go { fn go() -> u64; } impl Go for () { fn go() -> u64 { 1 } }\n\
        impl<T> Go for W<T> where T: Go { fn go() -> u64 { T::go() } }\n\
        const fn spin(n: u64) -> u64 { let mut i = 0; let mut a = 0u64; while i < n { a = a.wrapping_mul(31).wrapping_add(i); i += 1; } a }\n\
        #[allow(long_running_const_eval)] const SLOW: u64 = spin(1 << 40);\nSLOW";
    let (outcome, took) = interrupted_after(&mut nb, slow, &[300]);
    assert_eq!(name(&outcome), "Interrupted", "{outcome:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(nb.ok("n > 1"), "true");
    // Code that never checks, outside of the cell's loops, is killed by the second interrupt, which reports the losses.
    let code = "std::iter::repeat(1u8).for_each(|n| { std::hint::black_box(n); });";
    let (outcome, _) = interrupted_after(&mut nb, code, &[700, 200]);
    let Outcome::Error { name, value, .. } = outcome else { panic!("the loop ended") };
    assert_eq!(name, "Interrupted");
    assert!(value.contains("variables lost: n"), "{value}");
    assert_eq!(nb.ok("1"), "1");
}

#[test]
fn a_dead_worker_is_replaced() {
    let mut nb = Notebook::new();
    nb.ok("fn f() -> i32 { 7 } let kept = 1;");
    let (name, value, _) = nb.fails("println!(\"bye\"); std::process::abort();");
    assert_eq!(name, "WorkerDied");
    assert!(value.contains("SIGABRT") && value.contains("variables lost: kept"), "{value}");
    assert_eq!(nb.text(Stream::Stdout), "bye\n");
    assert_eq!(nb.ok("f()"), "7");
    let (_, value, _) = nb.fails("std::process::exit(3);");
    assert!(value.contains("exit status 3"), "{value}");
    let (_, _, traceback) = nb.fails("kept");
    assert!(traceback.contains("lost when the worker ended in cell 2"), "{traceback}");
    let (name, _, _) = nb.fails("fn down(n: u64) -> u64 { if n == u64::MAX { 0 } else { down(n + 1) + n } } down(0)");
    assert_eq!(name, "WorkerDied");
    assert_eq!(nb.ok("f()"), "7");
}

#[test]
fn magics_run_without_compiling() {
    let mut nb = Notebook::new();
    nb.ok("%help");
    assert!(matches!(&nb.seen.events[0].1, Event::Display { data, .. } if data.plain().contains("%vars")));
    nb.ok("let alpha = vec![1u8];");
    assert_eq!(nb.ok("\n%vars\nalpha.len()"), "1");
    assert!(
        matches!(&nb.seen.events[0].1, Event::Display { data, .. } if data.plain().contains("alpha  Vec<u8>  [1]       2"))
    );
    let (name, _, traceback) = nb.fails("%vars\n%inspect 'oops");
    assert_eq!(name, "UsageError");
    assert!(traceback.contains("cell 4:2"), "{traceback}");
    nb.ok("%reset");
    assert_eq!(nb.fails("alpha").0, "CompileError[E0425]");
    nb.ok("%vars");
    assert!(matches!(&nb.seen.events[0].1, Event::Display { data, .. } if data.plain() == "no variables"));
}

#[test]
fn expressions_are_evaluated_outside_of_cells() {
    let mut nb = Notebook::new();
    nb.ok("let kept = vec![1u8, 2, 3];");
    let mut session = Session::new(Box::new(nb.engine));
    let mut evaluate = |code: &str| match session.evaluate(code) {
        Ok(value) => value.map(|data| data.plain().to_owned()).unwrap_or_default(),
        Err(Outcome::Error { name, traceback, .. }) => {
            assert!(!traceback.is_empty(), "{code}");
            name
        }
        Err(Outcome::Ok) => panic!("{code} neither failed nor has a value"),
    };
    assert_eq!(evaluate("println!(\"noise\");\nkept.len() * 14"), "42");
    assert_eq!(evaluate("nothing_of_this_name"), "CompileError[E0425]");
    assert_eq!(evaluate("panic!(\"oh\")"), "Panic");
    assert_eq!(evaluate("let other = 1;"), "");
    assert_eq!(evaluate("kept.iter().map(|&n| n as u32).sum::<u32>()"), "6");
}

#[test]
fn a_watched_loop_stops_and_variables_stay() {
    let mut nb = Notebook::new();
    nb.ok("let mut seen = 0u64;");
    let endless = "for number in progress(0u64..) { seen = number + 1; std::thread::sleep(std::time::Duration::from_millis(5)); }";
    let (outcome, took) = interrupted_after(&mut nb, endless, &[1500]);
    assert_eq!(name(&outcome), "Interrupted", "{outcome:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(nb.ok("seen > 0"), "true");
}
