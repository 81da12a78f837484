//! A tokenizer's summary: numbers and an example.

use serde_json::Value;

use super::{ROLES, TokenizerError, TokenizerFiles};

/// The example that is split when no text is given.
const SAMPLE: &str = "The chandler lit 12 candles; déjà vu!\n    return x + 1";

/// A special token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialToken {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub content: String,
    /// The role it has in `tokenizer_config.json`, such as `bos_token`.
    pub role: Option<&'static str>,
}

/// A piece of the example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleToken {
    /// Its id.
    pub id: u32,
    /// The text it covers; empty for a token that was added, and for the later tokens of one character.
    pub text: String,
    /// The token itself, in the vocabulary's spelling.
    pub token: String,
}

/// A tokenizer's summary; made by [`TokenizerFiles::summary`].
#[derive(Clone, Debug)]
pub struct TokenizerSummary {
    /// The name that was given.
    pub title: String,
    /// Tokens, added ones included.
    pub vocab_size: usize,
    /// `BPE`, `Unigram`, ...
    pub model: String,
    /// `model_max_length` of `tokenizer_config.json`, in tokens.
    pub max_length: Option<u64>,
    /// Special tokens by id.
    pub special_tokens: Vec<SpecialToken>,
    /// True if it brings a chat template.
    pub chat_template: bool,
    /// The example's text.
    pub sample: String,
    /// The example, split.
    pub split: Vec<SampleToken>,
}

impl TokenizerFiles {
    /// Summarizes the tokenizer and splits `sample`, or a text of ours.
    ///
    /// # Errors
    /// [`TokenizerError`] if there is no tokenizer or it fails.
    pub fn summary(&self, title: &str, sample: Option<&str>) -> Result<TokenizerSummary, TokenizerError> {
        let tokenizer = self.tokenizer()?;
        let roles = ROLES.map(|role| (role, self.role(role)));
        let added = tokenizer.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special);
        let mut special_tokens: Vec<SpecialToken> = added
            .map(|(id, token)| SpecialToken {
                id,
                content: token.content,
                role: roles.iter().find(|(_, known)| *known == Some(id)).map(|(role, _)| *role),
            })
            .collect();
        special_tokens.sort_by_key(|token| token.id);
        let sample = sample.unwrap_or(SAMPLE);
        let failed =
            |error: tokenizers::Error| TokenizerError::Failed { folder: title.into(), reason: error.to_string() };
        let encoding = tokenizer.encode(sample, true).map_err(failed)?;
        let pieces = encoding.get_ids().iter().zip(encoding.get_tokens()).zip(encoding.get_offsets());
        let mut covered = 0;
        let split = pieces.map(|((id, token), (begin, end))| {
            let text = if *begin < covered { "" } else { sample.get(*begin..*end).unwrap_or_default() };
            covered = covered.max(*end);
            SampleToken { id: *id, text: text.to_owned(), token: token.clone() }
        });
        let config = self.json("tokenizer_config.json");
        let definition = self.json("tokenizer.json");
        let model = definition.as_ref().and_then(|definition| definition["model"]["type"].as_str()).unwrap_or("BPE");
        Ok(TokenizerSummary {
            title: title.to_owned(),
            vocab_size: tokenizer.get_vocab_size(true),
            model: model.to_owned(),
            max_length: config.and_then(|config| config.get("model_max_length").and_then(Value::as_u64)),
            special_tokens,
            chat_template: self.has_chat_template(),
            sample: sample.to_owned(),
            split: split.collect(),
        })
    }
}
