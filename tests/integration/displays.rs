//! Views of every kind: each has text, HTML that reads without styles, and a form for programs. The test that makes them
//! all leaves a page of them in the target folder, for eyes.

use chandlery::candle::{DType, Device, Tensor};
use chandlery::compare::compare_configs;
use chandlery::display::{Curve, Html, MimeBundle, View};
use chandlery::polars::prelude::{DataFrame, IntoLazy, NamedFrom, Series, col, df, lit};
use chandlery::{compare, convert, inspect, project};
use chandlery_tests::fixture;
use serde_json::Value;
use tempfile::tempdir;

fn html(bundle: &MimeBundle) -> &str {
    bundle.get("text/html").and_then(Value::as_str).unwrap_or_default()
}

fn big_frame() -> DataFrame {
    let names: Vec<String> = (0..1000).map(|n| format!("document {n} of <all> & more")).collect();
    let scores: Vec<Option<f64>> = (0..1000).map(|n| (n % 7 != 3).then_some(f64::from(n).sin() * 1e4)).collect();
    df!["name" => names, "tokens" => (0..1000i64).map(|n| n * 7919).collect::<Vec<_>>(), "score" => scores].unwrap()
}

fn wave(rows: usize, columns: usize) -> Tensor {
    let values: Vec<f32> =
        (0..rows * columns).map(|n| (n as f32 / 17.0).sin() * ((n / columns) as f32 / 5.0).cos()).collect();
    Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
}

/// One value of each kind that a cell may end in.
fn gallery() -> Vec<(&'static str, MimeBundle)> {
    let temp = tempdir().unwrap();
    let llama = project("llama").unwrap();
    let conversion = convert(fixture("llama-gqa"), temp.path().join("native")).run().unwrap();
    let diff = compare(temp.path().join("native"), fixture("llama-gqa")).by_layer(true).run().unwrap();
    let planned = convert(fixture("llama-gqa"), temp.path().join("planned")).dry_run(true).run().unwrap();
    let missing = inspect(temp.path().join("nowhere"));
    let frame = big_frame();
    let query = frame.clone().lazy().filter(col("tokens").gt(lit(1))).select([col("name")]);
    let mut weights = std::collections::HashMap::new();
    for layer in 0..3 {
        weights.insert(format!("layers.{layer}.weight"), wave(4, 4));
    }
    let broken = Tensor::new(&[[1.0f32, f32::NAN, 3.0, 4.0], [5.0, 6.0, f32::INFINITY, 8.0]], &Device::Cpu).unwrap();
    vec![
        ("frame", frame.view()),
        ("series", Series::new("loss".into(), [3.25f32, 2.5, 2.125]).view()),
        ("query", query.view()),
        ("tensor", wave(96, 200).view()),
        ("half tensor with NaN", broken.to_dtype(DType::BF16).unwrap().view()),
        ("integer tensor", Tensor::arange(0u32, 40, &Device::Cpu).unwrap().view()),
        ("named tensors", weights.view()),
        ("result that failed", missing.view()),
        ("list", vec![wave(4, 4), wave(2, 2)].view()),
        ("project", llama.view()),
        ("configuration", llama.config("4M").unwrap().view()),
        ("construction", llama.config("4M").unwrap().construct().device("meta").unwrap().build().unwrap().view()),
        ("inspection", inspect(fixture("llama-gqa")).view()),
        ("modules", inspect(fixture("llama-gqa")).unwrap().tree().view()),
        ("configurations", compare_configs(temp.path().join("native"), fixture("llama-gqa")).view()),
        ("conversion", conversion.view()),
        ("planned conversion", planned.view()),
        ("remapping", conversion.remapping().view()),
        ("proof", conversion.proof().view()),
        ("logits", diff.view()),
        ("heat map", diff.heat_map().view()),
        ("curve", Curve::of("loss", [3.0, f64::NAN, 1.5]).view()),
    ]
}

