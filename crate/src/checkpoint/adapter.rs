//! Adapters of low rank (LoRA), as peft saves them, merged into the weights that they belong to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use regex::Regex;
use serde_json::Value;

use super::derived::{Compute, Stored};
use super::elements::cast::{cast_floats, read_floats};
use super::header::Extent;
use super::{Checkpoint, CheckpointError};
use crate::spec::{DType, ParamPath};

/// The description of an adapter, next to its weights.
pub(crate) const ADAPTER_CONFIG: &str = "adapter_config.json";
const WEIGHTS: &[&str] = &["adapter_model.safetensors", "adapter_model.bin"];
/// What peft puts before the names of the model.
const PREFIXES: &[&str] = &["base_model.model.", "base_model."];

/// An adapter's own settings.
struct Settings {
    json: Value,
    path: PathBuf,
}

impl Settings {
    fn read(folder: &Path) -> Result<Self, CheckpointError> {
        let path = folder.join(ADAPTER_CONFIG);
        let text = std::fs::read_to_string(&path).map_err(CheckpointError::io("reading", &path))?;
        let json = serde_json::from_str(&text).map_err(|error| CheckpointError::Adapter {
            what: format!("{ADAPTER_CONFIG} is not JSON: {error}"),
            path: path.clone(),
            advice: "copy the adapter again".to_owned(),
        })?;
        Ok(Self { json, path })
    }

    fn fault(&self, what: impl Into<String>, advice: impl Into<String>) -> CheckpointError {
        CheckpointError::Adapter { what: what.into(), path: self.path.clone(), advice: advice.into() }
    }

    fn flag(&self, name: &str) -> bool {
        self.json[name].as_bool().unwrap_or(false)
    }

    /// Refuses what is more than a product of two matrices.
    fn check(&self) -> Result<(), CheckpointError> {
        let merge = "merge it with peft (`merge_and_unload`), and convert what comes out of it";
        let kind = self.json["peft_type"].as_str().unwrap_or("LORA");
        if !kind.eq_ignore_ascii_case("lora") {
            return Err(self.fault(format!("adapters of the type {kind} are not supported, only LORA"), merge));
        }
        for field in [
            "use_dora",
            "use_qalora",
            "use_bdlora",
            "alora_invocation_tokens",
            "target_parameters",
            "trainable_token_indices",
        ] {
            let set = match &self.json[field] {
                Value::Null | Value::Bool(false) => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(fields) => !fields.is_empty(),
                _ => true,
            };
            if set {
                return Err(self.fault(format!("adapters with `{field}` are not supported"), merge));
            }
        }
        Ok(())
    }

    /// A number for a module: the one of the first pattern that its name ends with, else that for all.
    fn number(&self, module: &str, patterns: &str, usual: &str) -> Result<f64, CheckpointError> {
        let patterned = self.json[patterns].as_object().into_iter().flatten().find_map(|(pattern, value)| {
            let whole = Regex::new(&format!(r"^(.*\.)?({pattern})$")).ok()?;
            whole.is_match(module).then(|| value.as_f64()).flatten()
        });
        let number = patterned.or_else(|| self.json[usual].as_f64()).filter(|number| number.is_finite());
        number.ok_or_else(|| self.fault(format!("`{usual}` is missing, or not a number"), "copy the adapter again"))
    }

    /// What the product of the two matrices is multiplied with.
    fn scaling(&self, module: &str) -> Result<f64, CheckpointError> {
        let (rank, alpha) =
            (self.number(module, "rank_pattern", "r")?, self.number(module, "alpha_pattern", "lora_alpha")?);
        Ok(alpha / if self.flag("use_rslora") { rank.sqrt() } else { rank })
    }
}

/// A weight with the product of two matrices added.
#[derive(Debug)]
struct Merged {
    weight: Stored,
    down: Stored,
    up: Stored,
    scaling: f32,
    /// Whether the weight is stored with its inputs first.
    transposed: bool,
    dtype: DType,
}

