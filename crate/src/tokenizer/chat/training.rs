//! Chats to train on: their tokens, and which of them the assistant says.

use std::ops::Range;

use super::{Chat, ChatTemplate};
use crate::tokenizer::{TokenizerError, TokenizerFiles};

impl TokenizerFiles {
    /// Returns the tokens of a chat by its own template, and for each whether it is the assistant's: what the template marks
    /// with `{% generation %}`; without such marks, what each of the assistant's messages adds to the text.
    ///
    /// # Errors
    /// As [`render_chat`](Self::render_chat); and for a template without marks that writes earlier messages differently when
    /// others follow.
    pub(crate) fn encode_for_training(&self, chat: &Chat) -> Result<(Vec<u32>, Vec<bool>), TokenizerError> {
        let template = self.template_for(chat)?;
        let tokens = self.named_tokens();
        let tokens: Vec<(&str, String)> = tokens.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
        let (text, mut spans) = template.render_marked(chat, &tokens)?;
        if !template.has_marks() {
            spans = self.added_by_assistant(&template, chat, &text, &tokens)?;
        }
        let encoding = self.tokenizer()?.encode(text.as_str(), false).map_err(|error| self.failed(error))?;
        let learned = |(begin, end): &(usize, usize)| begin < end && spans.iter().any(|span| span.contains(begin));
        Ok((encoding.get_ids().to_vec(), encoding.get_offsets().iter().map(learned).collect()))
    }

    /// Returns where the text of each of the assistant's messages stands.
    fn added_by_assistant(
        &self,
        template: &ChatTemplate,
        chat: &Chat,
        text: &str,
        tokens: &[(&str, String)],
    ) -> Result<Vec<Range<usize>>, TokenizerError> {
        let unmarked = || {
            TokenizerError::refused(
                "the chat template does not show which part of its text is the assistant's",
                template.origin(),
                "mark it in the template with {% generation %} and {% endgeneration %}",
            )
        };
        let mut spans = Vec::new();
        for (at, role) in chat.roles().iter().enumerate() {
            if role != "assistant" {
                continue;
            }
            let begin = match at {
                0 => String::new(),
                at => template.render(&chat.first(at).generation_prompt(true), tokens)?,
            };
            let end = template.render(&chat.first(at + 1).generation_prompt(false), tokens)?;
            if !end.starts_with(&begin) || !text.starts_with(&end) {
                return Err(unmarked());
            }
            spans.push(begin.len()..end.len());
        }
        Ok(spans)
    }
}
