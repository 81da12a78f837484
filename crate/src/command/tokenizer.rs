//! `tokenizer train`, `tokenizer show`, `tokenizer chat` and `tokenizer add`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::shared::{AddedTokensArgs, TemplateArgs};
use super::verbs::{Context, Run};
use super::{Failure, Outcome, values};
use crate::checkpoint::{CheckpointError, DestinationState, listed};
use crate::display::{MimeBundle, View};
use crate::project::{tokenizer, tokenizer_names};
use crate::tokenizer::{AddTokens, Chat, TokenizerFiles, train_tokenizer};

/// `chandlery tokenizer`.
#[derive(Debug, Args)]
pub(super) struct TokenizerArgs {
    #[command(subcommand)]
    action: TokenizerAction,
}

/// The subcommands of `tokenizer`.
#[derive(Debug, Subcommand)]
enum TokenizerAction {
    /// Train a byte-level BPE vocabulary: NFC, special tokens first, <|BOS|> before each text
    Train(TrainArgs),
    /// Vocabulary size, special tokens, and a text split
    Show(ShowArgs),
    /// Turn a conversation into the text that a model continues
    Chat(ChatArgs),
    /// Plan new tokens and a chat template for a tokenizer; with -o, write it. `convert` and `finalize` grow models
    Add(AddArgs),
}

/// A tokenizer that is there.
#[derive(Debug, Args)]
struct NameArgs {
    /// A folder, a tokenizer.json, or the name of a built-in one
    #[arg(value_name = "TOKENIZER")]
    tokenizer: String,
}

impl NameArgs {
    fn open(&self) -> Result<TokenizerFiles, Failure> {
        Ok(tokenizer(&self.tokenizer)?)
    }
}

/// Permission to write into a folder that holds something.
#[derive(Debug, Args)]
struct ForceArgs {
    /// Write into a folder that is not empty: replace its tokenizer; everything else stays
    #[arg(long)]
    force: bool,
}

/// `chandlery tokenizer train`.
#[derive(Debug, Args)]
struct TrainArgs {
    /// Tokens, special ones and the 256 bytes included
    #[arg(long, value_name = "N")]
    vocab_size: usize,
    /// Texts: paths, or patterns with *, ? and ** (quote them)
    #[arg(long, value_name = "GLOB", required = true, num_args = 1..)]
    files: Vec<String>,
    /// Read the files as JSON lines, and use this field of each line
    #[arg(long, value_name = "FIELD")]
    text_field: Option<String>,
    /// The folder to make: tokenizer.json, tokenizer_config.json, special_tokens_map.json
    #[arg(short, long, value_name = "FOLDER", value_parser = values::path)]
    output_dir: PathBuf,
    #[command(flatten)]
    force: ForceArgs,
    /// More special tokens, after the usual six
    #[arg(long, value_name = "TOKEN", num_args = 1..)]
    special_tokens: Vec<String>,
    /// Maximum sequence length that the tokenizer declares (default: 2048)
    #[arg(long, value_name = "TOKENS")]
    model_max_length: Option<usize>,
}

/// `chandlery tokenizer show`.
#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    name: NameArgs,
    /// The text to split
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
}

/// `chandlery tokenizer chat`.
#[derive(Debug, Args)]
struct ChatArgs {
    #[command(flatten)]
    name: NameArgs,
    /// The conversation: a JSON list of {role, content}, or {messages, tools, ...}
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    messages: PathBuf,
    /// Append the beginning of the assistant's turn
    #[arg(long)]
    add_generation_prompt: bool,
    #[command(flatten)]
    template: TemplateArgs,
}

/// `chandlery tokenizer add`.
#[derive(Debug, Args)]
struct AddArgs {
    #[command(flatten)]
    name: NameArgs,
    #[command(flatten)]
    tokens: AddedTokensArgs,
    #[command(flatten)]
    template: TemplateArgs,
    /// Rows of the model's embedding (default: one per token)
    #[arg(long, value_name = "ROWS")]
    vocab_size: Option<usize>,
    /// The folder to make, with the tokenizer's files
    #[arg(short, long, value_name = "FOLDER", value_parser = values::path)]
    output_dir: Option<PathBuf>,
    #[command(flatten)]
    force: ForceArgs,
}

impl TokenizerArgs {
    fn work(&self) -> &dyn Run {
        match &self.action {
            TokenizerAction::Train(args) => args,
            TokenizerAction::Show(args) => args,
            TokenizerAction::Chat(args) => args,
            TokenizerAction::Add(args) => args,
        }
    }
}

