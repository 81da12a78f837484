//! What a construction and a finalization show.

use super::numbers::{binary_bytes, thousands};
use super::parameter_table::with_typed_table;
use super::table::{Align, Mark, TableView};
use super::{MimeBundle, View};
use crate::construct::{Construction, Device};
use crate::finalize::Finalization;

impl View for Construction {
    fn view(&self) -> MimeBundle {
        let place = match self.device {
            Device::Meta => "on the meta device: nothing allocated".to_owned(),
            device => format!("on {device}"),
        };
        let config = &self.config;
        let mut table = self.table.folded_view(&format!("{} ({}), {place}", self.title, config.dtype));
        table.note(format!(
            "{} layers, width {}, {} heads × {}, {} key-value heads, feed-forward {}, vocabulary {}, context {}",
            config.num_hidden_layers,
            thousands(config.hidden_size as u64),
            config.num_attention_heads,
            config.head_dim,
            config.num_key_value_heads,
            thousands(config.intermediate_size as u64),
            thousands(config.vocab_size as u64),
            thousands(config.max_position_embeddings as u64),
        ));
        let bytes = self.table.bytes();
        table.note(format!(
            "memory: weights {}, gradients {} in training, cache {} per token",
            binary_bytes(bytes),
            binary_bytes(bytes),
            binary_bytes(self.kv_cache_bytes_per_token())
        ));
        if let Some(output) = &self.output {
            let weights =
                if self.weights.is_empty() { "no weights written".to_owned() } else { self.weights.join(", ") };
            table.note(format!("output: {} ({weights})", output.display()));
        }
        with_typed_table(table.bundle(), &self.table)
    }
}

impl View for Finalization {
    fn view(&self) -> MimeBundle {
        let verb = if self.dry_run { "Would finalize" } else { "Finalized" };
        let title = format!("{verb} {} into {}", self.checkpoint.display(), self.destination.display());
        let mut view = TableView::new(title, &[("file", Align::Left), ("link to", Align::Left)]);
        for (path, target) in &self.files {
            let mark = if target.is_some() { Mark::Muted } else { Mark::None };
            view.row(mark, [path.clone().into(), target.clone().unwrap_or_default().into()]);
        }
        view.note(format!("{} tensors, {}", self.table.len(), binary_bytes(self.table.bytes())));
        for warning in &self.warnings {
            view.note(format!("! {warning}"));
        }
        view.bundle().with("application/vnd.chandlery.finalization+json", self.report())
    }
}
