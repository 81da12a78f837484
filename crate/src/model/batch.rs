//! The input of a forward pass: rectangular rows of token ids, with masks and positions where they matter.

use serde::Deserialize;
use serde_json::Value;

use super::ModelError;

/// Token ids `[batch, seq]` with an optional padding mask and optional positions of the same shape.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Batch {
    /// Token ids.
    pub input_ids: Vec<Vec<u32>>,
    /// 1 where a token is real, 0 where it is padding.
    #[serde(default)]
    pub attention_mask: Option<Vec<Vec<u8>>>,
    /// The position of each token; rows whose positions restart hold several documents, which do not attend to each other.
    #[serde(default)]
    pub position_ids: Option<Vec<Vec<u32>>>,
}

impl Batch {
    /// A batch without padding.
    ///
    /// # Errors
    /// [`ModelError::Batch`] if it is empty or not rectangular.
    pub fn new(input_ids: Vec<Vec<u32>>) -> Result<Self, ModelError> {
        Self { input_ids, attention_mask: None, position_ids: None }.checked("input_ids")
    }

    /// Reads `[[1, 2], [3, 4]]` or `{"input_ids": …, "attention_mask": …, "position_ids": …}`.
    ///
    /// # Errors
    /// [`ModelError::Batch`] for anything else; `origin` names the file in the message.
    pub fn from_json(json: &Value, origin: &str) -> Result<Self, ModelError> {
        let read = |value: &Value| match value {
            Value::Array(_) => serde_json::from_value(value.clone()).map(|input_ids| Self {
                input_ids,
                attention_mask: None,
                position_ids: None,
            }),
            other => serde_json::from_value(other.clone()),
        };
        read(json)
            .map_err(|error| ModelError::Batch {
                what: format!("the token ids cannot be read: {error}"),
                origin: origin.to_owned(),
                advice: "write a list of equally long lists of ids, such as [[1, 2, 3], [4, 5, 6]]".to_owned(),
            })?
            .checked(origin)
    }

    fn checked(self, origin: &str) -> Result<Self, ModelError> {
        let seq = self.input_ids.first().map_or(0, Vec::len);
        let fault = |what: String| ModelError::Batch {
            what,
            origin: origin.to_owned(),
            advice: "make all rows equally long; pad short ones and mark the padding 0 in attention_mask".to_owned(),
        };
        if seq == 0 {
            return Err(fault("the batch has no tokens".to_owned()));
        }
        for (row, ids) in self.input_ids.iter().enumerate() {
            if ids.len() != seq {
                return Err(fault(format!("row {row} has {} tokens, row 0 has {seq}", ids.len())));
            }
        }
        let shapes = [
            ("attention_mask", self.attention_mask.as_ref().map(|rows| rows.iter().map(Vec::len).collect::<Vec<_>>())),
            ("position_ids", self.position_ids.as_ref().map(|rows| rows.iter().map(Vec::len).collect())),
        ];
        for (name, lengths) in shapes {
            if lengths.is_some_and(|lengths| lengths != vec![seq; self.input_ids.len()]) {
                return Err(fault(format!("{name} is not [{}, {seq}] as input_ids is", self.input_ids.len())));
            }
        }
        Ok(self)
    }

    /// Returns rows and tokens per row.
    pub fn dims(&self) -> (usize, usize) {
        (self.input_ids.len(), self.input_ids.first().map_or(0, Vec::len))
    }

    /// Checks that every id names a row of the embedding.
    ///
    /// # Errors
    /// [`ModelError::Batch`] with the first id that does not.
    pub fn check_vocabulary(&self, vocab_size: usize) -> Result<(), ModelError> {
        for (row, ids) in self.input_ids.iter().enumerate() {
            if let Some(column) = ids.iter().position(|&id| id as usize >= vocab_size) {
                return Err(ModelError::Batch {
                    what: format!("token id {} is not below the vocabulary size {vocab_size}", ids[column]),
                    origin: format!("input_ids, row {row}, column {column}"),
                    advice: "use the tokenizer that belongs to this model".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Checks that every position has a row in a table of `max_positions`.
    pub(super) fn check_positions(&self, max_positions: usize, past_len: usize) -> Result<(), ModelError> {
        for (row, positions) in self.positions(past_len).iter().enumerate() {
            if let Some(column) = positions.iter().position(|&position| position as usize >= max_positions) {
                let (_, seq) = self.dims();
                return Err(ModelError::Batch {
                    what: format!(
                        "position {} is beyond the {max_positions} that the model learned",
                        positions[column]
                    ),
                    origin: match &self.position_ids {
                        Some(_) => format!("position_ids, row {row}, column {column}"),
                        None => format!("a row of {} tokens", past_len + seq),
                    },
                    advice: format!("give at most {max_positions} tokens (max_position_embeddings in config.json)"),
                });
            }
        }
        Ok(())
    }

    /// Returns the given positions, or positions counted from `past_len`.
    pub(super) fn positions(&self, past_len: usize) -> Vec<Vec<u32>> {
        let (_, seq) = self.dims();
        match &self.position_ids {
            Some(positions) => positions.clone(),
            None => vec![(past_len as u32..(past_len + seq) as u32).collect(); self.input_ids.len()],
        }
    }
}
