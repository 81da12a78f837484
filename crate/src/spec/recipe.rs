//! Quantization by name.

use super::scheme::{Granularity, QuantDType, Scheme};
use super::{ModelConfig, ModelSpec, ParamPath, Quantization, Role};
use crate::diagnostic::{Diagnose, Diagnostic};

/// A way to quantize all linear layers of a model, by the name that `--quantize` and `--qat-recipe` take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Recipe {
    /// 4-bit weights in groups of 32; activations are rounded to 8 bits, token by token.
    Int8DynamicActInt4Weight,
    /// 4-bit weights in groups of 128.
    Int4WeightOnly,
    /// 8-bit weights, a scale for each output.
    Int8WeightOnly,
    /// 8-bit weights, a scale for each output; activations are rounded to 8 bits, token by token.
    Int8DynamicActInt8Weight,
    /// 8-bit float weights, a scale for each output; activations are rounded to 8-bit floats, token by token.
    Float8DynamicActFloat8Weight,
    /// 8-bit float weights, a scale for each output.
    Float8WeightOnly,
}

/// An unknown recipe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub struct UnknownRecipe {
    name: String,
    meant: String,
    origin: String,
    known: String,
}

impl Diagnose for UnknownRecipe {
    fn diagnostic(&self) -> Diagnostic {
        let Self { name, meant, origin, known } = self;
        Diagnostic::new(format!("there is no recipe `{name}`{meant}")).at(origin).advise(format!("use one of: {known}"))
    }
}

impl Recipe {
    /// Every recipe, the recommended one first.
    pub const ALL: [Recipe; 6] = [
        Recipe::Int8DynamicActInt4Weight,
        Recipe::Int4WeightOnly,
        Recipe::Int8WeightOnly,
        Recipe::Int8DynamicActInt8Weight,
        Recipe::Float8DynamicActFloat8Weight,
        Recipe::Float8WeightOnly,
    ];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Recipe::Int8DynamicActInt4Weight => "int8-dynamic-act-int4-weight",
            Recipe::Int4WeightOnly => "int4-weight-only",
            Recipe::Int8WeightOnly => "int8-weight-only",
            Recipe::Int8DynamicActInt8Weight => "int8-dynamic-act-int8-weight",
            Recipe::Float8DynamicActFloat8Weight => "float8-dynamic-act-float8-weight",
            Recipe::Float8WeightOnly => "float8-weight-only",
        }
    }

    /// The recipe of this name; `origin` says where the name was given.
    ///
    /// # Errors
    /// [`UnknownRecipe`] with the names that exist.
    pub fn parse(name: &str, origin: &str) -> Result<Self, UnknownRecipe> {
        Self::ALL.into_iter().find(|recipe| recipe.name() == name).ok_or_else(|| {
            let likeness = |recipe: &Recipe| strsim::jaro_winkler(name, recipe.name());
            let close = Self::ALL.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            let meant = close.filter(|recipe| likeness(recipe) > 0.85);
            UnknownRecipe {
                name: name.to_owned(),
                meant: meant.map_or_else(String::new, |recipe| format!("; did you mean `{}`?", recipe.name())),
                origin: origin.to_owned(),
                known: Self::ALL.map(Recipe::name).join(", "),
            }
        })
    }

    /// Returns what it makes of a linear layer.
    pub fn scheme(self) -> Scheme {
        let (weights, granularity, packed, activations) = match self {
            Recipe::Int8DynamicActInt4Weight => {
                (QuantDType::Int4, Granularity::Group(32), true, Some(QuantDType::Int8))
            }
            Recipe::Int4WeightOnly => (QuantDType::Int4, Granularity::Group(128), true, None),
            Recipe::Int8WeightOnly => (QuantDType::Int8, Granularity::Channel, true, None),
            Recipe::Int8DynamicActInt8Weight => (QuantDType::Int8, Granularity::Channel, false, Some(QuantDType::Int8)),
            Recipe::Float8DynamicActFloat8Weight => {
                (QuantDType::F8E4M3, Granularity::Channel, false, Some(QuantDType::F8E4M3))
            }
            Recipe::Float8WeightOnly => (QuantDType::F8E4M3, Granularity::Channel, false, None),
        };
        Scheme { weights, granularity, packed, activations }
    }
}

/// Groups are not made smaller than this: their scales would outweigh the numbers.
const SMALLEST_GROUP: usize = 8;

/// A linear layer that a recipe has no groups for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub struct RecipeMisfit {
    name: ParamPath,
    width: usize,
    recipe: &'static str,
}

impl Diagnose for RecipeMisfit {
    fn diagnostic(&self) -> Diagnostic {
        let Self { name, width, recipe } = self;
        let what = format!(
            "the rows of `{name}` are {width} weights, which do not divide into groups of {SMALLEST_GROUP} or more"
        );
        Diagnostic::new(what).at(recipe).advise("use int8-weight-only, whose scales are for whole rows")
    }
}

impl Recipe {
    /// Returns what it makes of a model: every linear layer is quantized, except the head and routers, which stay as they
    /// are, and maps that are not used as such. Where the recipe's groups do not divide every width, the largest power of two that does is the
    /// group of all.
    ///
    /// # Errors
    /// [`RecipeMisfit`], if that would be less than 8.
    pub fn for_model(self, config: &ModelConfig) -> Result<Quantization, RecipeMisfit> {
        let plain = ModelConfig { quantization: None, ..config.clone() };
        let spec = ModelSpec::resolve(&plain);
        let maps = spec.linear_layers();
        let mut ignore: Vec<String> = spec.modules(Role::Head).iter().map(ToString::to_string).collect();
        for map in maps.iter().filter(|map| map.role.is_some_and(|role| role.is_transposed() || role.is_sensitive())) {
            let pattern = format!(r"re:.*\.{}$", map.path.last());
            if !ignore.contains(&pattern) {
                ignore.push(pattern);
            }
        }
        let layers: Vec<(ParamPath, usize)> = maps.iter().map(|map| (map.path.clone(), map.inputs)).collect();
        self.for_layers(&layers, Quantization::of(self, self.scheme(), ignore))
    }

    /// As [`for_model`](Self::for_model) of linear layers by name and width of their rows, of which `quantization` names
    /// those that are quantized.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn for_layers(
        self,
        layers: &[(ParamPath, usize)],
        mut quantization: Quantization,
    ) -> Result<Quantization, RecipeMisfit> {
        let widths: Vec<_> =
            layers.iter().filter(|(path, _)| quantization.scheme_of(path.as_str()).is_some()).collect();
        for group in &mut quantization.groups {
            let Granularity::Group(size) = &mut group.scheme.granularity else { continue };
            while let Some((path, inputs)) = widths.iter().find(|(_, inputs)| !inputs.is_multiple_of(*size)) {
                *size /= 2;
                if *size < SMALLEST_GROUP {
                    return Err(RecipeMisfit { name: path.clone(), width: *inputs, recipe: self.name() });
                }
            }
        }
        Ok(quantization)
    }
}

impl std::fmt::Display for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_found_by_name_and_unknown_ones_list_all() {
        for recipe in Recipe::ALL {
            assert_eq!(Recipe::parse(recipe.name(), "--quantize"), Ok(recipe));
        }
        let error = Recipe::parse("int4-weights-only", "--quantize").unwrap_err().to_string();
        assert!(error.contains("did you mean `int4-weight-only`?") && error.contains("float8-dynamic-act"), "{error}");
        assert!(!Recipe::parse("fp4", "--quantize").unwrap_err().to_string().contains("meant"));
    }
}
