//! One line of progress for a notebook.

use std::time::Duration;

use super::numbers::{binary_bytes, thousands};
use super::{Html, MimeBundle};
use crate::progress::Unit;

/// A bar, the count, the rate and the time left; when done, a summary without a bar.
pub(crate) fn progress_bundle(
    label: &str,
    done: u64,
    total: u64,
    unit: Unit,
    elapsed: Duration,
    finished: bool,
) -> MimeBundle {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let rate = done as f64 / seconds;
    let count = |amount| match unit {
        Unit::Bytes => binary_bytes(amount),
        Unit::Steps => thousands(amount),
    };
    let per_second = match unit {
        Unit::Bytes => format!("{}/s", binary_bytes(rate as u64)),
        Unit::Steps => format!("{rate:.2} steps/s"),
    };
    if finished {
        return MimeBundle::text(format!("{label}: {} in {seconds:.1} s, {per_second}", count(done)));
    }
    let left = if rate > 0.0 { total.saturating_sub(done) as f64 / rate } else { 0.0 };
    let line = format!("{} of {}, {per_second}, {left:.0} s left", count(done), count(total));
    let mut html = Html::new();
    html.raw("<div>")
        .text(label)
        .raw(" <progress max=\"")
        .text(total)
        .raw("\" value=\"")
        .text(done)
        .raw("\"></progress> ");
    html.text(&line).raw("</div>");
    MimeBundle::text(format!("{label}: {line}")).with_html(html.finish())
}
