//! Which tensors become which, from headers.

use std::collections::HashMap;

use serde_json::Value;

use super::{QuantizeError, QuantizingSource};
use crate::checkpoint::{Checkpoint, Piece, TensorSource};
use crate::model_folder::ModelFolder;
use crate::spec::{
    Granularity, ModelSpec, ParamKind, ParamPath, Quantization, QuantizationGroup, Recipe, Scheme, TensorRow,
};

/// Parts of the names of matrices that are not linear layers, or stay as they are.
const KEPT: &[&str] = &["embed", "lm_head", "norm", "wte", "wpe", "position", "router", "relative_attention_bias"];

/// The last words of the names of routers to experts.
const ROUTERS: &[&str] = &["gate", "shared_expert_gate"];

/// What a recipe makes of the tensors of a model folder.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizePlan {
    recipe: Recipe,
    quantization: Quantization,
    /// Weights that are quantized, by the folder's names, and how.
    maps: HashMap<ParamPath, Scheme>,
}

impl QuantizePlan {
    /// Plans for a folder of either side.
    ///
    /// # Errors
    /// [`QuantizeError`] if the model is quantized already, has no linear layers to quantize, or the recipe does not
    /// fit.
    pub fn new(folder: &ModelFolder, recipe: Recipe) -> Result<Self, QuantizeError> {
        let origin = || folder.path().display().to_string();
        if folder.config().quantization.is_some() {
            return Err(QuantizeError::Refused {
                what: "the model is quantized already".to_owned(),
                origin: origin(),
                advice: "quantize the model that it was made from".to_owned(),
            });
        }
        // Hugging Face calls the head what we call it, and has no model with a map that it would have to name
        // otherwise.
        let quantization = recipe.for_model(folder.config())?;
        let pieces = folder.way_to_native()?.pieces();
        let mut maps = HashMap::new();
        for map in ModelSpec::resolve(folder.config()).linear_layers() {
            let Some(scheme) = quantization.scheme_of(map.path.as_str()) else { continue };
            let weight = map.path.join("weight");
            let stored = match pieces.get(&weight).map(Vec::as_slice) {
                None => weight,
                Some([Piece::Tensor(stored)]) => stored.clone(),
                Some(_) => {
                    return Err(QuantizeError::Refused {
                        what: format!("`{weight}` is not a tensor of its own: it is transposed, or joined with others"),
                        origin: origin(),
                        advice: "convert the folder to native names, and quantize that".to_owned(),
                    });
                }
            };
            maps.insert(stored, scheme);
        }
        if maps.is_empty() {
            return Err(QuantizeError::Refused {
                what: "the model has no linear layers to quantize".to_owned(),
                origin: origin(),
                advice: "leave --quantize out".to_owned(),
            });
        }
        Ok(Self { recipe, quantization, maps })
    }

