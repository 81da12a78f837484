//! A chat template: text that was compiled and tried.

use std::ops::Range;
use std::path::Path;

use super::Chat;
use super::engine::{self, Fault};
use crate::tokenizer::TokenizerError;
use crate::tokenizer::error::meant;
use crate::tokenizer::small_file;

/// Templates that come with the crate, by name.
const BUILT_IN: &[(&str, &str)] = &[
    ("chatml", include_str!("templates/chatml.jinja")),
    ("chatml_eos", include_str!("templates/chatml_eos.jinja")),
    ("alpaca", include_str!("templates/alpaca.jinja")),
    ("llama3", include_str!("templates/llama3.jinja")),
    ("mistral", include_str!("templates/mistral.jinja")),
    ("plain", include_str!("templates/plain.jinja")),
];

/// A Jinja template that turns a conversation into text, as transformers' tokenizers hold one.
///
/// ```
/// use chandlery::tokenizer::{Chat, ChatTemplate};
///
/// let template = ChatTemplate::open("chatml")?;
/// let chat = Chat::of(&[("user", "Light?")]).generation_prompt(true);
/// let text = template.render(&chat, &[])?;
/// assert_eq!(text, "<|im_start|>user\nLight?<|im_end|>\n<|im_start|>assistant\n");
/// # Ok::<(), chandlery::tokenizer::TokenizerError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    origin: String,
    text: String,
}

impl ChatTemplate {
    /// Returns the names of the built-in templates.
    pub fn names() -> Vec<String> {
        BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    /// A built-in template by name (`chatml`, `chatml_eos`, `alpaca`, `llama3`, `mistral`, `plain`), else a file. It is
    /// compiled, and tried on sample conversations.
    ///
    /// # Errors
    /// [`TokenizerError::Refused`] for a template that cannot be read or fails; it names file and line.
    pub fn open(name_or_path: &str) -> Result<Self, TokenizerError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            return Self::new(text, &format!("the built-in template {name}"));
        }
        let path = Path::new(name_or_path);
        if !path.exists() {
            let known: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            return Err(TokenizerError::refused(
                format!("there is no chat template `{name_or_path}`{}", meant(name_or_path, &known)),
                std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string(),
                format!("name a file, or one of: {}", known.join(", ")),
            ));
        }
        Self::new(&small_file::read(path, "chat template")?, name_or_path)
    }

    /// A template's text, compiled and tried; `origin` names it in errors.
    ///
    /// # Errors
    /// [`TokenizerError::Refused`] for a template that fails.
    pub fn new(text: &str, origin: &str) -> Result<Self, TokenizerError> {
        let template = Self::unchecked(text, origin);
        template.try_out()?;
        Ok(template)
    }

    /// A template that a tokenizer brings, as it is.
    pub(super) fn unchecked(text: &str, origin: &str) -> Self {
        Self { origin: origin.to_owned(), text: text.to_owned() }
    }

    /// Returns the Jinja text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the file it is from, or its name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the text of a conversation; `tokens` are the texts of roles such as `bos_token`.
    ///
    /// # Errors
    /// [`TokenizerError::Refused`] if it fails, does not end, or refuses the conversation.
    pub fn render(&self, chat: &Chat, tokens: &[(&str, String)]) -> Result<String, TokenizerError> {
        engine::render(&self.text, chat, tokens).map_err(|fault| self.refused(fault))
    }

    /// As [`render`](Self::render), with the places of what the template marks as the assistant's.
    pub(super) fn render_marked(
        &self,
        chat: &Chat,
        tokens: &[(&str, String)],
    ) -> Result<(String, Vec<Range<usize>>), TokenizerError> {
        engine::render_marked(&self.text, chat, tokens).map_err(|fault| self.refused(fault))
    }

    /// Returns whether the template marks what the assistant says.
    pub(super) fn has_marks(&self) -> bool {
        self.text
            .split("{%")
            .skip(1)
            .any(|tag| tag.trim_start_matches(['-', '+']).trim_start().starts_with("generation"))
    }

    /// A template may refuse some conversations (one without a system message, say), but not all that are tried, and it
    /// may not fail.
    fn try_out(&self) -> Result<(), TokenizerError> {
        let tokens = ["bos_token", "eos_token", "pad_token", "unk_token"].map(|role| (role, format!("<{role}>")));
        let system = ("system", "Answer in one word.");
        let turns = [("user", "Is wax heavy? "), ("assistant", "No."), ("user", "Does it\nburn?")];
        let samples = [
            Chat::of(&turns[..1]).generation_prompt(true),
            Chat::of(&turns[..2]),
            Chat::of(&turns).generation_prompt(true),
            Chat::of(&[&[system], &turns[..]].concat()).generation_prompt(true),
        ];
        let mut refusal = None;
        let (mut rendered, mut written) = (false, false);
        for sample in samples {
            match engine::render(&self.text, &sample, &tokens) {
                Ok(text) => (rendered, written) = (true, written || !text.trim().is_empty()),
                Err(fault @ Fault::Raised { .. }) => refusal = Some(fault),
                Err(fault) => return Err(self.refused(fault)),
            }
        }
        match refusal {
            Some(refusal) if !rendered => Err(self.refused(refusal)),
            _ if !written => Err(TokenizerError::refused(
                "the chat template renders conversations to nothing",
                &self.origin,
                "check that this is the file you mean; it should write the messages",
            )),
            _ => Ok(()),
        }
    }

    fn refused(&self, fault: Fault) -> TokenizerError {
        let (what, line, advice) = match fault {
            Fault::Raised { message, line } => (
                format!("the chat template refuses the conversation: {message}"),
                line,
                "change the conversation, or use another template",
            ),
            Fault::Endless { line } => (
                "the chat template does not end: it takes too many steps, or writes too much".to_owned(),
                line,
                "end its loops earlier, or use another template",
            ),
            Fault::Failed { reason, line } => {
                (format!("the chat template is wrong: {reason}"), line, "correct the template at that line")
            }
        };
        TokenizerError::refused(what, small_file::place(&self.origin, &self.text, line), advice)
    }
}
