//! Adds tokens to the tokenizer's files, consistently in all of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::splice::{replaced, with_entries};
use crate::tokenizer::{TokenizerError, TokenizerFiles};

/// What changes.
#[derive(Default)]
pub(super) struct Edits {
    /// Entries of `added_tokens` by id: text, and whether it is special.
    added: BTreeMap<u32, (String, bool)>,
    /// Roles and their new tokens.
    pub(super) roles: Vec<(&'static str, String)>,
    /// Special tokens without a role.
    pub(super) additional: Vec<String>,
}

impl Edits {
    pub(super) fn add(&mut self, id: u32, token: &str, special: bool) {
        self.added.insert(id, (token.to_owned(), special));
    }
}

/// Returns the files with the edits, `None` if nothing is different.
pub(super) fn apply(files: &TokenizerFiles, edits: &Edits) -> Result<Option<TokenizerFiles>, TokenizerError> {
    let mut changed = Vec::new();
    if !edits.added.is_empty() {
        changed.push(("tokenizer.json".to_owned(), definition(files, edits)?.into_bytes()));
        if let Some(mut ids) = files.object("added_tokens.json")? {
            ids.extend(edits.added.iter().map(|(id, (token, _))| (token.clone(), json!(id))));
            changed.push(("added_tokens.json".to_owned(), pretty(ids)));
        }
    }
    let before = files.object("tokenizer_config.json")?;
    let mut config = before.clone().unwrap_or_default();
    let map = files.object("special_tokens_map.json")?;
    let listed = ["additional_special_tokens", "extra_special_tokens"];
    let listed =
        map.as_ref().and_then(|map| listed.iter().find_map(|list| map.get(*list).filter(|list| list.is_array())));
    describe(&mut config, edits, listed);
    if before.as_ref() != Some(&config) {
        loadable_everywhere(&mut config, before.is_none());
        changed.push(("tokenizer_config.json".to_owned(), pretty(config)));
    }
    if let Some(before) = map {
        let mut map = before.clone();
        name_roles(&mut map, edits);
        list_additional(&mut map, edits);
        if map != before {
            changed.push(("special_tokens_map.json".to_owned(), pretty(map)));
        }
    }
    if changed.is_empty() {
        return Ok(None);
    }
    let edited = files.with(changed);
    let outline = edited.outline()?;
    if let Some((id, (token, _))) = edits.added.iter().find(|(id, (token, _))| outline.id(token) != Some(**id)) {
        return Err(files.failed(format!("the token {token} does not get the id {id}")));
    }
    Ok(Some(edited))
}

fn pretty(object: Map<String, Value>) -> Vec<u8> {
    format!("{:#}\n", Value::Object(object)).into_bytes()
}

/// tokenizer.json with the entries of `added_tokens`, by id; everything else stays as it was, byte by byte.
fn definition(files: &TokenizerFiles, edits: &Edits) -> Result<String, TokenizerError> {
    let mut added: Vec<Value> = files.outline()?.added.iter().cloned().map(Value::Object).collect();
    for (id, (token, special)) in &edits.added {
        match added.iter_mut().find(|entry| entry["content"] == *token) {
            Some(entry) => entry["special"] = json!(special),
            None => {
                let mut entry = json!({ "id": id, "content": token });
                for (key, value) in flags(*special) {
                    entry[key] = json!(value);
                }
                added.push(entry);
            }
        }
    }
    // The tokenizer numbers them in the order of the file, whatever ids stand there.
    for entry in &mut added {
        let id = entry["content"].as_str().and_then(|content| files.outline().ok()?.id(content));
        if let Some(id) = id {
            entry["id"] = json!(id);
        }
    }
    added.sort_by_key(|entry| entry["id"].as_u64());
    let text = files.text("tokenizer.json")?;
    if !files.outline()?.has_holes() {
        return Ok(replaced(text, "added_tokens", &Value::Array(added)));
    }
    // The tokenizer numbers added tokens by the size of its vocabulary. Where that has holes, every added token keeps its
    // id, and new ones get theirs, by standing in the vocabulary itself.
    let contents: Vec<&str> = added.iter().filter_map(|entry| entry["content"].as_str()).collect();
    let ids = files.token_ids(&contents)?;
    let own = |token: &str| edits.added.iter().find(|(_, (text, _))| text == token).map(|(id, _)| *id);
    let entries: Vec<(String, u32)> = contents
        .iter()
        .zip(ids)
        .filter_map(|(token, id)| Some(((*token).to_owned(), id.or_else(|| own(token))?)))
        .collect();
    let text = with_entries(text, &["model", "vocab"], &entries)
        .ok_or_else(|| files.failed("its vocabulary has holes and is not a map of tokens to ids"))?;
    Ok(replaced(&text, "added_tokens", &Value::Array(added)))
}

/// Returns what transformers gives a token that is added by its text: special ones are looked for in the text as it was
/// written.
fn flags(special: bool) -> [(&'static str, bool); 5] {
    [("single_word", false), ("lstrip", false), ("rstrip", false), ("normalized", !special), ("special", special)]
}

/// tokenizer_config.json: roles, special tokens, and the list of added tokens where it has one.
fn describe(config: &mut Map<String, Value>, edits: &Edits, listed: Option<&Value>) {
    name_roles(config, edits);
    // Version 5 lists them under a name that version 4 takes for something else, and reads the older name as well.
    // What the older file lists is read only where the newer one lists nothing.
    if !edits.additional.is_empty()
        && !["additional_special_tokens", "extra_special_tokens"]
            .iter()
            .any(|list| config.get(*list).is_some_and(Value::is_array))
        && let Some(listed) = listed
    {
        config.insert("additional_special_tokens".to_owned(), listed.clone());
    }
    if !edits.additional.is_empty()
        && let Some(Value::Array(extra)) = config.get("extra_special_tokens")
    {
        let extra = Value::Array(extra.clone());
        config.remove("extra_special_tokens");
        config.insert("additional_special_tokens".to_owned(), extra);
    }
    list_additional(config, edits);
    if let Some(Value::Object(decoder)) = config.get_mut("added_tokens_decoder") {
        for (id, (token, special)) in &edits.added {
            match decoder.get_mut(&id.to_string()) {
                Some(entry) => entry["special"] = json!(special),
                None => {
                    let mut entry = json!({ "content": token });
                    for (key, value) in flags(*special) {
                        entry[key] = json!(value);
                    }
                    decoder.insert(id.to_string(), entry);
                }
            }
        }
        let mut entries: Vec<(String, Value)> = std::mem::take(decoder).into_iter().collect();
        entries.sort_by_key(|(id, _)| id.parse::<u64>().unwrap_or(u64::MAX));
        decoder.extend(entries);
    }
}

/// A role's token in the file's own style: a text, or an object with flags.
fn name_roles(fields: &mut Map<String, Value>, edits: &Edits) {
    for (role, token) in &edits.roles {
        match fields.get_mut(*role) {
            Some(Value::Object(entry)) => {
                entry.insert("content".to_owned(), json!(token));
                for (key, value) in flags(true).into_iter().filter(|(key, _)| *key != "special") {
                    entry.insert(key.to_owned(), json!(value));
                }
            }
            _ => drop(fields.insert((*role).to_owned(), json!(token))),
        }
    }
}

fn list_additional(fields: &mut Map<String, Value>, edits: &Edits) {
    if edits.additional.is_empty() {
        return;
    }
    let list = fields.entry("additional_special_tokens").or_insert_with(|| json!([]));
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return };
    for token in &edits.additional {
        if !list.iter().any(|entry| entry == token || entry.get("content").is_some_and(|content| content == token)) {
            list.push(json!(token));
        }
    }
}

/// A class that transformers 4.57 and 5.x both know.
fn loadable_everywhere(config: &mut Map<String, Value>, new: bool) {
    if new || config.get("tokenizer_class").and_then(Value::as_str) == Some("TokenizersBackend") {
        config.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
    }
}
