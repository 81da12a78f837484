//! From a configuration to blocks of token ids.

use polars::prelude::{Column, DataFrame};
use rand::seq::SliceRandom;
use serde_json::{Value, json};

use super::chats::{marked_tokens, unmark};
use super::declaration::Packing;
use super::pack::{Block, pack};
use super::read::{documents, unreadable};
use super::{Collator, DatasetConfig, DatasetError};
use crate::interrupt;
use crate::sealed::Sealed;
use crate::tokenizer::{TokenizerError, TokenizerFiles};

/// A loaded dataset: its documents as a frame, and their tokens in blocks.
#[derive(Clone, Debug)]
pub struct Dataset {
    title: String,
    packing: Packing,
    block_length: usize,
    frame: Sealed<DataFrame>,
    blocks: Sealed<Vec<Block>>,
    tokens: u64,
    cut: usize,
    complete: bool,
    pad: u32,
    eos: Option<u32>,
}

/// Documents tokenized at a time, between two checks of the interrupt flag.
const CHUNK: usize = 256;

impl Dataset {
    /// `enough`: stop when the documents so far surely fill this many blocks.
    pub(super) fn load(
        config: &DatasetConfig,
        tokenizer: &TokenizerFiles,
        sequence_length: usize,
        enough: Option<usize>,
    ) -> Result<Self, DatasetError> {
        let settings = &config.settings;
        let block_length = settings.block_length.unwrap_or(sequence_length);
        let refuse = |what: String, advice: &str| DatasetError::Content {
            what,
            place: config.place(),
            advice: advice.to_owned(),
        };
        if block_length == 0 || block_length > sequence_length {
            let what = format!("blocks of {block_length} tokens do not fit a sequence length of {sequence_length}");
            return Err(refuse(what, "give a block_length from 1 to the sequence length"));
        }
        let bos = special(tokenizer, "bos_token", settings.tokenizer.add_bos, config)?;
        let eos = special(tokenizer, "eos_token", settings.tokenizer.add_eos, config)?;
        let frame = read_all(config)?;
        let wanted = |ids: &[Vec<u32>], tokens: u64| match (enough, settings.packing) {
            (None, _) => false,
            (Some(blocks), Packing::None) => ids.len() >= blocks,
            (Some(blocks), _) => tokens >= (blocks * block_length) as u64,
        };
        let mut ids: Vec<Vec<u32>> = Vec::with_capacity(frame.height());
        let mut tokens = 0;
        let texts = frame.column("text").and_then(|column| column.str().cloned());
        let texts = texts.map_err(|error| unreadable(&config.place(), &error))?;
        let engine = tokenizer.tokenizer()?;
        while ids.len() < frame.height() && !wanted(&ids, tokens) {
            interrupt::check()?;
            let until = (ids.len() + CHUNK).min(frame.height());
            let chunk: Vec<&str> = (ids.len()..until).map(|index| texts.get(index).unwrap_or_default()).collect();
            if settings.messages.is_some() {
                for chat in chunk {
                    let marked = marked_tokens(tokenizer, chat, &config.place())?;
                    tokens += marked.len() as u64;
                    ids.push(marked);
                }
                continue;
            }
            let encoded = engine
                .encode_batch(chunk, false)
                .map_err(|error| TokenizerError::Failed { folder: config.place().into(), reason: error.to_string() })?;
            for encoding in encoded {
                let document: Vec<u32> = bos.into_iter().chain(encoding.get_ids().iter().copied()).chain(eos).collect();
                tokens += document.len() as u64;
                ids.push(document);
            }
        }
        let complete = ids.len() == frame.height();
        let mut packed = pack(&ids, settings.packing, block_length);
        if settings.messages.is_some() {
            packed.blocks.iter_mut().for_each(|block| block.context = unmark(&mut block.input_ids));
        }
        if packed.blocks.is_empty() {
            return Err(refuse("the files contain no tokens".to_owned(), "check `files` and `text`"));
        }
        let mut frame = frame.head(Some(ids.len()));
        let lengths: Vec<u64> = ids.iter().map(|ids| ids.len() as u64).collect();
        frame
            .with_column(Column::new("tokens".into(), lengths))
            .map_err(|error| unreadable(&config.place(), &error))?;
        let role = |name| tokenizer.role(name);
        Ok(Self {
            title: config.title(),
            packing: settings.packing,
            block_length,
            frame: Sealed::new(frame),
            blocks: Sealed::new(packed.blocks),
            tokens,
            cut: packed.cut,
            complete,
            pad: role("pad_token").or_else(|| role("eos_token")).unwrap_or(0),
            eos: role("eos_token"),
        })
    }

