//! Weights as the source of candle's variable builder, which modules are loaded with.

use std::sync::{Arc, Mutex};

use candle_core::{DType as CandleType, Device, Shape, Tensor, Var};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

use crate::model::ModelError;
use crate::model::parameters::weights::{Weights, candle_dtype};
use crate::spec::{DType, ParamPath, TensorTable};

/// The parameters of one model, in the order its construction asked for them.
#[derive(Clone, Debug, Default)]
pub struct ParameterSet(Arc<Mutex<Vec<Parameter>>>);

/// A name, its value, and the variable behind the value if it is trained.
type Parameter = (ParamPath, Tensor, Option<Var>);

impl ParameterSet {
    fn add(&self, name: &str, tensor: &Tensor, var: Option<Var>) {
        let mut entries = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        entries.push((ParamPath::from(name), tensor.clone(), var));
    }

    /// Returns names and values.
    pub fn tensors(&self) -> Vec<(ParamPath, Tensor)> {
        let entries = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        entries.iter().map(|(path, tensor, _)| (path.clone(), tensor.clone())).collect()
    }

    /// Returns names and variables of the parameters that can be trained.
    pub fn variables(&self) -> Vec<(ParamPath, Var)> {
        let entries = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        entries.iter().filter_map(|(path, _, var)| Some((path.clone(), var.clone()?))).collect()
    }
}

type Fault = Arc<Mutex<Option<ModelError>>>;

/// Implements candle's interface for parameter sources on ours; records the requests, and the first error unchanged.
struct Recorder<'a> {
    weights: Box<dyn Weights + 'a>,
    table: &'a TensorTable,
    dtype: DType,
    trainable: bool,
    /// Whether weights that may be narrow are read in their narrow type.
    narrow: bool,
    parameters: ParameterSet,
    fault: Fault,
}

/// A module that widens a parameter while it computes requests it in this type, and may get it in bfloat16 or float16.
pub(in crate::model) const MAY_BE_NARROW: CandleType = CandleType::BF16;

impl SimpleBackend for Recorder<'_> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        wanted: CandleType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let path = ParamPath::from(name);
        let row = self.table.get(&path);
        let dtype = row.map_or(self.dtype, |row| row.dtype);
        let made = if self.narrow && wanted == MAY_BE_NARROW {
            self.weights.narrow(&path, shape.dims(), dtype, device)
        } else {
            self.weights.tensor(&path, shape.dims(), dtype, device)
        };
        let tensor = match made {
            Ok(tensor) => tensor,
            Err(error) => {
                let text = error.to_string();
                *self.fault.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(error);
                candle_core::bail!("{text}")
            }
        };
        let trainable = self.trainable && row.is_none_or(|row| row.trainable);
        let var = if trainable { Some(Var::from_tensor(&tensor)?) } else { None };
        let tensor = var.as_ref().map_or(tensor, |var| var.as_tensor().clone());
        self.parameters.add(name, &tensor, var);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: CandleType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("`{name}` was asked for without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// Runs `load` with a builder over `weights`; returns its result and the parameters that it requested. `table` knows each
/// parameter's type and whether it is trained.
pub(in crate::model) fn load_with<'a, T>(
    weights: Box<dyn Weights + 'a>,
    table: &'a TensorTable,
    dtype: DType,
    device: &Device,
    trainable: bool,
    load: impl FnOnce(&VarBuilder) -> candle_core::Result<T>,
) -> Result<(T, ParameterSet), ModelError> {
    let parameters = ParameterSet::default();
    let fault = Fault::default();
    let recorder = Recorder {
        weights,
        table,
        dtype,
        trainable,
        narrow: false,
        parameters: parameters.clone(),
        fault: fault.clone(),
    };
    let vb = VarBuilder::from_backend(Box::new(recorder), candle_dtype(dtype), device.clone());
    Ok((own_fault(load(&vb), &fault)?, parameters))
}

/// As [`load_with`] for a part of a model that is dropped after it computed in float32: linear weights stay as narrow as
/// they are stored.
pub(in crate::model) fn load_part<T>(
    weights: &dyn Weights,
    table: &TensorTable,
    device: &Device,
    load: impl FnOnce(&VarBuilder) -> candle_core::Result<T>,
) -> Result<T, ModelError> {
    let fault = Fault::default();
    let recorder = Recorder {
        weights: Box::new(Borrowed(weights)),
        table,
        dtype: DType::F32,
        trainable: false,
        narrow: true,
        parameters: ParameterSet::default(),
        fault: fault.clone(),
    };
    let vb = VarBuilder::from_backend(Box::new(recorder), CandleType::F32, device.clone());
    own_fault(load(&vb), &fault)
}

/// candle's errors carry only text; the user should see the source's own error.
fn own_fault<T>(made: candle_core::Result<T>, fault: &Fault) -> Result<T, ModelError> {
    made.map_err(|error| {
        let own = fault.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        own.unwrap_or(ModelError::from(error))
    })
}

/// Borrowed weights.
struct Borrowed<'a>(&'a dyn Weights);

impl Weights for Borrowed<'_> {
    fn tensor(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError> {
        self.0.tensor(path, shape, dtype, device)
    }

    fn narrow(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError> {
        self.0.narrow(path, shape, dtype, device)
    }
}
