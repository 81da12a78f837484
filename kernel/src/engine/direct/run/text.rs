//! Bytes of a pipe as text, independent of where reads split them.

/// Joins characters that were split between two reads.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    rest: Vec<u8>,
}

impl Decoder {
    /// Returns the text that is complete now. Bytes that are not UTF-8 become `U+FFFD`.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<String> {
        self.rest.extend_from_slice(bytes);
        let complete = match std::str::from_utf8(&self.rest) {
            Ok(_) => self.rest.len(),
            Err(error) => {
                let tail_starts = self.rest.len().saturating_sub(3);
                let last =
                    self.rest[tail_starts..].iter().rposition(|byte| byte & 0xc0 == 0xc0).map(|at| tail_starts + at);
                match last {
                    Some(last) if is_start(&self.rest[last..]) => last.max(error.valid_up_to()),
                    _ => self.rest.len(),
                }
            }
        };
        let text = String::from_utf8_lossy(&self.rest[..complete]).into_owned();
        self.rest.drain(..complete);
        (!text.is_empty()).then_some(text)
    }

    /// Returns the rest at the end.
    pub(crate) fn finish(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned())
    }
}

/// Returns whether the bytes are the start of a character, but not all of it.
fn is_start(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.valid_up_to() == 0 && error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_not_split() {
        let mut decoder = Decoder::default();
        let bytes = "aä€😀".as_bytes();
        let text: String = bytes.iter().filter_map(|byte| decoder.push(&[*byte])).collect();
        assert_eq!(text, "aä€😀");
        assert_eq!(decoder.finish(), None);
    }

    #[test]
    fn other_bytes_are_replaced() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"a\xffb").as_deref(), Some("a\u{fffd}b"));
        assert_eq!(decoder.push(b"\xc3"), None);
        assert_eq!(decoder.finish().as_deref(), Some("\u{fffd}"));
    }
}