    /// Plans for a checkpoint whose model nothing describes: every matrix `NAME.weight` of floats is taken for a linear
    /// layer, except embeddings, heads, routers and norms, which are told by their names.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn of_tensors(checkpoint: &Checkpoint, recipe: Recipe) -> Result<Self, QuantizeError> {
        let module = |row: &TensorRow| row.path.as_str().strip_suffix(".weight").map(ParamPath::from);
        let matrices = checkpoint.table().rows().iter().filter(|row| row.shape.len() == 2 && row.dtype.is_float());
        let matrices: Vec<(ParamPath, usize)> = matrices.filter_map(|row| Some((module(row)?, row.shape[1]))).collect();
        let kept = |path: &ParamPath| {
            let name = path.as_str().to_ascii_lowercase();
            KEPT.iter().any(|part| name.contains(part)) || ROUTERS.contains(&path.last())
        };
        // Named one by one: a model may have linear layers that are not stored, such as a head that is tied.
        let mut targets: Vec<String> = Vec::new();
        for (path, _) in matrices.iter().filter(|(path, _)| !kept(path)) {
            let pattern = pattern_of(path);
            if !targets.contains(&pattern) {
                targets.push(pattern);
            }
        }
        let groups = vec![QuantizationGroup { targets, scheme: recipe.scheme() }];
        let quantization = Quantization { groups, ignore: Vec::new(), recipe: Some(recipe.name().to_owned()) };
        let quantization = recipe.for_layers(&matrices, quantization)?;
        let maps = matrices.iter().filter_map(|(path, _)| {
            let scheme = quantization.scheme_of(path.as_str())?;
            Some((path.join("weight"), scheme))
        });
        let maps: HashMap<ParamPath, Scheme> = maps.collect();
        if maps.is_empty() {
            return Err(QuantizeError::Refused {
                what: "the checkpoint has no linear layers to quantize".to_owned(),
                origin: checkpoint.path().display().to_string(),
                advice: "leave --quantize out".to_owned(),
            });
        }
        Ok(Self { recipe, quantization, maps })
    }

    /// Returns the recipe.
    pub fn recipe(&self) -> Recipe {
        self.recipe
    }

    /// How every quantized weight is stored.
    pub fn scheme(&self) -> Scheme {
        self.quantization.groups.first().map_or_else(|| self.recipe.scheme(), |group| group.scheme)
    }

    /// Number of weights that are quantized.
    pub fn quantized(&self) -> usize {
        self.maps.len()
    }

    /// Returns the block `quantization_config` of config.json.
    pub fn config_block(&self) -> Value {
        self.quantization.to_json()
    }

    /// Returns notes to read before the model is quantized.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = vec!["the head stays as it is, and so do embeddings and norms".to_owned()];
        if let (Granularity::Group(asked), Granularity::Group(used)) =
            (self.recipe.scheme().granularity, self.scheme().granularity)
            && asked != used
        {
            notes.push(format!("groups of {used} instead of {asked}: {asked} does not divide every width"));
        }
        notes
    }

    /// Returns the tensors to write instead of `rows`: a quantized weight's numbers, scales and shape stand at its
    /// place. Scales have the weight's element type.
    pub fn rows(&self, rows: impl IntoIterator<Item = TensorRow>) -> Vec<TensorRow> {
        rows.into_iter()
            .flat_map(|row| match self.maps.get(&row.path) {
                None => vec![row],
                Some(scheme) => {
                    let (outputs, inputs) = (row.shape[0], row.shape.get(1).copied().unwrap_or(1));
                    let parts = scheme.params(inputs, outputs).into_iter();
                    let parts = parts.map(|part| {
                        let dtype = match part.kind {
                            ParamKind::Scales => row.dtype,
                            ParamKind::Numbers
                            | ParamKind::Shape
                            | ParamKind::Weight
                            | ParamKind::Bias
                            | ParamKind::Slopes => part.dtype.unwrap_or(row.dtype),
                        };
                        TensorRow::stored(part_of(&row.path, part.name), part.shape, dtype)
                    });
                    parts.collect()
                }
            })
            .collect()
    }

    /// Returns a source of the quantized tensors out of `from`, and of all others out of `rest`. `progress` is told the
    /// bytes of quantized weights that were read.
    pub fn source<'a>(
        &'a self,
        from: &'a Checkpoint,
        rest: &'a dyn TensorSource,
        progress: &'a dyn Fn(u64),
    ) -> QuantizingSource<'a> {
        QuantizingSource::new(self, from, rest, progress)
    }

    /// Returns the weight that a tensor to write stands for, with its scheme and which part of it the tensor is.
    pub(super) fn part(&self, path: &ParamPath) -> Option<(ParamPath, Scheme, ParamKind)> {
        let weight = path.parent().join("weight");
        let scheme = *self.maps.get(&weight)?;
        // Names and kinds do not depend on the shape.
        let part = scheme.params(1, 1).into_iter().find(|part| part.name == path.last())?;
        Some((weight, scheme, part.kind))
    }
}

/// Returns the pattern of a module's name and of its fellows in other layers.
fn pattern_of(module: &ParamPath) -> String {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = module.as_str().split('.');
    let parts = parts.map(|part| if number(part) { r"\d+".to_owned() } else { regex::escape(part) });
    format!("re:^{}$", parts.collect::<Vec<_>>().join(r"\."))
}

/// Returns the name of a part of a weight.
fn part_of(weight: &ParamPath, part: &str) -> ParamPath {
    ParamPath::from(format!("{}{part}", weight.as_str().trim_end_matches("weight")))
}
