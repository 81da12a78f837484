//! A conversion that ran, as a value.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Digest, Proof, TransferKind};
use crate::checkpoint::{CheckpointChoice, FolderChanges};
use crate::naming::{RemapPlan, RemapStep};
use crate::sealed::Sealed;
use crate::spec::{Naming, ParamPath, TensorTable};
use crate::tokenizer::TokenPlan;
use crate::validation::{GenerationTest, LogitDiff, Verdict};

/// A conversion that ran: its plan and its evidence.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Conversion {
    /// The source folder.
    pub source: PathBuf,
    /// The destination folder; it exists unless the run was dry or did not pass.
    pub destination: PathBuf,
    /// Which weights of the source were taken.
    pub checkpoint: Sealed<CheckpointChoice>,
    /// What was, or would be, written into the destination, and what that changes there.
    pub changes: Sealed<FolderChanges>,
    /// Which names the destination has.
    pub to: Naming,
    /// The way of every tensor.
    pub plan: Sealed<RemapPlan>,
    /// The destination's tensors.
    pub table: TensorTable,
    /// The destination's config.json.
    pub config: Sealed<Value>,
    /// The tokens that are added, if any were asked for or needed.
    pub tokens: Option<Sealed<TokenPlan>>,
    /// Bit-by-bit comparison of the tensors, if it was made.
    pub proof: Option<Sealed<Proof>>,
    /// Logits of the independent reference forward against the candle model, if they were compared.
    pub logits: Option<Sealed<LogitDiff>>,
    /// Why the logits are not judged, or not in every respect, although validation was asked for.
    pub logits_skipped: Option<String>,
    /// Fields of Hugging Face's config.json that nothing reads.
    pub unread_fields: Sealed<Vec<String>>,
    /// Whether logits that are not judged are a failure.
    pub require_agreement: bool,
    /// What comparing logits takes or took, in bytes: two layers, parts of the head, and logits.
    pub validation_memory: u64,
    /// Tensors of the source with NaN or infinite elements, which are searched for only if the logits are not finite.
    pub not_finite: Sealed<Vec<ParamPath>>,
    /// What both sides made of a prompt, if they were asked to continue it.
    pub generation: Option<Sealed<GenerationTest>>,
    /// Other things that a person should know.
    pub notes: Sealed<Vec<String>>,
    /// True for a dry run: nothing was written.
    pub dry_run: bool,
}

/// Where one tensor came from and where it went.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Its way.
    pub step: RemapStep,
    /// Its digest in the source, if tensors were compared.
    pub source_digest: Option<Digest>,
    /// Its digest in the destination, if tensors were compared.
    pub written_digest: Option<Digest>,
}

/// Every tensor of a conversion, name by name.
#[derive(Clone, Debug)]
pub struct Pairs(pub Sealed<Vec<Pair>>);

impl Conversion {
    /// True unless a check was made and failed: bytes that are not those of the plan, logits beyond the tolerance, or a
    /// prompt that the two sides continue differently. Logits that are not judged fail if agreement is required.
    pub fn passed(&self) -> bool {
        self.proof.as_ref().is_none_or(|proof| proof.different().next().is_none() && proof.lost.is_empty())
            && match self.verdict() {
                Verdict::Agree => true,
                Verdict::Differ => false,
                Verdict::NotJudged(_) => self.dry_run || !self.require_agreement,
            }
    }

    /// Returns the verdict on the logits.
    pub fn verdict(&self) -> Verdict {
        let fails = self.logits.as_ref().is_some_and(|logits| !logits.passed())
            || self.generation.as_ref().is_some_and(|generation| !generation.passed());
        match (&self.logits_skipped, &self.logits) {
            _ if fails => Verdict::Differ,
            (Some(reason), _) => Verdict::NotJudged(reason.clone()),
            (None, Some(_)) => Verdict::Agree,
            (None, None) if self.dry_run => Verdict::NotJudged("a dry run computes nothing".to_owned()),
            (None, None) => Verdict::NotJudged("--no-validate was given".to_owned()),
        }
    }

    /// Returns every tensor with both names, and both digests if tensors were compared.
    pub fn pairs(&self) -> Pairs {
        let proof = self.proof.as_deref();
        let mut pairs: Vec<Pair> = self
            .plan
            .steps
            .iter()
            .map(|step| Pair {
                step: step.clone(),
                source_digest: proof.and_then(|proof| proof.sources.get(&step.from).copied()),
                written_digest: proof.and_then(|proof| Some(proof.tensor(&step.to)?.digest)),
            })
            .collect();
        pairs.sort_by(|a, b| a.step.from.cmp(&b.step.from));
        Pairs(Sealed::new(pairs))
    }

    /// Returns the `--json` report.
    pub fn report(&self) -> Value {
        let logits = self.logits.as_deref();
        let proof = self.proof.as_deref();
        json!({
            "passed": self.passed(),
            "source": self.source,
            "checkpoint": self.checkpoint.path,
            "choice": self.checkpoint.report(),
            "warnings": self.checkpoint.warnings(),
            "destination": self.destination,
            "files": self.changes.writes,
            "changes": self.changes.report(),
            "direction": match self.to { Naming::Native => "to_native", Naming::HuggingFace => "to_huggingface" },
            "dry_run": self.dry_run,
            "tensors": self.plan.tensors(),
            "bytes": self.table.bytes(),
            "bit_identical": proof.map(Proof::bit_identical),
            "cast": proof.map(|proof| proof.count(TransferKind::Cast)),
            "rearranged": proof.map(|proof| proof.count(TransferKind::Rearranged)),
            "grown": proof.map(|proof| proof.count(TransferKind::Grown)),
            "different": proof.map(|proof| proof.different().collect::<Vec<_>>()),
            "lost": proof.map(|proof| &proof.lost),
            "tokens": self.tokens.as_ref().map(|tokens| tokens.report()),
            "max_abs_diff": logits.map(LogitDiff::max_abs),
            "mean_kl": logits.map(LogitDiff::mean_kl),
            "top1_agreement": logits.map(LogitDiff::top1_agreement),
            "verdict": self.verdict().name(),
            "not_judged": self.verdict().reason(),
            "logits_skipped": self.logits_skipped,
            "unread_fields": *self.unread_fields,
            "tolerance": logits.map(LogitDiff::tolerance_report),
            "columns": logits.map(|logits| logits.columns),
            "first_divergent_layer": logits.and_then(LogitDiff::first_divergent_layer),
            "layers": logits.map(LogitDiff::layer_report),
            "generation": self.generation.as_deref().map(GenerationTest::report),
            "notes": *self.notes,
            "validation_memory": self.validation_memory,
            "not_finite": *self.not_finite,
            "missing": self.plan.missing,
            "unused": self.plan.unused,
            "mismatched": self.plan.mismatched.iter().map(|one| &one.from).collect::<Vec<_>>(),
            "skipped": self.plan.skipped.iter().map(|(name, why)| json!({ "tensor": name, "why": why })).collect::<Vec<_>>(),
        })
    }
}

impl Pairs {
    /// Returns the pairs as JSON, digests in full.
    pub fn report(&self) -> Value {
        let pair = |pair: &Pair| {
            json!({
                "from": pair.step.from,
                "to": pair.step.to,
                "shape": pair.step.shape,
                "change": pair.step.change,
                "from_dtype": pair.step.from_dtype.torch_name(),
                "to_dtype": pair.step.to_dtype.torch_name(),
                "from_sha256": pair.source_digest.map(|digest| digest.to_string()),
                "to_sha256": pair.written_digest.map(|digest| digest.to_string()),
            })
        };
        self.0.iter().map(pair).collect()
    }
}
