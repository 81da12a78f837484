//! The toolkit's verbs as lines of a notebook, run at once and never compiled.

use chandlery::cell::{Ending, Store};
use chandlery::command::{self, Failure};
use chandlery::display::MimeBundle;

use super::channel::Channel;
use super::frame::Report;
use super::words;

/// Runs one line, given without its `%`.
pub(super) fn run(line: &str, store: &mut Store, channel: &Channel) -> Ending {
    let parsed = words::split(line).and_then(|mut all| words::take_as(&mut all).map(|keep| (all, keep)));
    let (all, keep) = match parsed {
        Ok(parsed) => parsed,
        Err(message) => return failed("UsageError", message),
    };
    verb(&all, keep, store, channel)
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

/// Shows a bundle, unless it is empty.
pub(super) fn show(channel: &Channel, data: MimeBundle) -> Ending {
    if !data.plain().is_empty() || data.forms().len() > 1 {
        super::flush();
        channel.ask(&Report::Display { data, id: None });
    }
    Ending::Done
}

/// An ending without a place.
pub(super) fn failed(type_name: &str, message: String) -> Ending {
    Ending::Failed { type_name: type_name.to_owned(), message, place: None, interrupted: false }
}