impl Compute for Merged {
    /// As peft computes it: the product in float32, each number summed from the first to the last of the rank; the sum in
    /// float32, rounded to the type of the weight.
    fn compute(&self) -> Result<Vec<u8>, CheckpointError> {
        use rayon::prelude::*;
        let (down, up) = (floats(&self.down)?, floats(&self.up)?);
        let (inputs, rank) = (self.down.shape()[1], self.down.shape()[0]);
        let outputs = self.up.shape()[0];
        let mut weight = floats(&self.weight)?;
        let columns = if self.transposed { outputs } else { inputs };
        let delta = |output: usize, input: usize| {
            let mut sum = 0f32;
            for at in 0..rank {
                // The product is exact in float64, and the sum is rounded once, as a fused operation rounds it.
                let product = f64::from(up[output * rank + at]) * f64::from(down[at * inputs + input]);
                sum = (product + f64::from(sum)) as f32;
            }
            sum * self.scaling
        };
        if columns > 0 {
            weight.par_chunks_mut(columns).enumerate().for_each(|(row, values)| {
                for (column, value) in values.iter_mut().enumerate() {
                    *value += if self.transposed { delta(column, row) } else { delta(row, column) };
                }
            });
        }
        let wide: Vec<u8> = weight.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut bytes = Vec::with_capacity(weight.len() * self.dtype.bytes());
        cast_floats(&wide, DType::F32, self.dtype, &mut bytes)
            .map_err(|fault| fault.of(self.weight.name(), (DType::F32, self.dtype), self.weight.path()))?;
        Ok(bytes)
    }
}

fn floats(stored: &Stored) -> Result<Vec<f32>, CheckpointError> {
    let bytes = stored.read()?;
    let mut out = vec![0.0; bytes.len() / stored.dtype().bytes()];
    read_floats(&bytes, stored.dtype(), &mut out).ok_or_else(|| CheckpointError::Cast {
        tensor: stored.name().to_owned(),
        dtype: stored.dtype().to_string(),
        path: stored.path().to_owned(),
    })?;
    Ok(out)
}

/// What an adapter says of one tensor of the model.
#[derive(Default)]
struct Change {
    down: Option<Stored>,
    up: Option<Stored>,
    whole: Option<Stored>,
    embedding: bool,
}

impl Checkpoint {
    /// Merges an adapter into the weights. `rename` gives the model's own name of a tensor, where the adapter was trained with
    /// another one around it. A note names the adapter and how many weights it changed.
    ///
    /// # Errors
    /// [`CheckpointError::Adapter`] for adapters of other kinds, and such as do not belong to the model.
    pub(crate) fn with_adapter(mut self, folder: &Path) -> Result<Self, CheckpointError> {
        let settings = Settings::read(folder)?;
        settings.check()?;
        let file = WEIGHTS.iter().map(|name| folder.join(name)).find(|path| path.is_file());
        let file = file
            .ok_or_else(|| settings.fault(format!("there is no {} beside it", WEIGHTS[0]), "copy the adapter again"))?;
        let adapter = Self::open_file(&file)?;
        let mut changes: BTreeMap<String, Change> = BTreeMap::new();
        for shard in &adapter.shards {
            for extent in &shard.tensors {
                let name = PREFIXES.iter().find_map(|prefix| extent.name.strip_prefix(prefix)).unwrap_or(&extent.name);
                let name = name.replace(".base_layer.", ".").replace(".modules_to_save.default.", ".");
                let name =
                    name.replace(".modules_to_save.", ".").replace(".default.", ".").replace(".original_module.", ".");
                let stored = Stored::new(shard, extent);
                let parts = [
                    (".lora_A.weight", false, false),
                    (".lora_B.weight", true, false),
                    (".lora_embedding_A", false, true),
                    (".lora_embedding_B", true, true),
                ];
                let part = parts.iter().find_map(|(ending, up, embedding)| {
                    let whole =
                        name.strip_suffix(ending).or_else(|| name.strip_suffix(&format!("{ending}.default")))?;
                    Some((whole.to_owned(), *up, *embedding))
                });
                let (module, up, embedding) = match part {
                    Some(part) => part,
                    None if name.contains("lora_") => {
                        let what = format!("`{}` is not a part of an adapter that is known", extent.name);
                        return Err(settings.fault(what, "merge it with peft (`merge_and_unload`) first"));
                    }
                    None => {
                        changes.entry(name).or_default().whole = Some(stored);
                        continue;
                    }
                };
                let change = changes.entry(format!("{module}.weight")).or_default();
                change.embedding = embedding;
                *(if up { &mut change.up } else { &mut change.down }) = Some(stored);
            }
        }
        let mut missing: Vec<&String> = changes.keys().collect();
        for shard in &mut self.shards {
            let places: Vec<Option<Stored>> = shard
                .tensors
                .iter()
                .map(|extent| changes.contains_key(&extent.name).then(|| Stored::new(shard, extent)))
                .collect();
            for (extent, weight) in shard.tensors.iter_mut().zip(places) {
                let Some(weight) = weight else { continue };
                missing.retain(|name| **name != extent.name);
                let change = &changes[&extent.name];
                *extent = changed(&settings, extent, weight, change)?;
            }
        }
        if let Some(name) = missing.first() {
            let what = format!("the model does not have {} of its tensors, such as `{name}`", missing.len());
            let base = settings.json["base_model_name_or_path"].as_str().unwrap_or("another model");
            return Err(settings.fault(what, format!("merge it into the model that it was trained for ({base})")));
        }
        let mut merged = self.renamed(|name: &ParamPath| Some(name.clone()))?;
        merged.note(format!("the adapter {} was merged into {} tensors", folder.display(), changes.len()));
        Ok(merged)
    }
}

