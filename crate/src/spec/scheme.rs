//! How a linear layer is stored as low-bit weights: which numbers, how many of them share a scale, and how its inputs are rounded.

use serde::{Deserialize, Serialize};

use super::{DType, Init, LocalParam, ParamKind};

/// The numbers that values are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum QuantDType {
    /// Whole numbers from −8 to 7.
    Int4,
    /// Whole numbers from −128 to 127.
    Int8,
    /// 8-bit floats with 4 exponent bits, up to ±448.
    F8E4M3,
}

impl QuantDType {
    /// As people write it: `int4`, `int8`, `float8`.
    pub fn name(self) -> &'static str {
        match self {
            QuantDType::Int4 => "int4",
            QuantDType::Int8 => "int8",
            QuantDType::F8E4M3 => "float8",
        }
    }

    /// Bits of one number.
    pub fn bits(self) -> usize {
        match self {
            QuantDType::Int4 => 4,
            QuantDType::Int8 | QuantDType::F8E4M3 => 8,
        }
    }
}

/// How many weights share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Granularity {
    /// All of a matrix.
    Tensor,
    /// A row: all weights of one output.
    Channel,
    /// This many neighbors of a row.
    Group(usize),
}

/// How one linear layer is stored and computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scheme {
    /// The numbers of the weights.
    pub weights: QuantDType,
    /// How many weights share a scale.
    pub granularity: Granularity,
    /// Whether several numbers stand in a 32-bit word; else each is an element of its own.
    pub packed: bool,
    /// The numbers that inputs are rounded to, with a scale for each token that is found when it comes.
    pub activations: Option<QuantDType>,
}

impl Scheme {
    /// Scales in a row of `inputs` weights; 1 for all rows together if the granularity is the whole tensor.
    pub fn groups(&self, inputs: usize) -> usize {
        match self.granularity {
            Granularity::Tensor | Granularity::Channel => 1,
            Granularity::Group(size) => inputs.div_ceil(size.max(1)),
        }
    }

    /// Weights of a row that share a scale.
    pub fn group_size(&self, inputs: usize) -> usize {
        match self.granularity {
            Granularity::Tensor | Granularity::Channel => inputs,
            Granularity::Group(size) => size.max(1),
        }
    }

    /// Returns the bytes of a row of numbers; packed rows end with a whole word.
    pub fn row_bytes(&self, inputs: usize) -> usize {
        if self.packed { (inputs * self.weights.bits()).div_ceil(32) * 4 } else { inputs }
    }

    /// What files call the scales of a quantized weight.
    pub const SCALES: &'static str = "weight_scale";

    /// Returns the tensors that stand for a weight `[outputs, inputs]`, as compressed-tensors names them: `weight_packed`
    /// and `weight_shape`, or `weight`, and `weight_scale`. Scales are computed with in float32 whatever they are stored in.
    pub fn params(&self, inputs: usize, outputs: usize) -> Vec<LocalParam> {
        let param = |name, kind, shape: &[usize], dtype| LocalParam {
            name,
            kind,
            shape: shape.to_vec(),
            init: Init::Zeros,
            dtype: Some(dtype),
            trainable: false,
        };
        let scales: &[usize] = match self.granularity {
            Granularity::Tensor => &[1],
            Granularity::Channel | Granularity::Group(_) => &[outputs, self.groups(inputs)],
        };
        if self.packed {
            return vec![
                param("weight_packed", ParamKind::Numbers, &[outputs, self.row_bytes(inputs) / 4], DType::I32),
                param(Self::SCALES, ParamKind::Scales, scales, DType::F32),
                param("weight_shape", ParamKind::Shape, &[2], DType::I64),
            ];
        }
        let stored = if self.weights == QuantDType::F8E4M3 { DType::F8E4M3 } else { DType::I8 };
        vec![
            param("weight", ParamKind::Numbers, &[outputs, inputs], stored),
            param(Self::SCALES, ParamKind::Scales, scales, DType::F32),
        ]
    }

    /// Bits of a weight with its share of the scales, which take `scale_bytes` each.
    pub fn bits_per_weight(&self, inputs: usize, scale_bytes: usize) -> f64 {
        let row = self.row_bytes(inputs) + self.groups(inputs) * scale_bytes;
        (row * 8) as f64 / inputs.max(1) as f64
    }
}

impl std::fmt::Display for Scheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let weights = self.weights.name();
        match self.granularity {
            Granularity::Tensor => write!(f, "{weights} weights with one scale")?,
            Granularity::Channel => write!(f, "{weights} weights with a scale for each output")?,
            Granularity::Group(size) => write!(f, "{weights} weights in groups of {size}")?,
        }
        match self.activations {
            Some(numbers) => write!(f, ", {} activations with a scale for each token", numbers.name()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_four_bits_end_with_a_whole_word_and_scales_count() {
        let grouped = Scheme {
            weights: QuantDType::Int4,
            granularity: Granularity::Group(32),
            packed: true,
            activations: Some(QuantDType::Int8),
        };
        assert_eq!((grouped.row_bytes(64), grouped.row_bytes(66), grouped.groups(64)), (32, 36, 2));
        assert_eq!(grouped.bits_per_weight(64, 2), 4.5);
        let shapes: Vec<Vec<usize>> = grouped.params(64, 10).into_iter().map(|param| param.shape).collect();
        assert_eq!(shapes, [vec![10, 8], vec![10, 2], vec![2]]);
        assert_eq!(grouped.to_string(), "int4 weights in groups of 32, int8 activations with a scale for each token");
    }
}
