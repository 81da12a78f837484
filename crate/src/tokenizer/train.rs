//! Training of byte-level BPE vocabularies. The same texts give the same bytes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    Tokenizer,
};

use super::corpus::{Pieces, expand};
use super::{TokenizerError, TokenizerFiles};
use crate::Setting;
use crate::interrupt;
use crate::progress::Progress;

/// The special tokens that every trained vocabulary begins with: their order is their ids, from 0.
pub const SPECIAL_TOKENS: &[&str] = &["<|BOS|>", "<|PAD|>", "<|EOS|>", "<|UNK|>", "<|im_start|>", "<|im_end|>"];

/// Bytes of text that are held at once.
const BATCH: usize = 8 << 20;

/// A training to be run; made by [`train_tokenizer`].
#[derive(Clone, Debug)]
#[must_use = "training does nothing until it is run"]
pub struct Training {
    vocab_size: usize,
    files: Vec<String>,
    text_field: Option<String>,
    max_length: usize,
    special_tokens: Vec<String>,
}

/// The result of a training.
#[derive(Clone, Debug)]
pub struct TrainedTokenizer {
    /// The files of the tokenizer.
    pub files: TokenizerFiles,
    /// The texts it was trained on.
    pub texts: Vec<PathBuf>,
    /// Their size in bytes.
    pub bytes: u64,
    /// Different words in them: the text between white space and punctuation, as the byte-level splitting sees it.
    pub words: usize,
    /// Tokens, special ones included.
    pub vocab_size: usize,
    /// How long reading and counting took.
    pub counting: Duration,
    /// How long the merging took.
    pub merging: Duration,
}

/// Trains a vocabulary of exactly this many tokens, special ones included.
///
/// ```no_run
/// let trained = chandlery::tokenizer::train_tokenizer(4000).files(["texts/**/*.txt"]).run()?;
/// trained.write("my_tokenizer")?;
/// # Ok::<(), chandlery::tokenizer::TokenizerError>(())
/// ```
pub fn train_tokenizer(vocab_size: usize) -> Training {
    Training { vocab_size, files: Vec::new(), text_field: None, max_length: 2048, special_tokens: Vec::new() }
}

impl Training {
    /// The texts: paths, or patterns with `*`, `?` and `**`.
    pub fn files(mut self, files: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.files.extend(files.into_iter().map(Into::into));
        self
    }

    /// Reads the files as JSON lines and takes this field of each as a text.
    pub fn text_field(mut self, field: impl Setting<String>) -> Self {
        self.text_field = field.into_setting();
        self
    }

    /// The longest sequence, in tokens, that the tokenizer declares (`model_max_length`, default 2048).
    pub fn max_length(mut self, tokens: usize) -> Self {
        self.max_length = tokens;
        self
    }

    /// Special tokens after the six of [`SPECIAL_TOKENS`].
    pub fn special_tokens(mut self, tokens: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.special_tokens.extend(tokens.into_iter().map(Into::into));
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`TokenizerError::Text`] for texts that cannot be read or are too few, [`TokenizerError::Interrupted`].
    pub fn run(&self) -> Result<TrainedTokenizer, TokenizerError> {
        let mut special: Vec<&str> = SPECIAL_TOKENS.to_vec();
        for token in &self.special_tokens {
            if token.trim().is_empty() || special.contains(&token.as_str()) {
                return Err(TokenizerError::Text {
                    what: format!("the special token `{token}` is empty or listed already"),
                    place: "--special-tokens".to_owned(),
                    advice: "leave it out".to_owned(),
                });
            }
            special.push(token);
        }
        let least = special.len() + 256;
        if self.vocab_size < least {
            return Err(TokenizerError::Text {
                what: format!("a vocabulary of {} tokens is too small", self.vocab_size),
                place: "--vocab-size".to_owned(),
                advice: format!("ask for {least} or more: {} special tokens and the 256 bytes", special.len()),
            });
        }
        let texts = expand(&self.files)?;
        let began = Instant::now();
        let (counts, bytes) = self.count(&texts)?;
        let (words, counting) = (counts.len(), began.elapsed());
        let began = Instant::now();
        let tokenizer = self.merge(counts, &special)?;
        let found = tokenizer.get_vocab_size(true);
        if found != self.vocab_size {
            return Err(TokenizerError::Text {
                what: format!("the texts give {found} tokens, not {}", self.vocab_size),
                place: format!("{} files, {bytes} bytes, {words} different words", texts.len()),
                advice: format!("add texts, or ask for {found} tokens or fewer"),
            });
        }
        let files = self.written(&tokenizer)?;
        Ok(TrainedTokenizer { files, texts, bytes, words, vocab_size: found, counting, merging: began.elapsed() })
    }

    /// How often each word occurs, and the bytes read.
    fn count(&self, texts: &[PathBuf]) -> Result<(HashMap<String, u64>, u64), TokenizerError> {
        let total = texts.iter().filter_map(|text| text.metadata().ok()).map(|text| text.len()).sum();
        let meter = Progress::of_work("counting words", total);
        let mut counts: HashMap<String, u64> = HashMap::new();
        let mut batch: Vec<String> = Vec::new();
        let (mut held, mut bytes) = (0, 0);
        let mut take = |batch: &mut Vec<String>| -> Result<(), TokenizerError> {
            let counted: Vec<HashMap<String, u64>> =
                batch.par_iter().map(|text| words(text)).collect::<Result<_, _>>()?;
            for (word, count) in counted.into_iter().flatten() {
                *counts.entry(word).or_default() += count;
            }
            batch.clear();
            Ok(())
        };
        for text in texts {
            let mut pieces = Pieces::open(text, self.text_field.as_deref())?;
            while let Some(piece) = pieces.next_piece()? {
                held += piece.len();
                batch.push(piece);
                if held >= BATCH {
                    interrupt::check()?;
                    take(&mut batch)?;
                    meter.inc(held as u64);
                    bytes += std::mem::take(&mut held) as u64;
                }
            }
        }
        take(&mut batch)?;
        meter.inc(held as u64);
        meter.finish();
        interrupt::check()?;
        Ok((counts, bytes + held as u64))
    }

