//! An iterator with a bar.

use super::Progress;
use crate::interrupt::{self, Interrupted};

/// Shows how far a loop is: `for file in progress(files) { … }`. The stop button ends the loop.
pub fn progress<I: IntoIterator>(source: I) -> Tracked<I::IntoIter> {
    Tracked { source: source.into_iter(), label: None, begun: false, bar: None }
}

/// An iterator whose items are counted as they are done; made by [`progress`].
///
/// The stop button of a notebook stops it between two items: the cell ends as interrupted, and variables stay.
pub struct Tracked<I> {
    source: I,
    label: Option<String>,
    /// Whether an item was returned that is not counted yet.
    begun: bool,
    bar: Option<Progress>,
}

impl<I> Tracked<I> {
    /// Says what is counted.
    pub fn named(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }
}

impl<I: Iterator> Iterator for Tracked<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        count(&mut self.bar, &mut self.begun, &mut self.label, self.source.size_hint());
        let item = self.source.next();
        if item.is_none() {
            finish(&mut self.bar);
        } else {
            self.begun = true;
        }
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.source.size_hint()
    }
}

// Not generic, so that cells do not compile it.
fn count(bar: &mut Option<Progress>, begun: &mut bool, label: &mut Option<String>, left: (usize, Option<usize>)) {
    let bar = bar.get_or_insert_with(|| {
        let label = label.take().unwrap_or_else(|| "progress".to_owned());
        match left {
            (least, Some(most)) if least == most => Progress::new(label, most),
            _ => Progress::unknown(label),
        }
    });
    if std::mem::take(begun) {
        bar.inc(1);
    }
    if interrupt::check().is_err() {
        // Without the panic hook: the code that runs the loop recognizes it.
        std::panic::resume_unwind(Box::new(Interrupted));
    }
}

fn finish(bar: &mut Option<Progress>) {
    if let Some(bar) = bar.take() {
        bar.finish();
    }
}
