//! Loading of a folder's model, after its tensors were checked against the configuration.

use super::{ModelFolder, ModelFolderError};
use crate::device::Device;
use crate::memory;
use crate::model::{CausalLm, PieceWeights};
use crate::naming::{Direction, RemapPlan};
use crate::spec::{DType, ModelSpec, Naming};

impl ModelFolder {
    /// Checks by headers that the weights are those of the configuration.
    ///
    /// # Errors
    /// [`ModelFolderError::Incomplete`] listing what does not fit.
    pub fn require_complete(&self) -> Result<(), ModelFolderError> {
        let way = Direction { from: self.naming, to: Naming::Native };
        Ok(RemapPlan::between(&self.checkpoint, way, &self.config, &self.family, None)?.require_complete()?)
    }

    /// Loads the model to compute in `dtype` on `device`, after checking that all tensors fit.
    ///
    /// # Errors
    /// [`ModelFolderError::Incomplete`] listing what does not fit, or what reading fails with.
    pub fn load(
        &self,
        dtype: DType,
        device: &candle_core::Device,
        trainable: bool,
    ) -> Result<CausalLm, ModelFolderError> {
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

    /// Returns what each parameter is made of, after checking that all tensors fit.
    pub(crate) fn way_to_native(&self) -> Result<RemapPlan, ModelFolderError> {
        let way = Direction { from: self.naming, to: Naming::Native };
        let plan = RemapPlan::between(&self.checkpoint, way, &self.config, &self.family, None)?;
        plan.require_complete()?;
        Ok(plan)
    }

    /// Checks the shapes that packed weights store in tensors of their own.
    pub(super) fn check_packed_shapes(&self) -> Result<(), ModelFolderError> {
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
        Err(ModelFolderError::Folder {
            what: format!("{}{more}", wrong[0]),
            path: self.path.clone(),
            advice: "check that config.json belongs to these weights".to_owned(),
        })
    }
}
