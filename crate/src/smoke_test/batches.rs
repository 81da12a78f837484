//! The batches of the steps: random tokens, or the blocks of a dataset.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::error::SmokeTestError;
use crate::dataset::{Block, Collator, Dataset, LabeledBatch};
use crate::model::ModelError;
use crate::tokenizer::TokenizerError;

/// An endless source of batches of one shape.
pub(super) struct Batches {
    rows: usize,
    collator: Collator,
    source: Source,
}

enum Source {
    /// Uniform ids below a vocabulary size.
    Random { random: Box<ChaCha8Rng>, vocabulary: u32 },
    /// Blocks in order, starting again when they are used up.
    Blocks { dataset: Dataset, next: usize },
}

impl Batches {
    /// Ids below `vocabulary`. With `packed`, each row holds documents of random lengths.
    pub(super) fn random(
        seed: u64,
        vocabulary: u32,
        rows: usize,
        sequence_length: usize,
        packed: Option<bool>,
    ) -> Self {
        // The name of the stream is part of the seed: another name would change every loss.
        let random = Box::new(crate::model::random_stream(seed, "kicktest batches"));
        let collator = Collator { sequence_length, packed, pad: 0, eos: None };
        Self { rows, collator, source: Source::Random { random, vocabulary } }
    }

    pub(super) fn of(dataset: Dataset, rows: usize, sequence_length: usize, packed: Option<bool>) -> Self {
        let collator = dataset.collator(sequence_length, packed);
        Self { rows, collator, source: Source::Blocks { dataset, next: 0 } }
    }

    /// Returns the next batch.
    pub(super) fn draw(&mut self) -> Result<LabeledBatch, ModelError> {
        let length = self.collator.sequence_length;
        let documents = self.collator.packed == Some(true);
        let mut block = || match &mut self.source {
            Source::Random { random, vocabulary } => {
                let input_ids = (0..length).map(|_| random.random_range(0..*vocabulary)).collect();
                let document_starts = documents.then(|| random_starts(random, length));
                Block { input_ids, document_starts, context: Vec::new() }
            }
            Source::Blocks { dataset, next } => {
                let blocks = dataset.blocks();
                let block = blocks[*next % blocks.len()].clone();
                *next += 1;
                block
            }
        };
        let blocks: Vec<Block> = (0..self.rows).map(|_| block()).collect();
        self.collator.collate(&blocks)
    }

    /// Returns what it is, in a line.
    pub(super) fn description(&self) -> String {
        let packed = match self.collator.packed {
            Some(true) => ", packed",
            Some(false) => ", documents not kept apart",
            None => "",
        };
        match &self.source {
            Source::Random { vocabulary, .. } => format!("random tokens below {vocabulary}{packed}"),
            Source::Blocks { dataset, .. } => {
                let more = if dataset.is_complete() { "" } else { " or more" };
                format!(
                    "{}: {}{more} blocks of at most {} tokens, packing {}{packed}",
                    dataset.title(),
                    dataset.blocks().len(),
                    dataset.block_length(),
                    dataset.packing()
                )
            }
        }
    }

    /// Returns how often the dataset's blocks were gone through so far; `None` for random tokens.
    pub(super) fn passes(&self) -> Option<f64> {
        match &self.source {
            Source::Random { .. } => None,
            Source::Blocks { dataset, next } => Some(*next as f64 / dataset.blocks().len().max(1) as f64),
        }
    }
}

/// Documents of 1 token to half a row.
fn random_starts(random: &mut ChaCha8Rng, length: usize) -> Vec<u32> {
    let mut starts = Vec::new();
    let mut start = 0;
    while start < length {
        starts.push(start as u32);
        start += random.random_range(1..=(length / 2).max(1));
    }
    starts
}

/// Returns the ids that random batches may use: those that model and tokenizer both have.
pub(super) fn vocabulary(construction: &crate::construct::Construction) -> Result<u32, SmokeTestError> {
    let model = construction.config.vocab_size;
    let tokenizer = match construction.tokenizer.tokenizer() {
        Ok(tokenizer) => tokenizer.get_vocab_size(true),
        Err(TokenizerError::Missing { .. } | TokenizerError::SlowOnly { .. }) => model,
        Err(error) => return Err(error.into()),
    };
    Ok(model.min(tokenizer).max(1) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_batches_follow_their_seed_within_the_vocabulary() {
        let draw = |seed| Batches::random(seed, 11, 3, 40, None).draw().unwrap();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(1).batch.input_ids.iter().flatten().all(|&id| id < 11));
        assert!(draw(1).labels.iter().flatten().all(|&label| label >= 0));
    }

    #[test]
    fn packed_random_rows_hold_several_documents() {
        let made = Batches::random(1, 11, 2, 40, Some(true)).draw().unwrap();
        let positions = made.batch.position_ids.unwrap();
        for (positions, labels) in positions.iter().zip(&made.labels) {
            let starts = positions.iter().filter(|&&position| position == 0).count();
            assert!(starts >= 2);
            assert_eq!(labels.iter().filter(|&&label| label < 0).count(), starts - 1);
        }
    }
}
