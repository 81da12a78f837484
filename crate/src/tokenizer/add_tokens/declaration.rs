//! The YAML file that lists the tokens to add.
//!
//! ```yaml
//! eos_token: "<|im_end|>"            # roles: bos, eos, pad, unk, sep, cls, mask
//! pad_token:
//!   token: "<|pad|>"
//!   init: "zero"                     # zero, mean, copy:ID or copy:TOKEN
//!   if_missing: true                 # only where the tokenizer has none
//! special_tokens: ["<|im_start|>"]   # entries are texts, or mappings with token and init
//! regular_tokens: [{token: "custom", init: "copy:42"}]
//! ```

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::change::TokenKind;
use super::{ROLES, TokenPlan};
use crate::tokenizer::error::meant;
use crate::tokenizer::small_file::{self, MAX_BYTES};
use crate::tokenizer::{TokenizerError, TokenizerFiles};
use crate::yaml::{self, Node, Value, YamlError};

/// Files that come with the crate, by name.
const BUILT_IN: &[(&str, &str)] = &[("chatml", include_str!("chatml.yaml"))];

const DEFAULT_PAD: &str = "pad_token: { token: '[PAD]', init: zero, if_missing: true }\n";

const LISTS: [&str; 2] = ["special_tokens", "regular_tokens"];

/// The tokens to add to a tokenizer, and the initial values of their rows of the embedding.
///
/// ```
/// use chandlery::tokenizer::AddTokens;
///
/// AddTokens::open("chatml")?;
/// let error = AddTokens::from_yaml("eos_tokn: '<|end|>'", "tokens.yaml").unwrap_err();
/// assert!(error.to_string().starts_with("there is no key `eos_tokn`; did you mean `eos_token`?\n  where: tokens.yaml:1"));
/// # Ok::<(), chandlery::tokenizer::TokenizerError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct AddTokens {
    origin: String,
    text: String,
    entries: Vec<Entry>,
}

/// One token to add.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) kind: TokenKind,
    pub(super) token: String,
    pub(super) init: Option<Init>,
    pub(super) if_missing: bool,
    pub(super) line: usize,
}

/// The initial values of a new row, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Init {
    Zero,
    Mean,
    CopyId(u32),
    CopyToken(String),
}

