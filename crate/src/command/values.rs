//! Parsers of the values of flags. An error is one line, because clap writes the flag and the value before it.

use std::convert::Infallible;
use std::path::PathBuf;

use super::on_one_line;
use crate::checkpoint::{WeightsFormat, parse_size};
use crate::device::Device;
use crate::gguf::GgufType;
use crate::ops::AttentionImplementation;
use crate::smoke_test::CompareSettings;
use crate::spec::{DType, Recipe};
use crate::update::Version;

/// A path. A leading `~` is the home folder, even if no shell expands it.
pub(super) fn path(word: &str) -> Result<PathBuf, Infallible> {
    Ok(match (word.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(word),
    })
}

/// An element type for weights.
pub(super) fn dtype(word: &str) -> Result<DType, &'static str> {
    let dtype = DType::parse(word).filter(|dtype| dtype.is_weight_float());
    dtype.ok_or("use float32, bfloat16, float16 or float64")
}

/// A device.
pub(super) fn device(word: &str) -> Result<Device, &'static str> {
    Device::parse(word).map_err(|_| "use meta, cpu, cuda or cuda:N")
}

/// A format of weights.
pub(super) fn weights_format(word: &str) -> Result<WeightsFormat, &'static str> {
    WeightsFormat::parse(word).ok_or("use safetensors or pytorch")
}

/// How a GGUF file stores matrices.
pub(super) fn gguf_type(word: &str) -> Result<GgufType, String> {
    GgufType::parse(word).ok_or_else(|| {
        let names: Vec<&str> = GgufType::ALL.iter().map(|kind| kind.name()).collect();
        format!("use {}; recipes such as int4-weight-only are for --quantize", names.join(", "))
    })
}

/// A number of bytes with a unit.
pub(super) fn size(word: &str) -> Result<u64, &'static str> {
    parse_size(word).ok_or("use a number with a unit, such as 5GB or 512MiB")
}

/// A way to quantize.
pub(super) fn recipe(word: &str) -> Result<Recipe, String> {
    Recipe::parse(word, "the command line").map_err(on_one_line)
}

/// A version of an architecture.
pub(super) fn version(word: &str) -> Result<Version, &'static str> {
    Version::parse(word).ok_or("use a number, such as 1")
}

/// How attention is computed.
pub(super) fn attention(word: &str) -> Result<AttentionImplementation, &'static str> {
    word.parse().map_err(|_| "use eager, sdpa, flash_attention_2 or flex_attention")
}

/// The settings of the second run of `model test --compare`.
pub(super) fn compared(word: &str) -> Result<CompareSettings, String> {
    CompareSettings::parse(word).map_err(on_one_line)
}
