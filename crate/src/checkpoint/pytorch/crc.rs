//! The checksum of zip files: CRC-32 with the reflected polynomial 0xEDB88320 (ISO 3309), sixteen bytes at a time.

const STRIDE: usize = 16;

/// `TABLES[k][b]`: what byte `b` followed by `k` zero bytes adds to the remainder.
const TABLES: [[u32; 256]; STRIDE] = tables();

const fn tables() -> [[u32; 256]; STRIDE] {
    let mut tables = [[0u32; 256]; STRIDE];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            remainder = if remainder & 1 == 1 { (remainder >> 1) ^ 0xEDB8_8320 } else { remainder >> 1 };
            bit += 1;
        }
        tables[0][byte] = remainder;
        byte += 1;
    }
    let mut table = 1;
    while table < STRIDE {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// A checksum that grows with what it is fed.
#[derive(Clone, Copy, Debug)]
pub(in crate::checkpoint) struct Crc(u32);

impl Crc {
    pub(in crate::checkpoint) fn new() -> Self {
        Self(u32::MAX)
    }

    pub(in crate::checkpoint) fn feed(&mut self, bytes: &[u8]) {
        let mut blocks = bytes.chunks_exact(STRIDE);
        for block in blocks.by_ref() {
            // The remainder so far lies over the first four bytes; each byte is looked up by its distance from the end.
            let first = self.0.to_le_bytes();
            self.0 = block.iter().enumerate().fold(0, |sum, (at, byte)| {
                let byte = if at < 4 { byte ^ first[at] } else { *byte };
                sum ^ TABLES[STRIDE - 1 - at][usize::from(byte)]
            });
        }
        for byte in blocks.remainder() {
            self.0 = (self.0 >> 8) ^ TABLES[0][((self.0 ^ u32::from(*byte)) & 0xFF) as usize];
        }
    }

    pub(in crate::checkpoint) fn value(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_the_standards_and_cuts_do_not_matter() {
        let mut crc = Crc::new();
        crc.feed(b"123456789");
        assert_eq!(crc.value(), 0xCBF4_3926);
        let bytes: Vec<u8> = (0..1000u32).map(|n| (n * 7 % 251) as u8).collect();
        let (mut whole, mut cut) = (Crc::new(), Crc::new());
        whole.feed(&bytes);
        for piece in bytes.chunks(37) {
            cut.feed(piece);
        }
        assert_eq!(whole.value(), cut.value());
    }
}