    fn merge(&self, counts: HashMap<String, u64>, special: &[&str]) -> Result<Tokenizer, TokenizerError> {
        let special: Vec<AddedToken> = special.iter().map(|token| AddedToken::from(*token, true)).collect();
        let trainer = BpeTrainer::builder()
            .vocab_size(self.vocab_size)
            .min_frequency(0)
            .special_tokens(special.clone())
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .show_progress(false)
            .build();
        let mut model = BPE::builder().unk_token("<|UNK|>".to_owned()).build().map_err(failed)?;
        let counts = counts.into_iter().map(|(word, count)| (word.into(), count)).collect();
        trainer.do_train(&counts, &mut model).map_err(failed)?;
        let template = TemplateProcessing::builder()
            .try_single("<|BOS|> $A")
            .and_then(|template| template.try_pair("<|BOS|> $A <|BOS|>:1 $B:1"))
            .map_err(|reason| failed(reason.into()))?
            .special_tokens(vec![("<|BOS|>", 0)])
            .build()
            .map_err(|error| failed(error.to_string().into()))?;
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_normalizer(Some(NFC)).map_err(failed)?;
        tokenizer.with_pre_tokenizer(Some(splitting()));
        tokenizer.with_post_processor(Some(template));
        tokenizer.with_decoder(Some(ByteLevel::default()));
        tokenizer.add_special_tokens(special).map_err(failed)?;
        Ok(tokenizer)
    }

    fn written(&self, tokenizer: &Tokenizer) -> Result<TokenizerFiles, TokenizerError> {
        let roles = json!({
            "bos_token": "<|BOS|>",
            "eos_token": "<|EOS|>",
            "pad_token": "<|PAD|>",
            "unk_token": "<|UNK|>",
        });
        let mut config = json!({
            "clean_up_tokenization_spaces": false,
            "model_max_length": self.max_length,
            "padding_side": "right",
            "tokenizer_class": "PreTrainedTokenizerFast",
            "truncation_side": "right",
        });
        if let (Value::Object(config), Value::Object(roles)) = (&mut config, &roles) {
            config.extend(roles.clone());
            config.sort_keys();
        }
        let files = vec![
            // Compact: indented, it is twice as large.
            ("tokenizer.json".to_owned(), format!("{}\n", tokenizer.to_string(false).map_err(failed)?).into_bytes()),
            ("tokenizer_config.json".to_owned(), format!("{config:#}\n").into_bytes()),
            ("special_tokens_map.json".to_owned(), format!("{roles:#}\n").into_bytes()),
        ];
        Ok(TokenizerFiles::from_parts("the trained tokenizer", files))
    }
}

impl TrainedTokenizer {
    /// Writes its files into a new or an empty folder, all of them or none.
    ///
    /// # Errors
    /// [`TokenizerError::Folder`] if the folder holds something or cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<(), TokenizerError> {
        self.files.write(folder)
    }

    /// As [`write`](Self::write), with `force` also over the tokenizer of a folder that holds one.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_into(&self, folder: &Path, force: bool) -> Result<(), TokenizerError> {
        self.files.write_into(folder, force)
    }
}

/// GPT-2's rule for splitting a text into words.
fn splitting() -> ByteLevel {
    ByteLevel::new(false, true, true)
}

/// Returns the words of a text and how often each occurs.
fn words(text: &str) -> Result<HashMap<String, u64>, TokenizerError> {
    let mut normalized = NormalizedString::from(text);
    NFC.normalize(&mut normalized).map_err(failed)?;
    let mut split = PreTokenizedString::from(normalized);
    splitting().pre_tokenize(&mut split).map_err(failed)?;
    let mut counts = HashMap::new();
    for (word, ..) in split.get_splits(OffsetReferential::Original, OffsetType::Byte) {
        match counts.get_mut(word) {
            Some(count) => *count += 1,
            None => {
                counts.insert(word.to_owned(), 1);
            }
        }
    }
    Ok(counts)
}

fn failed(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Failed { folder: "the training".into(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_trained_says_why() {
        let error = train_tokenizer(100).run().unwrap_err().to_string();
        assert!(error.contains("ask for 262 or more"), "{error}");
        let error = train_tokenizer(300).special_tokens(["<|EOS|>"]).run().unwrap_err().to_string();
        assert!(error.contains("`<|EOS|>` is empty or listed already"), "{error}");
        let error = train_tokenizer(300).files(["gone/*.txt"]).run().unwrap_err().to_string();
        assert!(error.contains("no such file") && error.contains("gone/*.txt"), "{error}");
    }

    #[test]
    fn words_are_split_as_gpt_2_does() {
        let mut found: Vec<_> = words("a word, a word\n").unwrap().into_iter().collect();
        found.sort();
        let expected = [(",", 1), ("a", 1), ("Ċ", 1), ("Ġa", 1), ("Ġword", 2)];
        assert_eq!(found, expected.map(|(word, count)| (word.to_owned(), count)));
    }
}
