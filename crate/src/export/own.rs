//! Users' parts in the sources of a model: their Rust, their Python, or the reason why they are missing.

use std::sync::LazyLock;

use regex::Regex;
use serde::Serialize;

use super::SourceFile;
use crate::spec::{MixerKind, ModelConfig, UserPart};

/// The name of a model's crate within itself.
const CRATE: &str = "crate";

/// A user's part as the crate of a model holds it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct OwnModule {
    /// The module's name below `parts`.
    pub(super) module: String,
}

/// Returns the type of a part in a model's crate.
pub(super) fn rust_type(part: UserPart) -> String {
    let wrapper = match part.mixer_kind() {
        MixerKind::Attention => "OwnAttention",
        MixerKind::FeedForward => "OwnFeedForward",
    };
    let module = module_of(part).unwrap_or_default();
    format!("{CRATE}::part::{wrapper}::<{CRATE}::parts::{module}::{}>", part.type_name())
}

/// Returns the class of a part in a model's Python.
pub(super) fn python_class(part: UserPart) -> Option<String> {
    static CLASS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?m)^class\s+(\w+)").ok());
    let found = CLASS.as_ref()?.captures(part.python()?)?;
    Some(found[1].to_owned())
}

fn module_of(part: UserPart) -> Option<String> {
    let (file, _) = part.source()?;
    Some(std::path::Path::new(file).file_stem()?.to_string_lossy().into_owned())
}

/// Returns the modules of a model's crate that hold parts of users, and their files.
pub(super) fn rust_modules(config: &ModelConfig) -> (Vec<OwnModule>, Vec<SourceFile>) {
    let (mut modules, mut files) = (Vec::new(), Vec::new());
    for part in config.all_user_parts() {
        let (Some(module), Some((_, text))) = (module_of(part), part.source()) else { continue };
        let module = OwnModule { module };
        if !modules.contains(&module) {
            files.push((format!("src/parts/{}.rs", module.module), in_the_crate(text)));
            modules.push(module);
        }
    }
    (modules, files)
}

/// Returns a part's text with the paths that a model's crate has.
fn in_the_crate(text: &str) -> String {
    static PATHS: LazyLock<Vec<(Regex, String)>> = LazyLock::new(|| {
        let rules = [
            (r"\b(?:::)?chandlery::part\b", format!("{CRATE}::part")),
            (r"\b(?:::)?chandlery::candle_nn\b", "candle_nn".to_owned()),
            (r"\b(?:::)?chandlery::candle\b", "candle_core".to_owned()),
        ];
        rules.into_iter().filter_map(|(pattern, path)| Some((Regex::new(pattern).ok()?, path))).collect()
    });
    PATHS.iter().fold(text.to_owned(), |text, (pattern, path)| pattern.replace_all(&text, path).into_owned())
}

/// Returns why a model's sources in Rust cannot be made.
pub(super) fn without_rust(config: &ModelConfig) -> Option<String> {
    let parts = config.all_user_parts();
    let reason = |part: &UserPart| {
        let name = part.name();
        let Some((file, text)) = part.source() else {
            return Some(format!("the part `{name}` is not in the folder `parts` of a project"));
        };
        let known = |line: &&str| !line.trim_start().starts_with("//");
        let text = in_the_crate(text);
        let foreign = text.lines().filter(known).any(|line| line.contains("chandlery::"));
        foreign.then(|| format!("{file} uses more of chandlery than `chandlery::part` and `chandlery::candle`"))
    };
    parts.iter().find_map(reason).map(|why| format!("no sources in Rust: {why}"))
}

/// Returns why a model's sources in Python cannot be made.
pub(super) fn without_python(config: &ModelConfig) -> Option<String> {
    let parts = config.all_user_parts();
    let lacking = parts.into_iter().find(|part| python_class(*part).is_none())?;
    Some(format!("no sources in Python: the part `{}` has no class there (`Part::python`)", lacking.name()))
}
