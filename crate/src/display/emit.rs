//! All displays leave the library through the process's [`Sink`].

use std::io::Write;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{MimeBundle, PayloadError, View, show_progress};

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

/// Installs the process's sink, to which bars of progress go as well. Without one, [`emit`] writes `text/plain` to standard
/// output.
pub fn set_sink(sink: Box<dyn Sink>) {
    show_progress();
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
    send(&value.view());
}

/// Shows a value now, in the middle of a cell: a view, the text of an SVG picture, or the bytes of a picture's file.
///
/// Text that is not SVG is shown as text. Views return nothing, text and bytes a result:
///
/// ```
/// use chandlery::display::{MimeBundle, show};
/// show(&MimeBundle::text("4 layers").with("text/latex", "$L = 4$"));
/// show("<svg xmlns='http://www.w3.org/2000/svg'/>")?;
/// assert!(show(vec![0u8, 1, 2]).is_err(), "bytes of no known kind");
/// show(MimeBundle::of("image/jpeg", [0xff, 0xd8, 0xff])?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Bytes of an unknown kind; [`MimeBundle::of`] takes them with their MIME type.
pub fn show<S: Showable>(value: S) -> S::Shown {
    value.show_now()
}

/// What [`show`] takes.
pub trait Showable {
    /// Nothing, or a result where the value may be one that cannot be shown.
    type Shown;

    /// Shows it.
    fn show_now(self) -> Self::Shown;
}

impl<V: View + ?Sized> Showable for &V {
    type Shown = ();

    fn show_now(self) {
        emit(self);
    }
}

impl Showable for MimeBundle {
    type Shown = ();

    fn show_now(self) {
        send(&self);
    }
}

macro_rules! payloads {
    ($function:ident: $($payload:ty)*) => {
        $(impl Showable for $payload {
            type Shown = Result<(), PayloadError>;

            fn show_now(self) -> Self::Shown {
                $function(self.as_ref())
            }
        })*
    };
}

payloads!(show_text: String &String &str);
payloads!(show_bytes: Vec<u8> &Vec<u8> &[u8]);

impl<const N: usize> Showable for &[u8; N] {
    type Shown = Result<(), PayloadError>;

    fn show_now(self) -> Self::Shown {
        show_bytes(self)
    }
}

fn show_text(text: &str) -> Result<(), PayloadError> {
    let bundle = if super::payload::is_svg(text) { MimeBundle::svg(text)? } else { MimeBundle::text(text) };
    send(&bundle);
    Ok(())
}

fn show_bytes(bytes: &[u8]) -> Result<(), PayloadError> {
    send(&MimeBundle::sniffed(bytes)?);
    Ok(())
}

/// Without a notebook, displays are lines of text. A closed standard output must not cause a panic.
fn send(bundle: &MimeBundle) {
    with_sink(|sink| match sink {
        Some(sink) => sink.display(bundle, None),
        None => {
            let _ = writeln!(std::io::stdout(), "{}", bundle.plain());
        }
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

    /// Draws now, even if the last drawing is recent.
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
