//! evcxr's display protocol in cells: values and crates that render with `EVCXR_BEGIN_CONTENT` blocks.

use chandlery::display::MimeBundle;
use chandlery_kernel::engine::Event;

use crate::cells::Notebook;

fn displays(nb: &Notebook) -> Vec<MimeBundle> {
    let events = nb.seen.events.iter().map(|(_, event)| event);
    events.filter_map(|event| if let Event::Display { data, .. } = event { Some(data.clone()) } else { None }).collect()
}

#[test]
fn a_value_with_evcxrs_method_is_shown_by_it() {
    let mut nb = Notebook::new();
    nb.ok(r#"
#[derive(Debug)] struct Chart { height: u32 }
impl Chart {
    pub fn evcxr_display(&self) {
        println!("EVCXR_BEGIN_CONTENT text/html\n<b style=\"height:{}px\">chart</b>\nEVCXR_END_CONTENT", self.height);
    }
}
fn chart(height: u32) -> Chart { Chart { height } }"#);
    assert_eq!(nb.ok("let c = chart(7); println!(\"before\"); c"), "[text/html]");
    let events = nb.seen.events.iter().map(|(_, event)| event);
    let values: Vec<_> =
        events.filter_map(|event| if let Event::Result { data } = event { Some(data) } else { None }).collect();
    assert_eq!(values.len(), 1);
    assert_eq!(values[0].get("text/html").unwrap(), "<b style=\"height:7px\">chart</b>");
    assert_eq!(displays(&nb), []);
    assert_eq!(nb.text(chandlery_kernel::engine::Stream::Stdout), "before\n");
    // By a variable of an earlier cell, and from the middle of a cell.
    assert_eq!(nb.ok("for height in 1..3 { chart(height).evcxr_display(); println!(\"{height}\"); } c"), "[text/html]");
    assert_eq!(displays(&nb).iter().filter(|data| data.get("text/html").is_some()).count(), 2);
    // Types without the method, and with our displays, are shown as usual in the same notebook.
    assert_eq!(nb.ok("(c.height, vec![chart(1)])"), "(7, [Chart { height: 1 }])");
    assert_eq!(nb.ok("chart(1); 41 + 1"), "42");
    assert_eq!(nb.ok("chart(1); chandlery::display::MimeBundle::text(\"ours\")"), "ours");
}

/// As plotters' feature `evcxr` prints its figures, `SVGWrapper` there.
#[test]
fn figures_as_plotters_prints_them_for_evcxr_become_displays() {
    let mut nb = Notebook::new();
    nb.ok(r#"
pub struct SVGWrapper(String, String);
impl SVGWrapper {
    pub fn evcxr_display(&self) { println!("{:?}", self); }
    pub fn style<S: Into<String>>(mut self, style: S) -> Self { self.1 = style.into(); self }
}
impl std::fmt::Debug for SVGWrapper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        let svg = self.0.as_str();
        write!(formatter, "EVCXR_BEGIN_CONTENT text/html\n<div style=\"{}\">{}</div>\nEVCXR_END_CONTENT", self.1, svg)
    }
}
fn evcxr_figure(draw: impl FnOnce(&mut String) -> std::fmt::Result) -> SVGWrapper {
    let mut svg = String::new();
    draw(&mut svg).unwrap();
    SVGWrapper(svg, String::new())
}"#);
    nb.ok("use std::fmt::Write;\nevcxr_figure(|svg| write!(svg, \"<svg>\\n{}</svg>\\n\", \"<path/>\".repeat(30_000))).style(\"width:60%\")");
    let values = nb.seen.events.iter().filter_map(|(_, event)| match event {
        Event::Result { data } => Some(data.clone()),
        _ => None,
    });
    let shown: Vec<MimeBundle> = values.collect();
    assert_eq!((shown.len(), displays(&nb).len()), (1, 0), "longer than a pipe holds, and still one output");
    let html = shown[0].get("text/html").and_then(|html| html.as_str()).unwrap();
    assert!(html.starts_with("<div style=\"width:60%\"><svg>\n<path/>") && html.ends_with("</svg>\n</div>"));
}

#[test]
fn blocks_of_threads_and_blocks_without_an_end_lose_nothing() {
    let mut nb = Notebook::new();
    nb.ok("let t = std::thread::spawn(|| println!(\"EVCXR_BEGIN_CONTENT text/markdown\\n*x*\\nEVCXR_END_CONTENT\")); t.join().unwrap();");
    assert_eq!(displays(&nb)[0].get("text/markdown").unwrap(), "*x*");
    nb.ok("println!(\"EVCXR_BEGIN_CONTENT text/html\\n<b>never ended\");");
    assert_eq!(displays(&nb).len(), 0);
    assert_eq!(nb.text(chandlery_kernel::engine::Stream::Stdout), "EVCXR_BEGIN_CONTENT text/html\n<b>never ended\n");
    assert_eq!(nb.ok("1 + 1"), "2");
}

#[test]
fn the_adapter_runs_cells_and_reports_how_they_end() {
    use chandlery_kernel::engine::{Cell, Engine, Evcxr, Outcome};
    let exe = std::env::current_exe().unwrap();
    let program = exe.ancestors().map(|folder| folder.join("chandlery")).find(|program| program.is_file()).unwrap();
    let toolkit = chandlery_kernel::toolkit::Toolkit::locate().unwrap();
    let mut engine = Evcxr::start(&program, &toolkit.rustc, None).unwrap();
    let mut seen = crate::cells::Recorded::default();
    let mut run = |engine: &mut Evcxr, code: &str| {
        seen.events.clear();
        let outcome = engine.execute(&Cell { code: code.to_owned(), number: 1 }, &mut seen);
        (outcome, seen.events.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>())
    };
    let (outcome, events) = run(&mut engine, "let x = 41; println!(\"hi\"); x + 1");
    assert_eq!(outcome, Outcome::Ok);
    assert!(events.iter().any(|event| matches!(event, Event::Text { text, .. } if text == "hi\n")), "{events:?}");
    assert!(events.iter().any(|event| matches!(event, Event::Result { data } if data.plain() == "42")), "{events:?}");
    let name = |outcome: Outcome| match outcome {
        Outcome::Error { name, value, .. } => format!("{name}: {value}"),
        Outcome::Ok => panic!("reported as success"),
    };
    assert!(name(run(&mut engine, "x.no_such_method()").0).starts_with("CompileError[E0599]"));
    assert_eq!(name(run(&mut engine, "panic!(\"too {}\", x)").0), "Panic: too 41");
    assert!(name(run(&mut engine, "let n: i32 = \"7x\".parse()?;").0).contains("invalid digit"));
    let interrupt = engine.interrupter();
    let stop = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(6));
        interrupt();
    });
    assert!(
        name(run(&mut engine, "loop { std::thread::sleep(std::time::Duration::from_millis(50)); }").0)
            .starts_with("Interrupted")
    );
    stop.join().unwrap();
    assert_eq!(run(&mut engine, "1 + 1").0, Outcome::Ok);
    engine.shutdown();
}
