//! A conversion that ran, as a value.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{LogitDiff, Proof, RemapPlan};
use crate::sealed::Sealed;
use crate::spec::{Side, TensorTable};

/// A conversion that ran: its plan and its evidence.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// The source folder.
    pub source: PathBuf,
    /// The destination folder; it exists unless the run was dry or did not pass.
    pub destination: PathBuf,
    /// Which names the destination has.
    pub to: Side,
    /// The way of every tensor.
    pub plan: Sealed<RemapPlan>,
    /// The destination's tensors.
    pub table: TensorTable,
    /// The destination's config.json.
    pub config: Sealed<Value>,
    /// Bit-by-bit comparison of the tensors, if it was made.
    pub proof: Option<Sealed<Proof>>,
    /// Logits of the independent reference forward against the candle model, if they were compared.
    pub logits: Option<Sealed<LogitDiff>>,
    /// True for a dry run: nothing was written.
    pub dry_run: bool,
}

impl Conversion {
    /// True unless a check was made and failed: bits that should be equal, or logits beyond the tolerance.
    pub fn passed(&self) -> bool {
        let bits = self.proof.as_ref().is_none_or(|proof| proof.cast || proof.different.is_empty());
        bits && self.logits.as_ref().is_none_or(|logits| logits.passed())
    }

    /// The `--json` report.
    pub fn report(&self) -> Value {
        json!({
            "passed": self.passed(),
            "source": self.source,
            "destination": self.destination,
            "direction": match self.to { Side::Native => "to_native", Side::HuggingFace => "to_huggingface" },
            "dry_run": self.dry_run,
            "tensors": self.plan.steps.len(),
            "bytes": self.table.bytes(),
            "bit_identical": self.proof.as_ref().map(|proof| proof.bit_identical),
            "max_abs_diff": self.logits.as_ref().map(|logits| logits.max_abs()),
            "mean_kl": self.logits.as_ref().map(|logits| logits.mean_kl()),
            "top1_agreement": self.logits.as_ref().map(|logits| logits.top1_agreement()),
            "tolerance": self.logits.as_ref().map(|logits| logits.tolerance),
            "first_divergent_layer": self.logits.as_ref().and_then(|logits| logits.first_divergent_layer()),
            "missing": self.plan.missing,
            "unused": self.plan.unused,
            "mismatched": self.plan.mismatched.iter().map(|one| &one.from).collect::<Vec<_>>(),
            "skipped": self.plan.skipped.iter().map(|(name, why)| json!({ "tensor": name, "why": why })).collect::<Vec<_>>(),
        })
    }
}
