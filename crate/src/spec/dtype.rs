//! Element types, and their names in files and configurations.

use serde::{Deserialize, Serialize};

use super::BlockType;

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DType {
    /// 32-bit IEEE float.
    F32,
    /// 16-bit brain float: 8 exponent bits, 7 fraction bits.
    BF16,
    /// 16-bit IEEE float.
    F16,
    /// 64-bit IEEE float.
    F64,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit signed integer.
    I16,
    /// 8-bit signed integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// Truth value, one byte.
    Bool,
    /// 8-bit float, 4 exponent bits.
    F8E4M3,
    /// 8-bit float, 5 exponent bits.
    F8E5M2,
    /// Numbers quantized in blocks, in GGUF files.
    Block(BlockType),
}

/// Every type except blocks, with its safetensors name, its torch name and its bytes per element.
const NAMES: &[(DType, &str, &str, usize)] = &[
    (DType::F32, "F32", "float32", 4),
    (DType::BF16, "BF16", "bfloat16", 2),
    (DType::F16, "F16", "float16", 2),
    (DType::F64, "F64", "float64", 8),
    (DType::I64, "I64", "int64", 8),
    (DType::I32, "I32", "int32", 4),
    (DType::I16, "I16", "int16", 2),
    (DType::I8, "I8", "int8", 1),
    (DType::U8, "U8", "uint8", 1),
    (DType::Bool, "BOOL", "bool", 1),
    (DType::F8E4M3, "F8_E4M3", "float8_e4m3fn", 1),
    (DType::F8E5M2, "F8_E5M2", "float8_e5m2", 1),
];

impl DType {
    fn row(self) -> (&'static str, &'static str, usize) {
        if let DType::Block(block) = self {
            return (block.name(), block.name(), block.bytes());
        }
        // NAMES lists every other variant, which a test checks.
        NAMES.iter().find(|row| row.0 == self).map_or(("F32", "float32", 4), |row| (row.1, row.2, row.3))
    }

    /// Returns whether it is a number of 8 bits, which quantized weights have.
    pub fn is_low_bit(self) -> bool {
        matches!(self, DType::I8 | DType::F8E4M3 | DType::F8E5M2)
    }

    /// Returns the name in safetensors headers, such as `BF16`.
    pub fn safetensors_name(self) -> &'static str {
        self.row().0
    }

    /// Returns the name in torch and Hugging Face configurations, such as `bfloat16`.
    pub fn torch_name(self) -> &'static str {
        self.row().1
    }

    /// Returns the bytes of one element; of a whole block where numbers are quantized in blocks, see [`unit`](Self::unit).
    pub fn bytes(self) -> usize {
        self.row().2
    }

    /// Returns the smallest piece of data of this type: how many elements it holds, and how many bytes it takes.
    pub fn unit(self) -> (usize, usize) {
        match self {
            DType::Block(block) => (block.numbers(), block.bytes()),
            plain => (1, plain.bytes()),
        }
    }

    /// Bits of one element, those of a block's scales included.
    pub fn bits(self) -> f64 {
        let (elements, bytes) = self.unit();
        8.0 * bytes as f64 / elements as f64
    }

    /// True for types a weight may be cast to and computed in: `float32`, `bfloat16`, `float16`, `float64`.
    pub fn is_weight_float(self) -> bool {
        matches!(self, DType::F32 | DType::BF16 | DType::F16 | DType::F64)
    }

    /// Returns whether the type stores numbers with an exponent, including the types of one byte.
    pub fn is_float(self) -> bool {
        self.is_weight_float() || matches!(self, DType::F8E4M3 | DType::F8E5M2)
    }

    /// True for types of one byte: what quantized weights are stored in, never a weight that was trained.
    pub fn is_few_bits(self) -> bool {
        matches!(self, DType::I8 | DType::U8 | DType::F8E4M3 | DType::F8E5M2)
    }

    /// Reads either name, also with the prefix `torch.`, or the short `float` and `half`.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix("torch.").unwrap_or(name);
        match name {
            "float" => return Some(DType::F32),
            "half" => return Some(DType::F16),
            "double" => return Some(DType::F64),
            _ => {}
        }
        NAMES.iter().find(|row| row.1 == name || row.2 == name).map(|row| row.0)
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.torch_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_read_back() {
        for &(dtype, short, long, bytes) in NAMES {
            assert_eq!(DType::parse(short), Some(dtype));
            assert_eq!(DType::parse(long), Some(dtype));
            assert_eq!(DType::parse(&format!("torch.{long}")), Some(dtype));
            assert_eq!((dtype.safetensors_name(), dtype.torch_name(), dtype.bytes()), (short, long, bytes));
        }
        assert_eq!(DType::parse("floot32"), None);
    }
}
