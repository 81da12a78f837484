//! What a GGUF file will hold.

use super::{MimeBundle, View};
use crate::gguf::{GGUF_FILE, GgufPlan};

impl GgufPlan {
    /// What a person should know beside the table: which tensors are not stored as asked for, and what readers leave out.
    pub(super) fn notes(&self) -> Vec<String> {
        let tensors = |count: usize| if count == 1 { "one tensor".to_owned() } else { format!("{count} tensors") };
        let exceptions = self.exceptions().into_iter();
        let exceptions = exceptions.map(|(dtype, why, count)| format!("{} as {dtype}: {why}", tensors(count)));
        exceptions.chain(self.warnings().iter().map(|warning| format!("! {warning}"))).collect()
    }
}

impl View for GgufPlan {
    fn view(&self) -> MimeBundle {
        let mut view = self.table().folded_view(&format!("{GGUF_FILE}: {}", self.kind().name()));
        self.notes().into_iter().for_each(|note| view.note(note));
        view.bundle().with("application/vnd.chandlery.gguf+json", self.report())
    }
}
