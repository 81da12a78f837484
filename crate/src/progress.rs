//! Progress of long work: a bar on the terminal, one updating output in a notebook.

use std::cell::RefCell;

use indicatif::{ProgressBar, ProgressStyle};

use crate::display::{MimeBundle, Updating, progress_bundle};

/// A running count towards a known total.
pub struct Meter {
    bar: ProgressBar,
    display: Option<RefCell<Updating>>,
    label: &'static str,
    unit: Unit,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, shown in binary units.
    Bytes,
    /// Steps of a loop.
    Steps,
}

/// Counts bytes. The bar is drawn on standard error when that is a terminal.
pub fn bytes(label: &'static str, total: u64) -> Meter {
    Meter::new(
        label,
        total,
        Unit::Bytes,
        "{prefix} {bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
    )
}

/// Counts steps on the terminal only: the notebook's output is the run's own, such as a curve.
pub fn terminal_steps(label: &'static str, total: u64) -> Meter {
    let mut meter = Meter::new(label, total, Unit::Steps, "{prefix} {bar:30} {pos}/{len} {eta} {msg}");
    meter.display = None;
    meter
}

impl Meter {
    fn new(label: &'static str, total: u64, unit: Unit, template: &str) -> Self {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(total).with_style(style).with_prefix(label);
        Self { bar, display: Some(RefCell::new(Updating::new())), label, unit }
    }

    /// Counts `amount` more.
    pub fn advance(&self, amount: u64) {
        self.bar.inc(amount);
        // Short work needs no bar: it would flash by.
        if let Some(display) = self.display.as_ref().filter(|_| self.bar.elapsed().as_millis() >= 300) {
            display.borrow_mut().update(|| self.bundle(false));
        }
    }

    /// Shows a word beside the bar.
    pub fn say(&self, message: String) {
        self.bar.set_message(message);
    }

    /// Ends it: the terminal's bar disappears, a notebook keeps one line that sums up.
    pub fn finish(self) {
        self.bar.finish_and_clear();
        let bundle = self.bundle(true);
        if let Some(display) = self.display.map(RefCell::into_inner).filter(Updating::is_shown) {
            display.finish(&bundle);
        }
    }

    fn bundle(&self, done: bool) -> MimeBundle {
        let elapsed = self.bar.elapsed();
        progress_bundle(self.label, self.bar.position(), self.bar.length().unwrap_or(0), self.unit, elapsed, done)
    }
}
