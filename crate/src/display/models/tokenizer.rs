//! The view of a tokenizer: its size, its special tokens, and how a text is split.

use crate::display::numbers::{binary_bytes, thousands};
use crate::display::table::{Align, Mark, TableView};
use crate::display::{Html, MimeBundle, View};
use crate::tokenizer::{TokenizerSummary, TrainedTokenizer};

impl View for TokenizerSummary {
    fn view(&self) -> MimeBundle {
        let title = format!("{}: {} of {} tokens", self.title, self.model, thousands(self.vocab_size as u64));
        let columns = [("id", Align::Right), ("special token", Align::Left), ("role", Align::Left)];
        let mut table = TableView::new(title, &columns);
        for token in &self.special_tokens {
            let role = token.role.unwrap_or_default();
            table.row(Mark::None, [token.id.to_string().into(), token.content.as_str().into(), role.into()]);
        }
        if let Some(length) = self.max_length {
            // transformers writes 1e30 for "no limit".
            let length = if length < 1 << 40 { format!("{} tokens", thousands(length)) } else { "any".to_owned() };
            table.note(format!("longest sequence: {length}"));
        }
        table.note(if self.chat_template { "with a chat template" } else { "without a chat template" });
        let (characters, tokens) = (self.sample.chars().count(), self.split.len());
        let count = format!("{} characters in {} tokens", thousands(characters as u64), thousands(tokens as u64));
        let visible = |text: &str| text.replace('\n', "⏎").replace(' ', "·");
        let mut line = String::new();
        let mut html = Html::new();
        html.raw("<div style=\"margin-top:0.4em\">");
        for (index, piece) in self.split.iter().enumerate() {
            let text = if piece.text.is_empty() { piece.token.clone() } else { visible(&piece.text) };
            if index > 0 {
                line.push('|');
            }
            line.push_str(&text);
            let shade = if index % 2 == 0 { "0.12" } else { "0.30" };
            html.raw(format!("<code title=\"{}\" style=\"background-color:rgba(214,125,46,{shade})\">", piece.id));
            html.text(text).raw("</code>");
        }
        html.raw("</div><div style=\"opacity:0.75\">").text(&count).raw("</div>");
        let mut whole = Html::new();
        whole.raw(table.html()).raw(html.finish());
        table
            .typed_bundle("tokenizer")
            .with("text/plain", format!("{}\n{count}:\n{line}", table.text()))
            .with_html(whole.finish())
    }
}

impl View for TrainedTokenizer {
    fn view(&self) -> MimeBundle {
        MimeBundle::text(format!(
            "{} tokens from {} ({} files, {} different words): counted in {:.1} s, merged in {:.1} s",
            thousands(self.vocab_size as u64),
            binary_bytes(self.bytes),
            thousands(self.texts.len() as u64),
            thousands(self.words as u64),
            self.counting.as_secs_f64(),
            self.merging.as_secs_f64(),
        ))
    }
}
