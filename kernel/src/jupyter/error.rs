//! Why the kernel does not serve, for the person who started it.

use chandlery::diagnostic::{Diagnose, Diagnostic};

use crate::server::{ConnectionError, ServeError};

/// A kernel that could not serve.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub struct KernelError(#[from] ServeError);

impl Diagnose for KernelError {
    fn diagnostic(&self) -> Diagnostic {
        let what = Diagnostic::new(self.0.to_string());
        match &self.0 {
            ServeError::Connection(
                ConnectionError::Unreadable { path, .. } | ConnectionError::Malformed { path, .. },
            ) => what.at(path.display()).advise(
                "start the kernel from Jupyter, which writes this file, or with `jupyter console --kernel chandlery`",
            ),
            ServeError::Connection(ConnectionError::SignatureScheme { path, .. }) => {
                what.at(format_args!("{}: signature_scheme", path.display())).advise("use `hmac-sha256`")
            }
            ServeError::Bind { .. } => what.advise("start the kernel again: another process holds the address"),
            ServeError::System(_) => what,
        }
    }
}