/// What GitHub leaves of a notebook's HTML: no scripts, no styles, no classes, no data.
fn as_github(html: &str) -> String {
    let mut left = String::new();
    let mut rest = html;
    while let Some((before, after)) = rest.split_once("<script>") {
        left.push_str(before);
        rest = after.split_once("</script>").unwrap().1;
    }
    left.push_str(rest);
    for attribute in [" style=\"", " class=\"", " data-v=\"", " src=\"data:"] {
        while let Some((before, after)) = left.split_once(attribute) {
            left = before.to_owned() + after.split_once('"').unwrap().1;
        }
    }
    left
}

/// The words of a page, without its tags.
fn words(html: &str) -> String {
    let pieces = html.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text));
    pieces.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_view_has_text_typed_json_and_plain_html() {
    let all = gallery();
    for (name, bundle) in &all {
        if name == &"heat map" || name == &"curve" {
            assert!(bundle.get("image/png").is_some(), "{name}: a picture is what GitHub shows");
            continue;
        }
        assert!(!bundle.plain().is_empty(), "{name}");
        let typed = bundle.forms().iter().find(|(mime, _)| mime.starts_with("application/vnd.chandlery."));
        assert!(typed.is_some_and(|(_, value)| value.is_object()), "{name}");
        let bare = as_github(html(bundle));
        assert!(!bare.contains("style=") && !bare.contains("<script"), "{name}");
        // What the text says at first is on the page as well.
        let first = bundle.plain().lines().next().unwrap_or_default().trim_start_matches("# ");
        let words = words(&bare).replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">").replace("&#39;", "'");
        let first = first.trim_start_matches("Err: ").split(" - ").next().unwrap_or_default();
        assert!(words.contains(first), "{name}: `{first}` is not on the page:\n{words}");
        for tag in ["table", "details", "b", "div", "tr", "td", "th"] {
            let count = |form: &str| bare.matches(form).count();
            let opened = count(&format!("<{tag}>")) + count(&format!("<{tag} "));
            assert_eq!(opened, count(&format!("</{tag}>")), "{name}: <{tag}>");
        }
    }
    // The page is left for eyes: light and dark, and as GitHub shows it.
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (file, head, plain) in [
        ("light", "background:white;color:black", false),
        ("dark", "background:#111;color:#eee", false),
        ("github", "", true),
    ] {
        let mut page = Html::new();
        page.raw(format!("<meta charset=\"utf-8\"><body style=\"font:13px sans-serif;{head}\">"));
        for (name, bundle) in &all {
            let markup = if plain { as_github(html(bundle)) } else { html(bundle).to_owned() };
            page.raw("<h3>").text(name).raw("</h3>").raw(markup);
        }
        std::fs::write(folder.join(format!("displays-{file}.html")), page.finish()).unwrap();
    }
}

#[test]
fn rounded_numbers_carry_their_exact_values() {
    let bundle = inspect(fixture("llama-gqa")).view();
    let typed = bundle.get("application/vnd.chandlery.table+json").unwrap();
    assert_eq!(typed["parameters"], 254_400);
    let frame = big_frame().view();
    let typed = frame.get("application/vnd.chandlery.table+json").unwrap();
    assert_eq!((typed["rows"].as_array().unwrap().len(), &typed["hidden"]), (520, &Value::from(480)));
    assert_eq!(typed["rows"][2]["score"], 2f64.sin() * 1e4);
    assert!(frame.plain().contains("9,092.97"), "{}", frame.plain());
}

#[test]
fn an_error_value_says_what_where_and_what_to_do() {
    let temp = tempdir().unwrap();
    let bundle = inspect(temp.path().join("nowhere")).view();
    let typed = bundle.get("application/vnd.chandlery.error+json").unwrap();
    assert_eq!((&typed["kind"], &typed["type"]), (&Value::from("error"), &Value::from("CheckpointError")));
    assert!(bundle.plain().contains("\n  where: ") && bundle.plain().contains("\n  do: "), "{}", bundle.plain());
    assert!(html(&bundle).contains("<b>where:</b>") && html(&bundle).contains("<b>do:</b>"), "{}", html(&bundle));
}
