//! The view of a quantization: its errors and what it saved.

use crate::display::numbers::{binary_bytes, shape};
use crate::display::table::{Align, Cell, Mark, TableView, bar};
use crate::display::{MimeBundle, View};
use crate::quantize::{QuantizationReport, TensorError};

/// Weights that differ only in the layer's number.
struct Fold<'a> {
    name: String,
    members: Vec<(&'a TensorError, Option<usize>)>,
}

fn folds(tensors: &[TensorError]) -> Vec<Fold<'_>> {
    let mut folds: Vec<Fold<'_>> = Vec::new();
    for error in tensors {
        let (name, layer) = error.path.folded();
        let known = folds.iter_mut().find(|fold| fold.name == name && fold.members[0].0.shape == error.shape);
        match known {
            Some(fold) => fold.members.push((error, layer)),
            None => folds.push(Fold { name, members: vec![(error, layer)] }),
        }
    }
    folds
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent >= 10.0 => format!("{percent:.1}%"),
        percent => format!("{percent:.2}%"),
    }
}

impl QuantizationReport {
    /// The table of weights, folded over layers: errors are those of all layers together, cosine and worst group those of
    /// the layer that lost most.
    pub(in crate::display) fn table(&self) -> TableView {
        let columns = [
            ("weight", Align::Left),
            ("×", Align::Right),
            ("shape", Align::Left),
            ("error", Align::Right),
            ("", Align::Left),
            ("lowest cosine", Align::Right),
            ("worst group", Align::Left),
            ("before", Align::Right),
            ("after", Align::Right),
        ];
        let folds = folds(&self.tensors);
        let errors: Vec<f64> = folds.iter().map(Fold::relative).collect();
        let most = errors.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let mut view = TableView::new(format!("{}: {}", self.recipe, self.scheme), &columns);
        for (fold, error) in folds.iter().zip(errors) {
            let times = if fold.members.len() > 1 { format!("×{}", fold.members.len()) } else { String::new() };
            let bytes = |pick: fn(&TensorError) -> u64| -> u64 { fold.members.iter().map(|(one, _)| pick(one)).sum() };
            view.row(
                Mark::None,
                [
                    fold.name.clone().into(),
                    times.into(),
                    shape(&fold.members[0].0.shape).into(),
                    percent(error).into(),
                    Cell::rich("", bar(error / most)),
                    format!("{:.5}", fold.cosine()).into(),
                    fold.worst().into(),
                    binary_bytes(bytes(|one| one.bytes.0)).into(),
                    binary_bytes(bytes(|one| one.bytes.1)).into(),
                ],
            );
        }
        let (before, after) = self.bytes;
        view.note(format!(
            "{} weights quantized, error of all together {}; the model's tensors take {} instead of {} ({})",
            self.tensors.len(),
            percent(self.relative()),
            binary_bytes(after),
            binary_bytes(before),
            percent(after as f64 / before.max(1) as f64),
        ));
        if let Some(logits) = &self.logits {
            view.note(format!(
                "logits before and after: largest difference {:.3}, KL {:.2e} nats, the same first choice at {} of positions",
                logits.max_abs(),
                logits.mean_kl(),
                percent(logits.top1_agreement()),
            ));
        }
        self.notes.iter().for_each(|note| view.note(note));
        view
    }
}

impl Fold<'_> {
    fn relative(&self) -> f64 {
        let squares: f64 = self.members.iter().map(|(one, _)| one.relative * one.relative).sum();
        (squares / self.members.len() as f64).sqrt()
    }

    fn cosine(&self) -> f64 {
        self.members.iter().map(|(one, _)| one.cosine).fold(1.0, f64::min)
    }

    fn worst(&self) -> String {
        let worst = self.members.iter().max_by(|(a, _), (b, _)| a.worst.relative.total_cmp(&b.worst.relative));
        worst.map_or_else(String::new, |(one, layer)| {
            let layer = layer.filter(|_| self.members.len() > 1).map(|layer| format!("layer {layer}, "));
            let layer = layer.unwrap_or_default();
            format!("{} ({layer}row {}, group {})", percent(one.worst.relative), one.worst.row, one.worst.group)
        })
    }
}

impl View for QuantizationReport {
    fn view(&self) -> MimeBundle {
        self.table().bundle().with("application/vnd.chandlery.quantization+json", self.report())
    }
}
