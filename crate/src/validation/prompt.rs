//! The token ids that comparisons of logits run on.

use crate::tokenizer::{TokenizerError, TokenizerFiles};

/// The prompt if none is given: long enough that rotary positions and grouping matter.
const PROMPT: &str = "The candle maker's workshop stood where two lanes met. Each morning she trimmed the wicks, \
                      melted the wax, and set the first row of candles out to cool before the market opened.";

/// At most this many tokens, unless a prompt is given.
pub(crate) const LONGEST: usize = 64;

/// Ids of the prompt, or of a built-in one; where there is no tokenizer that fits the vocabulary, ids from all over it.
///
/// # Errors
/// [`TokenizerError`] if a prompt was given and cannot be tokenized.
pub(crate) fn token_ids(
    prompt: Option<&str>,
    tokenizer: &TokenizerFiles,
    vocab_size: usize,
    max_positions: usize,
) -> Result<Vec<u32>, TokenizerError> {
    prompt_ids(prompt, tokenizer, vocab_size, max_positions, None)
}

/// As [`token_ids`], with ids from all over the vocabulary after them until there are `at_least` so many.
///
/// # Errors
/// As [`token_ids`].
pub(crate) fn prompt_ids(
    prompt: Option<&str>,
    tokenizer: &TokenizerFiles,
    vocab_size: usize,
    max_positions: usize,
    at_least: Option<usize>,
) -> Result<Vec<u32>, TokenizerError> {
    let spread = |index: usize| ((index * 7919 + 13) % vocab_size.max(1)) as u32;
    let mut ids = match (prompt, tokenizer.encode(prompt.unwrap_or(PROMPT))) {
        (Some(_), encoded) => encoded?,
        (None, Ok(ids)) if ids.iter().all(|&id| (id as usize) < vocab_size) => ids,
        (None, _) => (0..32).map(spread).collect(),
    };
    if prompt.is_none() {
        ids.truncate(LONGEST);
    }
    let missing = at_least.unwrap_or(0).saturating_sub(ids.len());
    ids.extend((0..missing).map(spread));
    ids.truncate(max_positions);
    Ok(ids)
}
