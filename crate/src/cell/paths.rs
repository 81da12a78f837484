//! The public paths of the toolkit's types.

use std::any::type_name;

/// Pairs of a type's internal name (as [`std::any::type_name`] gives it) and the path by which a cell can name it.
///
/// A variable of a type that is listed here is annotated in later cells, which is cheaper than inferring its type
/// again. A type that is not listed still works. Types with parameters are listed without them.
pub fn type_paths() -> Vec<(&'static str, &'static str)> {
    vec![
        (type_name::<crate::Construction>(), "::chandlery::Construction"),
        (type_name::<crate::Conversion>(), "::chandlery::Conversion"),
        (type_name::<crate::Inspection>(), "::chandlery::Inspection"),
        (type_name::<crate::finalize::Finalize>(), "::chandlery::finalize::Finalize"),
        (type_name::<crate::finalize::FinalizePlan>(), "::chandlery::finalize::FinalizePlan"),
        (type_name::<crate::finalize::Finalization>(), "::chandlery::finalize::Finalization"),
        (type_name::<crate::update::Update>(), "::chandlery::update::Update"),
        (type_name::<crate::update::UpdatePlan>(), "::chandlery::update::UpdatePlan"),
        (type_name::<crate::update::Updated>(), "::chandlery::update::Updated"),
        (type_name::<crate::project::Project>(), "::chandlery::project::Project"),
        (type_name::<crate::project::ProjectConfig>(), "::chandlery::project::ProjectConfig"),
        (type_name::<crate::project::Trace>(), "::chandlery::project::Trace"),
        (type_name::<crate::tokenizer::TokenizerFiles>(), "::chandlery::tokenizer::TokenizerFiles"),
        (type_name::<crate::tokenizer::TokenizerSummary>(), "::chandlery::tokenizer::TokenizerSummary"),
        (type_name::<crate::tokenizer::TrainedTokenizer>(), "::chandlery::tokenizer::TrainedTokenizer"),
        (type_name::<crate::tokenizer::AddTokens>(), "::chandlery::tokenizer::AddTokens"),
        (type_name::<crate::tokenizer::TokenPlan>(), "::chandlery::tokenizer::TokenPlan"),
        (type_name::<crate::tokenizer::ChatTemplate>(), "::chandlery::tokenizer::ChatTemplate"),
        (type_name::<crate::tokenizer::Chat>(), "::chandlery::tokenizer::Chat"),
        (type_name::<crate::tokenizer::GenerationConfig>(), "::chandlery::tokenizer::GenerationConfig"),
        (type_name::<crate::kicktest::KickTestReport>(), "::chandlery::kicktest::KickTestReport"),
        (type_name::<crate::dataset::DatasetProject>(), "::chandlery::dataset::DatasetProject"),
        (type_name::<crate::dataset::DatasetConfig>(), "::chandlery::dataset::DatasetConfig"),
        (type_name::<crate::dataset::Dataset>(), "::chandlery::dataset::Dataset"),
        (type_name::<crate::LoadReport>(), "::chandlery::LoadReport"),
        (type_name::<crate::construct::Estimate>(), "::chandlery::construct::Estimate"),
        (type_name::<crate::spec::DType>(), "::chandlery::spec::DType"),
        (type_name::<crate::model::StepOptions>(), "::chandlery::model::StepOptions"),
        (type_name::<crate::ops::AttentionImplementation>(), "::chandlery::ops::AttentionImplementation"),
        (type_name::<crate::ops::BlockMask>(), "::chandlery::ops::BlockMask"),
        (type_name::<crate::ops::GateActivation>(), "::chandlery::ops::GateActivation"),
        (type_name::<crate::ops::Gradients>(), "::chandlery::ops::Gradients"),
        (type_name::<crate::ops::Visibility>(), "::chandlery::ops::Visibility"),
        (type_name::<crate::display::MimeBundle>(), "::chandlery::display::MimeBundle"),
        (type_name::<crate::display::Updating>(), "::chandlery::display::Updating"),
        (type_name::<crate::display::DisplayId>(), "::chandlery::display::DisplayId"),
        (type_name::<candle_core::Tensor>(), "::chandlery::candle::Tensor"),
        (type_name::<candle_core::Var>(), "::chandlery::candle::Var"),
        (type_name::<candle_core::Device>(), "::chandlery::candle::Device"),
        (type_name::<candle_core::DType>(), "::chandlery::candle::DType"),
        (type_name::<candle_core::Shape>(), "::chandlery::candle::Shape"),
        (type_name::<candle_nn::VarMap>(), "::chandlery::candle_nn::VarMap"),
        (type_name::<candle_nn::Linear>(), "::chandlery::candle_nn::Linear"),
        (type_name::<candle_nn::Embedding>(), "::chandlery::candle_nn::Embedding"),
        (type_name::<polars::prelude::DataFrame>(), "::chandlery::polars::prelude::DataFrame"),
        (type_name::<polars::prelude::Series>(), "::chandlery::polars::prelude::Series"),
        (type_name::<polars::prelude::Column>(), "::chandlery::polars::prelude::Column"),
        (type_name::<polars::prelude::LazyFrame>(), "::chandlery::polars::prelude::LazyFrame"),
        (type_name::<polars::prelude::Expr>(), "::chandlery::polars::prelude::Expr"),
        (type_name::<serde_json::Value>(), "::chandlery::serde_json::Value"),
    ]
}
