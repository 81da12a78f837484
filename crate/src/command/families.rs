//! `families [MODEL_TYPE]`

use clap::Args;

use super::shared::ConverterArgs;
use super::verbs::{Context, Run};
use super::{Failure, Outcome};
use crate::display::View;
use crate::naming::Families;

/// `chandlery families`.
#[derive(Debug, Args)]
pub(super) struct FamiliesArgs {
    /// The family whose fields are listed, by its model_type (default: all families)
    #[arg(value_name = "MODEL_TYPE")]
    model_type: Option<String>,
    #[command(flatten)]
    converters: ConverterArgs,
}

impl Run for FamiliesArgs {
    fn result_type(&self) -> Option<&'static str> {
        Some(match self.model_type {
            Some(_) => "chandlery::naming::Family",
            None => "chandlery::naming::Families",
        })
    }

    fn run(&self, _: &Context) -> Result<Outcome, Failure> {
        let families = Families::with_paths(self.converters.converter_path.clone())?;
        match &self.model_type {
            Some(model_type) => {
                let family =
                    families.of_type(model_type).cloned().ok_or_else(|| families.unknown(model_type, "MODEL_TYPE"))?;
                Ok(Outcome::new(family.view(), family.report()).keeping(self, family))
            }
            None => Ok(Outcome::new(families.view(), families.report()).keeping(self, families)),
        }
    }
}
