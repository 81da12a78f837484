//! `finalize SRC DST`

use std::path::PathBuf;

use clap::{ArgMatches, Command};

use super::{Failure, KeptValue, Outcome, flag, flag_value, given, option, path, set, values};
use crate::checkpoint::WeightsFormat;
use crate::device::Device;
use crate::display::View;
use crate::gguf::GgufType;
use crate::spec::{DType, Recipe};
use crate::tokenizer::{Generation, GenerationMode};

/// The type of its result.
pub(super) const KEEPS: &str = "chandlery::finalize::Finalization";

pub(super) fn definition() -> Command {
    Command::new("finalize")
        .about("Make a clean folder of a trained model: one checkpoint, tokenizer, configuration")
        .arg(path("SRC", "Model folder to read"))
        .arg(path("DST", "Folder to make: a new or an empty one"))
        .arg(values::checkpoint())
        .arg(values::converter_path())
        .arg(values::allow_unknown_fields())
        .args(values::ties())
        .arg(flag("keep-optimizer", "Carry the checkpoint's optimizer_state.pt"))
        .arg(flag("root-copy", "Weights at the root only, no checkpoints folder").conflicts_with("keep-optimizer"))
        .arg(option("add-tokens", "YAML", "Tokens to add: a file, or `chatml`"))
        .arg(flag("skip-default-tokens", "Do not add [PAD] where the tokenizer has no padding token"))
        .arg(
            option("pad-to-multiple", "N", "Round the rows of the embedding up to a multiple of N")
                .value_parser(clap::value_parser!(usize)),
        )
        .arg(flag_value('t', "chat-template-path", "FILE", "Chat template: a file, or a built-in one such as chatml"))
        .arg(option("stop-tokens", "TOK1,TOK2", "More tokens at which generation stops"))
        .arg(flag("no-auto-stop-tokens", "Do not stop at ends of turns that the added tokens name"))
        .arg(option("generation-config", "MODE", "carry (default), none, or a preset: a JSON file or its name"))
        .arg(option("dtype", "DTYPE", "Cast the weights (default: as they are)").value_parser(values::dtype()))
        .arg(
            option("quantize", "RECIPE", "Quantize the linear layers, and compare logits before and after")
                .value_parser(values::recipe()),
        )
        .arg(option("prompt", "TEXT", "With --quantize: compare logits on this text").requires("quantize"))
        .arg(flag("no-validate", "With --quantize: do not compare logits").requires("quantize"))
        .arg(flag("safetensors", "Write safetensors, which is the default").conflicts_with("format"))
        .arg(
            option("format", "FORMAT", "safetensors, pytorch for .bin files, or gguf (default: safetensors)")
                .value_parser(["safetensors", "pytorch", "bin", "gguf"]),
        )
        .arg(
            option("gguf-type", "TYPE", "With --format gguf: f32, f16 (default), bf16, q8_0, q4_0 or q4_k")
                .value_parser(values::gguf_type()),
        )
        .arg(option("max-shard-size", "SIZE", "Largest weights file (default: 5GB)").value_parser(values::size()))
        .arg(
            option("device", "DEVICE", "Accepted; finalizing computes nothing on a device")
                .value_parser(values::device()),
        )
        .arg(values::force())
        .arg(flag("dry-run", "Say what would be written, from headers; write nothing"))
        .arg(values::log_level())
}

pub(super) fn run(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let (Some(source), Some(destination)) = (given::<PathBuf>(matches, "SRC"), given::<PathBuf>(matches, "DST")) else {
        return Err(Failure::Usage { text: "finalize needs SRC and DST".to_owned(), help: false });
    };
    let families = values::families(matches)?;
    let mut finalize = crate::finalize(source, destination)
        .families(families)
        .checkpoint(given::<PathBuf>(matches, "checkpoint"))
        .root_copy(set(matches, "root-copy"))
        .keep_optimizer(set(matches, "keep-optimizer"))
        .default_tokens(!set(matches, "skip-default-tokens"))
        .pad_to_multiple(given::<usize>(matches, "pad-to-multiple"))
        .auto_stop_tokens(!set(matches, "no-auto-stop-tokens"))
        .stop_tokens(Generation::stop_token_list(&given::<String>(matches, "stop-tokens").unwrap_or_default()))
        .generation_config(GenerationMode::from_word(
            &given::<String>(matches, "generation-config").unwrap_or_else(|| "carry".to_owned()),
        ))
        .dtype(given::<DType>(matches, "dtype"))
        .quantize(given::<Recipe>(matches, "quantize"))
        .prompt(given::<String>(matches, "prompt"))
        .validate(!set(matches, "no-validate"))
        .force(set(matches, "force"))
        .dry_run(set(matches, "dry-run"));
    if let Some(tokens) = given::<String>(matches, "add-tokens") {
        finalize = finalize.add_tokens(&tokens);
    }
    if let Some(template) = given::<String>(matches, "chat-template-path") {
        finalize = finalize.chat_template(&template);
    }
    let kind = given::<GgufType>(matches, "gguf-type");
    match given::<String>(matches, "format").as_deref() {
        Some("gguf") => finalize = finalize.gguf(Some(kind.unwrap_or_default())),
        _ if kind.is_some() => {
            let text = "--gguf-type says how --format gguf stores the weights: give both".to_owned();
            return Err(Failure::Usage { text, help: false });
        }
        Some(other) => finalize = finalize.format(WeightsFormat::parse(other).unwrap_or_default()),
        None => {}
    }
    if let Some(size) = given::<u64>(matches, "max-shard-size") {
        finalize = finalize.max_shard_size(size);
    }
    let finalization = finalize.run()?;
    let mut view = finalization.view();
    if given::<Device>(matches, "device").is_some() {
        view = view.with_note("--device was not needed: finalizing computes nothing");
    }
    Ok(Outcome {
        view,
        json: finalization.report(),
        passed: true,
        value: Some(KeptValue { value: Box::new(finalization), type_path: KEEPS }),
    })
}
