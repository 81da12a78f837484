//! What becomes of a model's tokenizer: the options that all commands share.

use super::{AddTokens, ChatTemplate, TokenizerError};

/// What becomes of the tokenizer of a model folder. Every builder that carries one has a setter for each of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenOptions {
    /// The tokens to add: a YAML file, or the name of a built-in list (`chatml`).
    pub add_tokens: Option<String>,
    /// Adds no `[PAD]` where the tokenizer has no padding token.
    pub skip_default_tokens: bool,
    /// The rows of the embedding are rounded up to a multiple of this number.
    pub pad_to_multiple: Option<usize>,
    /// The chat template: a file, or the name of a built-in one (`chatml`, `llama3` …).
    pub chat_template: Option<String>,
}

impl TokenOptions {
    /// Returns whether tokens or rows were asked for. What is merely usual must not fail a command.
    pub(crate) fn changes_rows(&self) -> bool {
        self.add_tokens.is_some() || self.pad_to_multiple.is_some()
    }

    /// Returns the tokens to add: those that were named, else `[PAD]` where it is missing, else none.
    pub(crate) fn tokens(&self) -> Result<AddTokens, TokenizerError> {
        match &self.add_tokens {
            Some(name) => AddTokens::open(name),
            None if self.skip_default_tokens => AddTokens::from_yaml("{}", "no tokens"),
            None => Ok(AddTokens::default_pad()),
        }
    }

    /// Returns the chat template that was named.
    pub(crate) fn template(&self) -> Result<Option<ChatTemplate>, TokenizerError> {
        self.chat_template.as_deref().map(ChatTemplate::open).transpose()
    }
}

/// The setters of a builder with a field `tokens`, a [`TokenOptions`].
macro_rules! token_setters {
    () => {
        /// Sets all options of the tokenizer at once.
        pub fn token_options(mut self, options: crate::tokenizer::TokenOptions) -> Self {
            self.tokens = options;
            self
        }

        /// Adds the tokens of this YAML file, or of a built-in list by its name (`chatml`). Without it, `[PAD]` is added
        /// where the tokenizer has no padding token.
        pub fn add_tokens(mut self, name_or_path: impl crate::Setting<String>) -> Self {
            self.tokens.add_tokens = name_or_path.into_setting();
            self
        }

        /// Adds no `[PAD]` where the tokenizer has no padding token.
        pub fn skip_default_tokens(mut self, skip: bool) -> Self {
            self.tokens.skip_default_tokens = skip;
            self
        }

        /// Rounds the rows of the embedding up to a multiple of this number.
        pub fn pad_to_multiple(mut self, rows: impl crate::Setting<usize>) -> Self {
            self.tokens.pad_to_multiple = rows.into_setting();
            self
        }

        /// Gives the tokenizer this chat template: a file, or a built-in one by its name (`chatml`, `llama3` …).
        pub fn chat_template(mut self, name_or_path: impl crate::Setting<String>) -> Self {
            self.tokens.chat_template = name_or_path.into_setting();
            self
        }
    };
}
pub(crate) use token_setters;
