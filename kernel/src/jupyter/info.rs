//! The description of the kernel and its language.

use jupyter_protocol::{CodeMirrorMode, HelpLink, KernelInfoReply, LanguageInfo, ReplyStatus};
use serde_json::Value;

use crate::server::PROTOCOL;
use crate::toolkit::BUILT_WITH;

/// What front ends list in their help menu.
const HELP_LINKS: [(&str, &str); 4] = [
    ("The Rust standard library", "https://doc.rust-lang.org/std/"),
    ("The Rust book", "https://doc.rust-lang.org/book/"),
    ("candle: tensors and layers", "https://docs.rs/candle-core"),
    ("polars: data frames", "https://docs.rs/polars"),
];

/// Returns the reply to `kernel_info_request`.
pub(super) fn kernel_info() -> KernelInfoReply {
    let version = env!("CARGO_PKG_VERSION");
    let link = |(text, url): (&str, &str)| HelpLink { text: text.to_owned(), url: url.to_owned() };
    KernelInfoReply {
        status: ReplyStatus::Ok,
        protocol_version: PROTOCOL.to_owned(),
        implementation: "chandlery".to_owned(),
        implementation_version: version.to_owned(),
        language_info: language(),
        banner: format!("Chandlery {version}: causal language models on candle, cell by cell"),
        help_links: HELP_LINKS.into_iter().map(link).collect(),
        debugger: false,
        error: None,
    }
}

fn language() -> LanguageInfo {
    // "rustc 1.95.0 (59807616e 2026-04-14)": the only compiler whose cells fit this library.
    let version = BUILT_WITH.split(' ').nth(1).unwrap_or(env!("CARGO_PKG_RUST_VERSION"));
    LanguageInfo {
        name: "rust".to_owned(),
        version: version.to_owned(),
        mimetype: Some("text/x-rust".to_owned()),
        file_extension: Some(".rs".to_owned()),
        pygments_lexer: Some("rust".to_owned()),
        codemirror_mode: Some(CodeMirrorMode::Simple("rust".to_owned())),
        nbconvert_exporter: Some("script".to_owned()),
    }
}

/// Returns the language as notebooks name it in their metadata.
pub fn language_info() -> Value {
    serde_json::to_value(language()).unwrap_or_default()
}
