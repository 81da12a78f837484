//! Pictures in cells: plotters with the bundled fonts, and whatever else comes as text or bytes.

use chandlery::display::MimeBundle;
use chandlery_kernel::engine::Event;

use crate::cells::Notebook;

fn displays(nb: &Notebook) -> Vec<MimeBundle> {
    let events = nb.seen.events.iter().map(|(_, event)| event);
    events.filter_map(|event| if let Event::Display { data, .. } = event { Some(data.clone()) } else { None }).collect()
}

fn form<'a>(data: &'a MimeBundle, mime: &str) -> &'a str {
    data.get(mime).and_then(|form| form.as_str()).unwrap_or_else(|| panic!("no {mime} in {:?}", data.forms()))
}

#[test]
fn the_plots_in_the_documentation_are_drawn() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/notebook.md")).unwrap();
    let blocks = page.split("```rust\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    let cells: Vec<&str> = blocks.filter(|block| block.contains("plotters::prelude")).collect();
    assert_eq!(cells.len(), 1);
    let mut nb = Notebook::new();
    nb.ok(cells[0]);
    let shown = displays(&nb);
    let svgs: Vec<&str> = shown.iter().map(|data| form(data, "image/svg+xml")).collect();
    assert_eq!(svgs.len(), 3, "a histogram, points, an area");
    assert!(svgs[0].matches("<rect ").count() > 5, "{}", svgs[0]);
    assert!(svgs[1].matches("<circle ").count() > 20 && svgs[1].contains("\nvalidation\n"), "{}", svgs[1]);
    assert!(svgs[2].contains("<polygon "), "{}", svgs[2]);
    for svg in svgs {
        assert!(svg.contains("<text ") && svg.contains("font-family=\"sans-serif\""), "{svg}");
    }
}

#[test]
fn text_is_drawn_without_registering_a_font() {
    let mut nb = Notebook::new();
    nb.ok("use chandlery::plotters::prelude::*;\n\
           fn inked(family: &str) -> bool {\n    \
               let mut pixels = vec![255u8; 120 * 40 * 3];\n    \
               BitMapBackend::with_buffer(&mut pixels, (120, 40)).into_drawing_area().draw(&Text::new(\"größe α\", (5, 5), (family, 24))).unwrap();\n    \
               pixels.iter().filter(|byte| **byte < 128).count() > 100\n\
           }");
    assert_eq!(nb.ok("[\"sans-serif\", \"serif\", \"monospace\", \"Arial\"].map(inked)"), "[true, true, true, true]");
    // Users register fonts of other families themselves.
    assert_eq!(nb.ok("(\"No Such Font\", 20).into_font().box_size(\"x\").is_err()"), "true");
}

#[test]
fn a_figure_is_a_value_and_is_shown() {
    let mut nb = Notebook::new();
    nb.ok("use chandlery::plotters::prelude::*;\nlet figure = evcxr_figure((64, 48), |area| { area.fill(&full_palette::TEAL)?; Ok(()) });");
    let shown = |nb: &mut Notebook, code: &str| {
        nb.ok(code);
        let result = nb.seen.events.iter().find_map(|(_, event)| match event {
            Event::Result { data } => Some(data.clone()),
            _ => None,
        });
        result.unwrap()
    };
    let data = shown(&mut nb, "&figure");
    assert!(form(&data, "image/svg+xml").starts_with("<svg width=\"64\" height=\"48\""), "{data:?}");
    assert_eq!(data.get("text/html"), None);
    let data = shown(&mut nb, "figure.style(\"width: 60%\")");
    assert!(form(&data, "text/html").starts_with("<div style=\"width: 60%\"><svg "), "{data:?}");
}

#[test]
fn pictures_and_text_of_any_kind_are_shown_by_one_call() {
    let mut nb = Notebook::new();
    nb.ok("let svg = String::from(\"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>\");\n\
           let png = chandlery::plotters::prelude::BLACK; let png = { let _ = png; b\"\\x89PNG\\r\\n\\x1a\\n\\0\\0\\0\\rIHDR\\0\\0\\0\\x02\\0\\0\\0\\x03\".to_vec() };");
    nb.ok("show(&svg)?; show(svg.as_str())?; show(&png)?; show(png.clone())?; show(&png[..])?;\n\
           show(MimeBundle::svg(&svg)?); show(MimeBundle::png(&png)?); show(MimeBundle::of(\"image/jpeg\", [0xff, 0xd8, 0xff])?);\n\
           show(&MimeBundle::text(\"x squared\").with(\"text/latex\", \"$x^2$\")); show(MimeBundle::of(\"text/markdown\", \"*a*\")?);\n\
           show(\"only text\")?;");
    let shown = displays(&nb);
    let kinds = [
        "image/svg+xml",
        "image/svg+xml",
        "image/png",
        "image/png",
        "image/png",
        "image/svg+xml",
        "image/png",
        "image/jpeg",
        "text/latex",
        "text/markdown",
        "text/plain",
    ];
    assert_eq!(shown.len(), kinds.len());
    for (data, kind) in shown.iter().zip(kinds) {
        form(data, kind);
    }
    assert_eq!((shown[2].plain(), shown[8].plain()), ("PNG, 2 × 3, 24 B", "x squared"));
    assert_eq!((form(&shown[7], "image/jpeg"), form(&shown[9], "text/markdown")), ("/9j/", "*a*"));
    let (name, value, traceback) = nb.fails("show(vec![1u8, 2, 3])?;");
    assert_eq!(name, "PayloadError");
    assert!(
        value.contains("3 B of an unknown kind cannot be shown") && traceback.contains("MimeBundle::of"),
        "{value}"
    );
    assert!(
        nb.fails("MimeBundle::of(\"image/png\", [0xff, 0xd8, 0xff])?")
            .1
            .contains("these bytes are JPEG, not image/png")
    );
    assert_eq!(displays(&nb).len(), 0);
    assert_eq!(nb.ok("MimeBundle::svg(\"<p>\").is_err()"), "true");
}

/// Compiled only: what a notebook needs of plotters is on.
#[test]
fn series_elements_and_palettes_of_plotters_are_there() {
    let mut nb = Notebook::new();
    let shown = nb.ok("{ use chandlery::plotters::prelude::*;\n\
         let surface = SurfaceSeries::xoz([0.0, 1.0].into_iter(), [0.0, 1.0].into_iter(), |x: f64, z: f64| x * z);\n\
         let _: CandleStick<i32, f64> = CandleStick::new(1, 1.0, 2.0, 0.5, 1.5, GREEN.filled(), RED, 9);\n\
         let _ = Boxplot::new_vertical(1, &Quartiles::new(&[1.0, 2.0, 3.0]));\n\
         let _: ErrorBar<i32, f64, _> = ErrorBar::new_vertical(1, 0.0, 1.0, 2.0, BLUE.filled(), 5);\n\
         let points = PointSeries::of_element([(1, 2)], 3, &full_palette::DEEPORANGE, &|at, size, style| Circle::new(at, size, style));\n\
         let line = LineSeries::<SVGBackend, _>::new([(1, 2)], &BLACK);\n\
         let area = AreaSeries::<SVGBackend, _, _>::new([(1, 2)], 0, &ViridisRGB::get_color(0.5f64));\n\
         [surface.count(), points.count(), line.count(), area.count()].map(|count| count > 0) }");
    assert_eq!(shown, "[true, true, true, true]");
}
