//! The view of the plan of a GGUF file.

use crate::display::{MimeBundle, View};
use crate::gguf::{GGUF_FILE, GgufPlan};

impl GgufPlan {
    /// Which tensors are not stored as asked for.
    pub(in crate::display) fn exceptions_in_words(&self) -> Vec<String> {
        let tensors = |count: usize| if count == 1 { "one tensor".to_owned() } else { format!("{count} tensors") };
        let exceptions = self.exceptions().into_iter();
        let exceptions = exceptions.map(|(dtype, why, count)| format!("{} as {dtype}: {why}", tensors(count)));
        exceptions.collect()
    }
}

impl View for GgufPlan {
    fn view(&self) -> MimeBundle {
        let mut view = self.table().folded_view(&format!("{GGUF_FILE}: {}", self.kind().name()));
        self.exceptions_in_words().into_iter().for_each(|note| view.note(note));
        self.warnings().iter().for_each(|warning| view.note(format!("! {warning}")));
        view.bundle().with("application/vnd.chandlery.gguf+json", self.report())
    }
}
