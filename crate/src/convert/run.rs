//! The run of a conversion: prepare, stage, stream, validate, commit.

use super::prepare::PreparedConversion;
use super::proof::{Claim, prove};
use super::validation::{Case, Judgment};
use super::{Conversion, Convert, ConvertError};
use crate::checkpoint::{AtomicFolder, Checkpoint};
use crate::sealed::Sealed;
use crate::spec::{ParamPath, TensorRow};

impl Convert {
    /// Runs it. If validation does not pass, the result says so and the destination does not appear.
    ///
    /// # Errors
    /// [`ConvertError`]; nothing is left behind.
    pub fn run(&self) -> Result<Conversion, ConvertError> {
        if self.layout_only {
            return self.run_layout();
        }
        let prepared = self.prepare()?;
        let mut conversion = prepared.conversion(self);
        if self.write.dry_run {
            return Ok(conversion);
        }
        let device = if self.validate { Some(self.device_for(&prepared.source)?) } else { None };
        let stage = prepared.changes.stage(&self.destination)?;
        let pieces = prepared.pieces()?;
        let claimed = self.prove.then(|| pieces.clone());
        prepared.write(&stage, pieces)?;
        if let Some(pieces) = &claimed {
            let written = Checkpoint::open(stage.path())?;
            let claim = Claim {
                rows: &prepared.plan.rows().collect::<Vec<TensorRow>>(),
                pieces,
                back: prepared.plan.pieces_back(),
                grown: &prepared
                    .resize_embeddings
                    .iter()
                    .flat_map(|resize_embeddings| resize_embeddings.names())
                    .collect::<Vec<_>>(),
            };
            conversion.proof = Some(Sealed::new(prove(&claim, prepared.source.checkpoint(), &written)?));
        }
        if let Some(device) = &device {
            self.compare_logits(&prepared, &stage, device, &mut conversion)?;
        }
        if conversion.passed() {
            stage.commit()?;
        }
        Ok(conversion)
    }

    fn compare_logits(
        &self,
        prepared: &PreparedConversion,
        stage: &AtomicFolder,
        device: &candle_core::Device,
        conversion: &mut Conversion,
    ) -> Result<(), ConvertError> {
        let rewritten = prepared
            .resize_embeddings
            .as_ref()
            .map(|resize_embeddings| resize_embeddings.rewritten())
            .unwrap_or_default();
        let case = Case {
            source: &prepared.source,
            written: stage.path(),
            family: &prepared.family,
            tokenizer: &prepared.source_tokenizer,
            rewritten: &rewritten,
            device,
        };
        let Judgment { logits, generation, reasons } = self.judge(&case)?;
        if logits.as_ref().is_some_and(|logits| !logits.max_abs().is_finite()) {
            conversion.not_finite = Sealed::new(not_finite(case.source.checkpoint())?);
        }
        conversion.logits = logits.map(Sealed::new);
        conversion.generation = generation.map(Sealed::new);
        conversion.logits_skipped = Some(reasons.join("; ")).filter(|reasons| !reasons.is_empty());
        Ok(())
    }
}

/// Returns the tensors that hold NaN or infinities.
fn not_finite(source: &Checkpoint) -> Result<Vec<ParamPath>, ConvertError> {
    let mut found = Vec::new();
    for row in source.table().rows() {
        if !source.is_finite(&row.path)? {
            found.push(row.path.clone());
        }
    }
    Ok(found)
}
