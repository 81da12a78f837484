//! Cursor positions: Jupyter counts Unicode code points, engines count bytes.

/// Returns the byte offset of a code point offset; beyond the end, the end.
pub(super) fn to_bytes(code: &str, code_points: usize) -> usize {
    code.char_indices().nth(code_points).map_or(code.len(), |(byte, _)| byte)
}

/// Returns the code point offset of a byte offset; inside a character, that of its start.
pub(super) fn to_code_points(code: &str, byte: usize) -> usize {
    code.char_indices().take_while(|(start, c)| start + c.len_utf8() <= byte).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn astral_characters_count_once() {
        let code = "a😀é.";
        assert_eq!([0, 1, 2, 3, 4, 9].map(|p| to_bytes(code, p)), [0, 1, 5, 7, 8, 8]);
        assert_eq!([0, 1, 5, 7, 8].map(|b| to_code_points(code, b)), [0, 1, 2, 3, 4]);
        assert_eq!(to_code_points(code, 3), 1);
        assert_eq!(to_code_points(code, 100), 4);
    }
}
