//! The one way out: displays leave the library through the process's [`Sink`].

use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{MimeBundle, View};

/// Names a display that later updates replace in place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DisplayId(pub String);

impl DisplayId {
    /// An id that no other display of this process has.
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(format!("chandlery-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }
}

/// Where displays go: the notebook kernel installs one that sends them to the front end.
pub trait Sink: Send + Sync {
    /// Shows a new output; with an id, updates may follow.
    fn display(&self, bundle: &MimeBundle, id: Option<&DisplayId>);
    /// Replaces every output shown under `id`.
    fn update(&self, bundle: &MimeBundle, id: &DisplayId);
    /// Clears the current cell's outputs; with `wait`, when the next output comes.
    fn clear(&self, wait: bool);
}

static SINK: RwLock<Option<Box<dyn Sink>>> = RwLock::new(None);

/// Installs the process's sink. Without one, [`emit`] writes `text/plain` to standard output.
pub fn set_sink(sink: Box<dyn Sink>) {
    *SINK.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(sink);
}

fn with_sink<R>(act: impl FnOnce(Option<&dyn Sink>) -> R) -> R {
    act(SINK.read().unwrap_or_else(|poisoned| poisoned.into_inner()).as_deref())
}

/// True where displays go to a notebook.
pub(crate) fn in_notebook() -> bool {
    with_sink(|sink| sink.is_some())
}

/// Shows a value now, in the middle of a cell.
pub fn emit(value: &(impl View + ?Sized)) {
    show(&value.view());
}

#[expect(clippy::print_stdout, reason = "the library's one exit for output when no notebook listens")]
fn show(bundle: &MimeBundle) {
    with_sink(|sink| match sink {
        Some(sink) => sink.display(bundle, None),
        None => println!("{}", bundle.plain()),
    });
}

/// Clears the outputs of the running cell; with `wait`, only when the next output arrives (no flicker).
pub fn clear(wait: bool) {
    with_sink(|sink| {
        if let Some(sink) = sink {
            sink.clear(wait);
        }
    });
}

/// One output that is redrawn in place: a progress bar, a live plot.
///
/// Redraws are limited to ten a second, because notebook servers drop the messages of kernels that flood them;
/// [`finish`](Self::finish) always draws, and its picture is what a saved notebook keeps.
pub struct Updating {
    id: DisplayId,
    shown: bool,
    last: Option<std::time::Instant>,
}

impl Updating {
    /// A display that appears with its first [`update`](Self::update).
    #[expect(clippy::new_without_default, reason = "a default display id would be surprising")]
    pub fn new() -> Self {
        Self { id: DisplayId::fresh(), shown: false, last: None }
    }

    /// Draws what `render` returns, unless the last drawing is under 100 ms old.
    pub fn update(&mut self, render: impl FnOnce() -> MimeBundle) {
        if self.due() {
            self.draw(&render());
        }
    }

    fn due(&self) -> bool {
        let due = self.last.is_none_or(|last| last.elapsed() >= std::time::Duration::from_millis(100));
        due && with_sink(|sink| sink.is_some())
    }

    /// True once something was drawn.
    pub fn is_shown(&self) -> bool {
        self.shown
    }

    /// Draws now, however young the last drawing is.
    pub(crate) fn redraw(&mut self, bundle: &MimeBundle) {
        self.draw(bundle);
    }

    /// Draws the final state.
    pub fn finish(mut self, bundle: &MimeBundle) {
        self.draw(bundle);
    }

    fn draw(&mut self, bundle: &MimeBundle) {
        with_sink(|sink| {
            if let Some(sink) = sink {
                if self.shown {
                    sink.update(bundle, &self.id);
                } else {
                    sink.display(bundle, Some(&self.id));
                }
            }
        });
        self.shown = true;
        self.last = Some(std::time::Instant::now());
    }
}
