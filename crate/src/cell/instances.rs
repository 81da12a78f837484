//! Compiled instances of this module's generic functions, for the types that most cells use.
//!
//! A crate of opt-level 3 shares those of its generic functions that are never inlined. The compiler then does not need to
//! look for a type's `Debug` or `Display` among the thousands of their implementations, which takes 10 ms or more per cell.
//! `chandlery-instances` does the same for polars and candle.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};

use super::CellError;
use super::show::{ByDebug, ByResult, BySequence, Shown};

/// Shows a value of one of these types.
pub fn debug(value: &dyn Any) {
    macro_rules! types {
        ($($known:ty),+ $(,)?) => {
            $(if let Some(value) = value.downcast_ref::<$known>() {
                ByDebug::show(&&Shown(value));
            })+
        };
    }
    macro_rules! sequences {
        ($($known:ty),+ $(,)?) => {
            $(if let Some(value) = value.downcast_ref::<$known>() {
                BySequence::show(&&&Shown(value));
            })+
        };
    }
    macro_rules! containers {
        ($($element:ty),+ $(,)?) => {
            $(types!(Option<$element>, ($element, $element), ($element, usize), (usize, $element));
            sequences!(
                Vec<$element>, Vec<Option<$element>>, Vec<Vec<$element>>, [$element; 2], [$element; 3], [$element; 4],
                &'static [$element], Vec<(usize, $element)>, HashMap<String, $element>, BTreeMap<String, $element>,
                HashMap<&'static str, $element>, BTreeMap<&'static str, $element>, Vec<(String, $element)>,
                Vec<(&'static str, $element)>,
            );)+
        };
    }
    containers!(i32, i64, u32, u64, usize, u8, f32, f64, bool, char, String, &'static str);
    types!((), std::time::Duration, std::time::Instant, std::path::PathBuf, (i32, String), (f64, String));
}

/// Shows a result of one of these types.
pub fn result(value: &dyn Any) {
    macro_rules! types {
        ($($good:ty => $bad:ty),+ $(,)?) => {
            $(if let Some(value) = value.downcast_ref::<Result<$good, $bad>>() {
                ByResult::show(&&&Shown(value));
            })+
        };
    }
    types!(
        i32 => std::num::ParseIntError, i64 => std::num::ParseIntError, usize => std::num::ParseIntError,
        f64 => std::num::ParseFloatError, () => std::io::Error, String => std::io::Error,
        () => candle_core::Error, f32 => candle_core::Error, f64 => candle_core::Error,
        Vec<f32> => candle_core::Error, Vec<Vec<f32>> => candle_core::Error,
    );
}

/// Makes `?` of one of these errors.
pub fn question_mark(error: Box<dyn Any>) -> Option<CellError> {
    macro_rules! types {
        ($error:ident: $first:ty, $($others:ty,)*) => {
            match $error.downcast::<$first>() {
                Ok(error) => Some(CellError::from(*error)),
                Err(_error) => types!(_error: $($others,)*),
            }
        };
        ($error:ident:) => {
            None
        };
    }
    types!(error:
        candle_core::Error,
        polars::error::PolarsError,
        std::io::Error,
        std::num::ParseIntError,
        std::num::ParseFloatError,
        std::fmt::Error,
        std::string::FromUtf8Error,
        serde_json::Error,
        safetensors::SafeTensorError,
        Box<dyn std::error::Error>,
        Box<dyn std::error::Error + Send + Sync>,
        String,
        &'static str,
        crate::model::ModelError,
        crate::ops::AttentionError,
        crate::gguf::GgufError,
        crate::spec::ConfigError,
        crate::quantize::QuantizeError,
        crate::convert::ConvertError,
        crate::compare::CompareError,
        crate::model_folder::ModelFolderError,
        crate::naming::FamilyError,
        crate::update::UpdateError,
        crate::finalize::FinalizeError,
        crate::construct::ConstructError,
        crate::project::ProjectError,
        crate::tokenizer::TokenizerError,
        crate::checkpoint::CheckpointError,
        crate::smoke_test::SmokeTestError,
        crate::dataset::DatasetError,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiled_instances_match_what_cells_call() {
        debug(&vec![1.5f64]);
        assert_eq!(super::super::show::take_result().unwrap().plain(), "[1.5]");
        result(&"x".parse::<i32>());
        assert!(super::super::show::take_result().is_some());
        assert!(question_mark(Box::new(String::from("because"))).is_some());
        assert!(question_mark(Box::new(1u8)).is_none());
    }
}
