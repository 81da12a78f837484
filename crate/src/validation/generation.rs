//! A prompt that both sides continue greedily.

use serde_json::{Value, json};

use super::ReferenceModel;
use crate::model::{Batch, KvCache, ModelError, StreamedLm};
use crate::tokenizer::TokenizerFiles;

/// Tokens that each side adds.
const COUNT: usize = 16;

/// Two logits may change places between two correct implementations if they differ by less than this many tolerances.
const TIE: f32 = 2.0;

/// How both sides continued a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationTest {
    /// The prompt's text, or its ids where there is no tokenizer.
    pub prompt: String,
    /// The reference's continuation.
    pub reference: Continuation,
    /// The candle model's continuation.
    pub candle: Continuation,
    /// Where the two diverge, if they do.
    pub divergence: Option<Divergence>,
}

/// One side's tokens and their text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Continuation {
    /// The ids.
    pub ids: Vec<u32>,
    /// Their text; the ids where there is no tokenizer.
    pub text: String,
}

/// The first token that the two sides do not share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Divergence {
    /// Its number in the continuation, from 0.
    pub step: usize,
    /// By how much each side's best logit exceeds its second best there: the reference, then candle.
    pub margins: (f32, f32),
    /// By how much the logits of the two sides may differ.
    pub tolerance: f32,
}

impl GenerationTest {
    /// Returns true if the ids are equal, or diverge where two tokens have the same logit within rounding on both
    /// sides.
    pub fn passed(&self) -> bool {
        self.divergence.is_none_or(|divergence| divergence.is_tie())
    }
}

impl GenerationTest {
    /// Returns the test as JSON.
    pub fn report(&self) -> Value {
        let side = |side: &Continuation| json!({ "ids": side.ids, "text": side.text });
        json!({
            "passed": self.passed(),
            "prompt": self.prompt,
            "reference": side(&self.reference),
            "candle": side(&self.candle),
            "first_difference": self.divergence.map(|divergence| json!({
                "step": divergence.step,
                "reference_margin": divergence.margins.0,
                "candle_margin": divergence.margins.1,
            })),
        })
    }
}

impl Divergence {
    /// Returns true if rounding alone may decide between the two best tokens.
    pub fn is_tie(&self) -> bool {
        self.margins.0.max(self.margins.1) <= TIE * self.tolerance
    }
}

/// The two sides, and the columns of the vocabulary that may be chosen.
pub(crate) struct Judged<'a> {
    pub(crate) reference: &'a ReferenceModel<'a>,
    pub(crate) model: &'a StreamedLm<'a>,
    pub(crate) columns: &'a [u32],
    /// By how much their logits may differ.
    pub(crate) tolerance: f32,
}

/// A token and by how much its logit exceeds the second best.
#[derive(Clone, Copy)]
struct Choice {
    id: u32,
    margin: f32,
}

/// Continues `prompt` on both sides, up to a token of `stop` or the longest sequence that the model takes.
pub(crate) fn generation_test(
    sides: Judged<'_>,
    prompt: &[u32],
    longest: usize,
    stop: &[u32],
    tokenizer: &TokenizerFiles,
) -> Result<GenerationTest, ModelError> {
    // A prompt that fills the model's positions is cut, so that there is something to continue.
    let prompt = &prompt[..prompt.len().min(longest.saturating_sub(COUNT)).max(1)];
    let count = COUNT.min(longest - prompt.len());
    let candle = sides.draft(prompt, count, stop)?;
    let mut guess = candle.clone();
    let mut reference: Vec<Choice> = Vec::new();
    // One pass of the reference judges a whole guess: as long as its own choice is the guessed token, what follows is
    // its own continuation as well. Where it is not, candle guesses again from there.
    loop {
        let known: Vec<u32> = prompt.iter().copied().chain(reference.iter().map(|choice| choice.id)).collect();
        let mut ids = known.clone();
        ids.extend(guess.iter().take(guess.len().saturating_sub(1)).map(|choice| choice.id));
        let (logits, _) = sides.reference.forward(&ids)?;
        let vocab = logits.len() / ids.len();
        for (row, guessed) in logits.chunks_exact(vocab).skip(known.len() - 1).zip(&guess) {
            let own = best(row, sides.columns);
            reference.push(own);
            if own.id != guessed.id {
                break;
            }
        }
        if reference.len() >= count || reference.last().is_none_or(|last| stop.contains(&last.id)) {
            break;
        }
        let known: Vec<u32> = prompt.iter().copied().chain(reference.iter().map(|choice| choice.id)).collect();
        guess = sides.draft(&known, count - reference.len(), stop)?;
    }
    let divergence = reference.iter().zip(&candle).position(|(a, b)| a.id != b.id);
    let divergence = divergence.map(|step| Divergence {
        step,
        margins: (reference[step].margin, candle[step].margin),
        tolerance: sides.tolerance,
    });
    let told = |choices: &[Choice]| {
        let ids: Vec<u32> = choices.iter().map(|choice| choice.id).collect();
        Continuation { text: text_of(tokenizer, &ids), ids }
    };
    Ok(GenerationTest {
        prompt: text_of(tokenizer, prompt),
        reference: told(&reference),
        candle: told(&candle),
        divergence,
    })
}

impl Judged<'_> {
    /// Returns the candle model's continuation.
    fn draft(&self, prompt: &[u32], count: usize, stop: &[u32]) -> Result<Vec<Choice>, ModelError> {
        let mut cache = KvCache::new();
        let mut next = prompt.to_vec();
        let mut choices: Vec<Choice> = Vec::new();
        while choices.len() < count && choices.last().is_none_or(|last| !stop.contains(&last.id)) {
            crate::interrupt::check()?;
            if self.model.outgrows(cache.past_len(), cache.past_len() + next.len()) {
                cache = KvCache::new();
                next = prompt.iter().copied().chain(choices.iter().map(|choice| choice.id)).collect();
            }
            let logits = self.model.forward_cached(&Batch::new(vec![next])?, &mut cache)?;
            let choice = best(&logits[logits.len() - self.model.config().vocab_size..], self.columns);
            choices.push(choice);
            next = vec![choice.id];
        }
        Ok(choices)
    }
}

/// Returns the column of the largest logit.
fn best(row: &[f32], columns: &[u32]) -> Choice {
    let (mut choice, mut top, mut second) = (0, f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &id in columns {
        let Some(&logit) = row.get(id as usize) else { continue };
        if logit > top {
            (choice, second, top) = (id, top, logit);
        } else if logit > second {
            second = logit;
        }
    }
    Choice { id: choice, margin: top - second }
}

fn text_of(tokenizer: &TokenizerFiles, ids: &[u32]) -> String {
    let decoded = tokenizer.tokenizer().ok().and_then(|tokenizer| tokenizer.decode(ids, false).ok());
    decoded.unwrap_or_else(|| format!("{ids:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_column_is_chosen_among_those_that_count() {
        let row = [9.0, 1.0, 4.0, 3.5];
        let choice = best(&row, &[1, 2, 3]);
        assert_eq!((choice.id, choice.margin), (2, 0.5));
    }

    #[test]
    fn divergence_at_a_tie_passes_and_at_a_difference_fails() {
        let test = |margins| GenerationTest {
            prompt: String::new(),
            reference: Continuation::default(),
            candle: Continuation::default(),
            divergence: Some(Divergence { step: 3, margins, tolerance: 1e-3 }),
        };
        assert!(test((1e-4, 2e-4)).passed());
        assert!(!test((1e-4, 0.5)).passed());
    }
}
