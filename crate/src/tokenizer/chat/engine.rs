//! What a chat template is given, and a limit on its steps.

use std::ops::Range;

use serde_json::{Map, Value as Json, json};

use super::Chat;
use super::jinja::{self, Failure};

/// Steps for a template, and more for each byte of the conversation; a step pays for 64 bytes of text. Llama 3.1's takes
/// about 500 for a message.
const FUEL: u64 = 1_000_000;
const FUEL_PER_BYTE: u64 = 20;

/// Why a template could not be rendered, and on which line, if that is known.
#[derive(Debug)]
pub(super) enum Fault {
    /// The template called `raise_exception`.
    Raised { message: String, line: Option<usize> },
    /// It ran out of steps.
    Endless { line: Option<usize> },
    /// It is not a template, or its evaluation failed.
    Failed { reason: String, line: Option<usize> },
}

/// Renders a conversation; `tokens` are the texts of roles such as `bos_token`.
pub(super) fn render(template: &str, chat: &Chat, tokens: &[(&str, String)]) -> Result<String, Fault> {
    run(template, chat, tokens, false).map(|(text, _)| text)
}

/// As [`render`], with the places of what stands between `{% generation %}` and `{% endgeneration %}`.
pub(super) fn render_marked(
    template: &str,
    chat: &Chat,
    tokens: &[(&str, String)],
) -> Result<(String, Vec<Range<usize>>), Fault> {
    run(template, chat, tokens, true)
}

fn run(
    template: &str,
    chat: &Chat,
    tokens: &[(&str, String)],
    marks: bool,
) -> Result<(String, Vec<Range<usize>>), Fault> {
    let mut context: Map<String, Json> = tokens.iter().map(|(role, text)| ((*role).to_owned(), json!(text))).collect();
    for (name, absent) in [("tools", Json::Null), ("documents", Json::Null), ("add_generation_prompt", json!(false))] {
        context.insert(name.to_owned(), absent);
    }
    context.extend(chat.fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    if let Some(Json::Array(messages)) = context.get_mut("messages") {
        messages.iter_mut().for_each(name_reasoning);
    }
    let size = serde_json::to_string(&context).map_or(0, |text| text.len());
    let fuel = FUEL + FUEL_PER_BYTE * size as u64;
    jinja::render(template, &context, fuel, chat.now, marks).map_err(|(failure, line)| match failure {
        Failure::Raised(message) => Fault::Raised { message, line },
        Failure::Endless => Fault::Endless { line },
        Failure::Failed(reason) => Fault::Failed { reason, line },
    })
}

/// A message's reasoning has had several names; as in transformers, templates find it under two.
fn name_reasoning(message: &mut Json) {
    let Some(fields) = message.as_object_mut() else { return };
    let names = ["reasoning_content", "thinking", "reasoning"];
    let Some(reasoning) = names.iter().find_map(|name| fields.get(*name).filter(|value| !value.is_null()).cloned())
    else {
        return;
    };
    fields.entry("thinking").or_insert_with(|| reasoning.clone());
    fields.insert("reasoning_content".to_owned(), reasoning);
}
