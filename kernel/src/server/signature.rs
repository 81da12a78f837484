//! Signatures: HMAC-SHA256 with the connection file's key, over header, parent header, metadata and content.
//!
//! The crate `jupyter-protocol` signs as well, but only messages of its own types, whose parent headers lose the fields that
//! the crate does not know.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Signs messages with an HMAC that is initialized with the key. Without a key, messages are not signed.
#[derive(Clone)]
pub(super) struct SigningKey(Option<Hmac<Sha256>>);

impl SigningKey {
    /// Creates the key of a connection file; an empty key switches signatures off.
    pub(super) fn new(key: &str) -> Self {
        // An HMAC accepts keys of any length.
        Self(if key.is_empty() { None } else { Hmac::new_from_slice(key.as_bytes()).ok() })
    }

    /// Returns the signature of these frames, in hexadecimal digits.
    pub(super) fn sign(&self, frames: &[Vec<u8>]) -> String {
        let Some(mac) = &self.0 else { return String::new() };
        let signed = frames.iter().fold(mac.clone(), |mac, frame| mac.chain_update(frame));
        signed.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
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
            assert_eq!(SigningKey::new(key).sign(&frames), signature, "{key}");
        }
    }

    /// By Python's `hmac`.
    const LONG: &str = "6f57cd24dab91f99088b47db52c8d91d87b4ff49a57fd30fa30cba29e2e85720";
}
