//! `tokenizer train`, `tokenizer show`, `tokenizer chat` and `tokenizer add`

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::{Value, json};

use super::{Failure, KeptValue, Outcome, flag, flag_value, given, option, set, values};
use crate::checkpoint::{CheckpointError, DestinationState, listed};
use crate::display::{MimeBundle, View};
use crate::project::{tokenizer, tokenizer_names};
use crate::tokenizer::{AddTokens, Chat, ChatTemplate, train_tokenizer};

const TRAINED: &str = "chandlery::tokenizer::TrainedTokenizer";
const SUMMARY: &str = "chandlery::tokenizer::TokenizerSummary";
const TEXT: &str = "String";
const PLAN: &str = "chandlery::tokenizer::TokenPlan";

/// The type of its result.
pub(super) fn keeps(matches: &ArgMatches) -> Option<&'static str> {
    match matches.subcommand_name() {
        Some("train") => Some(TRAINED),
        Some("show") => Some(SUMMARY),
        Some("chat") => Some(TEXT),
        Some("add") => Some(PLAN),
        _ => None,
    }
}

pub(super) fn definition() -> Command {
    Command::new("tokenizer")
        .about("Train a byte-level BPE vocabulary, show a tokenizer, render a chat, plan new tokens")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(train_definition())
        .subcommand(
            Command::new("show").about("Vocabulary size, special tokens, and a text split").arg(name()).arg(option(
                "text",
                "TEXT",
                "The text to split",
            )),
        )
        .subcommand(chat_definition())
        .subcommand(add_definition())
}

fn name() -> Arg {
    Arg::new("TOKENIZER").required(true).help("A folder, a tokenizer.json, or the name of a built-in one")
}

fn chat_definition() -> Command {
    Command::new("chat")
        .about("Turn a conversation into the text that a model continues")
        .arg(name())
        .arg(
            option("messages", "FILE", "The conversation: a JSON list of {role, content}, or {messages, tools, ...}")
                .required(true)
                .value_parser(values::path()),
        )
        .arg(flag("add-generation-prompt", "End with the beginning of the assistant's turn"))
        .arg(template_flag("Another template"))
}

fn add_definition() -> Command {
    Command::new("add")
        .about("Plan new tokens and a chat template for a tokenizer; with -o, write it. `convert` and `finalize` grow models")
        .arg(name())
        .arg(option("add-tokens", "YAML", "The tokens: a file, or chatml (default: [PAD], if there is no padding token)"))
        .arg(template_flag("The chat template"))
        .arg(
            option("vocab-size", "ROWS", "Rows of the model's embedding (default: one per token)")
                .value_parser(value_parser!(usize)),
        )
        .arg(option("pad-to-multiple", "N", "Round the rows up to a multiple of N").value_parser(value_parser!(usize)))
        .arg(
            Arg::new("output-dir")
                .short('o')
                .long("output-dir")
                .value_name("FOLDER")
                .value_parser(values::path())
                .help("The folder to make, with the tokenizer's files"),
        )
        .arg(force())
}

fn force() -> Arg {
    flag("force", "Write into the folder though it holds something: over its tokenizer; everything else stays")
}

fn template_flag(help: &str) -> Arg {
    let names = ChatTemplate::names().join(", ");
    flag_value('t', "chat-template-path", "TEMPLATE", "").help(format!("{help}: a file, or {names}"))
}

