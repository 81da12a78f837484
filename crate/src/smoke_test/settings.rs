//! How a step is computed, and the other settings that `--compare` asks for.

use super::error::{SmokeTestError, refused};
use crate::device::Device;
use crate::ops::AttentionImplementation;
use crate::spec::{DType, Recipe};

/// How a step is computed. All settings but the recipe give the same losses and gradients, within rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Settings {
    /// How attention is computed.
    pub attention: AttentionImplementation,
    /// Keeps each layer's input only and computes the layer again in backward.
    pub gradient_checkpointing: bool,
    /// Updates each parameter, and drops its gradient, as soon as backward has it.
    pub fuse_optim_with_backward: bool,
    /// Trains for being quantized: weights, and inputs if the recipe says so, are rounded in the forward pass.
    pub qat_recipe: Option<Recipe>,
}

impl std::fmt::Display for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} attention", self.attention)?;
        if self.gradient_checkpointing {
            f.write_str(", gradient checkpointing")?;
        }
        if self.fuse_optim_with_backward {
            f.write_str(", optimizer fused with backward")?;
        }
        if let Some(recipe) = self.qat_recipe {
            write!(f, ", rounded by {recipe}")?;
        }
        Ok(())
    }
}

/// The second of two compared settings: what it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CompareSettings {
    /// Another attention.
    pub attention: Option<AttentionImplementation>,
    /// With or without gradient checkpointing.
    pub gradient_checkpointing: Option<bool>,
    /// With or without the fused optimizer.
    pub fuse_optim_with_backward: Option<bool>,
    /// On another device.
    pub device: Option<Device>,
    /// In another element type.
    pub dtype: Option<DType>,
}

const KEYS: [&str; 5] =
    ["attn-implementation", "gradient-checkpointing", "fuse-optim-with-backward", "device", "dtype"];

impl CompareSettings {
    /// Reads `attn-implementation=eager,gradient-checkpointing=true`; the keys are the flags' names, and `device` and
    /// `dtype`.
    ///
    /// # Errors
    /// [`SmokeTestError::Refused`] for an unknown key, a value that does not fit, or nothing at all.
    pub fn parse(text: &str) -> Result<Self, SmokeTestError> {
        const ORIGIN: &str = "--compare";
        let mut read = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, "true"));
            let (key, value) = (key.trim().trim_start_matches("--").replace('_', "-"), value.trim());
            let expected = |what: String| {
                let advice = format!("write {key}=VALUE with one of the values that the flag takes");
                refused(format!("invalid value `{value}` for {key}: {what}"), ORIGIN, advice)
            };
            let switch = || match value {
                "true" | "yes" | "on" | "1" => Some(true),
                "false" | "no" | "off" | "0" => Some(false),
                _ => None,
            };
            match key.as_str() {
                "attn-implementation" => match value.parse() {
                    Ok(attention) => read.attention = Some(attention),
                    Err(_) => return expected("use eager, sdpa, flash_attention_2 or flex_attention".to_owned()),
                },
                "gradient-checkpointing" | "fuse-optim-with-backward" => match switch() {
                    Some(on) if key == "gradient-checkpointing" => read.gradient_checkpointing = Some(on),
                    Some(on) => read.fuse_optim_with_backward = Some(on),
                    None => return expected("use true or false".to_owned()),
                },
                "device" => match Device::parse(value) {
                    Ok(device) if device != Device::Meta => read.device = Some(device),
                    _ => return expected("use cpu, cuda or cuda:N".to_owned()),
                },
                "dtype" => match DType::parse(value).filter(|dtype| dtype.is_weight_float()) {
                    Some(dtype) => read.dtype = Some(dtype),
                    None => return expected("use float32, bfloat16, float16 or float64".to_owned()),
                },
                _ => {
                    let likeness = |known: &&str| strsim::jaro_winkler(&key, known);
                    let close = KEYS.into_iter().filter(|known| likeness(known) > 0.75);
                    let meant = close.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
                    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
                    return refused(
                        format!("unknown setting `{key}`{meant}"),
                        ORIGIN,
                        format!("use {}, joined by commas", KEYS.join(", ")),
                    );
                }
            }
        }
        if read == Self::default() {
            return refused("nothing is changed, so there is nothing to compare", ORIGIN, format!("give {}", KEYS[0]));
        }
        Ok(read)
    }

    /// Returns the whole second setting.
    pub(super) fn applied(&self, first: &Settings) -> Settings {
        Settings {
            attention: self.attention.unwrap_or(first.attention),
            gradient_checkpointing: self.gradient_checkpointing.unwrap_or(first.gradient_checkpointing),
            fuse_optim_with_backward: self.fuse_optim_with_backward.unwrap_or(first.fuse_optim_with_backward),
            // Another recipe would be another computation, so the two would not agree.
            qat_recipe: first.qat_recipe,
        }
    }
}

impl std::fmt::Display for CompareSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let values = [
            self.attention.map(|value| value.to_string()),
            self.gradient_checkpointing.map(|value| value.to_string()),
            self.fuse_optim_with_backward.map(|value| value.to_string()),
            self.device.map(|value| value.to_string()),
            self.dtype.map(|value| value.to_string()),
        ];
        let given = KEYS.iter().zip(values).filter_map(|(key, value)| Some(format!("{key}={}", value?)));
        f.write_str(&given.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_as_they_are_written() {
        let text = "attn-implementation=eager,gradient-checkpointing=true,device=cpu,dtype=bfloat16";
        let read = CompareSettings::parse(text).unwrap();
        assert_eq!(read.to_string(), text);
        assert_eq!(CompareSettings::parse("--gradient_checkpointing").unwrap().gradient_checkpointing, Some(true));
        let first = Settings { fuse_optim_with_backward: true, ..Settings::default() };
        assert!(read.applied(&first).fuse_optim_with_backward && read.applied(&first).gradient_checkpointing);
    }

    #[test]
    fn what_cannot_be_compared_says_what_can() {
        for (text, said) in [
            ("", "nothing to compare"),
            ("attn-implementatoin=eager", "did you mean `attn-implementation`?"),
            ("attn-implementation=fast", "invalid value `fast`"),
            ("gradient-checkpointing=maybe", "true or false"),
            ("device=meta", "cpu, cuda"),
            ("dtype=int8", "float32"),
        ] {
            let error = CompareSettings::parse(text).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("--compare"), "{text}: {error}");
        }
    }
}
