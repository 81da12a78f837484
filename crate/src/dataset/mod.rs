//! Real text for `model test`: files read as data frames, tokenized, packed and collated into batches.
//!
//! A dataset project is a folder with `dataset.yaml`, which names files and says how they become documents:
//!
//! ```
//! let tokenizer = chandlery::project("llama")?.config("4M")?.tokenizer()?;
//! let data = chandlery::dataset("classics")?.config("greedy")?.load(&tokenizer, 256)?;
//! assert!(data.blocks().iter().all(|block| block.input_ids.len() <= 256));
//! assert_eq!(data.frame().get_column_names(), ["file", "row", "text", "tokens"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builtin;
mod chats;
mod collate;
mod declaration;
mod error;
mod files;
mod load;
mod pack;
mod project;
mod read;
mod rows;
mod source;

pub use collate::{Collator, LabeledBatch};
pub use declaration::Packing;
pub use error::DatasetError;
pub use load::Dataset;
pub use pack::{Block, Packed, pack};
pub use project::{DatasetConfig, DatasetProject, dataset};
