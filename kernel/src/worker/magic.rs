//! Magics: the toolkit's verbs and a few of the kernel's own, run at once and never compiled.

use chandlery::cell::{Ending, Store, short_type_name};
use chandlery::command::{self, Failure};
use chandlery::display::{Html, MimeBundle};

use super::channel::Channel;
use super::frame::Report;
use super::words;

/// The magics that are not verbs of the toolkit, with what they do.
pub const OWN: &[(&str, &str)] = &[
    ("help", "this list"),
    ("vars", "the variables and their types"),
    ("reset", "forget all variables and definitions"),
];

/// Runs one line, given without its `%`.
pub(super) fn run(line: &str, store: &mut Store, channel: &Channel) -> Ending {
    let parsed = words::split(line).and_then(|mut all| words::take_as(&mut all).map(|keep| (all, keep)));
    let (all, keep) = match parsed {
        Ok(parsed) => parsed,
        Err(message) => return failed("UsageError", message),
    };
    match all.first().map(String::as_str) {
        None | Some("help") => show(channel, help()),
        Some("vars") => show(channel, variables(store)),
        Some("reset") => {
            store.clear();
            Ending::Done
        }
        Some(_) => verb(&all, keep, store, channel),
    }
}

fn verb(all: &[String], keep: Option<String>, store: &mut Store, channel: &Channel) -> Ending {
    let mut outcome = None;
    store.run(&mut || {
        outcome = Some(command::run(all));
        Ok(())
    });
    let ending = store.finish();
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => return ending, // it panicked
    };
    match outcome {
        Ok(outcome) => {
            show(channel, outcome.view);
            if !outcome.passed {
                return failed("Failed", format!("{} did not pass", all.join(" ")));
            }
            match (keep, outcome.value) {
                (None, _) => Ending::Done,
                (Some(name), Some(kept)) => {
                    store.insert(&name, kept.value, kept.type_path, Some(kept.type_path));
                    Ending::Done
                }
                (Some(name), None) => failed("UsageError", format!("--as {name}: this command has no result to keep")),
            }
        }
        Err(Failure::Usage { text, help: true }) => show(channel, MimeBundle::text(text)),
        Err(Failure::Usage { text, help: false }) => failed("UsageError", text.trim_end().to_owned()),
        Err(Failure::Failed { name, message }) => failed(&name, message),
        Err(Failure::Interrupted) => Ending::Failed {
            type_name: "Interrupted".to_owned(),
            message: "interrupted".to_owned(),
            place: None,
            interrupted: true,
        },
    }
}

fn show(channel: &Channel, data: MimeBundle) -> Ending {
    if !data.plain().is_empty() || data.forms().len() > 1 {
        super::flush();
        channel.ask(&Report::Display { data, id: None });
    }
    Ending::Done
}

fn failed(type_name: &str, message: String) -> Ending {
    Ending::Failed { type_name: type_name.to_owned(), message, place: None, interrupted: false }
}

fn help() -> MimeBundle {
    let mut text = String::from("Lines that start with % run at once:\n");
    for (name, what) in OWN {
        text.push_str(&format!("  %{name:<10} {what}\n"));
    }
    for verb in command::VERBS {
        text.push_str(&format!("  %{verb:<10} %{verb} --help\n"));
    }
    text.push_str("--as NAME keeps a command's result as a variable. Other lines are Rust.");
    MimeBundle::text(text)
}

fn variables(store: &Store) -> MimeBundle {
    let variables = store.variables();
    if variables.is_empty() {
        return MimeBundle::text("no variables");
    }
    let width = variables.iter().map(|v| v.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    let mut html = Html::new();
    html.raw("<table style=\"border-collapse:collapse\">");
    for variable in &variables {
        let kind = short_type_name(&variable.type_name);
        text.push_str(&format!("{:width$}  {kind}\n", variable.name));
        html.raw("<tr><td style=\"padding:2px 10px\"><code>").text(&variable.name);
        html.raw("</code></td><td style=\"padding:2px 10px;text-align:left\"><code>")
            .text(kind)
            .raw("</code></td></tr>");
    }
    html.raw("</table>");
    MimeBundle::text(text.trim_end()).with_html(html.finish())
}
