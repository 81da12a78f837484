//! Model projects: templates that render to YAML, which is a model's configuration; arguments that projects declare.

mod argument;
mod builtin;
mod render;

pub use argument::{Argument, ArgumentType};
pub use render::{Project, ProjectConfig, ProjectError, project};