fn train_definition() -> Command {
    Command::new("train")
        .about("Train a byte-level BPE vocabulary: NFC, special tokens first, <|BOS|> before each text")
        .arg(
            option("vocab-size", "N", "Tokens, special ones and the 256 bytes included")
                .required(true)
                .value_parser(value_parser!(usize)),
        )
        .arg(
            option("files", "GLOB", "Texts: paths, or patterns with *, ? and ** (quote them)")
                .required(true)
                .num_args(1..)
                .action(ArgAction::Append),
        )
        .arg(option("text-field", "FIELD", "Read the files as JSON lines and take this field of each"))
        .arg(
            Arg::new("output-dir")
                .short('o')
                .long("output-dir")
                .value_name("FOLDER")
                .required(true)
                .value_parser(values::path())
                .help("The folder to make: tokenizer.json, tokenizer_config.json, special_tokens_map.json"),
        )
        .arg(force())
        .arg(
            option("special-tokens", "TOKEN", "More special tokens, after the usual six")
                .num_args(1..)
                .action(ArgAction::Append),
        )
        .arg(
            option("model-max-length", "TOKENS", "Longest sequence that the tokenizer declares (default: 2048)")
                .value_parser(value_parser!(usize)),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Result<Outcome, Failure> {
    match matches.subcommand() {
        Some(("train", inner)) => train(inner),
        Some(("chat", inner)) => chat(inner),
        Some(("add", inner)) => add(inner),
        Some((_, inner)) => show(inner),
        None => Err(Failure::Usage { text: "name `train`, `show`, `chat` or `add`".to_owned(), help: false }),
    }
}

fn words(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many::<String>(name).into_iter().flatten().cloned().collect()
}

fn train(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let folder = given::<PathBuf>(matches, "output-dir").unwrap_or_default();
    let force = set(matches, "force");
    // Said before the work, not after it.
    let found = DestinationState::at(&folder)?;
    if !force && !found.entries().is_empty() {
        let advice = format!(
            "name a new folder, or add --force: it leaves all but the tokenizer of {}",
            listed(found.entries())
        );
        return Err(CheckpointError::DestinationExists { path: folder, advice }.into());
    }
    let mut training = train_tokenizer(given::<usize>(matches, "vocab-size").unwrap_or_default())
        .files(words(matches, "files"))
        .special_tokens(words(matches, "special-tokens"));
    if let Some(field) = given::<String>(matches, "text-field") {
        training = training.text_field(&field);
    }
    if let Some(tokens) = given::<usize>(matches, "model-max-length") {
        training = training.max_length(tokens);
    }
    let trained = training.run()?;
    trained.write_into(&folder, force)?;
    let json = json!({
        "path": folder,
        "vocab_size": trained.vocab_size,
        "texts": trained.texts,
        "bytes": trained.bytes,
        "words": trained.words,
        "counting_ms": trained.counting.as_secs_f64() * 1e3,
        "merging_ms": trained.merging.as_secs_f64() * 1e3,
    });
    let view = trained.view().with_note(&format!("written to {}", folder.display()));
    let value = Some(KeptValue { value: Box::new(trained), type_path: TRAINED });
    Ok(Outcome { view, json, passed: true, value })
}

fn show(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let name = given::<String>(matches, "TOKENIZER").unwrap_or_default();
    let built_in = tokenizer_names().contains(&name);
    let title = if built_in { format!("built-in tokenizer {name}") } else { name.clone() };
    let sample = given::<String>(matches, "text");
    let summary = tokenizer(&name)?.summary(&title, sample.as_deref())?;
    let special = summary.special_tokens.iter();
    let special: Vec<Value> =
        special.map(|token| json!({ "id": token.id, "content": token.content, "role": token.role })).collect();
    let split: Vec<Value> =
        summary.split.iter().map(|piece| json!({ "id": piece.id, "text": piece.text, "token": piece.token })).collect();
    let json = json!({
        "tokenizer": name,
        "vocab_size": summary.vocab_size,
        "model": summary.model,
        "model_max_length": summary.max_length,
        "special_tokens": special,
        "chat_template": summary.chat_template,
        "sample": { "text": summary.sample, "tokens": split },
    });
    let view = summary.view();
    let value = Some(KeptValue { value: Box::new(summary), type_path: SUMMARY });
    Ok(Outcome { view, json, passed: true, value })
}

fn chat(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let files = tokenizer(&given::<String>(matches, "TOKENIZER").unwrap_or_default())?;
    let chat = Chat::open(given::<PathBuf>(matches, "messages").unwrap_or_default())?;
    let chat = if set(matches, "add-generation-prompt") { chat.generation_prompt(true) } else { chat };
    let text = match &given_template(matches)? {
        Some(template) => files.render_chat_by(template, &chat)?,
        None => files.render_chat(&chat)?,
    };
    let ids = files.encode_rendered(&text)?;
    let json = json!({ "text": text, "ids": ids });
    let value = Some(KeptValue { value: Box::new(text.clone()), type_path: TEXT });
    Ok(Outcome { view: MimeBundle::text(text), json, passed: true, value })
}

fn add(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let files = tokenizer(&given::<String>(matches, "TOKENIZER").unwrap_or_default())?;
    let tokens = match given::<String>(matches, "add-tokens") {
        Some(name) => AddTokens::open(&name)?,
        None => AddTokens::default_pad(),
    };
    let template = given_template(matches)?;
    let rows = match given::<usize>(matches, "vocab-size") {
        Some(rows) => rows,
        None => files.rows()?,
    };
    let plan = tokens.plan(&files, rows, given::<usize>(matches, "pad-to-multiple"))?;
    let (mut view, json) = (plan.view(), plan.report());
    let force = set(matches, "force");
    if let Some(folder) = given::<PathBuf>(matches, "output-dir") {
        match &template {
            Some(template) => plan.tokenizer().with_chat_template(template).write_into(&folder, force)?,
            None => plan.tokenizer().write_into(&folder, force)?,
        }
        view = view.with_note(&format!("written to {}", folder.display()));
    }
    let value = Some(KeptValue { value: Box::new(plan), type_path: PLAN });
    Ok(Outcome { view, json, passed: true, value })
}

fn given_template(matches: &ArgMatches) -> Result<Option<ChatTemplate>, Failure> {
    Ok(given::<String>(matches, "chat-template-path").map(|name| ChatTemplate::open(&name)).transpose()?)
}
