//! A tokenizer as the metadata of a GGUF file: lists of tokens, their kinds, merges, and what they are for.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use tokenizers::Tokenizer;

use super::GgufError;
use crate::checkpoint::{GgufArray, GgufMetadata, GgufValue};
use crate::tokenizer::TokenizerFiles;

/// Kinds of tokens, by llama.cpp's numbers.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// Regular expressions that split text before byte-level merges, and what readers call them.
const SPLITS: &[(&str, &str)] = &[
    (
        "llama-bpe",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    (
        "qwen2",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    (
        "tekken",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    (
        "gpt-4o",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
];

/// Adds a tokenizer of `vocab_size` tokens to `metadata`. A folder without tokenizer.json is a model without one, which
/// a warning says.
///
/// # Errors
/// [`GgufError::Tokenizer`] for kinds of tokenizers that readers do not have.
pub(super) fn vocabulary(
    tokenizer: &TokenizerFiles,
    vocab_size: usize,
    origin: &Path,
    metadata: &mut GgufMetadata,
    warnings: &mut Vec<String>,
) -> Result<(), GgufError> {
    let files: HashMap<String, Vec<u8>> = tokenizer.to_write().into_iter().collect();
    let json = |name: &str| serde_json::from_slice::<Value>(files.get(name)?).ok();
    let Some(definition) = json("tokenizer.json") else {
        warnings.push("there is not a tokenizer.json, so the file has no tokenizer".to_owned());
        metadata.set("tokenizer.ggml.model", GgufValue::Text("none".to_owned()));
        return Ok(());
    };
    let built = tokenizer.tokenizer()?;
    let written = RawTokenizer::read(&definition, built, vocab_size)
        .map_err(|(what, advice)| GgufError::Tokenizer { what, advice, origin: origin.to_owned() })?;
    let text = |text: &str| GgufValue::Text(text.to_owned());
    metadata.set("tokenizer.ggml.model", text(if written.byte_level { "gpt2" } else { "llama" }));
    if written.byte_level {
        let pre = split_name(&definition["pre_tokenizer"]).unwrap_or_else(|| {
            let what =
                "GGUF has no name for the way this tokenizer splits text: readers will split some texts differently";
            warnings.push(what.to_owned());
            "default"
        });
        metadata.set("tokenizer.ggml.pre", text(pre));
    } else {
        metadata.set("tokenizer.ggml.pre", text("default"));
        metadata.set("tokenizer.ggml.add_space_prefix", GgufValue::Bool(prepends(&definition)));
        metadata.set("tokenizer.ggml.scores", GgufValue::Array(GgufArray::F32(written.scores())));
    }
    if written.byte_level && !definition["normalizer"].is_null() {
        let kind = definition["normalizer"]["type"].as_str().unwrap_or("unknown");
        warnings.push(format!("readers of the file do not normalize text, as this tokenizer does ({kind})"));
    }
    metadata.set("tokenizer.ggml.tokens", GgufValue::Array(GgufArray::Text(written.tokens)));
    metadata.set("tokenizer.ggml.token_type", GgufValue::Array(GgufArray::I32(written.kinds)));
    metadata.set("tokenizer.ggml.merges", GgufValue::Array(GgufArray::Text(written.merges)));

    let begin = tokenizer.role("bos_token");
    let end = tokenizer.role("eos_token");
    for (key, id) in [
        ("bos_token_id", begin),
        ("eos_token_id", end),
        ("unknown_token_id", tokenizer.role("unk_token")),
        ("padding_token_id", tokenizer.role("pad_token")),
    ] {
        if let Some(id) = id {
            metadata.set(format!("tokenizer.ggml.{key}"), GgufValue::Unsigned(id.into()));
        }
    }
    // What the tokenizer puts around a text.
    let sample = tokenizer.encode("a")?;
    metadata.set("tokenizer.ggml.add_bos_token", GgufValue::Bool(begin.is_some() && sample.first().copied() == begin));
    metadata.set("tokenizer.ggml.add_eos_token", GgufValue::Bool(end.is_some() && sample.last().copied() == end));
    // Of several with names, the default one.
    if let Some(template) = tokenizer.chat_template() {
        metadata.set("tokenizer.chat_template", text(template.text()));
    }
    Ok(())
}

/// What is wrong, and what to do.
type Fault = (String, &'static str);

/// A vocabulary as lists.
struct RawTokenizer {
    byte_level: bool,
    tokens: Vec<String>,
    kinds: Vec<i32>,
    merges: Vec<String>,
    ids: HashMap<String, usize>,
}

impl RawTokenizer {
    /// The kinds are those of the file; the ids are the built tokenizer's.
    fn read(definition: &Value, built: &Tokenizer, vocab_size: usize) -> Result<Self, Fault> {
        let model = &definition["model"];
        // Old files do not name the type of the one kind of model that has merges.
        let kind = model["type"].as_str().unwrap_or(if model["merges"].is_array() { "BPE" } else { "unknown" });
        let byte_level = mentions(&definition["pre_tokenizer"], "ByteLevel");
        let fallback = model["byte_fallback"].as_bool() == Some(true);
        let (Some(_), Some(merges), "BPE", true) =
            (model["vocab"].as_object(), model["merges"].as_array(), kind, byte_level || fallback)
        else {
            let what = format!("its model is {kind}{}", if kind == "BPE" { ", of characters" } else { "" });
            return Err((what, "use a byte-level BPE tokenizer, or one with byte fallback"));
        };
        let mut written = Self {
            byte_level,
            tokens: vec![String::new(); vocab_size],
            kinds: vec![UNUSED; vocab_size],
            merges: merges.iter().map(merge).collect::<Option<_>>().ok_or_else(|| {
                ("a merge is not a pair of tokens without spaces".to_owned(), "correct tokenizer.json")
            })?,
            ids: HashMap::new(),
        };
        let unknown = model["unk_token"].as_str();
        let mut vocabulary: Vec<(String, u32)> = built.get_vocab(false).into_iter().collect();
        vocabulary.sort();
        for (token, id) in vocabulary {
            let kind = match token.as_str() {
                token if Some(token) == unknown => UNKNOWN,
                token if !byte_level && is_byte(token) => BYTE,
                _ => NORMAL,
            };
            written.set(&token, id, kind)?;
        }
        for (id, added) in built.get_added_tokens_decoder() {
            let kind = match added.special {
                _ if !byte_level && Some(added.content.as_str()) == unknown => UNKNOWN,
                true => CONTROL,
                false => USER_DEFINED,
            };
            written.set(&added.content, id, kind)?;
        }
        written.fill();
        Ok(written)
    }

    fn set(&mut self, token: &str, id: u32, kind: i32) -> Result<(), Fault> {
        let size = self.tokens.len();
        let place = usize::try_from(id).ok().filter(|id| *id < size);
        let place = place.ok_or_else(|| {
            let what = format!("token {token:?} has id {id}, but the embedding has {size} rows");
            (what, "use the tokenizer that belongs to this model")
        })?;
        token.clone_into(&mut self.tokens[place]);
        self.kinds[place] = kind;
        self.ids.insert(token.to_owned(), place);
        Ok(())
    }

    /// Names the rows without a token. Readers refuse files in which two tokens have one text.
    fn fill(&mut self) {
        let unused = (0..self.tokens.len()).filter(|id| self.kinds[*id] == UNUSED).collect::<Vec<_>>();
        for id in unused {
            let mut name = format!("[PAD{id}]");
            while self.ids.contains_key(&name) {
                name.push('_');
            }
            self.tokens[id].clone_from(&name);
            self.ids.insert(name, id);
        }
    }

    /// Scores by which readers merge the best pair first: the earlier a merge, the higher its token's score.
    fn scores(&self) -> Vec<f32> {
        let last = -(self.merges.len() as f32);
        let mut scores: Vec<f32> = self.kinds.iter().map(|kind| if *kind == NORMAL { last } else { 0.0 }).collect();
        for (rank, merge) in self.merges.iter().enumerate().rev() {
            let token: String = merge.split(' ').collect();
            if let Some(&id) = self.ids.get(&token) {
                scores[id] = -(rank as f32);
            }
        }
        scores
    }
}

/// Returns a merge as one text: tokenizer.json has it so, or as a pair.
fn merge(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(pair) => {
            let [left, right] = pair.as_slice() else { return None };
            let (left, right) = (left.as_str()?, right.as_str()?);
            (!left.contains(' ') && !right.contains(' ')).then(|| format!("{left} {right}"))
        }
        _ => None,
    }
}

/// True for `<0x00>` to `<0xFF>`.
fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && digits.chars().all(|digit| digit.is_ascii_hexdigit()))
}

/// Returns true if a step of this type is there, alone or in a sequence.
fn mentions(steps: &Value, kind: &str) -> bool {
    let inside = ["pretokenizers", "normalizers"].iter().filter_map(|list| steps[*list].as_array()).flatten();
    steps["type"].as_str() == Some(kind) || inside.into_iter().any(|step| step["type"].as_str() == Some(kind))
}

/// Readers' name for the way in which text is split before byte-level merges.
fn split_name(steps: &Value) -> Option<&'static str> {
    if steps["type"].as_str() == Some("ByteLevel") {
        return (steps["use_regex"].as_bool() != Some(false)).then_some("gpt-2");
    }
    let split = steps["pretokenizers"].as_array()?.iter().find(|step| step["type"].as_str() == Some("Split"))?;
    let pattern = split["pattern"]["Regex"].as_str()?;
    SPLITS.iter().find(|(_, known)| *known == pattern).map(|(name, _)| *name)
}

/// Returns whether a space is put in front of the text.
fn prepends(definition: &Value) -> bool {
    let steps = &definition["pre_tokenizer"];
    mentions(&definition["normalizer"], "Prepend")
        || (mentions(steps, "Metaspace") && steps["prepend_scheme"].as_str() != Some("never"))
}
