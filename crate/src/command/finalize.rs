//! `finalize SRC DST`

use std::path::PathBuf;

use clap::{ArgMatches, Command};

use super::{Failure, Kept, Outcome, flag, flag_value, given, option, path, set, values};
use crate::checkpoint::WeightsFormat;
use crate::device::Device;
use crate::display::View;
use crate::gguf::GgufType;
use crate::spec::DType;

pub(super) fn definition() -> Command {
    Command::new("finalize")
        .about("Make a clean folder of a trained model: one checkpoint, tokenizer, configuration")
        .arg(path("SRC", "Model folder to read"))
        .arg(path("DST", "Folder to make; must not exist"))
        .arg(
            flag_value('c', "checkpoint", "PATH", "Checkpoint to take (default: the latest)")
                .value_parser(values::path()),
        )
        .arg(flag("keep-optimizer", "Carry the checkpoint's optimizer_state.pt"))
        .arg(flag("root-copy", "Weights at the root only, no checkpoints folder").conflicts_with("keep-optimizer"))
        .arg(option("generation-config", "MODE", "carry (default) or none").value_parser(["carry", "none"]))
        .arg(option("dtype", "DTYPE", "Cast the weights (default: as they are)").value_parser(values::dtype()))
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
        .arg(flag("dry-run", "Say what would be written, from headers; write nothing"))
        .arg(values::log_level())
}

pub(super) fn run(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let (Some(source), Some(destination)) = (given::<PathBuf>(matches, "SRC"), given::<PathBuf>(matches, "DST")) else {
        return Err(Failure::Usage { text: "finalize needs SRC and DST".to_owned(), help: false });
    };
    let mut finalize = crate::finalize(source, destination)
        .checkpoint(given::<PathBuf>(matches, "checkpoint"))
        .root_copy(set(matches, "root-copy"))
        .keep_optimizer(set(matches, "keep-optimizer"))
        .generation_config(given::<String>(matches, "generation-config").as_deref() != Some("none"))
        .dtype(given::<DType>(matches, "dtype"))
        .dry_run(set(matches, "dry-run"));
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
        value: Some(Kept { value: Box::new(finalization), type_path: "chandlery::finalize::Finalization" }),
    })
}
