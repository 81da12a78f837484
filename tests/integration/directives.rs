//! Directives of the `direct` engine, with a real worker, a real compiler and a real shell.

use std::time::Duration;

use chandlery_kernel::engine::{Engine, Event, Outcome, Stream};

use crate::cells::{Notebook, interrupted_after, name};

impl Notebook {
    /// The text of everything the last cell displayed.
    pub(crate) fn displays(&self) -> String {
        let displays = self.seen.events.iter().filter_map(|(_, event)| match event {
            Event::Display { data, .. } | Event::Update { data, .. } => Some(data.plain()),
            _ => None,
        });
        displays.collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn help_lists_every_directive_and_verb_with_a_line_each() {
    let mut nb = Notebook::new();
    nb.ok(":help");
    let text = nb.displays();
    for name in ["%vars", "%%bash", "%%release", "%timing", "%inspect", "%tokenizer"] {
        let line = text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name} is not in\n{text}"));
        assert!(line.split_whitespace().count() > 3, "{line}");
    }
    for verb in chandlery::command::verbs() {
        assert!(text.contains(&format!("%{verb} ")), "{verb}");
    }
}

#[test]
fn an_unknown_directive_is_an_error_with_a_suggestion() {
    let mut nb = Notebook::new();
    let (name, value, traceback) = nb.fails("// first\n%inspct model\nlet x = 1;");
    assert_eq!(name, "UsageError");
    assert!(value.contains("%inspct") && value.contains("did you mean %inspect?"), "{value}");
    assert!(traceback.contains("cell 1:2") && traceback.contains("%inspct model"), "{traceback}");
    let (_, value, _) = nb.fails(":varz");
    assert!(value.contains("did you mean :vars?"), "{value}");
    // Nothing of the cell ran.
    assert_eq!(nb.fails("x").0, "CompileError[E0425]");
}

#[test]
fn variables_are_a_table_with_type_value_and_cell() {
    let mut nb = Notebook::new();
    nb.ok("let alpha = vec![1u8, 2]; let long = vec![0f64; 5000];");
    nb.ok("let t = chandlery::candle::Tensor::zeros((2, 3), chandlery::candle::DType::F32, &chandlery::candle::Device::Cpu)?;");
    nb.ok(":vars");
    let text = nb.displays();
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    let words =
        |name: &str| row(name).split("  ").filter(|w| !w.is_empty()).map(|w| w.trim().to_owned()).collect::<Vec<_>>();
    assert_eq!(words("alpha"), ["alpha", "Vec<u8>", "[1, 2]", "1"], "{text}");
    assert_eq!(words("long"), ["long", "Vec<f64>", "5,000 items", "1"], "{text}");
    assert_eq!(words("t "), ["t", "Tensor", "[2, 3] f32 24 B", "2"], "{text}");
    let html = nb.seen.events.iter().find_map(|(_, event)| match event {
        Event::Display { data, .. } => data.get("text/html").and_then(|html| html.as_str()),
        _ => None,
    });
    assert!(html.is_some_and(|html| html.contains("<table") && html.contains("Vec&lt;u8&gt;")));
}

#[test]
fn clear_forgets_variables_and_definitions() {
    for word in ["%reset", ":clear"] {
        let mut nb = Notebook::new();
        nb.ok("let alpha = 1; fn f() -> i32 { 1 }");
        nb.ok(word);
        assert_eq!(nb.fails("alpha").0, "CompileError[E0425]");
        assert_eq!(nb.fails("f()").0, "CompileError[E0425]");
        nb.ok("%vars");
        assert_eq!(nb.displays(), "no variables");
    }
}

#[test]
fn timing_says_how_long_each_step_took_until_it_is_switched_off() {
    let mut nb = Notebook::new();
    nb.ok(":timing");
    assert_eq!(nb.displays(), "timing is on");
    assert_eq!(nb.ok("1 + 1"), "2");
    let text = nb.displays();
    for step in ["split ", "compile ", "link ", "load ", "run "] {
        assert!(text.contains(step), "{text}");
    }
    nb.ok("%timing off");
    nb.ok("1 + 1");
    assert_eq!(nb.displays(), "");
}

#[test]
fn time_runs_once_and_separates_compiling_from_running() {
    let mut nb = Notebook::new();
    nb.ok("let mut n = 0;");
    nb.ok("%time n += 1; std::thread::sleep(std::time::Duration::from_millis(1200));");
    assert!(nb.displays().contains("compile ") && nb.displays().contains("run 1."), "{}", nb.displays());
    assert_eq!(nb.ok("%%time\nn += 1;\nn"), "2");
    assert!(nb.displays().starts_with("compile "), "{}", nb.displays());
    // Before other code, at its own line and column.
    let (_, value, _) = nb.fails("\n%time let z: u8 = \"x\";\nn += 5;");
    assert!(value.contains("cell 4:2:19"), "{value}");
    assert_eq!(nb.ok("%time let y = n * 2;\ny"), "4");
}

#[test]
fn scripts_stream_their_text_and_fail_with_their_status() {
    let mut nb = Notebook::new();
    nb.ok("%%bash\necho \"one: let x = 'it is not Rust\"\nsleep 0.6\necho two >&2; printf three");
    assert_eq!(nb.text(Stream::Stdout), "one: let x = 'it is not Rust\nthree");
    assert_eq!(nb.text(Stream::Stderr), "two\n");
    // Text that arrives together is one event.
    let first = Event::Text { stream: Stream::Stdout, text: "one: let x = 'it is not Rust\n".to_owned() };
    assert_eq!(nb.seen.events[0].1, first, "the first line came with the last");
    let (name, value, _) = nb.fails("%%bash\nexit 3");
    assert_eq!((name.as_str(), value.as_str()), ("ExitStatus", "bash ended with exit status 3"));
    // The shell sees the folder that cells are in, and a line is enough for one command.
    let folder = tempfile::tempdir().unwrap();
    nb.ok(&format!("std::env::set_current_dir({:?})?;", folder.path()));
    nb.ok("%bash pwd | tee here.txt");
    assert_eq!(nb.text(Stream::Stdout).trim(), folder.path().canonicalize().unwrap().to_str().unwrap());
    assert!(folder.path().join("here.txt").is_file());
}

#[test]
fn the_stop_button_ends_a_script_with_all_its_processes() {
    let mut nb = Notebook::new();
    nb.ok("let kept = 1;");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("process");
    // The inner shell ignores the polite signal.
    let script = format!("%%bash\nbash -c 'trap \"\" INT; echo $$ > {}; sleep 60; sleep 60'\n", file.display());
    let (outcome, took) = interrupted_after(&mut nb, &script, &[700]);
    assert_eq!(name(&outcome), "Interrupted", "{outcome:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    let process: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    let gone = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        status.is_empty() || status.contains(") Z")
    });
    assert!(gone, "process {process} is still there");
    assert_eq!(nb.ok("kept"), "1");
}

