//! How weights are stored, and which tensors are exceptions.

use candle_core::Result;
use half::{bf16, f16};
use rayon::prelude::*;

use crate::model::quantize_blocks;
use crate::spec::{BlockType, DType};

/// Numbers that one thread encodes at a time: whole blocks of every type.
const SHARE: usize = 1 << 15;

/// How the matrices of a model are stored. Vectors, such as norms and biases, are float32 in every file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GgufType {
    /// 32 bits a number, exact.
    F32,
    /// 16 bits, IEEE.
    #[default]
    F16,
    /// 16 bits, brain float.
    BF16,
    /// 8.5 bits: blocks of 32 with one scale.
    Q8_0,
    /// 4.5 bits: blocks of 32 with one scale.
    Q4_0,
    /// 4.5 bits: blocks of 256, whose groups of 32 have a scale and an offset each.
    Q4K,
}

impl GgufType {
    /// Every type.
    pub const ALL: &'static [GgufType] =
        &[GgufType::F32, GgufType::F16, GgufType::BF16, GgufType::Q8_0, GgufType::Q4_0, GgufType::Q4K];

    /// Returns the name, such as `q4_k`.
    pub fn name(self) -> &'static str {
        match self.dtype() {
            DType::Block(block) => block.name(),
            DType::BF16 => "bf16",
            DType::F16 => "f16",
            _ => "f32",
        }
    }

    /// Parses a name, ignoring case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    fn dtype(self) -> DType {
        match self {
            GgufType::F32 => DType::F32,
            GgufType::F16 => DType::F16,
            GgufType::BF16 => DType::BF16,
            GgufType::Q8_0 => DType::Block(BlockType::Q8_0),
            GgufType::Q4_0 => DType::Block(BlockType::Q4_0),
            GgufType::Q4K => DType::Block(BlockType::Q4K),
        }
    }

    /// `general.file_type` of such files: llama.cpp's number for what most tensors are.
    pub(super) fn file_type(self) -> u64 {
        match self {
            GgufType::F32 => 0,
            GgufType::F16 => 1,
            GgufType::Q4_0 => 2,
            GgufType::Q8_0 => 7,
            GgufType::Q4K => 14,
            GgufType::BF16 => 32,
        }
    }

    /// Returns true if numbers are quantized in blocks.
    pub(super) fn is_quantized(self) -> bool {
        matches!(self.dtype(), DType::Block(_))
    }

    /// How a tensor of this shape is stored, and why, if not as asked for. `head` says that logits are computed from
    /// it.
    ///
    /// The exceptions are llama.cpp's: the head of a model in four bits takes six, and rows that are not a multiple of
    /// a block go to the next type with smaller blocks.
    pub(super) fn of(self, shape: &[usize], head: bool) -> (DType, Option<String>) {
        let &[.., _, width] = shape else { return (DType::F32, None) };
        let asked = self.dtype();
        let four = matches!(self, GgufType::Q4_0 | GgufType::Q4K);
        let first = if four && head { DType::Block(BlockType::Q6K) } else { asked };
        let mut chosen = first;
        while !width.is_multiple_of(chosen.unit().0) {
            chosen = match chosen {
                DType::Block(BlockType::Q4K) => DType::Block(BlockType::Q5_0),
                DType::Block(BlockType::Q6K) => DType::Block(BlockType::Q8_0),
                _ => DType::F16,
            };
        }
        let why = if chosen != first {
            Some(format!("rows of {width} are not a multiple of {}", first.unit().0))
        } else {
            (chosen != asked).then(|| "logits are computed from it".to_owned())
        };
        (chosen, why)
    }
}

/// Returns the bytes of finite numbers, whole rows of a tensor, as `dtype`, on all cores.
pub(super) fn encode(values: &[f32], dtype: DType) -> Result<Vec<u8>> {
    let shares = values.par_chunks(SHARE).map(|values| {
        let mut out = Vec::new();
        match dtype {
            DType::Block(block) => quantize_blocks(values, block, &mut out)?,
            DType::F16 => out.extend(values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes())),
            DType::BF16 => out.extend(values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes())),
            _ => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        }
        Ok(out)
    });
    Ok(shares.collect::<Result<Vec<_>>>()?.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_fall_back_as_those_of_llama_cpp_do() {
        let of = |kind: GgufType, width: usize, head: bool| kind.of(&[8, width], head).0.torch_name();
        assert_eq!(of(GgufType::Q4K, 512, false), "q4_k");
        assert_eq!(of(GgufType::Q4K, 512, true), "q6_k");
        assert_eq!(of(GgufType::Q4K, 64, false), "q5_0");
        assert_eq!(of(GgufType::Q4K, 64, true), "q8_0");
        assert_eq!(of(GgufType::Q4K, 40, false), "float16");
        assert_eq!(of(GgufType::Q4_0, 40, true), "float16");
        assert_eq!(of(GgufType::Q8_0, 64, true), "q8_0");
        assert_eq!(of(GgufType::BF16, 3, true), "bfloat16");
        assert_eq!(GgufType::Q8_0.of(&[64], false), (DType::F32, None));
        assert!(GgufType::Q4K.of(&[8, 64], false).1.unwrap().contains("rows of 64 are not a multiple of 256"));
    }

    #[test]
    fn shares_of_threads_are_whole_blocks() {
        for block in BlockType::all() {
            assert_eq!(SHARE % block.numbers(), 0);
        }
    }

    #[test]
    fn names_read_back() {
        for &kind in GgufType::ALL {
            assert_eq!(GgufType::parse(&kind.name().to_uppercase()), Some(kind));
        }
        assert_eq!(GgufType::parse("int4-weight-only"), None);
    }
}
