//! The view of a plan of new tokens: their ids, their roles, and the initial values of their rows.

use crate::display::numbers::thousands;
use crate::display::table::{Align, Mark, TableView};
use crate::display::{MimeBundle, View};
use crate::tokenizer::{ChatTemplate, TokenChange, TokenPlan};

impl View for TokenPlan {
    fn view(&self) -> MimeBundle {
        table(self, None).bundle().with("application/vnd.chandlery.tokens+json", self.report())
    }
}

/// The plan's table; `tied` says whether embedding and head are one matrix, where that is known.
pub(in crate::display) fn table(plan: &TokenPlan, tied: Option<bool>) -> TableView {
    let (before, after) = (plan.vocab_before() as u64, plan.vocab_size() as u64);
    let size = match after - before {
        0 => format!("{} rows", thousands(before)),
        more => format!("{} → {} rows (+{})", thousands(before), thousands(after), thousands(more)),
    };
    let matrices = match tied {
        Some(true) => ", tied: one matrix",
        Some(false) => ", untied: embedding and head",
        None => "",
    };
    let columns = [
        ("for", Align::Left),
        ("token", Align::Left),
        ("id", Align::Right),
        ("what", Align::Left),
        ("row", Align::Left),
        ("before", Align::Left),
    ];
    let mut view = TableView::new(format!("Tokens: {size}{matrices}"), &columns).limit(60);
    for token in plan.tokens() {
        let mark = match token.change {
            TokenChange::Added | TokenChange::Moved | TokenChange::MadeSpecial => Mark::Good,
            TokenChange::Kept | TokenChange::Skipped => Mark::Muted,
        };
        let row = match (token.init, token.change) {
            (Some(init), _) => init.to_string(),
            (None, TokenChange::Moved | TokenChange::MadeSpecial | TokenChange::Kept) => "as it is".to_owned(),
            (None, _) => String::new(),
        };
        let before = token.before.as_ref().filter(|before| **before != token.token);
        let cells = [
            token.kind.name().trim_end_matches("_token").into(),
            token.token.as_str().into(),
            token.id.map_or_else(String::new, |id| id.to_string()).into(),
            token.change.name().into(),
            row.into(),
            before.cloned().unwrap_or_default().into(),
        ];
        view.row(mark, cells);
    }
    if plan.is_empty() {
        view.note("nothing changes");
    }
    for note in plan.notes() {
        view.note(note);
    }
    view
}

impl View for ChatTemplate {
    fn view(&self) -> MimeBundle {
        MimeBundle::text(format!("{}:\n{}", self.origin(), self.text().trim_end()))
    }
}
