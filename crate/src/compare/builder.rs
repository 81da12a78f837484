//! The options of a comparison.

use std::path::{Path, PathBuf};

use crate::Setting;
use crate::device::Device;
use crate::model::Batch;
use crate::naming::Families;
use crate::sealed::Sealed;

/// A comparison to be made; see [`compare`].
#[derive(Clone, Debug)]
#[must_use = "a comparison does nothing until it is run"]
pub struct Compare {
    pub(super) left: PathBuf,
    pub(super) right: PathBuf,
    pub(super) prompt: Option<String>,
    pub(super) batch: Option<Batch>,
    pub(super) by_layer: bool,
    pub(super) device: Device,
    pub(super) families: Option<Sealed<Families>>,
}

/// Starts comparing the logits of two model folders of either side, computed in float32.
///
/// ```no_run
/// let diff = chandlery::compare("Llama-3.2-1B", "fg_llama").by_layer(true).run()?;
/// assert_eq!(diff.first_divergent_layer(), None);
/// # Ok::<(), chandlery::compare::CompareError>(())
/// ```
pub fn compare(left: impl AsRef<Path>, right: impl AsRef<Path>) -> Compare {
    compare_paths(left.as_ref(), right.as_ref())
}

fn compare_paths(left: &Path, right: &Path) -> Compare {
    let (left, right) = (left.to_owned(), right.to_owned());
    Compare { left, right, prompt: None, batch: None, by_layer: false, device: Device::Cpu, families: None }
}

impl Compare {
    /// Compares on this text, tokenized by the left folder's tokenizer.
    pub fn prompt(mut self, text: impl Setting<String>) -> Self {
        self.prompt = text.into_setting();
        self
    }

    /// Compares on these token ids.
    pub fn batch(mut self, batch: impl Setting<Batch>) -> Self {
        self.batch = batch.into_setting();
        self
    }

    /// Also compares the residual stream after each layer.
    pub fn by_layer(mut self, by_layer: bool) -> Self {
        self.by_layer = by_layer;
        self
    }

    /// Computes on this device.
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Uses these families of Hugging Face folders (default: the built-in ones).
    pub fn families(mut self, families: Families) -> Self {
        self.families = Some(Sealed::new(families));
        self
    }
}