    /// One row per document: `file`, `row` (or the line where its text begins), `text`, `tokens`.
    pub fn frame(&self) -> DataFrame {
        (*self.frame).clone()
    }

    /// Returns the blocks in order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Project and configuration.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// How documents were put into blocks.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// Returns the maximum number of tokens in a block.
    pub fn block_length(&self) -> usize {
        self.block_length
    }

    /// Tokens of all documents, including those that were cut off.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Tokens at the ends of documents that are in no block.
    pub fn cut_tokens(&self) -> usize {
        self.cut
    }

    /// False if reading stopped early because a test run needs no more.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Share of the blocks' places that hold tokens (0 to 1); the rest is padding.
    pub fn density(&self) -> f64 {
        (self.tokens - self.cut as u64) as f64 / (self.blocks.len() * self.block_length).max(1) as f64
    }

    /// Makes batches of its blocks.
    pub fn collator(&self, sequence_length: usize, packed: Option<bool>) -> Collator {
        Collator { sequence_length, packed, pad: self.pad, eos: self.eos }
    }

    /// Returns the facts as JSON.
    pub fn report(&self) -> Value {
        json!({
            "title": self.title,
            "packing": self.packing.name(),
            "block_length": self.block_length,
            "documents": self.frame.height(),
            "blocks": self.blocks.len(),
            "tokens": self.tokens,
            "cut_tokens": self.cut,
            "density": self.density(),
            "complete": self.complete,
        })
    }
}

/// Returns the id to add, by what the configuration says and the tokenizer has.
fn special(
    tokenizer: &TokenizerFiles,
    role: &str,
    add: Option<bool>,
    config: &DatasetConfig,
) -> Result<Option<u32>, DatasetError> {
    match (add, tokenizer.role(role)) {
        (Some(false), _) => Ok(None),
        (Some(true), None) => Err(DatasetError::Content {
            what: format!("the tokenizer has no {role}"),
            place: config.place(),
            advice: format!("take add_{} out of the configuration, or use another tokenizer", &role[..3]),
        }),
        (_, id) => Ok(id),
    }
}

/// All documents of all files with the file's name, shuffled and limited as the configuration says.
fn read_all(config: &DatasetConfig) -> Result<DataFrame, DatasetError> {
    let settings = &config.settings;
    let fault = |error: polars::prelude::PolarsError| unreadable(&config.place(), &error);
    // A shuffled selection must choose among all documents.
    let most = if settings.shuffle_seed.is_some() { None } else { settings.limit };
    let mut all: Option<DataFrame> = None;
    for file in config.files()? {
        interrupt::check()?;
        let left = most.map(|most| most.saturating_sub(all.as_ref().map_or(0, DataFrame::height)));
        if left == Some(0) {
            break;
        }
        let mut frame = documents(config, &file, left)?;
        let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        frame.insert_column(0, Column::new("file".into(), vec![name; frame.height()])).map_err(fault)?;
        all = match all {
            Some(mut all) => {
                all.vstack_mut(&frame).map_err(fault)?;
                Some(all)
            }
            None => Some(frame),
        };
    }
    let Some(mut frame) = all else {
        return Err(DatasetError::Content {
            what: "there are no documents to read".to_owned(),
            place: config.place(),
            advice: "check `files` and `limit` in the configuration".to_owned(),
        });
    };
    if let Some(seed) = settings.shuffle_seed {
        let mut order: Vec<u32> = (0..frame.height() as u32).collect();
        order.shuffle(&mut crate::model::random_stream(seed, "dataset order"));
        let order = polars::prelude::IdxCa::from_vec("order".into(), order);
        frame = frame.take(&order).map_err(fault)?;
        if let Some(limit) = settings.limit {
            frame = frame.head(Some(limit));
        }
    }
    Ok(frame)
}
