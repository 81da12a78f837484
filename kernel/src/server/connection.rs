//! The connection file, which describes the sockets.

use std::path::{Path, PathBuf};

use jupyter_protocol::ConnectionInfo;

/// A connection file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// It cannot be read.
    #[error("cannot read the connection file: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a connection file.
    #[error("this is not a Jupyter connection file: {source}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// It asks for a signature other than HMAC-SHA256.
    #[error("unknown signature scheme `{found}`")]
    SignatureScheme {
        /// The file.
        path: PathBuf,
        /// The scheme.
        found: String,
    },
}

/// Reads a connection file.
///
/// # Errors
/// [`ConnectionError`] if it cannot be read or parsed, or asks for something unsupported.
pub fn read_connection_file(path: &Path) -> Result<ConnectionInfo, ConnectionError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConnectionError::Unreadable { path: path.to_owned(), source })?;
    let info: ConnectionInfo =
        serde_json::from_str(&text).map_err(|source| ConnectionError::Malformed { path: path.to_owned(), source })?;
    if info.signature_scheme != "hmac-sha256" && !info.key.is_empty() {
        return Err(ConnectionError::SignatureScheme { path: path.to_owned(), found: info.signature_scheme });
    }
    Ok(info)
}
