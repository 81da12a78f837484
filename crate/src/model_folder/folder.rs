//! A model folder with Hugging Face's or native names: its configuration and its weights' headers.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::foreign::{adapted, dequantized_type, quantization};
use super::text_model::{OtherTensors, narrowed, text_config};
use super::wrappers::unwrapped;
use super::{ModelFolderError, read_config};
use crate::checkpoint::Checkpoint;
use crate::naming::{Families, Family, FamilyError};
use crate::spec::{ModelConfig, ModelSpec, Naming, ParamPath, Quantization, TensorTable};

/// A model folder, opened by its config.json and the headers of its weights.
#[derive(Debug)]
pub struct ModelFolder {
    pub(super) path: PathBuf,
    json: Value,
    pub(super) config: ModelConfig,
    pub(super) naming: Naming,
    /// The family whose names the weights have.
    pub(super) family: Family,
    pub(super) checkpoint: Checkpoint,
    /// Tensors of other models than the text model.
    others: OtherTensors,
}

impl ModelFolder {
    /// Opens a folder; the weights are those of its newest complete checkpoint, else its own.
    ///
    /// # Errors
    /// [`ModelFolderError`] if config.json or the weights are missing or invalid.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelFolderError> {
        Self::open_checkpoint(path.as_ref(), None)
    }

    /// As [`open`](Self::open), with the weights of one checkpoint.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_checkpoint(path: &Path, checkpoint: Option<&Path>) -> Result<Self, ModelFolderError> {
        Self::open_as(path, checkpoint, &Families::built_in()?, None)
    }

    /// As [`open_checkpoint`](Self::open_checkpoint), where the folder may be of any of `families`. `model_type` says
    /// of which, for a Hugging Face folder whose own `model_type` is not to be believed.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`ModelFolderError::Family`] if the folder is of none of them.
    pub fn open_as(
        path: &Path,
        checkpoint: Option<&Path>,
        families: &Families,
        model_type: Option<&str>,
    ) -> Result<Self, ModelFolderError> {
        let mut json = read_config(path)?;
        let origin = path.join("config.json").display().to_string();
        let naming = ModelConfig::naming_of(&json);
        let text = match naming {
            Naming::HuggingFace => text_config(&json, families, model_type),
            Naming::Native => None,
        };
        let is_part = text.is_some();
        let outer = json.get("quantization_config").cloned();
        json = text.unwrap_or(json);
        let quantized = quantization(path, &mut json, outer, families)?;
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
        let mut checkpoint = Checkpoint::choose(path, checkpoint)?;
        if families.dequantizes() {
            let settings = quantized.unwrap_or_default();
            checkpoint = checkpoint.dequantized(&settings, dequantized_type(&json, &config))?;
        }
        checkpoint = unwrapped(checkpoint, naming, &family, is_part)?;
        checkpoint = adapted(checkpoint, path, families)?;
        let mut others = OtherTensors::default();
        if is_part {
            (checkpoint, others) = narrowed(checkpoint, &family)?;
        }
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
                    return Err(ModelFolderError::Options {
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
        Ok(Self { path: path.to_owned(), json, config, naming, family, checkpoint, others })
    }

    /// Returns the folder.
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

    /// Returns the configuration in normal form.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Whose names the weights have.
    pub fn naming(&self) -> Naming {
        self.naming
    }

    /// Says which tensors of the folder are not those of the text model, if it holds other models as well.
    pub fn left_behind(&self) -> Option<String> {
        self.others.note()
    }

    /// Returns the weights.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Returns the table of the model that the configuration describes, by native names.
    pub fn native_table(&self) -> TensorTable {
        ModelSpec::resolve(&self.config).table(self.config.dtype)
    }

    /// Returns the family whose names the weights have; of a native folder, one in which every name is its own.
    pub fn family(&self) -> &Family {
        &self.family
    }

    /// Returns the family that a native folder is converted to: the one asked for, else the one that it was converted
    /// from, else the one of its own architecture. A Hugging Face folder's is its own.
    ///
    /// # Errors
    /// [`ModelFolderError::Family`] if that family is not among `families`; [`ModelFolderError::Options`] if there is
    /// none.
    pub fn family_at_hugging_face(
        &self,
        families: &Families,
        model_type: Option<&str>,
    ) -> Result<Family, ModelFolderError> {
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
                what: format!("this model was a `{name}`, which is not a known family; known are {}", families.names()),
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
        Err(ModelFolderError::Options {
            what: format!("the Hugging Face family that this {own} model should become is not named"),
            origin,
            advice: match built.as_slice() {
                [] => "use it as it is: its folder holds Python sources that transformers loads with \
                       trust_remote_code; or describe a family for it in a YAML file and name both with --converter-path \
                       and --model-type"
                    .to_owned(),
                names => format!("name one with --model-type: {}", names.join(", ")),
            },
        })
    }
}

/// Returns the head of a tied model and its embedding, by their names in the file, if it holds both with other numbers.
fn head_of_its_own(
    config: &ModelConfig,
    naming: Naming,
    family: &Family,
    checkpoint: &Checkpoint,
) -> Result<Option<(ParamPath, ParamPath)>, ModelFolderError> {
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

/// Returns a quantization whose names are Hugging Face's, by native ones.
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