/// Returns a tensor with what the adapter says of it.
fn changed(
    settings: &Settings,
    extent: &Extent,
    mut weight: Stored,
    change: &Change,
) -> Result<Extent, CheckpointError> {
    let misfit = |other: &Stored| {
        let what = format!("`{}` of {:?} does not fit a tensor of {:?}", other.name(), other.shape(), extent.shape);
        settings.fault(what, "merge it into the model that it was trained for")
    };
    let dtype = extent.dtype;
    let mut merged = extent.clone();
    if let Some(whole) = &change.whole {
        if whole.shape() != extent.shape.as_slice() {
            return Err(misfit(whole));
        }
        merged.derived = Some(Arc::new(Replaced { whole: whole.clone(), dtype }));
        if change.down.is_none() && change.up.is_none() {
            return Ok(merged);
        }
        // Adapters of embeddings bring the weight that they were trained on.
        weight = weight.computed_by(&merged);
    }
    let (Some(down), Some(up)) = (&change.down, &change.up) else {
        return Err(settings
            .fault(format!("one of the two matrices of `{}` is missing", extent.name), "copy the adapter again"));
    };
    if !dtype.is_weight_float() {
        let what = format!("`{}` is {dtype}, to which nothing can be added", extent.name);
        return Err(settings.fault(what, "add --dequantize"));
    }
    let module = extent.name.strip_suffix(".weight").unwrap_or(&extent.name);
    // Embeddings are stored with their inputs, the tokens, first.
    let transposed = change.embedding || settings.flag("fan_in_fan_out");
    let fits = match (down.shape(), up.shape(), extent.shape.as_slice()) {
        (&[rank, inputs], &[outputs, other], &[rows, columns]) if rank == other => {
            if transposed {
                (inputs, outputs) == (rows, columns)
            } else {
                (outputs, inputs) == (rows, columns)
            }
        }
        _ => false,
    };
    if !fits {
        return Err(misfit(down));
    }
    let scaling = settings.scaling(module)? as f32;
    let (down, up) = (down.clone(), up.clone());
    merged.derived = Some(Arc::new(Merged { weight, down, up, scaling, transposed, dtype }));
    Ok(merged)
}

/// A tensor that the adapter holds whole, in the type of the model's.
#[derive(Debug)]
struct Replaced {
    whole: Stored,
    dtype: DType,
}

impl Compute for Replaced {
    fn compute(&self) -> Result<Vec<u8>, CheckpointError> {
        let bytes = self.whole.read()?;
        if self.whole.dtype() == self.dtype {
            return Ok(bytes);
        }
        let mut cast = Vec::new();
        cast_floats(&bytes, self.whole.dtype(), self.dtype, &mut cast)
            .map_err(|fault| fault.of(self.whole.name(), (self.whole.dtype(), self.dtype), self.whole.path()))?;
        Ok(cast)
    }
}
