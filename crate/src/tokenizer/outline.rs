//! What tokenizer.json says about its tokens, read without building the tokenizer: that takes a hundred megabytes for a
//! vocabulary of a hundred thousand, and adding a token needs only a few ids.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The tokens of a tokenizer.json, as the tokenizer itself would number them.
#[derive(Clone, Debug)]
pub(super) struct Outline {
    /// The entries of `added_tokens`, as they stand.
    pub(super) added: Vec<Map<String, Value>>,
    /// The post-processor, which puts tokens around a text.
    pub(super) post_processor: Value,
    /// One more than the largest id.
    pub(super) rows: u32,
    /// The id that the tokenizer gives the next added token. It numbers them by the size of its vocabulary, so where the
    /// ids of the vocabulary have holes this one may be taken.
    next: u32,
    /// Ids of the added tokens, and of those that were asked for.
    ids: HashMap<String, u32>,
    special: HashSet<String>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    added_tokens: Vec<Map<String, Value>>,
    #[serde(default)]
    post_processor: Value,
}

impl Outline {
    /// Reads the text of a tokenizer.json; `asked` are the tokens whose ids will be looked up, in addition to the added ones.
    pub(super) fn read(text: &[u8], asked: &[String]) -> Result<Self, serde_json::Error> {
        let head: Head = serde_json::from_slice(text)?;
        let contents: Vec<String> = head.added_tokens.iter().filter_map(content).map(str::to_owned).collect();
        let Vocabulary { len, rows, mut ids } =
            vocabulary(text, contents.iter().chain(asked).map(String::as_str).collect())?;
        // Added tokens that the vocabulary does not have are numbered behind it, in their order.
        let mut next = len;
        for content in &contents {
            if !ids.contains_key(content) {
                ids.insert(content.clone(), next);
                next += 1;
            }
        }
        let rows = rows.max(next);
        let special = head.added_tokens.iter().filter(|entry| entry.get("special") == Some(&Value::Bool(true)));
        let special = special.filter_map(content).map(str::to_owned).collect();
        Ok(Self { special, added: head.added_tokens, post_processor: head.post_processor, rows, next, ids })
    }

    /// Returns the id of the next new token: one that no token has.
    pub(super) fn next_id(&self) -> u32 {
        self.rows.max(self.next)
    }

    /// Returns whether the ids have holes, so that a new token must stand in the vocabulary itself to get an id of its own.
    pub(super) fn has_holes(&self) -> bool {
        self.rows > self.next
    }

    /// Returns the id of a token that was added or asked for.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// True for an added token that is special.
    pub(super) fn is_special(&self, token: &str) -> bool {
        self.special.contains(token)
    }
}

fn content(entry: &Map<String, Value>) -> Option<&str> {
    entry.get("content")?.as_str().filter(|content| !content.is_empty())
}

/// The vocabulary of a tokenizer's model.
pub(super) struct Vocabulary {
    /// How many tokens it has.
    len: u32,
    /// One more than the largest id.
    rows: u32,
    /// The ids of the wanted tokens.
    pub(super) ids: HashMap<String, u32>,
}

/// Returns the size of the model's vocabulary, and the ids of the wanted tokens in it.
pub(super) fn vocabulary(text: &[u8], wanted: HashSet<&str>) -> Result<Vocabulary, serde_json::Error> {
    let mut search = Search { wanted, len: 0, rows: 0, ids: HashMap::new() };
    let mut json = serde_json::Deserializer::from_slice(text);
    Within { search: &mut search, path: &["model", "vocab"] }.deserialize(&mut json)?;
    json.end()?;
    Ok(Vocabulary { len: search.len, rows: search.rows, ids: search.ids })
}

struct Search<'w> {
    wanted: HashSet<&'w str>,
    len: u32,
    rows: u32,
    ids: HashMap<String, u32>,
}

/// Walks down the keys of `path`; the vocabulary is a map of tokens to ids, or a list of tokens and scores.
struct Within<'a, 'w> {
    search: &'a mut Search<'w>,
    path: &'static [&'static str],
}

