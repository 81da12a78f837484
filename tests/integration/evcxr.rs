//! evcxr's ways in our cells: values and crates that render by `EVCXR_BEGIN_CONTENT` blocks.

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
    assert_eq!(nb.ok("let c = chart(7); println!(\"before\"); c"), "");
    let html =
        |nb: &Notebook| displays(nb).iter().filter_map(|data| data.get("text/html").cloned()).collect::<Vec<_>>();
    assert_eq!(html(&nb), ["<b style=\"height:7px\">chart</b>"]);
    assert_eq!(nb.text(chandlery_kernel::engine::Stream::Stdout), "before\n");
    // By a variable of an earlier cell, and from the middle of a cell.
    nb.ok("for height in 1..3 { chart(height).evcxr_display(); println!(\"{height}\"); } c");
    assert_eq!(html(&nb).len(), 3);
    // Types without the method, and with displays of ours, are shown as ever in the same notebook.
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
    let shown = displays(&nb);
    assert_eq!(shown.len(), 1, "longer than a pipe holds, and still one display");
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
