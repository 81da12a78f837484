//! How words of a command line become values.

use std::path::PathBuf;

use clap::builder::{TypedValueParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches};

use super::{flag, flag_value, option, set};
use crate::checkpoint::{WeightsFormat, parse_size};
use crate::device::Device;
use crate::gguf::GgufType;
use crate::naming::{Families, FamilyError};
use crate::spec::{DType, Recipe};

/// A path; a leading `~` is the home folder, also where no shell expands it.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    clap::builder::StringValueParser::new().map(|word: String| match (word.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(word),
    })
}

/// An element type for weights.
pub(super) fn dtype() -> ValueParser {
    ValueParser::from(|word: &str| {
        let dtype = DType::parse(word).filter(|dtype| dtype.is_weight_float());
        dtype.ok_or_else(|| "use float32, bfloat16, float16 or float64".to_owned())
    })
}

/// A device.
pub(super) fn device() -> ValueParser {
    ValueParser::from(|word: &str| Device::parse(word).map_err(|_| "use meta, cpu, cuda or cuda:N".to_owned()))
}

/// A format of weights.
pub(super) fn weights_format() -> ValueParser {
    ValueParser::from(|word: &str| WeightsFormat::parse(word).ok_or_else(|| "use safetensors or pytorch".to_owned()))
}

/// How a GGUF file stores matrices.
pub(super) fn gguf_type() -> ValueParser {
    ValueParser::from(|word: &str| {
        GgufType::parse(word).ok_or_else(|| {
            let names: Vec<&str> = GgufType::ALL.iter().map(|kind| kind.name()).collect();
            format!("use {}; recipes such as int4-weight-only are for --quantize", names.join(", "))
        })
    })
}

/// A number of bytes with a unit.
pub(super) fn size() -> ValueParser {
    ValueParser::from(|word: &str| {
        parse_size(word).ok_or_else(|| "use a number with a unit, such as 5GB or 512MiB".to_owned())
    })
}

/// A way to quantize. Only the first line of an error has room here: clap writes the flag and the value before it.
pub(super) fn recipe() -> ValueParser {
    const ORIGIN: &str = "the command line";
    ValueParser::from(|word: &str| {
        let aside = format!("\n  where: {ORIGIN}\n  do: ");
        Recipe::parse(word, ORIGIN).map_err(|error| error.to_string().replace(&aside, "; "))
    })
}

/// Which weights of a model folder to take.
pub(super) fn checkpoint() -> Arg {
    flag_value(
        'c',
        "checkpoint",
        "PATH",
        "Checkpoint to take (default: the newest complete one, else the folder's own)",
    )
    .value_parser(path())
}

/// Permission to write into a folder that holds something.
pub(super) fn force() -> Arg {
    flag("force", "Write into DST though it holds something: over files of the same names, in place of its model")
}

/// Where to look for families of models beside the built-in ones; may be given several times.
pub(super) fn converter_path() -> Arg {
    option("converter-path", "PATH", "YAML file, or folder of them, that describes more families (repeatable)")
        .value_parser(path())
        .action(ArgAction::Append)
}

/// Whether fields of config.json that the model's family does not read are passed over.
pub(super) fn allow_unknown_fields() -> Arg {
    flag("allow-unknown-fields", "Pass over fields of config.json that its family does not say the meaning of")
}

/// What becomes of a head of its own in a model whose config.json says that the head is the embedding.
pub(super) fn ties() -> [Arg; 2] {
    [
        flag("tie", "Where config.json says that the head is the embedding, drop a head with other numbers")
            .conflicts_with("untie"),
        flag("untie", "Where config.json says that the head is the embedding, keep a head with other numbers"),
    ]
}

/// The value of [`ties`].
pub(super) fn tie(matches: &ArgMatches) -> Option<bool> {
    if set(matches, "tie") { Some(true) } else { set(matches, "untie").then_some(false) }
}

/// The families that the command line names.
pub(super) fn families(matches: &ArgMatches) -> Result<Families, FamilyError> {
    let families = Families::with_paths(converter_paths(matches))?;
    let families = families.allow_unknown_fields(set(matches, "allow-unknown-fields"));
    Ok(families.tie_word_embeddings(tie(matches)))
}

/// The values of [`converter_path`].
pub(super) fn converter_paths(matches: &ArgMatches) -> Vec<PathBuf> {
    matches.get_many::<PathBuf>("converter-path").into_iter().flatten().cloned().collect()
}

/// `--log-level`, which the commands take so that scripts written for others run.
pub(super) fn log_level() -> Arg {
    Arg::new("log-level")
        .long("log-level")
        .value_name("LEVEL")
        .ignore_case(true)
        .value_parser(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
        .help("Accepted for scripts that give it; there is no log, and the report is always the same")
}
