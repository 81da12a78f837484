//! What a GGUF file will hold, as a value that is made before anything is written.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::metadata::{architecture, metadata, rope_factors, warnings};
use super::names::{ROPE_FACTORS, expert_of, gguf_name};
use super::vocabulary::vocabulary;
use super::{GgufError, GgufType};
use crate::checkpoint::{GGUF_FILE, GgufMetadata, Piece};
use crate::model_folder::ModelFolder;
use crate::naming::{Direction, RemapPlan};
use crate::sealed::Sealed;
use crate::spec::{DType, ModelConfig, ModelSpec, Naming, ParamPath, Role, TensorRow, TensorTable};
use crate::tokenizer::TokenizerFiles;

/// One tensor of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufTensor {
    /// Its name, shape and type in the file.
    pub row: TensorRow,
    /// The native name; `None` for a tensor that is made for the file.
    pub native: Option<ParamPath>,
    /// Why it is not stored as asked for.
    pub why: Option<String>,
    /// What it is made of, in the source.
    pub(super) origin: Vec<Piece>,
    /// Rows of a head, if they are to be put into another order.
    pub(super) heads: Option<usize>,
}

/// What a GGUF file will hold: tensors in the order of a forward pass, and metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufPlan {
    tensors: Sealed<Vec<GgufTensor>>,
    metadata: Sealed<GgufMetadata>,
    kind: GgufType,
    warnings: Vec<String>,
}

impl GgufPlan {
    /// Plans the file of a model whose weights are those of `source`, changed as `config` and `tokenizer` are. `name`
    /// goes into `general.name`.
    ///
    /// # Errors
    /// [`GgufError`] for models and tokenizers that GGUF has no place for, or tensors that do not fit the
    /// configuration.
    pub fn new(
        source: &ModelFolder,
        config: &ModelConfig,
        tokenizer: &TokenizerFiles,
        kind: GgufType,
        name: &str,
    ) -> Result<Self, GgufError> {
        let architecture = architecture(config, source.path())?;
        let way = Direction { from: source.naming(), to: Naming::Native };
        let remap = RemapPlan::between(source.checkpoint(), way, source.config(), source.family(), None)?;
        remap.require_complete()?;
        let pieces = remap.pieces();
        let tied = config.tie_word_embeddings;
        let mut tensors: Vec<GgufTensor> = Vec::new();
        let mut stacks: HashMap<ParamPath, usize> = HashMap::new();
        for row in ModelSpec::resolve(config).table(DType::F32).stored() {
            let Some(name) = gguf_name(row) else {
                let what = format!("the parameter `{}`", row.path);
                return Err(GgufError::Beyond { what, origin: source.path().to_owned() });
            };
            let origin = pieces.get(&row.path).map_or_else(|| vec![Piece::Tensor(row.path.clone())], Clone::clone);
            let shape = match expert_of(row) {
                None => row.shape.clone(),
                Some(_) => match stacks.get(&name) {
                    None => {
                        stacks.insert(name.clone(), tensors.len());
                        [&[1], row.shape.as_slice()].concat()
                    }
                    Some(&place) => {
                        tensors[place].row.shape[0] += 1;
                        tensors[place].origin.extend(origin);
                        continue;
                    }
                },
            };
            let head = row.role == Some(Role::Head) || (tied && row.role == Some(Role::TokenEmbedding));
            let (dtype, why) = match row.role.is_some_and(Role::is_sensitive) {
                true => (
                    DType::F32,
                    (kind != GgufType::F32).then(|| "rounding it would change more than itself".to_owned()),
                ),
                // Biases are vectors, also where those of several experts are one tensor.
                false => kind.of(&row.shape, head),
            };
            tensors.push(GgufTensor {
                row: TensorRow::stored(name, shape, dtype),
                native: Some(row.path.clone()),
                why,
                origin,
                heads: (architecture == "llama" && row.role.is_some_and(Role::is_rotated)).then_some(config.head_dim),
            });
        }
        if let Some(factors) = rope_factors(config) {
            tensors.push(GgufTensor {
                row: TensorRow::stored(ROPE_FACTORS.into(), vec![factors.len()], DType::F32),
                native: None,
                why: None,
                origin: vec![Piece::Values(factors)],
                heads: None,
            });
        }
        let mut metadata = metadata(config, &architecture, name, kind);
        let mut warnings = warnings(config, &architecture);
        vocabulary(tokenizer, config.vocab_size, source.path(), &mut metadata, &mut warnings)?;
        Ok(Self { tensors: Sealed::new(tensors), metadata: Sealed::new(metadata), kind, warnings })
    }

    /// Returns the tensors.
    pub fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    /// Names, shapes and types in the file.
    pub fn table(&self) -> TensorTable {
        TensorTable::from_rows(self.tensors.iter().map(|tensor| tensor.row.clone()).collect())
    }

    /// Keys and values.
    pub fn metadata(&self) -> &GgufMetadata {
        &self.metadata
    }

    /// How matrices are stored, but for exceptions.
    pub fn kind(&self) -> GgufType {
        self.kind
    }

    /// Returns warnings about what readers of the file compute differently, and about what the file leaves out.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns why tensors are not stored as asked for: type, reason, and how many.
    pub fn exceptions(&self) -> Vec<(DType, &str, usize)> {
        let mut found: Vec<(DType, &str, usize)> = Vec::new();
        for tensor in self.tensors.iter() {
            let Some(why) = tensor.why.as_deref() else { continue };
            match found.iter_mut().find(|(dtype, known, _)| (*dtype, *known) == (tensor.row.dtype, why)) {
                Some((.., count)) => *count += 1,
                None => found.push((tensor.row.dtype, why, 1)),
            }
        }
        found
    }

    /// Returns the `--json` report.
    pub fn report(&self) -> Value {
        let exception = |(dtype, why, count): (DType, &str, usize)| json!({ "dtype": dtype.torch_name(), "why": why, "tensors": count });
        let tensor = |tensor: &GgufTensor| {
            json!({
                "name": tensor.row.path,
                "native": tensor.native,
                "shape": tensor.row.shape,
                "dtype": tensor.row.dtype.torch_name(),
                "why": tensor.why,
            })
        };
        json!({
            "file": GGUF_FILE,
            "type": self.kind.name(),
            "bytes": self.table().bytes(),
            "exceptions": self.exceptions().into_iter().map(exception).collect::<Vec<_>>(),
            "metadata": self.metadata.iter().map(|(key, value)| (key.to_owned(), json!(GgufMetadata::shown(value)))).collect::<serde_json::Map<_, _>>(),
            "tensors": self.tensors.iter().map(tensor).collect::<Vec<_>>(),
            "warnings": self.warnings,
        })
    }
}
