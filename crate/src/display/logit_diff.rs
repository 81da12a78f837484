//! Logits side by side, by position.

use serde_json::json;

use super::numbers::small;
use super::table::{Align, Cell, Mark, TableView, bar};
use super::{MimeBundle, View};
use crate::convert::LogitDiff;

impl View for LogitDiff {
    fn view(&self) -> MimeBundle {
        let columns = [
            ("position", Align::Right),
            ("token", Align::Left),
            ("max |Δ|", Align::Right),
            ("", Align::Left),
            ("mean |Δ|", Align::Right),
            ("KL (nats)", Align::Right),
            ("top-1", Align::Left),
        ];
        let verdict = if self.passed() { "agree" } else { "DIFFER" };
        let title = format!("Logits of {} and {} {verdict}", self.names.0, self.names.1);
        let mut view = TableView::new(title, &columns).limit(16);
        let several = self.positions.iter().any(|position| position.row > 0);
        for position in &self.positions {
            let place =
                if several { format!("{}:{}", position.row, position.position) } else { position.position.to_string() };
            let agree = position.top1.0 == position.top1.1;
            let top = if agree {
                position.top1.0.to_string()
            } else {
                format!("{} ≠ {}", position.top1.0, position.top1.1)
            };
            let within = position.max_abs <= self.tolerance;
            // A logarithmic bar: full at the tolerance, empty at a millionth of it.
            let share = 1.0 + f64::from(position.max_abs / self.tolerance).log10() / 6.0;
            view.row(
                if within && agree { Mark::None } else { Mark::Bad },
                [
                    place.into(),
                    position.token.clone().unwrap_or_default().into(),
                    small(f64::from(position.max_abs)).into(),
                    Cell::rich("", bar(share)),
                    small(f64::from(position.mean_abs)).into(),
                    small(position.kl).into(),
                    top.into(),
                ],
            );
        }
        view.note(format!(
            "{} positions: max |Δ| {} (tolerance {:.0e}), mean |Δ| {}, mean KL {} nats, top-1 agreement {:.1}%",
            self.positions.len(),
            small(f64::from(self.max_abs())),
            self.tolerance,
            small(f64::from(self.mean_abs())),
            small(self.mean_kl()),
            self.top1_agreement() * 100.0
        ));
        if let Some(layer) = self.first_divergent_layer() {
            view.note(format!("the residual streams part at layer {layer}"));
        }
        let typed = json!({
            "kind": "logit_diff",
            "max_abs": self.max_abs(),
            "mean_abs": self.mean_abs(),
            "mean_kl": self.mean_kl(),
            "top1_agreement": self.top1_agreement(),
            "passed": self.passed(),
            "first_divergent_layer": self.first_divergent_layer(),
        });
        view.bundle().with("application/vnd.chandlery.logits+json", typed)
    }
}
