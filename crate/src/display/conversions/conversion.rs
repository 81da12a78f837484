//! The view of a conversion: a summary and the proof, with the remapping and the logits folded.

use crate::compare::ConfigDiff;
use crate::convert::{Conversion, Pair, Pairs, Proof, TransferKind};
use crate::display::numbers::{binary_bytes, shape, small, thousands};
use crate::display::table::{Align, Cell, Mark, TableView};
use crate::display::{Html, MimeBundle, View};
use crate::naming::RemapPlan;
use crate::spec::Naming;
use crate::tokenizer::{TokenChange, TokenPlan};
use crate::validation::{Continuation, GenerationTest, LogitDiff};

impl View for Proof {
    fn view(&self) -> MimeBundle {
        let mut view = TableView::new(self.sentence(), &[("not as planned", Align::Left)]).limit(20);
        for name in self.different() {
            view.row(Mark::Bad, [name.to_string().into()]);
        }
        view.typed_bundle("proof")
    }
}

impl Proof {
    /// One sentence that says what the comparison found.
    pub fn sentence(&self) -> String {
        let total = self.tensors.len();
        let (moved, cast) = (self.bit_identical(), self.count(TransferKind::Cast));
        let mut parts = Vec::new();
        if moved > 0 || cast == 0 {
            parts.push(format!("{moved} of {total} tensors are bit-identical"));
        }
        if cast > 0 {
            parts.push(format!("{cast} of {total} tensors hold the source's values in another type, each compared"));
        }
        for (way, what) in [
            (TransferKind::Rearranged, "rearranged, every element compared there and back"),
            (TransferKind::Grown, "with new rows beside old ones, which are bit-identical"),
        ] {
            match self.count(way) {
                0 => {}
                count => parts.push(format!("{count} {what}")),
            }
        }
        match self.lost.len() {
            0 => {}
            count => parts.push(format!("{count} do NOT come back on the way back")),
        }
        match self.different().count() {
            0 => {}
            count => parts.push(format!("{count} DIFFER from the plan")),
        }
        parts.join("; ")
    }
}

/// The tokens of one side, those from the divergence on marked.
fn tokens_cell(side: &Continuation, divergence: Option<usize>) -> Cell {
    let at = divergence.unwrap_or(side.ids.len()).min(side.ids.len());
    let words = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let mut html = Html::new();
    html.text(words(&side.ids[..at]));
    if at < side.ids.len() {
        html.raw(" <b style=\"background-color:rgba(248,81,73,0.20)\">").text(words(&side.ids[at..])).raw("</b>");
    }
    Cell::rich(words(&side.ids), html)
}

impl View for GenerationTest {
    fn view(&self) -> MimeBundle {
        let verdict = if self.passed() { "agree" } else { "DIFFER" };
        let columns = [("", Align::Left), ("continuation", Align::Left), ("tokens", Align::Left)];
        let mut view = TableView::new(format!("Greedy continuations {verdict}"), &columns);
        view.row(Mark::Muted, ["prompt".into(), visible(&self.prompt).into(), "".into()]);
        let divergence = self.divergence.map(|divergence| divergence.step);
        let mark = if self.passed() { Mark::None } else { Mark::Bad };
        for (name, side) in [("reference", &self.reference), ("candle", &self.candle)] {
            view.row(mark, [name.into(), visible(&side.text).into(), tokens_cell(side, divergence)]);
        }
        view.note(match self.divergence {
            None => format!("{} tokens, the same on both sides", self.candle.ids.len()),
            Some(divergence) => format!(
                "they part at token {}, where the best logit exceeds the second by {} (reference) and {} (candle){}",
                divergence.step + 1,
                small(f64::from(divergence.margins.0)),
                small(f64::from(divergence.margins.1)),
                if divergence.is_tie() { ": a tie but for rounding" } else { "" }
            ),
        });
        view.typed_bundle("generation_test")
    }
}

/// Which tokens are added, and how many rows there are.
fn tokens_sentence(plan: &TokenPlan) -> String {
    let changed =
        plan.tokens().iter().filter(|token| !matches!(token.change, TokenChange::Kept | TokenChange::Skipped));
    let names: Vec<String> = changed
        .map(|token| format!("{} = {} ({})", token.token, token.id.unwrap_or_default(), token.change.name()))
        .collect();
    let tokens =
        if names.is_empty() { "tokens do not change".to_owned() } else { format!("tokens: {}", names.join(", ")) };
    match plan.vocab_size() - plan.vocab_before() {
        0 => format!("{tokens}; the vocabulary keeps its {} rows", thousands(plan.vocab_before() as u64)),
        _ => {
            let (before, after) = (thousands(plan.vocab_before() as u64), thousands(plan.vocab_size() as u64));
            format!("{tokens}; the vocabulary grows from {before} to {after} rows")
        }
    }
}

/// Text in one line.
fn visible(text: &str) -> String {
    text.replace('\n', "⏎")
}

impl View for Pairs {
    fn view(&self) -> MimeBundle {
        let columns = [
            ("from", Align::Left),
            ("to", Align::Left),
            ("shape", Align::Left),
            ("dtype", Align::Left),
            ("sha256", Align::Left),
        ];
        let title = format!("{} tensors and their names on both sides", thousands(self.0.len() as u64));
        let mut view = TableView::new(title, &columns).limit(200);
        for Pair { step, source_digest, written_digest } in self.0.iter() {
            let dtype = if step.from_dtype == step.to_dtype {
                step.to_dtype.to_string()
            } else {
                format!("{} → {}", step.from_dtype, step.to_dtype)
            };
            let digest = match (source_digest, written_digest) {
                (Some(from), Some(to)) if from == to => from.short(),
                (Some(from), Some(to)) => format!("{} → {}", from.short(), to.short()),
                _ => String::new(),
            };
            let cells = [step.from.to_string(), step.to.to_string(), shape(&step.shape), dtype, digest];
            view.row(Mark::None, cells.map(Cell::from));
        }
        view.bundle().with("application/vnd.chandlery.pairs+json", self.report())
    }
}

