#![deny(missing_docs)]
//! Constructs, tests, converts and finalizes causal language models on [candle](https://docs.rs/candle-core).
//!
//! A model is a small tree of data ([`spec::ModelSpec`]). Its tensor table, its candle modules, its exported sources and the names
//! that other libraries give its tensors are all derived from that tree. What a verb is going to do is a value as well, the plan,
//! which can be looked at before anything is written.
//!
//! The same verbs are commands of the program `chandlery` and lines that begin with `%` in its notebooks. Every result displays
//! itself in a notebook ([`display::View`]) and reports itself to programs (`report()`).
//!
//! # Understand a checkpoint
//!
//! [`inspect`] reads the headers of a model folder, or of a safetensors, PyTorch `.bin` or GGUF file. No tensor is read.
//!
//! ```
//! let inspection = chandlery::inspect("../tests/fixtures/llama-gqa")?;
//! assert_eq!(inspection.shards, 1);
//! println!("{} tensors, {} parameters", inspection.table.len(), inspection.table.parameters());
//! println!("{}", inspection.frame()?); // the table as a polars data frame
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`compare()`] computes the logits of two folders layer by layer, and finds the first layer at which they differ.
//!
//! # Construct a model
//!
//! A [`project`](project()) is a folder of YAML templates, or one of the built-in ones; a configuration of it becomes a model. Without a
//! device nothing is allocated, and the result is an estimate.
//!
//! ```
//! let estimated = chandlery::project("llama")?.config("llama3.1_70b")?.construct().build()?;
//! assert!(estimated.table.parameters() > 70_000_000_000);
//!
//! let small = chandlery::project("llama")?.config("4M")?.set("num_hidden_layers", 2)?;
//! let built = small.construct().device("cpu")?.build()?;
//! assert!(built.model.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Test a model
//!
//! A smoke test runs forward, backward and SGD on random batches or on a [`dataset`](dataset()). It checks that every parameter
//! receives a gradient, and names the first layer that computes a NaN.
//!
//! ```
//! # let small = chandlery::project("llama")?.config("4M")?.set("num_hidden_layers", 1)?;
//! let built = small.construct().device("cpu")?.build()?;
//! let report = built.test().steps(2).sequence_length(16).run()?;
//! assert!(report.passed(), "{:?}", report.failures());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Convert and prove
//!
//! [`convert()`] brings a Hugging Face folder to native names, or a native one back. Before the destination appears, every byte is
//! compared with the plan, and the logits with an independent forward pass.
//!
//! ```
//! # let folder = std::env::temp_dir().join(format!("chandlery-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! let conversion = chandlery::convert("../tests/fixtures/llama-gqa", folder.join("native")).run()?;
//! assert!(conversion.passed());
//! println!("{:?}", conversion.verdict()); // agree, differ, or the reason why the logits are not judged
//! # std::fs::remove_dir_all(folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Finalize and quantize
//!
//! [`finalize()`] writes a clean folder to hand on. Its plan names every file and where it comes from. A
//! [recipe](spec::Recipe) stores linear layers in low-bit form, as transformers loads them.
//!
//! ```no_run
//! use chandlery::spec::Recipe;
//!
//! let asked = chandlery::finalize("output/run", "output/final").add_tokens("chatml").chat_template("chatml");
//! println!("{} files", asked.plan()?.files.len());
//! asked.run()?;
//!
//! let recipe = Recipe::parse("int8-dynamic-act-int4-weight", "this program")?;
//! chandlery::finalize("output/final", "output/int4").quantize(Some(recipe)).run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Add a part
//!
//! A Rust type that implements [`part::Part`] takes the place of attention or of the feed-forward part. The module [`part`] has a complete
//! example; in a project it is the file `parts/NAME.rs`.
//!
//! # Add a family
//!
//! A family says how models of Hugging Face are read: names and layouts of tensors, and every field of config.json. It is a YAML file,
//! or a value:
//!
//! ```
//! use chandlery::naming::{Families, Family};
//!
//! let family = Family::from_yaml("family: my_llama\nextends: llama\n", "this program")?;
//! assert_eq!(family.model_type(), "my_llama");
//! assert!(Families::built_in()?.of_type("llama").is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Use it in a notebook
//!
//! `chandlery kernel install --user` installs a Jupyter kernel whose cells are Rust. The [`prelude`] is in scope, `?` works in every cell,
//! and the last value of a cell is displayed:
//!
//! ```text
//! let llama = project("llama")?.config("4M")?;
//! llama.construct().build()?
//! ```
//!
//! [`display::show`] displays a value in the middle of a cell, and [`progress()`](progress::progress) shows how far a loop is.
//! The kernel and the command show the progress of long work; a program of your own does after [`display::show_progress`].
//!
//! # Features
//!
//! `cuda` adds NVIDIA GPUs. It needs the CUDA toolkit to build, and no GPU to start.
//!
//! # Modules
//!
//! The names at the top of the crate are what most programs need. The modules below hold the rest, by subject.

// Not hidden: the compiler would call its types by their full paths in errors about cells.
pub mod cell;
#[doc(hidden)] // Read by the kernel.
pub mod cgroup;
pub mod checkpoint;
#[doc(hidden)] // The verbs as commands, for the executable and the kernel.
pub mod command;
pub mod compare;
pub mod construct;
pub mod convert;
pub mod dataset;
pub mod device;
pub mod diagnostic;
pub mod display;
pub mod export;
pub mod finalize;
pub mod gguf;
pub mod interrupt;
mod memory;
pub mod model;
pub mod model_folder;
pub mod naming;
pub mod ops;
mod parallel;
pub mod part;
pub mod prelude;
pub mod progress;
pub mod project;
pub mod quantize;
mod sealed;
mod setting;
pub mod smoke_test;
pub mod spec;
pub mod tokenizer;
pub mod update;
pub mod validation;
pub mod vocabulary;
mod yaml;

pub use checkpoint::{Checkpoint, SaveOptions, WriteOptions};
pub use compare::{Inspection, compare, inspect};
pub use construct::{Construction, LoadReport, load_checkpoint, save_checkpoint};
pub use convert::{Conversion, convert};
pub use dataset::dataset;
pub use device::Device;
pub use finalize::{Finalization, finalize};
pub use model::CausalLm;
pub use project::{ProjectConfig, project};
pub use sealed::Sealed;
pub use setting::Setting;
pub use smoke_test::SmokeTestReport;
pub use spec::{DType, ModelConfig};
pub use tokenizer::TokenOptions;
pub use update::{Updated, update};

// Linked for the compiled copies that it holds.
extern crate chandlery_instances as _;

pub use {candle_core as candle, candle_nn, plotters, polars, polars_io, serde_json};

/// Compiles the programs of the README; its cells are compiled by `tests/integration/documentation.rs`.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