impl Run for TokenizerArgs {
    fn result_type(&self) -> Option<&'static str> {
        self.work().result_type()
    }

    fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        self.work().run(context)
    }
}

impl Run for TrainArgs {
    fn result_type(&self) -> Option<&'static str> {
        Some("chandlery::tokenizer::TrainedTokenizer")
    }

    fn run(&self, _: &Context) -> Result<Outcome, Failure> {
        let folder = &self.output_dir;
        // Said before the work, not after it.
        let found = DestinationState::at(folder)?;
        if !self.force.force && !found.entries().is_empty() {
            let advice = format!(
                "name a new folder, or add --force: it leaves all but the tokenizer of {}",
                listed(found.entries())
            );
            return Err(CheckpointError::DestinationExists { path: folder.clone(), advice }.into());
        }
        let mut training = train_tokenizer(self.vocab_size)
            .files(self.files.clone())
            .text_field(self.text_field.clone())
            .special_tokens(self.special_tokens.clone());
        if let Some(tokens) = self.model_max_length {
            training = training.max_length(tokens);
        }
        let trained = training.run()?;
        trained.write_into(folder, self.force.force)?;
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
        Ok(Outcome::new(view, json).keeping(self, trained))
    }
}

impl Run for ShowArgs {
    fn result_type(&self) -> Option<&'static str> {
        Some("chandlery::tokenizer::TokenizerSummary")
    }

    fn run(&self, _: &Context) -> Result<Outcome, Failure> {
        let name = &self.name.tokenizer;
        let built_in = tokenizer_names().contains(name);
        let title = if built_in { format!("built-in tokenizer {name}") } else { name.clone() };
        let summary = self.name.open()?.summary(&title, self.text.as_deref())?;
        let special = summary.special_tokens.iter();
        let special: Vec<Value> =
            special.map(|token| json!({ "id": token.id, "content": token.content, "role": token.role })).collect();
        let split = summary.split.iter();
        let split: Vec<Value> =
            split.map(|piece| json!({ "id": piece.id, "text": piece.text, "token": piece.token })).collect();
        let json = json!({
            "tokenizer": name,
            "vocab_size": summary.vocab_size,
            "model": summary.model,
            "model_max_length": summary.max_length,
            "special_tokens": special,
            "chat_template": summary.chat_template,
            "sample": { "text": summary.sample, "tokens": split },
        });
        Ok(Outcome::new(summary.view(), json).keeping(self, summary))
    }
}

impl Run for ChatArgs {
    fn result_type(&self) -> Option<&'static str> {
        Some("String")
    }

    fn run(&self, _: &Context) -> Result<Outcome, Failure> {
        let files = self.name.open()?;
        let chat = Chat::open(&self.messages)?;
        let chat = if self.add_generation_prompt { chat.generation_prompt(true) } else { chat };
        let text = match &self.template.open()? {
            Some(template) => files.render_chat_by(template, &chat)?,
            None => files.render_chat(&chat)?,
        };
        let ids = files.encode_rendered(&text)?;
        let json = json!({ "text": text, "ids": ids });
        Ok(Outcome::new(MimeBundle::text(text.clone()), json).keeping(self, text))
    }
}

impl Run for AddArgs {
    fn result_type(&self) -> Option<&'static str> {
        Some("chandlery::tokenizer::TokenPlan")
    }

    fn run(&self, _: &Context) -> Result<Outcome, Failure> {
        let files = self.name.open()?;
        let tokens = match &self.tokens.add_tokens {
            Some(name) => AddTokens::open(name)?,
            None => AddTokens::default_pad(),
        };
        let template = self.template.open()?;
        let rows = match self.vocab_size {
            Some(rows) => rows,
            None => files.rows()?,
        };
        let plan = tokens.plan(&files, rows, self.tokens.pad_to_multiple)?;
        let (mut view, json) = (plan.view(), plan.report());
        if let Some(folder) = &self.output_dir {
            match &template {
                Some(template) => plan.tokenizer().with_chat_template(template).write_into(folder, self.force.force)?,
                None => plan.tokenizer().write_into(folder, self.force.force)?,
            }
            view = view.with_note(&format!("written to {}", folder.display()));
        }
        Ok(Outcome::new(view, json).keeping(self, plan))
    }
}
