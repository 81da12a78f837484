//! config.json of the new folder.

use serde_json::{Value, json};

use crate::tokenizer::TokenizerFiles;

/// Gives config.json the ids of the tokenizer's roles. Several end-of-sequence ids stay if the tokenizer's is one of them.
pub(super) fn sync_roles(config: &mut Value, tokenizer: &TokenizerFiles) {
    let Some(fields) = config.as_object_mut() else { return };
    for (key, role) in [("bos_token_id", "bos_token"), ("pad_token_id", "pad_token"), ("eos_token_id", "eos_token")] {
        let Some(id) = tokenizer.role(role) else { continue };
        let listed = fields.get(key).and_then(Value::as_array).is_some_and(|ids| ids.contains(&json!(id)));
        if !listed {
            fields.insert(key.to_owned(), json!(id));
        }
    }
}