impl Conversion {
    /// How each tensor was renamed.
    pub fn remapping(&self) -> &RemapPlan {
        &self.plan
    }

    /// The source's config.json and the destination's, if the source's can still be read.
    pub fn config_diff(&self) -> Option<ConfigDiff> {
        let before = std::fs::read_to_string(self.source.join("config.json")).ok()?;
        let before = crate::spec::parse_json(&before).ok()?;
        Some(ConfigDiff::new(("source".to_owned(), "destination".to_owned()), &before, &self.config))
    }

    /// The logits' comparison, if one was made.
    pub fn logit_diff(&self) -> Option<&LogitDiff> {
        self.logits.as_deref()
    }

    /// The tokens that are added, if any were asked for or needed.
    pub fn tokens(&self) -> Option<&TokenPlan> {
        self.tokens.as_deref()
    }

    /// The generation test, if one was made.
    pub fn generation_test(&self) -> Option<&GenerationTest> {
        self.generation.as_deref()
    }

    /// The bit-by-bit comparison, if one was made.
    pub fn proof(&self) -> Option<&Proof> {
        self.proof.as_deref()
    }
}

impl View for Conversion {
    fn view(&self) -> MimeBundle {
        let verb = match (self.dry_run, self.passed()) {
            (true, _) => "Would convert",
            (false, true) => "Converted",
            (false, false) => "NOT converted:",
        };
        let side = match self.to {
            Naming::Native => "native",
            Naming::HuggingFace => "Hugging Face",
        };
        let mut lines = vec![
            format!("{verb} {} to {side} names in {}", self.source.display(), self.destination.display()),
            format!("weights: {}", self.checkpoint.in_words()),
            format!("{} tensors, {}", thousands(self.plan.tensors() as u64), binary_bytes(self.table.bytes())),
        ];
        lines.extend(self.checkpoint.warnings().into_iter().map(|warning| format!("! {warning}")));
        lines.extend(self.tokens.as_deref().map(tokens_sentence));
        lines.extend(self.proof.as_deref().map(Proof::sentence));
        if let Some(logits) = &self.logits {
            lines.push(format!(
                "logits {}: max |Δ| {} (tolerance {:.0e}), top-1 agreement {:.1}%",
                match (logits.passed(), &self.logits_skipped) {
                    (true, None) => "agree with the reference forward",
                    (true, Some(_)) => "as far as the reference forward goes",
                    (false, _) => "DIFFER from the reference forward",
                },
                small(f64::from(logits.max_abs())),
                logits.tolerance,
                logits.top1_agreement() * 100.0
            ));
            lines.extend(logits.located().filter(|_| !logits.passed()));
        }
        if let Some(first) = self.not_finite.first() {
            let others = match self.not_finite.len() - 1 {
                0 => String::new(),
                others => format!(" and {others} more"),
            };
            lines.push(format!("the source itself holds NaN or infinities, in {first}{others}"));
        }
        lines.extend(self.logits_skipped.as_ref().map(|why| match &self.logits {
            None => format!("logits were NOT compared: {why}"),
            Some(_) => format!("logits were NOT judged: {why}"),
        }));
        if !self.unread_fields.is_empty() {
            lines.push(format!("! nothing reads these fields of config.json: {}", self.unread_fields.join(", ")));
        }
        lines.extend(self.generation.as_deref().map(|generation| match generation.divergence {
            None => format!("both sides continue the prompt with the same {} tokens", generation.candle.ids.len()),
            Some(divergence) => format!(
                "both sides continue the prompt with the same {} tokens, then {}",
                divergence.step,
                if generation.passed() { "a tie parts them" } else { "they DIFFER" }
            ),
        }));
        if self.dry_run {
            lines.push(format!(
                "comparing logits will take {} of memory: the model is read layer by layer",
                binary_bytes(self.validation_memory)
            ));
        }
        if self.dry_run {
            lines.push(format!("files: {}", self.changes.writes.join(", ")));
        }
        let losses = self.changes.losses_in_words().filter(|_| self.passed());
        lines.extend(losses.map(|losses| format!("! in the destination it {losses}")));
        lines.extend(self.notes.iter().cloned());
        if !self.passed() {
            lines.push("nothing was written: validation failed".to_owned());
        }
        let mut html = Html::new();
        for (index, line) in lines.iter().enumerate() {
            let (open, close) = if index == 0 { ("<div><b>", "</b></div>") } else { ("<div>", "</div>") };
            html.raw(open).text(line).raw(close);
        }
        let mut details = vec![("Remapping", self.plan.view())];
        details.extend(self.config_diff().map(|diff| ("Configuration", diff.view())));
        if let Some(tokens) = &self.tokens {
            details.push(("Tokens", tokens.view()));
        }
        if let Some(logits) = &self.logits {
            details.push(("Logits by position and layer", logits.view()));
        }
        if let Some(generation) = &self.generation {
            details.push(("Greedy continuations", generation.view()));
        }
        for (summary, view) in details {
            html.raw("<details><summary>").text(summary).raw("</summary>");
            html.raw(view.get("text/html").and_then(|html| html.as_str()).unwrap_or("")).raw("</details>");
        }
        MimeBundle::text(lines.join("\n"))
            .with_html(html.finish())
            .with("application/vnd.chandlery.conversion+json", self.report())
    }
}
