//! A model folder of either naming: its configuration, its weights' headers, and how to load it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::plan::Direction;
use super::{ConvertError, Families, Family, FamilyError, RemapPlan};
use crate::checkpoint::{Checkpoint, inside, settle, weights_entries};
use crate::device::Device;
use crate::memory;
use crate::model::{CausalLm, PieceWeights};
use crate::spec::{DType, ModelConfig, ModelSpec, Naming, ParamPath, Quantization, TensorTable, parse_json};
use crate::tokenizer::TokenizerFiles;

/// A model folder, opened by its config.json and the headers of its weights.
#[derive(Debug)]
pub struct ModelFolder {
    path: PathBuf,
    json: Value,
    config: ModelConfig,
    naming: Naming,
    /// The family whose names the weights have.
    family: Family,
    checkpoint: Checkpoint,
}

impl ModelFolder {
    /// Opens a folder; the weights are those of its newest complete checkpoint, else its own.
    ///
    /// # Errors
    /// [`ConvertError`] if config.json or the weights are missing or invalid.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ConvertError> {
        Self::open_checkpoint(path.as_ref(), None)
    }

    /// As [`open`](Self::open), with the weights of one checkpoint.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_checkpoint(path: &Path, checkpoint: Option<&Path>) -> Result<Self, ConvertError> {
        Self::open_as(path, checkpoint, &Families::built_in()?, None)
    }

    /// As [`open_checkpoint`](Self::open_checkpoint), where the folder may be of any of `families`. `model_type` says of
    /// which, for a Hugging Face folder whose own `model_type` is not to be believed.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`ConvertError::Family`] if the folder is of none of them.
    pub fn open_as(
        path: &Path,
        checkpoint: Option<&Path>,
        families: &Families,
        model_type: Option<&str>,
    ) -> Result<Self, ConvertError> {
        let mut json = read_config(path)?;
        let origin = path.join("config.json").display().to_string();
        let naming = ModelConfig::naming_of(&json);
        let (mut config, family) = match naming {
            Naming::Native => (ModelConfig::from_json(&json, &origin)?, Family::native_names()?),
            Naming::HuggingFace => {
                let family = families.of_config(&json, &origin, model_type)?;
                if !families.allows_unknown_fields() {
                    family.require_known_fields(&json, &origin)?;
                }
                let mut config = family.read_config(&json, &origin)?;
                config.quantization = config.quantization.as_ref().map(|own| native_names(own, &config, &family));
                (config, family)
            }
        };
        let checkpoint = Checkpoint::choose(path, checkpoint)?;
        // Old configurations do not say their element type: then it is that of the weights.
        if ModelConfig::leaves_dtype_open(&json) {
            let stored = checkpoint.table().rows().iter().map(|row| row.dtype).find(|dtype| dtype.is_weight_float());
            config.dtype = stored.unwrap_or(config.dtype);
        }
        if let Some((head, embedding)) = head_of_its_own(&config, naming, &family, &checkpoint)? {
            match families.tie() {
                Some(true) => {}
                Some(false) => {
                    config.tie_word_embeddings = false;
                    json["tie_word_embeddings"] = Value::Bool(false);
                }
                None => {
                    return Err(ConvertError::Options {
                        what: format!(
                            "config.json says that the head is the embedding, and the file holds `{head}` with other \
                             numbers than `{embedding}`: transformers 5 computes with them, transformers 4 does not"
                        ),
                        origin,
                        advice: "keep the head with --untie (or tie_word_embeddings false in config.json), or drop it with --tie"
                            .to_owned(),
                    });
                }
            }
        }
        Ok(Self { path: path.to_owned(), json, config, naming, family, checkpoint })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// config.json as it stands.
    pub fn config_json(&self) -> &Value {
        &self.json
    }

    /// Fields of a Hugging Face config.json that nothing reads.
    pub fn unread_fields(&self) -> Vec<String> {
        match self.naming {
            Naming::HuggingFace => self.family.unread_fields(&self.json),
            Naming::Native => Vec::new(),
        }
    }

    /// The configuration in normal form.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Whose names the weights have.
    pub fn naming(&self) -> Naming {
        self.naming
    }

    /// The weights.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The table of the model that the configuration describes, by native names.
    pub fn native_table(&self) -> TensorTable {
        ModelSpec::resolve(&self.config).table(self.config.dtype)
    }

    /// The family whose names the weights have; of a native folder, one in which every name is its own.
    pub fn family(&self) -> &Family {
        &self.family
    }

    /// The family that a native folder is converted to: the one asked for, else the one that it was converted from, else
    /// the one of its own architecture. A Hugging Face folder's is its own.
    ///
    /// # Errors
    /// [`ConvertError::Family`] if that family is not among `families`; [`ConvertError::Options`] if there is none.
    pub fn family_at_hugging_face(
        &self,
        families: &Families,
        model_type: Option<&str>,
    ) -> Result<Family, ConvertError> {
        let origin = self.path.join("config.json").display().to_string();
        let remembered = self.json.get("hf_model_type").and_then(Value::as_str);
        if self.naming == Naming::HuggingFace {
            return Ok(self.family.clone());
        }
        if let Some(name) = model_type {
            return families.of_type(name).cloned().ok_or_else(|| families.unknown(name, "--model-type").into());
        }
        if let Some(name) = remembered {
            let unknown = || FamilyError::File {
                what: format!(
                    "this model was a `{name}`, which is no family known here; known are {}",
                    families.names()
                ),
                place: origin,
                advice: "name the file that describes it with --converter-path, or another family with --model-type"
                    .to_owned(),
            };
            return families.of_type(name).cloned().ok_or_else(|| unknown().into());
        }
        let own = self.config.architecture.name();
        if let Some(family) = families.of_type(own) {
            return Ok(family.clone());
        }
        let built = families.iter().filter(|family| family.architecture() == self.config.architecture);
        let built: Vec<&str> = built.map(Family::model_type).collect();
        Err(ConvertError::Options {
            what: format!("nothing says which family of Hugging Face this {own} model is to become"),
            origin,
            advice: match built.as_slice() {
                [] => "hand it on as it is: its folder holds Python sources that transformers loads with \
                       trust_remote_code; or describe a family for it in a YAML file and name both with --converter-path \
                       and --model-type"
                    .to_owned(),
                names => format!("name one with --model-type: {}", names.join(", ")),
            },
        })
    }

    /// Checks by headers that the weights are those of the configuration.
    ///
    /// # Errors
    /// [`ConvertError::Incomplete`] listing what does not fit.
    pub fn require_complete(&self) -> Result<(), ConvertError> {
        let way = Direction { from: self.naming, to: Naming::Native };
        RemapPlan::between(&self.checkpoint, way, &self.config, &self.family, None)?.require_complete()
    }

    /// Loads the model to compute in `dtype` on `device`, after checking that all tensors fit.
    ///
    /// # Errors
    /// [`ConvertError::Incomplete`] listing what does not fit, or what reading fails with.
    pub fn load(&self, dtype: DType, device: &candle_core::Device, trainable: bool) -> Result<CausalLm, ConvertError> {
        let plan = self.way_to_native()?;
        self.check_packed_shapes()?;
        if device.is_cpu() {
            let needed = ModelSpec::resolve(&self.config).table(dtype).bytes();
            let advice = "free memory, or use a machine with more; conversions and quantization have --no-validate";
            let what = format!("the weights take {} in {dtype}", memory::in_words(needed));
            Device::Cpu.require(needed, &what, advice)?;
        }
        let weights = PieceWeights::new(&self.checkpoint, plan.rows(), plan.pieces(), None);
        Ok(CausalLm::build(&self.config, Box::new(weights), dtype, device, trainable)?)
    }

    /// What each parameter is made of, after checking that all tensors fit.
    pub(crate) fn way_to_native(&self) -> Result<RemapPlan, ConvertError> {
        let way = Direction { from: self.naming, to: Naming::Native };
        let plan = RemapPlan::between(&self.checkpoint, way, &self.config, &self.family, None)?;
        plan.require_complete()?;
        Ok(plan)
    }
}

