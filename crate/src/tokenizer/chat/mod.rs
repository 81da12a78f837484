//! Chat templates: how a conversation becomes the text that a model continues.

mod conversation;
mod engine;
mod jinja;
mod python_json;
mod template;
mod training;

pub use conversation::Chat;
pub use template::ChatTemplate;

use serde_json::Value;

use super::files::NAMED_TEMPLATES;
use super::{TokenizerError, TokenizerFiles};

const FILE: &str = "chat_template.jinja";

impl TokenizerFiles {
    /// Returns the chat template: `chat_template.jinja`, else what `tokenizer_config.json` holds, where older formats keep
    /// it. Of several with names it is the one called `default`.
    pub fn chat_template(&self) -> Option<ChatTemplate> {
        self.named_template("default")
    }

    /// Returns whether there is a chat template.
    pub fn has_chat_template(&self) -> bool {
        self.chat_template().is_some()
    }

    fn named_template(&self, wanted: &str) -> Option<ChatTemplate> {
        let origin = |name: &str| self.folder().join(name).display().to_string();
        let named = format!("{NAMED_TEMPLATES}/{wanted}.jinja");
        if self.names().any(|name| name == named) {
            return Some(ChatTemplate::unchecked(self.text(&named).ok()?, &origin(&named)));
        }
        if self.names().any(|name| name == FILE) {
            return Some(ChatTemplate::unchecked(self.text(FILE).ok()?, &origin(FILE)));
        }
        let config = self.json("tokenizer_config.json")?;
        let text = match config.get("chat_template")? {
            Value::String(text) => text.as_str(),
            Value::Array(named) => {
                let called = |name: &str| named.iter().find(|entry| entry["name"] == name);
                called(wanted).or_else(|| called("default"))?.get("template")?.as_str()?
            }
            _ => return None,
        };
        Some(ChatTemplate::unchecked(text, &format!("chat_template of {}", origin("tokenizer_config.json"))))
    }

    /// The same files with this template: in `chat_template.jinja`, and in `tokenizer_config.json` where one is there
    /// already, so that old and new readers see the same.
    pub fn with_chat_template(&self, template: &ChatTemplate) -> Self {
        let mut changed = vec![(FILE.to_owned(), template.text().as_bytes().to_vec())];
        if let Ok(Some(mut config)) = self.object("tokenizer_config.json")
            && let Some(text) = config.get_mut("chat_template").filter(|text| !text.is_null())
        {
            *text = Value::from(template.text());
            changed.push(("tokenizer_config.json".to_owned(), format!("{:#}\n", Value::Object(config)).into_bytes()));
        }
        self.with(changed)
    }

    /// Returns the text that a model with this tokenizer continues, by its own chat template. It holds the tokens' texts,
    /// the one that begins it too: encode it without adding special tokens.
    ///
    /// ```no_run
    /// use chandlery::tokenizer::{Chat, TokenizerFiles};
    ///
    /// let files = TokenizerFiles::read("Llama-3.2-1B-Instruct".as_ref())?;
    /// let chat = Chat::of(&[("user", "What burns longest?")]).generation_prompt(true);
    /// println!("{}", files.render_chat(&chat)?);
    /// # Ok::<(), chandlery::tokenizer::TokenizerError>(())
    /// ```
    ///
    /// # Errors
    /// [`TokenizerError::Refused`] without a template, or if it fails, does not end, or refuses the conversation.
    pub fn render_chat(&self, chat: &Chat) -> Result<String, TokenizerError> {
        self.render_chat_by(&self.template_for(chat)?, chat)
    }

    /// Returns the template of a conversation: the one for tools, where there is one and the conversation has tools.
    fn template_for(&self, chat: &Chat) -> Result<ChatTemplate, TokenizerError> {
        let wanted = if chat.has_tools() { "tool_use" } else { "default" };
        self.named_template(wanted).ok_or_else(|| {
            let place = self.folder().display().to_string();
            TokenizerError::refused("the tokenizer has no chat template", place, "name one: -t chatml, or a file")
        })
    }

    /// As [`render_chat`](Self::render_chat), by another template with this tokenizer's special tokens.
    ///
    /// # Errors
    /// [`TokenizerError::Refused`] if the template fails, does not end, or refuses the conversation.
    pub fn render_chat_by(&self, template: &ChatTemplate, chat: &Chat) -> Result<String, TokenizerError> {
        let tokens = self.named_tokens();
        let tokens = tokens.iter().map(|(name, text)| (name.as_str(), text.clone()));
        template.render(chat, &tokens.collect::<Vec<_>>())
    }
}
