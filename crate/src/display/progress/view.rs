//! Progress bars: a row for each, and the line that remains when one has ended.

use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::json;

use crate::display::numbers::{binary_bytes, thousands};
use crate::display::table::Mark;
use crate::display::{Html, MimeBundle};
use crate::progress::{TaskOutcome, Unit};

/// The length of a terminal's bar.
const BLOCKS: usize = 16;

/// A bar at one moment.
#[derive(Clone, Debug)]
pub(super) struct ProgressState {
    pub(super) label: String,
    /// How many bars it is nested in.
    pub(super) depth: usize,
    pub(super) done: u64,
    pub(super) total: Option<u64>,
    pub(super) unit: Unit,
    /// The recent rate per second.
    pub(super) rate: f64,
    pub(super) elapsed: Duration,
    pub(super) message: String,
    /// How it ended; `None` while it runs.
    pub(super) outcome: Option<TaskOutcome>,
}

impl ProgressState {
    /// The current state of a counter.
    pub(super) fn of(
        counter: &ProgressBar,
        label: &str,
        unit: Unit,
        depth: usize,
        outcome: Option<TaskOutcome>,
    ) -> Self {
        Self {
            label: label.to_owned(),
            depth,
            done: counter.position(),
            total: counter.length(),
            unit,
            rate: counter.per_sec(),
            elapsed: counter.elapsed(),
            message: counter.prefix(),
            outcome,
        }
    }

    /// How far it is: a share if the total is known, else a count.
    fn place(&self) -> String {
        match self.total {
            Some(total) if total > 0 => format!("{} %", percent(self.done, total)),
            _ => amount(self.done, self.unit),
        }
    }

    /// The line without the label.
    fn line(&self) -> String {
        let elapsed = time(self.elapsed);
        let mut line = match &self.outcome {
            None => counts(self.done, self.total, self.unit, self.rate, self.elapsed),
            Some(TaskOutcome::Done) => {
                let rate = self.done as f64 / self.elapsed.as_secs_f64().max(1e-9);
                let speed = if self.done > 0 { format!(" · {}", speed(rate, self.unit)) } else { String::new() };
                let count = match self.done {
                    0 => String::new(),
                    done => format!(" · {}", amount(done, self.unit)),
                };
                format!("done in {elapsed}{count}{speed}")
            }
            Some(TaskOutcome::Failed(why)) => format!("failed at {} after {elapsed}: {why}", self.place()),
            Some(TaskOutcome::Interrupted) => format!("interrupted at {} after {elapsed}", self.place()),
            Some(TaskOutcome::Stopped) => format!("stopped at {} after {elapsed}", self.place()),
            Some(TaskOutcome::Abandoned) => format!("abandoned at {} after {elapsed}: its code panicked", self.place()),
        };
        if !self.message.is_empty() {
            line.push_str(" · ");
            line.push_str(&self.message);
        }
        line
    }

    fn mark(&self) -> Mark {
        match self.outcome {
            None => Mark::None,
            Some(TaskOutcome::Done) => Mark::Good,
            Some(TaskOutcome::Interrupted | TaskOutcome::Stopped) => Mark::Muted,
            Some(TaskOutcome::Failed(_) | TaskOutcome::Abandoned) => Mark::Bad,
        }
    }

    /// One line of text.
    pub(super) fn text(&self) -> String {
        format!("{}{}: {}", "  ".repeat(self.depth), self.label, self.line())
    }

    /// The line for a terminal, which cuts long lines, so what matters most comes first.
    pub(super) fn terminal_line(&self) -> String {
        let bar = self.total.map_or_else(String::new, |total| {
            let full = (u128::from(self.done.min(total)) * BLOCKS as u128 / u128::from(total.max(1))) as usize;
            format!("{}{} ", "█".repeat(full), "░".repeat(BLOCKS - full))
        });
        format!("{}{} {bar}{}", "  ".repeat(self.depth), self.label, self.line())
    }

    fn html(&self, html: &mut Html) {
        let indent = self.depth as f64 * 1.5;
        let style = self.mark().style();
        html.raw(format!("<div style=\"margin:0.15em 0 0.15em {indent}em;padding:0.1em 0.4em;{style}\">"));
        html.text(&self.label).raw(": ");
        if self.outcome.is_none() {
            html.raw("<progress style=\"width:12em;max-width:40%;vertical-align:middle\"");
            if let Some(total) = self.total {
                html.raw(format!(" max=\"{}\" value=\"{}\"", total.max(1), self.done.min(total)));
            }
            html.raw("></progress> ");
        }
        html.text(self.line()).raw("</div>");
    }
}

/// Rows of bars as one output.
pub(super) fn progress_bundle(states: &[ProgressState]) -> MimeBundle {
    let text: Vec<String> = states.iter().map(ProgressState::text).collect();
    let mut html = Html::new();
    html.raw("<div style=\"font-variant-numeric:tabular-nums\">");
    states.iter().for_each(|state| state.html(&mut html));
    html.raw("</div>");
    // Without times and rates, so that two runs are alike.
    let bars: Vec<_> = states
        .iter()
        .map(|state| {
            let outcome = match &state.outcome {
                None => "running",
                Some(TaskOutcome::Done) => "done",
                Some(TaskOutcome::Failed(_)) => "failed",
                Some(TaskOutcome::Interrupted) => "interrupted",
                Some(TaskOutcome::Stopped) => "stopped",
                Some(TaskOutcome::Abandoned) => "abandoned",
            };
            json!({"label": state.label, "done": state.done, "total": state.total, "outcome": outcome})
        })
        .collect();
    let typed = json!({"kind": "progress", "bars": bars});
    MimeBundle::text(text.join("\n")).with_html(html.finish()).with("application/vnd.chandlery.progress+json", typed)
}

