//! Logits side by side, by position.

use serde_json::json;

use crate::display::numbers::small;
use crate::display::table::{Align, BAR, Cell, Mark, TableView, bar};
use crate::display::{HeatMap, Html, MimeBundle, View};
use crate::validation::LogitDiff;

impl View for LogitDiff {
    fn view(&self) -> MimeBundle {
        let columns = [
            ("position", Align::Right),
            ("token", Align::Left),
            ("max |Δ|", Align::Right),
            ("of the tolerance", Align::Left),
            ("mean |Δ|", Align::Right),
            ("KL (nats)", Align::Right),
            ("top-1", Align::Right),
        ];
        let verdict = if self.passed() { "agree" } else { "DIFFER" };
        let title = format!("Logits of {} and {} {verdict}", self.names.0, self.names.1);
        let mut view = TableView::new(title, &columns).limit(16);
        view.below(3, "logarithmic");
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
            let share = (1.0 + f64::from(position.max_abs / self.tolerance).log10() / 6.0).clamp(0.0, 1.0);
            let blocks = "█".repeat((share * 16.0).round() as usize);
            view.row(
                if within && agree { Mark::None } else { Mark::Bad },
                [
                    place.into(),
                    position.token.clone().unwrap_or_default().into(),
                    small(f64::from(position.max_abs)).into(),
                    Cell::rich(blocks, bar(share)),
                    small(f64::from(position.mean_abs)).into(),
                    small(position.kl).into(),
                    top.into(),
                ],
            );
        }
        if !self.unread_fields.is_empty() {
            let fields = self.unread_fields.join(", ");
            view.note(format!("! nothing reads these fields of config.json: {fields}"));
        }
        for choice in &self.checkpoints {
            view.note(format!("weights: {}", choice.in_words()));
            choice.warnings().into_iter().for_each(|warning| view.note(format!("! {warning}")));
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
        if self.vocabularies.0 != self.vocabularies.1 || self.columns < self.vocabularies.0 {
            view.note(format!(
                "compared over {} tokens of vocabularies of {} and {}",
                self.columns, self.vocabularies.0, self.vocabularies.1
            ));
        }
        if let Some(place) = self.located() {
            view.note(place);
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
        let bundle = view.bundle().with("application/vnd.chandlery.logits+json", typed);
        match self.layer_table() {
            Some(layers) => bundle.followed_by(&layers.bundle()),
            None => bundle,
        }
    }
}

impl LogitDiff {
    /// The differences by layer and position; of comparisons without layers, by measure and position.
    pub fn heat_map(&self) -> HeatMap {
        let columns = self.positions.iter().map(|position| {
            let token = position.token.as_deref().unwrap_or_default();
            let several = self.positions.iter().any(|position| position.row > 0);
            let place = if several { format!("{}:", position.row) } else { String::new() };
            format!("{place}{} {token}", position.position).trim_end().to_owned()
        });
        let columns: Vec<String> = columns.collect();
        let title = format!("{} and {}", self.names.0, self.names.1);
        if self.layers.is_empty() {
            let title = format!("{title}: logits apart");
            let mut map = HeatMap::new(title, ("position", "measure"), columns, f64::from(self.tolerance));
            map.row("max", self.positions.iter().map(|position| f64::from(position.max_abs)));
            map.row("mean", self.positions.iter().map(|position| f64::from(position.mean_abs)));
            map.row("KL", self.positions.iter().map(|position| position.kl));
            return map;
        }
        let title = format!("{title}: residual streams apart, of their size");
        let mut map = HeatMap::new(title, ("position", "layer"), columns, 1e-3);
        for layer in &self.layers {
            let size = f64::from(layer.scale.max(1.0));
            map.row(layer.layer.to_string(), layer.by_position.iter().map(|apart| f64::from(*apart) / size));
        }
        map
    }

    /// Where the two sides diverge, in words; `None` if they agree or no layers were compared.
    pub(in crate::display) fn located(&self) -> Option<String> {
        match self.first_divergent_layer() {
            Some(0) => Some("the residual streams part at layer 0: look at the embedding and that layer".to_owned()),
            Some(layer) => Some(format!("the residual streams diverge at layer {layer}")),
            None if self.passed() || self.layers.is_empty() => None,
            None => Some("the residual streams agree in every layer: look at the final norm and the head".to_owned()),
        }
    }

    /// The residual stream after each layer: the difference of the sides, and a strip of its positions.
    fn layer_table(&self) -> Option<TableView> {
        if self.layers.is_empty() {
            return None;
        }
        let columns = [
            ("layer", Align::Right),
            ("max |Δ|", Align::Right),
            ("of the stream's size", Align::Right),
            ("by position", Align::Left),
        ];
        let mut view = TableView::new("Residual streams after each layer", &columns).limit(128);
        for layer in &self.layers {
            let mark = if layer.diverges() { Mark::Bad } else { Mark::None };
            view.row(
                mark,
                [
                    layer.layer.to_string().into(),
                    small(f64::from(layer.max_abs)).into(),
                    small(f64::from(layer.max_abs / layer.scale.max(1.0))).into(),
                    strip(&layer.by_position, layer.scale),
                ],
            );
        }
        Some(view)
    }
}

/// One bar for each position, or for a few adjacent ones if there are many: the higher, the further apart the sides are, on
/// a logarithmic scale that is full at a thousandth of the stream's size.
fn strip(values: &[f32], scale: f32) -> Cell {
    const MOST: usize = 32;
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let mut text = String::new();
    for neighbors in values.chunks(values.len().div_ceil(MOST).max(1)) {
        let worst = f64::from(neighbors.iter().copied().fold(0.0, f32::max) / (1e-3 * scale.max(1.0)));
        let strength = (1.0 + worst.log10() / 5.0).clamp(0.0, 1.0);
        text.push(BARS[(strength * 7.0).round() as usize]);
    }
    let mut html = Html::new();
    html.raw(format!("<code style=\"background-color:rgba(128,128,128,0.10);color:{BAR}\">"))
        .text(&text)
        .raw("</code>");
    Cell::rich(text, html)
}
