//! Signatures: HMAC-SHA256 with the connection file's key, over header, parent header, metadata and content.
//!
//! The protocol's crate signs as well, but only messages of its own types, whose parent headers lose the fields that
//! the crate does not know.

use sha2::{Digest, Sha256};

/// The length of SHA-256's blocks.
const BLOCK: usize = 64;

/// What signs messages: both hashes of an HMAC, the key already in them. Without a key nothing is signed.
#[derive(Clone)]
pub(super) struct Key(Option<(Sha256, Sha256)>);

impl Key {
    /// The key of a connection file; an empty one switches signatures off.
    pub(super) fn new(key: &str) -> Self {
        if key.is_empty() {
            return Self(None);
        }
        let mut block = [0; BLOCK];
        if key.len() > BLOCK {
            let digest = Sha256::digest(key);
            block[..digest.len()].copy_from_slice(&digest);
        } else {
            block[..key.len()].copy_from_slice(key.as_bytes());
        }
        let with = |pad: u8| Sha256::new().chain_update(block.map(|byte| byte ^ pad));
        Self(Some((with(0x36), with(0x5c))))
    }

    /// The signature of these frames, in hexadecimal digits.
    pub(super) fn sign(&self, frames: &[Vec<u8>]) -> String {
        let Some((inner, outer)) = &self.0 else { return String::new() };
        let inner = frames.iter().fold(inner.clone(), |hash, frame| hash.chain_update(frame));
        let signature = outer.clone().chain_update(inner.finalize()).finalize();
        signature.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second example of RFC 4231, and a key longer than a block.
    #[test]
    fn signatures_are_hmac_sha256() {
        let long = "\u{c}".repeat(100);
        for (key, data, signature) in [
            (
                "Jefe",
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (&long, "twelve", LONG),
            ("", "not signed", ""),
        ] {
            let (one, other) = data.split_at(data.len() / 2);
            let frames = [one.as_bytes().to_vec(), Vec::new(), other.as_bytes().to_vec()];
            assert_eq!(Key::new(key).sign(&frames), signature, "{key}");
        }
    }

    /// By Python's `hmac`.
    const LONG: &str = "6f57cd24dab91f99088b47db52c8d91d87b4ff49a57fd30fa30cba29e2e85720";
}