/// The state of running work: share, time so far, time left, count, rate; without share and time left if the total is
/// unknown.
fn counts(done: u64, total: Option<u64>, unit: Unit, rate: f64, elapsed: Duration) -> String {
    let rate = if rate.is_finite() { rate } else { 0.0 };
    let speed = if rate > 0.0 { format!(" · {}", speed(rate, unit)) } else { String::new() };
    match total {
        Some(total) => {
            let share = percent(done, total);
            let left = match rate > 0.0 {
                true => format!(", {} left", time(seconds(total.saturating_sub(done) as f64 / rate))),
                false => String::new(),
            };
            let (done, total) = (amount(done, unit), amount(total, unit));
            format!("{share} % · {}{left} · {done} of {total}{speed}", time(elapsed))
        }
        // A phase without a count.
        None if done == 0 => time(elapsed),
        None => format!("{}{speed} · {}", amount(done, unit), time(elapsed)),
    }
}

fn percent(done: u64, total: u64) -> u64 {
    (u128::from(done.min(total)) * 100 / u128::from(total.max(1))) as u64
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

fn amount(amount: u64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => binary_bytes(amount),
        Unit::Steps => thousands(amount),
    }
}

fn speed(rate: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => format!("{}/s", binary_bytes(rate as u64)),
        Unit::Steps if rate >= 100.0 => format!("{}/s", thousands(rate as u64)),
        Unit::Steps if rate >= 1.0 => format!("{rate:.1}/s"),
        Unit::Steps => format!("{} each", time(seconds(1.0 / rate.max(1e-9)))),
    }
}

/// `40 ms`, `3.2 s`, `2 min 05 s`, `1 h 02 min`.
fn time(duration: Duration) -> String {
    let whole = duration.as_secs();
    match whole {
        0 if duration.as_millis() < 100 => format!("{} ms", duration.as_millis()),
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..360_000 => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} days", thousands(whole / 86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(done: u64, total: Option<u64>, outcome: Option<TaskOutcome>) -> ProgressState {
        let elapsed = Duration::from_millis(3200);
        let (label, message) = ("copying".to_owned(), String::new());
        ProgressState { label, depth: 0, done, total, unit: Unit::Bytes, rate: 1.5e9, elapsed, message, outcome }
    }

    #[test]
    fn a_running_bar_shows_share_count_rate_and_time_left() {
        let gib = 1 << 30;
        let state = at(gib, Some(4 * gib), None);
        assert_eq!(state.text(), "copying: 25 % · 3.2 s, 2.1 s left · 1.00 GiB of 4.00 GiB · 1.40 GiB/s");
        let html = progress_bundle(std::slice::from_ref(&state)).get("text/html").unwrap().to_string();
        assert!(html.contains("max=\\\"4294967296\\\" value=\\\"1073741824\\\""), "{html}");
        let line = "copying ████░░░░░░░░░░░░ 25 % · 3.2 s, 2.1 s left · 1.00 GiB of 4.00 GiB · 1.40 GiB/s";
        assert_eq!(state.terminal_line(), line);
        assert_eq!(at(0, None, None).text(), "copying: 3.2 s");
        assert_eq!(at(0, None, Some(TaskOutcome::Done)).text(), "copying: done in 3.2 s");
        assert_eq!(at(gib, None, None).text(), "copying: 1.00 GiB · 1.40 GiB/s · 3.2 s");
    }

    #[test]
    fn an_ended_bar_is_a_line_that_sums_up() {
        let gib = 1 << 30;
        assert_eq!(
            at(4 * gib, Some(4 * gib), Some(TaskOutcome::Done)).text(),
            "copying: done in 3.2 s · 4.00 GiB · 1.25 GiB/s"
        );
        let why = Some(TaskOutcome::Failed("<disk> full".to_owned()));
        let failed = progress_bundle(&[at(37, Some(100), why)]);
        assert_eq!(failed.plain(), "copying: failed at 37 % after 3.2 s: <disk> full");
        let html = failed.get("text/html").unwrap().as_str().unwrap();
        assert!(html.contains("&lt;disk&gt; full") && !html.contains("<progress"), "{html}");
        assert_eq!(
            at(37, Some(100), Some(TaskOutcome::Interrupted)).text(),
            "copying: interrupted at 37 % after 3.2 s"
        );
        assert_eq!(at(5, None, Some(TaskOutcome::Stopped)).text(), "copying: stopped at 5 B after 3.2 s");
    }

    #[test]
    fn any_count_can_be_shown() {
        for (done, total) in [(0, Some(0)), (u64::MAX, Some(1)), (7, Some(u64::MAX)), (u64::MAX, None)] {
            for outcome in [None, Some(TaskOutcome::Done), Some(TaskOutcome::Stopped)] {
                let mut state = at(done, total, outcome);
                for rate in [0.0, f64::NAN, f64::INFINITY, 1e-300] {
                    state.rate = rate;
                    state.unit = Unit::Steps;
                    assert!(!progress_bundle(&[state.clone()]).plain().is_empty());
                }
            }
        }
    }

    #[test]
    fn times_read_as_people_say_them() {
        let shown = [0.04, 59.9, 125.0, 3720.0, 864_000.0].map(|s| time(seconds(s)));
        assert_eq!(shown, ["40 ms", "59.9 s", "2 min 05 s", "1 h 02 min", "10 days"]);
    }
}