#[test]
fn release_cells_are_optimized() {
    let mut nb = Notebook::new();
    nb.ok(
        "fn collatz(limit: u64) -> u64 { let mut most = 0; for start in 1..limit { let (mut n, mut steps) = (start, 0u64); \
         while n != 1 { n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 }; steps += 1; } most = most.max(steps); } most }\n\
         fn timed() -> (u64, u128, bool) { let begun = std::time::Instant::now(); let most = collatz(150_000); \
         (most, begun.elapsed().as_micros(), cfg!(debug_assertions)) }",
    );
    let parse = |text: String| {
        let parts: Vec<String> = text.trim_matches(['(', ')']).split(", ").map(str::to_owned).collect();
        (parts[0].clone(), parts[1].parse::<f64>().unwrap(), parts[2].clone())
    };
    // The shortest of several: other processes delay some.
    let mut shortest = |cell: &str| {
        let found = (0..5).map(|_| parse(nb.ok(cell)));
        found.reduce(|a, b| if b.1 < a.1 { b } else { a }).unwrap()
    };
    let (plain, release) = (shortest("timed()"), shortest("%%release\ntimed()"));
    assert_eq!((plain.0, plain.2.as_str(), release.2.as_str()), (release.0, "true", "false"));
    assert!(plain.1 > release.1 * 2.0, "{} µs without, {} µs with it", plain.1, release.1);
    // `%opt` is for the cells that follow.
    nb.ok(":opt 3");
    assert_eq!(nb.ok("cfg!(debug_assertions)"), "false");
    nb.ok("%opt 0");
    assert_eq!(nb.ok("cfg!(debug_assertions)"), "true");
}

