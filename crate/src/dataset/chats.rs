//! Chats as documents: a list of messages in each row, with the text that the tokenizer's template makes of it.

use std::path::Path;

use polars::prelude::{Column, DataFrame};
use serde_json::{Value, json};

use super::DatasetError;
use super::declaration::Format;
use super::read::unreadable;
use super::source::records;
use crate::tokenizer::{Chat, TokenizerFiles};

/// The bit of a token that is not learned, until its place in a block is known.
const CONTEXT: u32 = 1 << 31;

/// Returns the chats of a file: `row`, and as `text` the messages with their tools as JSON.
pub(super) fn documents(
    file: &Path,
    format: Format,
    column: &str,
    most: Option<usize>,
) -> Result<DataFrame, DatasetError> {
    let place = file.display().to_string();
    if !matches!(format, Format::Json | Format::JsonLines) {
        return Err(DatasetError::Content {
            what: "chats are lists of messages, which are read from JSON only".to_owned(),
            place,
            advice: "store them as .jsonl or .json".to_owned(),
        });
    }
    let (mut rows, mut texts) = (Vec::new(), Vec::new());
    for record in records(file, format)? {
        if most.is_some_and(|most| rows.len() >= most) {
            break;
        }
        crate::interrupt::check()?;
        let (row, record) = record?;
        let messages = match record.get(column) {
            None | Some(Value::Null) => continue,
            Some(messages) if messages.is_array() => messages,
            Some(_) => {
                return Err(DatasetError::Content {
                    what: format!("column `{column}` is not a list of messages"),
                    place: format!("{place}, row {row}"),
                    advice: "write messages such as {\"role\": \"user\", \"content\": \"…\"}".to_owned(),
                });
            }
        };
        let mut chat = json!({ "messages": messages });
        if let Some(tools) = record.get("tools").filter(|tools| !tools.is_null()) {
            chat["tools"] = tools.clone();
        }
        rows.push(row);
        texts.push(chat.to_string());
    }
    DataFrame::new_infer_height(vec![Column::new("row".into(), rows), Column::new("text".into(), texts)])
        .map_err(|error| unreadable(&place, &error))
}

/// Returns the tokens of a chat, those that are not the assistant's marked.
pub(super) fn marked_tokens(tokenizer: &TokenizerFiles, chat: &str, place: &str) -> Result<Vec<u32>, DatasetError> {
    let (ids, learned) = tokenizer.encode_for_training(&Chat::from_json(chat, place)?)?;
    Ok(ids.into_iter().zip(learned).map(|(id, learned)| if learned { id } else { id | CONTEXT }).collect())
}

/// Takes the marks off a block's tokens, and returns where they were.
pub(super) fn unmark(ids: &mut [u32]) -> Vec<u32> {
    let mut context = Vec::new();
    for (at, id) in ids.iter_mut().enumerate() {
        if *id & CONTEXT != 0 {
            *id &= !CONTEXT;
            context.push(at as u32);
        }
    }
    context
}