impl AddTokens {
    /// A built-in list by name (`chatml`), else a YAML file.
    ///
    /// # Errors
    /// [`TokenizerError::Refused`] for a file that cannot be read or used; it names file and line.
    pub fn open(name_or_path: &str) -> Result<Self, TokenizerError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            return Self::from_yaml(text, &format!("the built-in list {name}"));
        }
        let path = Path::new(name_or_path);
        if !path.exists() {
            let known: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            return Err(TokenizerError::refused(
                format!("there is no file of tokens `{name_or_path}`{}", meant(name_or_path, &known)),
                std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string(),
                format!("name a YAML file, or one of: {}", known.join(", ")),
            ));
        }
        Self::from_yaml(&small_file::read(path, "file of tokens")?, name_or_path)
    }

    /// Reads the YAML; `origin` names the file in errors.
    ///
    /// # Errors
    /// [`TokenizerError::Refused`] for YAML that is not a list of tokens; it names the line.
    pub fn from_yaml(text: &str, origin: &str) -> Result<Self, TokenizerError> {
        let mut tokens = Self { origin: origin.to_owned(), text: text.to_owned(), entries: Vec::new() };
        if text.len() as u64 > MAX_BYTES {
            let what = format!("the file of tokens has more than {MAX_BYTES} bytes");
            return Err(TokenizerError::refused(what, origin, "name a file of a few lines"));
        }
        let document: Node = yaml::read(text).map_err(|error| tokens.not_yaml(&error))?;
        if !matches!(document.value, Value::Null | Value::Mapping(_)) {
            let what = format!("the file of tokens is {}, not a mapping", document.value.kind());
            return Err(TokenizerError::refused(what, origin, "write lines such as `eos_token: \"<|im_end|>\"`"));
        }
        tokens.check_keys(&document, &[ROLES.as_slice(), LISTS.as_slice()].concat())?;
        for role in ROLES {
            if let Some(node) = document.get(role) {
                let entry = tokens.entry(node, TokenKind::Role(role))?;
                tokens.entries.push(entry);
            }
        }
        for (list, kind) in LISTS.into_iter().zip([TokenKind::Special, TokenKind::Regular]) {
            let Some(node) = document.get(list) else { continue };
            let items = match &node.value {
                Value::Null => continue,
                Value::List(items) => items,
                other => {
                    let what = format!("`{list}` is {}, not a list", other.kind());
                    return Err(tokens.fault(node.at.line, what, "write one `- \"token\"` per line below it"));
                }
            };
            for item in items {
                let entry = tokens.entry(item, kind)?;
                tokens.entries.push(entry);
            }
        }
        tokens.check_repetitions()?;
        Ok(tokens)
    }

    /// Returns the default: a padding token `[PAD]` with a row of zeros, if the tokenizer does not have one.
    pub fn default_pad() -> Self {
        let entry = Entry {
            kind: TokenKind::Role("pad_token"),
            token: "[PAD]".to_owned(),
            init: Some(Init::Zero),
            if_missing: true,
            line: 1,
        };
        Self { origin: "the default padding token".to_owned(), text: DEFAULT_PAD.to_owned(), entries: vec![entry] }
    }

    /// Returns what adding them to `tokenizer` means for its files and for an embedding of `vocab_size` rows, which is
    /// rounded up to a multiple of `pad_to_multiple` rows if that is given. Nothing is changed.
    ///
    /// # Errors
    /// [`TokenizerError`] for a tokenizer that cannot be read, or a row to copy that does not exist.
    pub fn plan(
        &self,
        tokenizer: &TokenizerFiles,
        vocab_size: usize,
        pad_to_multiple: Option<usize>,
    ) -> Result<TokenPlan, TokenizerError> {
        TokenPlan::make(self, tokenizer, vocab_size, pad_to_multiple)
    }

    /// Returns the ids of the tokens that it mentions and the tokenizer has.
    pub(super) fn ids_in(&self, tokenizer: &TokenizerFiles) -> Result<BTreeMap<String, u32>, TokenizerError> {
        let copied = |entry: &'_ Entry| match &entry.init {
            Some(Init::CopyToken(token)) => Some(token.clone()),
            _ => None,
        };
        let tokens: Vec<String> =
            self.entries.iter().flat_map(|entry| [Some(entry.token.clone()), copied(entry)]).flatten().collect();
        let names: Vec<&str> = tokens.iter().map(String::as_str).collect();
        let ids = tokenizer.token_ids(&names)?;
        Ok(tokens.into_iter().zip(ids).filter_map(|(token, id)| Some((token, id?))).collect())
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns an error about this line.
    pub(super) fn fault(&self, line: usize, what: impl Into<String>, advice: impl Into<String>) -> TokenizerError {
        TokenizerError::refused(what, small_file::place(&self.origin, &self.text, Some(line)), advice)
    }

    fn not_yaml(&self, error: &YamlError) -> TokenizerError {
        let what = format!("the file of tokens is not YAML: {}", error.reason);
        self.fault(error.line, what, "correct that line; texts with special characters stand in \"quotes\"")
    }

    fn check_keys(&self, node: &Node, known: &[&str]) -> Result<(), TokenizerError> {
        let Value::Mapping(entries) = &node.value else { return Ok(()) };
        let advice = || format!("use the keys {}", known.join(", "));
        for (key, _) in entries {
            let Value::Text(name) = &key.value else {
                let what = format!("a key is {}, not text", key.value.kind());
                return Err(self.fault(key.at.line, what, advice()));
            };
            if !known.contains(&name.as_str()) {
                let what = format!("there is no key `{name}`{}", meant(name, known));
                return Err(self.fault(key.at.line, what, advice()));
            }
        }
        Ok(())
    }

    /// Reads a text, or a mapping with `token` and more.
    fn entry(&self, node: &Node, kind: TokenKind) -> Result<Entry, TokenizerError> {
        let role = matches!(kind, TokenKind::Role(_));
        let (token, init, if_missing) = match &node.value {
            Value::Text(token) => (token, None, false),
            Value::Mapping(_) => {
                self.check_keys(node, if role { &["token", "init", "if_missing"] } else { &["token", "init"] })?;
                let token = match node.get("token") {
                    Some(Node { value: Value::Text(token), .. }) => token,
                    Some(other) => return Err(self.not_text("`token`", other)),
                    None => {
                        let what = "the entry has no `token`";
                        return Err(self.fault(node.at.line, what, "add `token: \"...\"`, the text of the token"));
                    }
                };
                let init = node.get("init").map(|init| self.init(init)).transpose()?;
                let if_missing = match node.get("if_missing") {
                    None => false,
                    Some(Node { value: Value::Bool(flag), .. }) => *flag,
                    Some(other) => {
                        let what = format!("`if_missing` is {}, not true or false", other.value.kind());
                        return Err(self.fault(other.at.line, what, "write true or false"));
                    }
                };
                (token, init, if_missing)
            }
            _ => return Err(self.not_text("the token", node)),
        };
        if token.is_empty() {
            return Err(self.fault(node.at.line, "the token has no text", "give it one, such as \"<|end|>\""));
        }
        Ok(Entry { kind, token: token.clone(), init, if_missing, line: node.at.line })
    }

    fn not_text(&self, name: &str, found: &Node) -> TokenizerError {
        let advice = match found.value {
            Value::Number(_) | Value::Bool(_) => "put it in quotes if that is its text",
            _ => "write a text in quotes",
        };
        self.fault(found.at.line, format!("{name} is {}, not text", found.value.kind()), advice)
    }

    fn init(&self, node: &Node) -> Result<Init, TokenizerError> {
        let advice = "use zero, mean, copy:ID (a token id) or copy:TOKEN (its text)";
        let fault = |what: String| Err(self.fault(node.at.line, what, advice));
        let Value::Text(text) = &node.value else {
            return fault(format!("`init` is {}, not text", node.value.kind()));
        };
        match text.as_str() {
            "zero" => Ok(Init::Zero),
            "mean" => Ok(Init::Mean),
            _ => match text.strip_prefix("copy:").map(str::trim).filter(|source| !source.is_empty()) {
                Some(id) if id.bytes().all(|byte| byte.is_ascii_digit()) => match id.parse() {
                    Ok(id) => Ok(Init::CopyId(id)),
                    Err(_) => fault(format!("there is no token id {id}")),
                },
                Some(token) => Ok(Init::CopyToken(token.to_owned())),
                None => fault(format!("there is no init `{text}`{}", meant(text, &["zero", "mean", "copy:ID"]))),
            },
        }
    }

    /// A token may have several roles and be in one list, but no two entries may contradict each other.
    fn check_repetitions(&self) -> Result<(), TokenizerError> {
        let mut first: HashMap<&str, &Entry> = HashMap::new();
        for entry in &self.entries {
            let Some(earlier) = first.get(entry.token.as_str()) else {
                first.insert(&entry.token, entry);
                continue;
            };
            let listed = |entry: &Entry| !matches!(entry.kind, TokenKind::Role(_));
            let inits = earlier.init.as_ref().zip(entry.init.as_ref());
            let reason = if listed(earlier) && listed(entry) {
                "is listed twice"
            } else if entry.kind == TokenKind::Regular {
                "has a role and is listed as a regular token"
            } else if inits.is_some_and(|(one, other)| one != other) {
                "is given two different inits"
            } else {
                continue;
            };
            let what = format!("the token `{}` {reason} (first: line {})", entry.token, earlier.line);
            return Err(self.fault(entry.line, what, "keep one of the two"));
        }
        Ok(())
    }
}
