//! The numbers by which GGUF files name element types.

use crate::spec::{BlockType, DType};

/// Numbers of `ggml_type` and the types they stand for.
const TYPES: &[(u32, DType)] = &[
    (0, DType::F32),
    (1, DType::F16),
    (2, DType::Block(BlockType::Q4_0)),
    (3, DType::Block(BlockType::Q4_1)),
    (6, DType::Block(BlockType::Q5_0)),
    (7, DType::Block(BlockType::Q5_1)),
    (8, DType::Block(BlockType::Q8_0)),
    (9, DType::Block(BlockType::Q8_1)),
    (10, DType::Block(BlockType::Q2K)),
    (11, DType::Block(BlockType::Q3K)),
    (12, DType::Block(BlockType::Q4K)),
    (13, DType::Block(BlockType::Q5K)),
    (14, DType::Block(BlockType::Q6K)),
    (15, DType::Block(BlockType::Q8K)),
    (16, DType::Block(BlockType::Iq2Xxs)),
    (17, DType::Block(BlockType::Iq2Xs)),
    (18, DType::Block(BlockType::Iq3Xxs)),
    (19, DType::Block(BlockType::Iq1S)),
    (20, DType::Block(BlockType::Iq4Nl)),
    (21, DType::Block(BlockType::Iq3S)),
    (22, DType::Block(BlockType::Iq2S)),
    (23, DType::Block(BlockType::Iq4Xs)),
    (24, DType::I8),
    (25, DType::I16),
    (26, DType::I32),
    (27, DType::I64),
    (28, DType::F64),
    (29, DType::Block(BlockType::Iq1M)),
    (30, DType::BF16),
    (34, DType::Block(BlockType::Tq1_0)),
    (35, DType::Block(BlockType::Tq2_0)),
    (39, DType::Block(BlockType::Mxfp4)),
];

/// Returns the type of this number.
pub(super) fn dtype(number: u32) -> Option<DType> {
    TYPES.iter().find(|row| row.0 == number).map(|row| row.1)
}

/// Returns the number of this type, if GGUF files hold it.
pub(super) fn number(dtype: DType) -> Option<u32> {
    TYPES.iter().find(|row| row.1 == dtype).map(|row| row.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_type_has_one_number() {
        for block in BlockType::all() {
            let number = number(DType::Block(block)).unwrap();
            assert_eq!(dtype(number), Some(DType::Block(block)));
        }
        assert_eq!((dtype(4), number(DType::Bool)), (None, None));
    }
}