#[test]
fn commands_of_evcxr_work_or_say_why_not() {
    let mut nb = Notebook::new();
    nb.fails("undefined_name");
    nb.ok(":explain");
    assert!(nb.displays().contains("unresolved name"), "{}", nb.displays());
    nb.ok(":explain E0382");
    assert!(nb.displays().contains("moved"), "{}", nb.displays());
    assert_eq!(nb.fails(":explain E9999").0, "UsageError");
    nb.ok(":version");
    assert!(nb.displays().contains("rustc 1."), "{}", nb.displays());
    for line in [":preserve_vars_on_panic 1", ":efmt {:?}", ":quit", ":load_config", ":sccache 1", ":linker lld"] {
        assert_eq!(nb.run(line), Outcome::Ok, "{line}");
        assert!(nb.displays().contains("has no effect here: "), "{}", nb.displays());
    }
}

#[test]
fn the_type_of_an_expression_is_shown_without_running_it() {
    let mut nb = Notebook::new();
    nb.ok("struct Point<T> { x: T }\nlet mut v = vec![Point { x: 1_u8 }];\nlet f = |n: i32| n + 1;\nlet text = String::new();");
    let mut kind = |expression: &str| nb.ok(&format!(":type {expression}"));
    assert_eq!(kind("v"), "Vec<Point<u8>>");
    assert_eq!(kind("v[0].x + 1;"), "u8");
    assert_eq!(kind("f(7)"), "i32");
    assert_eq!(kind("&text"), "&String");
    assert_eq!(kind("text.as_str()"), "&str");
    assert_eq!(kind("v.iter()"), "Iter<'_, Point<u8>>");
    assert_eq!(kind("v.iter_mut().map(|p| p.x).collect::<Vec<_>>()"), "Vec<u8>");
    assert_eq!(kind("String::from(\"a\").trim()"), "&str");
    assert_eq!(kind("std::fs::read(\"x\")?"), "Vec<u8>");
    assert_eq!(kind("async { 1_u64 }.await"), "u64");
    assert_eq!(kind("v.pop()"), "Option<Point<u8>>");
    assert_eq!(kind("drop(v)"), "()");
    assert_eq!(kind("{ let n = text.len(); (n, 'c') }"), "(usize, char)");
    assert_eq!(nb.ok("%t loop {}"), "!");
    assert_eq!(nb.ok("v.len() + text.len()"), "1", "nothing was popped or dropped");
    let (name, value, traceback) = nb.fails("// of a name\n  :type  nothing");
    assert_eq!(name, "CompileError[E0425]");
    assert!(value.contains("`nothing`") && traceback.contains("cell 17:2:10"), "{value}\n{traceback}");
    let (name, value, _) = nb.fails(":type fn f() {}");
    assert!(name == "UsageError" && value.contains("expression"), "{value}");
    assert_eq!(nb.fails(":type").0, "UsageError");
    let completed = nb.engine.assist().complete("%ty", 3);
    assert_eq!(completed.matches, ["type"]);
}
