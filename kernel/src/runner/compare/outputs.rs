//! Pairs and compares the outputs of a cell.

use serde_json::{Map, Value};

use super::super::ansi;
use super::super::notebook::joined;
use super::rules::Rules;
use super::{Difference, images, text, values};

/// Returns the differences between the outputs of a cell.
pub(super) fn differences(golden: &[Value], now: &[Value], rules: &Rules) -> Vec<Difference> {
    let kinds = |outputs: &[Value]| outputs.iter().map(kind).collect::<Vec<_>>();
    let (golden_kinds, now_kinds) = (kinds(golden), kinds(now));
    let mut found = Vec::new();
    for change in similar::capture_diff_slices(similar::Algorithm::Myers, &golden_kinds, &now_kinds) {
        match change.tag() {
            similar::DiffTag::Equal => {
                for (before, after) in change.old_range().zip(change.new_range()) {
                    output(after + 1, &golden[before], &now[after], rules, &mut found);
                }
            }
            _ => {
                for before in change.old_range() {
                    let what = format!("{} is missing: {}", golden_kinds[before], summary(&golden[before]));
                    found.push(Difference { place: format!("output {} of the golden", before + 1), what });
                }
                for after in change.new_range() {
                    let what = format!("{} was added: {}", now_kinds[after], summary(&now[after]));
                    found.push(Difference { place: format!("output {}", after + 1), what });
                }
            }
        }
    }
    found
}

/// The kind by which outputs are paired: results and displays are the same kind.
fn kind(output: &Value) -> String {
    match output["output_type"].as_str() {
        Some("stream") => output["name"].as_str().unwrap_or("stdout").to_owned(),
        Some("error") => "error".to_owned(),
        _ => "display".to_owned(),
    }
}

fn summary(output: &Value) -> String {
    let text = match kind(output).as_str() {
        "display" => output["data"].get("text/plain").map(joined).unwrap_or_default(),
        "error" => format!("{}: {}", output["ename"].as_str().unwrap_or(""), output["evalue"].as_str().unwrap_or("")),
        _ => joined(&output["text"]),
    };
    let first = ansi::strip(text.lines().next().unwrap_or("")).chars().take(70).collect::<String>();
    if first.len() < text.trim_end().len() { format!("{first}…") } else { first }
}

fn output(number: usize, golden: &Value, now: &Value, rules: &Rules, found: &mut Vec<Difference>) {
    match kind(golden).as_str() {
        "display" => {
            let none = Map::new();
            let forms = |output: &Value| output["data"].as_object().unwrap_or(&none).clone();
            data(number, &forms(golden), &forms(now), rules, found);
        }
        "error" if golden["ename"] != now["ename"] => {
            let what = format!("golden {}, now {}", golden["ename"], now["ename"]);
            found.push(Difference { place: format!("output {number}, the kind of error"), what });
        }
        // The text of an error may change with the wording of a compiler.
        "error" => {}
        stream => {
            let plain = |output: &Value| ansi::strip(&joined(&output["text"]));
            if let Some(what) = text::diff(&plain(golden), &plain(now), rules) {
                found.push(Difference { place: format!("output {number}, {stream}"), what });
            }
        }
    }
}

/// Compares a display: its numbers if it has a typed form, otherwise its text; and its images by a rule.
fn data(
    number: usize,
    golden: &Map<String, Value>,
    now: &Map<String, Value>,
    rules: &Rules,
    found: &mut Vec<Difference>,
) {
    let mut add = |mime: &str, what: String| found.push(Difference { place: format!("output {number}, {mime}"), what });
    let mut typed = false;
    let all = golden.keys().chain(now.keys().filter(|mime| !golden.contains_key(*mime)));
    for mime in all {
        let (before, after) = (golden.get(mime), now.get(mime));
        if is_payload(mime) {
            typed = true;
            match (before, after) {
                (Some(before), Some(after)) => {
                    let all = values::mismatches(before, after, rules);
                    if !all.is_empty() {
                        add(mime, list(&all));
                    }
                }
                (Some(_), None) => add(mime, "the payload is missing".to_owned()),
                _ => add(mime, "the payload was added".to_owned()),
            }
        } else if mime.starts_with("image/") {
            let text = |form: Option<&Value>| form.map(joined).unwrap_or_default();
            if let Some(what) = images::difference(mime, &text(before), &text(after), rules.images.unwrap_or_default())
            {
                add(mime, what);
            }
        }
    }
    if !typed {
        let text = |forms: &Map<String, Value>| ansi::strip(&forms.get("text/plain").map(joined).unwrap_or_default());
        if let Some(what) = text::diff(&text(golden), &text(now), rules) {
            add("text/plain", what);
        }
    }
}

/// Returns whether a form holds values instead of presentation: ours, or JSON that the notebook's author showed.
fn is_payload(mime: &str) -> bool {
    mime == "application/json" || (mime.starts_with("application/vnd.chandlery.") && mime.ends_with("+json"))
}

/// How many mismatches of one payload are listed.
const LISTED: usize = 8;

fn list(all: &[values::Mismatch]) -> String {
    let mut lines: Vec<String> = all.iter().take(LISTED).map(|found| format!("{}: {}", found.at, found.what)).collect();
    if all.len() > LISTED {
        lines.push(format!("… and {} more", all.len() - LISTED));
    }
    lines.join("\n")
}
