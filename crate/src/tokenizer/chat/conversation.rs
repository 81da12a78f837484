//! The input of a chat template.

use std::path::Path;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::sealed::Sealed;
use crate::tokenizer::TokenizerError;
use crate::tokenizer::small_file;

/// A conversation to render, with the other values that templates may read.
#[derive(Clone, Debug)]
pub struct Chat {
    /// `messages`, `add_generation_prompt`, `tools`, `documents`, and whatever else the template reads.
    pub(super) fields: Sealed<Map<String, Value>>,
    /// What `strftime_now` takes for now.
    pub(super) now: Option<SystemTime>,
}

impl Chat {
    /// Messages of (role, text).
    pub fn of(messages: &[(&str, &str)]) -> Self {
        let messages = messages.iter().map(|(role, content)| json!({ "role": role, "content": content }));
        Self::with(json!({ "messages": messages.collect::<Vec<_>>() }))
    }

    fn with(fields: Value) -> Self {
        let Value::Object(fields) = fields else { return Self::of(&[]) };
        Self { fields: Sealed::new(fields), now: None }
    }

    /// Reads a conversation from a file, as [`from_json`](Self::from_json) does from a text.
    ///
    /// # Errors
    /// [`TokenizerError::Refused`] for a file that cannot be read or does not hold a conversation.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        Self::open_path(path.as_ref())
    }

    fn open_path(path: &Path) -> Result<Self, TokenizerError> {
        Self::from_json(&small_file::read(path, "conversation")?, &path.display().to_string())
    }

    /// A JSON list of messages, or an object with `messages` and more: `tools`, `documents`, what the template reads.
    ///
    /// # Errors
    /// [`TokenizerError::Refused`] for anything else; `origin` names the file.
    pub fn from_json(text: &str, origin: &str) -> Result<Self, TokenizerError> {
        let refused = |what: String, line: Option<usize>| {
            let advice = r#"write a list such as [{"role": "user", "content": "Hello"}]"#;
            TokenizerError::refused(what, small_file::place(origin, text, line), advice)
        };
        let value: Value = serde_json::from_str(text)
            .map_err(|error| refused(format!("the conversation is not JSON: {error}"), Some(error.line())))?;
        let fields = match value {
            Value::Array(messages) => json!({ "messages": messages }),
            Value::Object(fields) if fields.get("messages").is_some_and(Value::is_array) => Value::Object(fields),
            _ => return Err(refused("the conversation is not a list of messages".to_owned(), None)),
        };
        let messages = fields["messages"].as_array().into_iter().flatten();
        for (index, message) in messages.enumerate() {
            if !message.get("role").is_some_and(Value::is_string) {
                return Err(refused(format!("message {} has no `role`", index + 1), None));
            }
        }
        Ok(Self::with(fields))
    }

    /// Whether the text ends with the beginning of the assistant's turn.
    pub fn generation_prompt(self, add: bool) -> Self {
        self.argument("add_generation_prompt", json!(add))
    }

    /// Tools as JSON schemas.
    pub fn tools(self, tools: Value) -> Self {
        self.argument("tools", tools)
    }

    /// Something else that the template reads, such as `enable_thinking`.
    pub fn argument(mut self, name: &str, value: Value) -> Self {
        self.fields.insert(name.to_owned(), value);
        self
    }

    /// Takes this for the present moment, where a template writes the date.
    pub fn at(mut self, now: SystemTime) -> Self {
        self.now = Some(now);
        self
    }

    /// Returns who says each message.
    pub(super) fn roles(&self) -> Vec<String> {
        let messages = self.fields.get("messages").and_then(Value::as_array).into_iter().flatten();
        messages.map(|message| message["role"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The conversation up to its first `count` messages.
    pub(super) fn first(&self, count: usize) -> Self {
        let mut chat = self.clone();
        if let Some(messages) = chat.fields.get_mut("messages").and_then(Value::as_array_mut) {
            messages.truncate(count);
        }
        chat
    }

    pub(super) fn has_tools(&self) -> bool {
        self.fields.get("tools").is_some_and(|tools| !tools.is_null())
    }
}
