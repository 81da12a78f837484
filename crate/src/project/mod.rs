//! Model projects: templates that render to YAML, which is a model's configuration; arguments that projects declare.

mod argument;
mod blame;
mod builtin;
mod config;
mod create;
mod error;
mod layout;
mod open;
mod origin;
pub mod own_parts;
mod render;
mod shapes;
mod source;
mod statements;
mod tokenizers;
mod yaml;

pub use argument::{Argument, ArgumentType};
pub use config::{ProjectConfig, Trace};
pub use create::new_project;
pub use error::ProjectError;
pub use open::{FoundProject, Project, project};
pub use origin::{Origin, TemplateLine, TracedValue};
pub use tokenizers::{tokenizer, tokenizer_names};