impl<'de> DeserializeSeed<'de> for Within<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a tokenizer with a model and its vocabulary")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((key, rest)) = self.path.split_first() else {
            while let Some(token) = entries.next_key_seed(Wanted(&self.search.wanted))? {
                let id = entries.next_value::<u32>()?;
                self.search.len += 1;
                self.search.rows = self.search.rows.max(id.saturating_add(1));
                self.search.ids.extend(token.map(|token| (token, id)));
            }
            return Ok(());
        };
        let keys = HashSet::from([*key]);
        while let Some(found) = entries.next_key_seed(Wanted(&keys))? {
            match found {
                Some(_) => entries.next_value_seed(Within { search: &mut *self.search, path: rest })?,
                None => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(token) = items.next_element_seed(Scored(&self.search.wanted))? {
            let id = self.search.len;
            self.search.len += 1;
            self.search.rows = self.search.len;
            self.search.ids.extend(token.map(|token| (token, id)));
        }
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A text that is kept if it is one of the wanted ones.
struct Wanted<'a, 'w>(&'a HashSet<&'w str>);

impl<'de> DeserializeSeed<'de> for Wanted<'_, '_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<String>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Wanted<'_, '_> {
    type Value = Option<String>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<String>, E> {
        Ok(self.0.contains(text).then(|| text.to_owned()))
    }
}

/// A token with its score.
struct Scored<'a, 'w>(&'a HashSet<&'w str>);

impl<'de> DeserializeSeed<'de> for Scored<'_, '_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<String>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Scored<'_, '_> {
    type Value = Option<String>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a token with its score")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Option<String>, A::Error> {
        let token = pair.next_element_seed(Wanted(self.0))?.flatten();
        while pair.next_element::<IgnoredAny>()?.is_some() {}
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::Tokenizer;

    use super::*;

    fn check(json: &Value, tokens: &[&str]) {
        let text = json.to_string();
        let tokenizer = Tokenizer::from_bytes(&text).unwrap();
        let asked: Vec<String> = tokens.iter().map(|token| (*token).to_owned()).collect();
        let outline = Outline::read(text.as_bytes(), &asked).unwrap();
        for token in tokens {
            assert_eq!(outline.id(token), tokenizer.token_to_id(token), "{token}");
        }
        let added = tokenizer.get_added_tokens_decoder();
        let rows = tokenizer.get_vocab(true).values().max().map_or(0, |id| id + 1);
        assert_eq!(outline.rows, rows);
        // What the tokenizer itself gives a new token, once more read from the file.
        let mut more = json.clone();
        let entry = serde_json::json!({
            "id": 0, "content": "<new>", "special": true, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false,
        });
        more["added_tokens"].as_array_mut().unwrap().push(entry);
        let given = Tokenizer::from_bytes(more.to_string()).unwrap().token_to_id("<new>").unwrap();
        assert_eq!(outline.next, given);
        assert!(tokenizer.id_to_token(outline.next_id()).is_none(), "{} is taken", outline.next_id());
        for token in added.values() {
            assert_eq!(outline.is_special(&token.content), token.special);
        }
    }

    #[test]
    fn ids_are_those_that_the_tokenizer_gives() {
        let added = |id: u32, content: &str, special: bool| {
            serde_json::json!({
                "id": id, "content": content, "special": special, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false,
            })
        };
        let words = |added: Vec<Value>| {
            serde_json::json!({
                "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
                "pre_tokenizer": null, "post_processor": null, "decoder": null,
                "model": { "type": "WordLevel", "vocab": { "a": 0, "b": 1, "é\n": 2 }, "unk_token": "a" },
            })
        };
        let tokens = ["a", "é\n", "<x>", "<y>", "nowhere"];
        check(&words(vec![]), &tokens);
        check(&words(vec![added(1, "b", true), added(3, "<x>", true), added(4, "<y>", false)]), &tokens);
        // A gap in the ids: the tokenizer numbers what follows without it.
        check(&words(vec![added(7, "<x>", true), added(9, "<y>", false)]), &tokens);
        // Holes in the ids of the vocabulary: the next id by its size is the one of a token.
        let mut holes = words(vec![added(3, "<x>", true)]);
        holes["model"]["vocab"] = serde_json::json!({ "a": 0, "b": 1, "é\n": 4, "c": 3 });
        check(&holes, &tokens);
        holes["added_tokens"] = serde_json::json!([added(9, "<x>", true), added(9, "<x>", true), added(4, "c", false)]);
        check(&holes, &tokens);
        let mut unigram = words(vec![added(3, "<x>", true)]);
        unigram["model"] =
            serde_json::json!({ "type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["b", -1.5], ["é\n", -2.0]] });
        check(&unigram, &tokens);
    }
}
