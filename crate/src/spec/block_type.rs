//! Element types whose numbers are quantized in blocks, as GGUF files hold them.

use serde::{Deserialize, Serialize};

/// A block of numbers that share scales, in the layout of the ggml library.
///
/// The digit is how many bits a number takes. `_0` and `_1` are blocks of 32 numbers with one scale (and one offset); `K`
/// are blocks of 256 with a scale for each 16 or 32; `Iq` and `Tq` are blocks of indices into tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs)] // The names are all there is to say; sizes are in the table below.
pub enum BlockType {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q8_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Q8K,
    Iq2Xxs,
    Iq2Xs,
    Iq2S,
    Iq3Xxs,
    Iq3S,
    Iq1S,
    Iq1M,
    Iq4Nl,
    Iq4Xs,
    Tq1_0,
    Tq2_0,
    Mxfp4,
}

/// Every type with its name, the numbers of a block, and the bytes of a block.
const SIZES: &[(BlockType, &str, usize, usize)] = &[
    (BlockType::Q4_0, "q4_0", 32, 18),
    (BlockType::Q4_1, "q4_1", 32, 20),
    (BlockType::Q5_0, "q5_0", 32, 22),
    (BlockType::Q5_1, "q5_1", 32, 24),
    (BlockType::Q8_0, "q8_0", 32, 34),
    (BlockType::Q8_1, "q8_1", 32, 36),
    (BlockType::Q2K, "q2_k", 256, 84),
    (BlockType::Q3K, "q3_k", 256, 110),
    (BlockType::Q4K, "q4_k", 256, 144),
    (BlockType::Q5K, "q5_k", 256, 176),
    (BlockType::Q6K, "q6_k", 256, 210),
    (BlockType::Q8K, "q8_k", 256, 292),
    (BlockType::Iq2Xxs, "iq2_xxs", 256, 66),
    (BlockType::Iq2Xs, "iq2_xs", 256, 74),
    (BlockType::Iq2S, "iq2_s", 256, 82),
    (BlockType::Iq3Xxs, "iq3_xxs", 256, 98),
    (BlockType::Iq3S, "iq3_s", 256, 110),
    (BlockType::Iq1S, "iq1_s", 256, 50),
    (BlockType::Iq1M, "iq1_m", 256, 56),
    (BlockType::Iq4Nl, "iq4_nl", 32, 18),
    (BlockType::Iq4Xs, "iq4_xs", 256, 136),
    (BlockType::Tq1_0, "tq1_0", 256, 54),
    (BlockType::Tq2_0, "tq2_0", 256, 66),
    (BlockType::Mxfp4, "mxfp4", 32, 17),
];

impl BlockType {
    fn row(self) -> (&'static str, usize, usize) {
        // SIZES lists every variant, which a test checks.
        SIZES.iter().find(|row| row.0 == self).map_or(("q4_0", 32, 18), |row| (row.1, row.2, row.3))
    }

    /// Returns every type.
    pub fn all() -> impl Iterator<Item = Self> {
        SIZES.iter().map(|row| row.0)
    }

    /// Returns the name, such as `q4_k`.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Returns how many numbers a block holds.
    pub fn numbers(self) -> usize {
        self.row().1
    }

    /// Returns how many bytes a block takes.
    pub fn bytes(self) -> usize {
        self.row().2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_row_of_its_own() {
        let mut types: Vec<BlockType> = BlockType::all().collect();
        types.sort();
        // The last variant's number is one less than how many there are.
        assert_eq!(types.len(), BlockType::Mxfp4 as usize + 1);
        types.dedup();
        assert_eq!(types.len(), SIZES.len());
    }
}
