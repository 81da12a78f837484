//! How a command writes a model folder: the options that all commands share.

use super::{DEFAULT_MAX_SHARD_SIZE, WeightsFormat};
use crate::spec::DType;

/// How weights are divided into files.
///
/// ```
/// use chandlery::{SaveOptions, checkpoint::WeightsFormat};
/// let options = SaveOptions::default().format(WeightsFormat::Pytorch).max_shard_size(1 << 30);
/// assert_eq!(options.max_shard_size, 1 << 30);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SaveOptions {
    /// The format of the files (default: safetensors).
    pub format: WeightsFormat,
    /// A file is closed before it exceeds this many bytes, unless one tensor alone does.
    pub max_shard_size: u64,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self { format: WeightsFormat::default(), max_shard_size: DEFAULT_MAX_SHARD_SIZE }
    }
}

impl SaveOptions {
    /// Stores the weights in this format.
    #[must_use]
    pub fn format(mut self, format: WeightsFormat) -> Self {
        self.format = format;
        self
    }

    /// Closes a file before it exceeds this many bytes.
    #[must_use]
    pub fn max_shard_size(mut self, bytes: u64) -> Self {
        self.max_shard_size = bytes;
        self
    }
}

/// How a command writes its destination. Every builder that writes a folder has a setter for each of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteOptions {
    /// The element type that weights are cast to; without one it stays.
    pub dtype: Option<DType>,
    /// How weights are divided into files.
    pub save: SaveOptions,
    /// Writes also into a folder that holds something.
    pub force: bool,
    /// Replaces a folder that holds a model: what is in it goes when the new folder is complete.
    pub overwrite: bool,
    /// Plans from headers only, and writes nothing.
    pub dry_run: bool,
}

impl WriteOptions {
    /// Returns what is wrong with the element type, and what to do, if weights cannot have it.
    pub(crate) fn dtype_fault(&self) -> Option<(String, &'static str)> {
        let dtype = self.dtype.filter(|dtype| !dtype.is_weight_float())?;
        Some((format!("weights cannot be stored as {dtype}"), "use float32, bfloat16, float16 or float64"))
    }
}

/// The setters of a builder with a field `write`, a [`WriteOptions`].
macro_rules! write_setters {
    () => {
        /// Sets all options of writing at once.
        pub fn write_options(mut self, options: crate::checkpoint::WriteOptions) -> Self {
            self.write = options;
            self
        }

        /// Casts the weights; without it their element type stays.
        pub fn dtype(mut self, dtype: impl crate::Setting<crate::spec::DType>) -> Self {
            self.write.dtype = dtype.into_setting();
            self
        }

        /// Stores the weights in this format (default: safetensors).
        pub fn format(mut self, format: crate::checkpoint::WeightsFormat) -> Self {
            self.write.save.format = format;
            self
        }

        /// Closes a file of weights before it exceeds this many bytes (default: 5 GB).
        pub fn max_shard_size(mut self, bytes: u64) -> Self {
            self.write.save.max_shard_size = bytes;
            self
        }

        /// Writes also into a folder that holds something: over files of the same names, and in place of the model that it
        /// holds. Everything else there stays.
        pub fn force(mut self, force: bool) -> Self {
            self.write.force = force;
            self
        }

        /// Replaces a folder that holds a model: what is in it goes when the new folder is complete.
        pub fn overwrite(mut self, overwrite: bool) -> Self {
            self.write.overwrite = overwrite;
            self
        }

        /// Plans from headers only, and writes nothing.
        pub fn dry_run(mut self, dry_run: bool) -> Self {
            self.write.dry_run = dry_run;
            self
        }
    };
}
pub(crate) use write_setters;
