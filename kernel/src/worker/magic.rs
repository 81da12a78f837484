//! The toolkit's verbs as lines of a notebook, which run without compiling.

use std::io::Write;

use chandlery::cell::{Ending, Store};
use chandlery::command::{self, Failure};
use chandlery::diagnostic::{Diagnose, Diagnostic};
use chandlery::display::MimeBundle;
use chandlery::interrupt::Interrupted;

use super::channel::Channel;
use super::frame::Report;
use super::words;

/// Runs one line, given without its `%`.
pub(super) fn run(line: &str, store: &mut Store, channel: &Channel) -> Ending {
    let parsed = words::split(line).and_then(|mut all| words::take_as(&mut all).map(|keep| (all, keep)));
    let (all, keep) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return failed("UsageError", error.to_string()),
    };
    verb(&all, keep, store, channel)
}

/// Reads one line like [`run`], and records the type of its result without running it.
pub(super) fn check(line: &str, store: &mut Store) -> Ending {
    let parsed = words::split(line).and_then(|mut all| words::take_as(&mut all).map(|keep| (all, keep)));
    let (all, keep) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return failed("UsageError", error.to_string()),
    };
    let checked = match command::check(&all) {
        Ok(checked) => checked,
        Err(failure) => return refused(failure).unwrap_or(Ending::Done),
    };
    if let Some(note) = checked.note {
        let _ = writeln!(std::io::stderr(), "%{line}: {note}");
    }
    match (keep, checked.type_path) {
        (None, _) => Ending::Done,
        (Some(name), Some(path)) => {
            store.declare(&name, path, Some(path));
            Ending::Done
        }
        (Some(name), None) => failed("UsageError", nothing_to_keep(&name)),
    }
}

fn nothing_to_keep(name: &str) -> String {
    format!("--as {name}: this command does not have a result to keep")
}

/// Returns the ending of a line that failed; `None` for one that asked for help.
fn refused(failure: Failure) -> Option<Ending> {
    Some(match failure {
        Failure::Usage { help: true, .. } => return None,
        Failure::Usage { text, help: false, .. } => failed("UsageError", text.trim_end().to_owned()),
        Failure::Failed { name, diagnostic } => failed(&name, diagnostic),
        Failure::Interrupted => Ending::Failed {
            type_name: "Interrupted".to_owned(),
            diagnostic: Interrupted.diagnostic(),
            place: None,
            interrupted: true,
        },
    })
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
                (Some(name), None) => failed("UsageError", nothing_to_keep(&name)),
            }
        }
        Err(Failure::Usage { text, help: true, .. }) => show(channel, MimeBundle::text(text)),
        Err(failure) => refused(failure).unwrap_or(Ending::Done),
    }
}

/// Shows a bundle, unless it is empty.
pub(super) fn show(channel: &Channel, data: MimeBundle) -> Ending {
    if !data.plain().is_empty() || data.forms().len() > 1 {
        super::flush();
        channel.send(&Report::Shown { data });
    }
    Ending::Done
}

/// Returns an ending without a position.
pub(super) fn failed(type_name: &str, says: impl Into<Diagnostic>) -> Ending {
    Ending::Failed { type_name: type_name.to_owned(), diagnostic: says.into(), place: None, interrupted: false }
}