/// The head of a tied model and its embedding, by their names in the file, if it holds both with other numbers.
fn head_of_its_own(
    config: &ModelConfig,
    naming: Naming,
    family: &Family,
    checkpoint: &Checkpoint,
) -> Result<Option<(ParamPath, ParamPath)>, ConvertError> {
    for tie in ModelSpec::resolve(config).ties {
        let stored = |path: &ParamPath| {
            let ours = family.name_on(naming, path);
            let rows = checkpoint.table().rows().iter().map(|row| &row.path);
            let other = |name: &&ParamPath| {
                naming == Naming::HuggingFace && family.canonical_name(name).as_ref() == Some(&ours)
            };
            checkpoint.table().get(&ours).map(|row| &row.path).or_else(|| rows.into_iter().find(other)).cloned()
        };
        if let (Some(head), Some(embedding)) = (stored(&tie.alias), stored(&tie.target))
            && !checkpoint.equal(&head, &embedding)?
        {
            return Ok(Some((head, embedding)));
        }
    }
    Ok(None)
}

impl ModelFolder {
    /// Packed weights say their shape once more, in numbers of their own.
    pub(super) fn check_packed_shapes(&self) -> Result<(), ConvertError> {
        let mut wrong = Vec::new();
        for map in ModelSpec::resolve(&self.config).linear_layers() {
            if map.quantized.is_none_or(|scheme| !scheme.packed) {
                continue;
            }
            let name = self.family.name_on(self.naming, &map.path.join("weight_shape"));
            let data = self.checkpoint.read(&name)?;
            let number = |raw: &[u8]| raw.iter().rev().fold(0i64, |number, byte| number << 8 | i64::from(*byte));
            let found: Vec<i64> = data.bytes.chunks(8).map(number).collect();
            if found != [map.outputs as i64, map.inputs as i64] {
                wrong.push(format!("`{name}` says {found:?}, the model needs [{}, {}]", map.outputs, map.inputs));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let more = if wrong.len() > 1 { format!(", and {} more", wrong.len() - 1) } else { String::new() };
        Err(ConvertError::Folder {
            what: format!("{}{more}", wrong[0]),
            path: self.path.clone(),
            advice: "check that config.json belongs to these weights".to_owned(),
        })
    }
}

/// A quantization whose names are Hugging Face's, by native ones.
fn native_names(quantization: &Quantization, config: &ModelConfig, family: &Family) -> Quantization {
    let modules: Vec<(String, String)> = ModelSpec::resolve(config)
        .linear_layers()
        .into_iter()
        .map(|map| {
            let weight = family.name_on(Naming::HuggingFace, &map.path.join("weight"));
            (weight.as_str().trim_end_matches(".weight").to_owned(), map.path.to_string())
        })
        .collect();
    quantization.renamed(&modules)
}

/// Reads the config.json of a folder.
///
/// # Errors
/// [`ConvertError::Folder`] if the folder or the file is missing, or it is not JSON.
pub(crate) fn read_config(folder: &Path) -> Result<Value, ConvertError> {
    if !folder.is_dir() {
        return Err(ConvertError::Folder {
            what: if folder.exists() { "this is not a folder" } else { "there is no such folder" }.to_owned(),
            path: folder.to_owned(),
            advice: "name a model folder: config.json and weights".to_owned(),
        });
    }
    settle(folder)?;
    let path = folder.join("config.json");
    if path.exists() {
        inside(folder, &path)?;
    }
    let text = std::fs::read_to_string(&path).map_err(|error| ConvertError::Folder {
        what: match error.kind() {
            std::io::ErrorKind::NotFound => "config.json is missing".to_owned(),
            _ => format!("config.json cannot be read: {error}"),
        },
        path: folder.to_owned(),
        advice: "name a model folder: config.json and weights".to_owned(),
    })?;
    parse_json(&text).map_err(|error| ConvertError::Folder {
        what: format!("config.json is not valid JSON: {error}"),
        path,
        advice: "correct the file at that line and column".to_owned(),
    })
}

/// The entries that make a folder the model that it holds: another model written into it contradicts them.
pub(crate) fn entries_of_a_model(folder: &Path) -> Vec<String> {
    let mut entries = weights_entries(folder);
    entries.extend(TokenizerFiles::all_names());
    entries.push("generation_config.json".to_owned());
    entries
}

/// A small JSON file of a folder, its bytes and its content, if it is there.
///
/// # Errors
/// [`ConvertError::Folder`] if it cannot be read or is not JSON.
pub(super) fn read_json(folder: &Path, name: &str) -> Result<Option<(Vec<u8>, Value)>, ConvertError> {
    let path = folder.join(name);
    if !path.is_file() {
        return Ok(None);
    }
    let fault =
        |what: String, advice: &str| ConvertError::Folder { what, path: path.clone(), advice: advice.to_owned() };
    let bytes = std::fs::read(&path)
        .map_err(|error| fault(format!("{name} cannot be read: {error}"), "check its permissions"))?;
    let json = parse_json(&String::from_utf8_lossy(&bytes)).map_err(|error| {
        fault(format!("{name} is not valid JSON: {error}"), "correct the file at that line and column, or remove it")
    })?;
    Ok(Some((bytes, json)))
}
