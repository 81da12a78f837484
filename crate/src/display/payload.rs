//! Pictures and text that are ready for a front end: their kind, and whether their bytes are of that kind.

use base64::Engine;

use super::MimeBundle;
use super::numbers::binary_bytes;
use crate::diagnostic::{Diagnose, Diagnostic};

/// Why bytes or text cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub struct PayloadError {
    problem: String,
    advice: &'static str,
}

impl Diagnose for PayloadError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(&self.problem).advise(self.advice)
    }
}

/// A picture's kind by the bytes that its file begins with.
const SIGNATURES: [(&str, &str, &[u8], usize); 8] = [
    ("image/png", "PNG", b"\x89PNG\r\n\x1a\n", 0),
    ("image/jpeg", "JPEG", b"\xff\xd8\xff", 0),
    ("image/gif", "GIF", b"GIF8", 0),
    ("image/webp", "WebP", b"WEBP", 8),
    ("image/avif", "AVIF", b"ftypavif", 4),
    ("image/bmp", "BMP", b"BM", 0),
    ("image/tiff", "TIFF", b"II*\0", 0),
    ("application/pdf", "PDF", b"%PDF-", 0),
];

/// MIME types that a front end gets as text although their names do not begin with `text/`.
const TEXTUAL: [&str; 4] = ["image/svg+xml", "application/javascript", "application/xml", "application/xhtml+xml"];

impl MimeBundle {
    /// An SVG picture, from the text of its file.
    ///
    /// ```
    /// use chandlery::display::MimeBundle;
    /// let dot = r#"<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="9"/></svg>"#;
    /// assert_eq!(MimeBundle::svg(dot).unwrap().get("image/svg+xml").unwrap(), dot);
    /// assert!(MimeBundle::svg("9 × 9").is_err());
    /// ```
    ///
    /// # Errors
    /// Text that is not SVG.
    pub fn svg(text: impl AsRef<str>) -> Result<Self, PayloadError> {
        Self::payload("image/svg+xml", text.as_ref().as_bytes())
    }

    /// A PNG picture, from the bytes of its file.
    ///
    /// # Errors
    /// Bytes that are not a PNG file.
    pub fn png(bytes: impl AsRef<[u8]>) -> Result<Self, PayloadError> {
        Self::payload("image/png", bytes.as_ref())
    }

    /// A payload of any MIME type: `image/*`, `text/*` or another one that the front end knows. Text, JSON and SVG stay
    /// text; other bytes are base64-encoded.
    ///
    /// ```
    /// use chandlery::display::MimeBundle;
    /// let formula = MimeBundle::of("text/latex", "$e^{i\\pi} = -1$").unwrap();
    /// assert_eq!(formula.plain(), "$e^{i\\pi} = -1$");
    /// ```
    ///
    /// # Errors
    /// A name that is not a MIME type; text that is not UTF-8, JSON that cannot be parsed, and pictures whose bytes are
    /// clearly of another kind.
    pub fn of(mime: &str, payload: impl AsRef<[u8]>) -> Result<Self, PayloadError> {
        Self::payload(mime, payload.as_ref())
    }

    /// A payload whose kind its bytes tell: a PNG, JPEG, GIF, WebP, AVIF, BMP, TIFF or PDF file, or SVG.
    ///
    /// # Errors
    /// Bytes of none of these kinds.
    pub fn sniffed(bytes: impl AsRef<[u8]>) -> Result<Self, PayloadError> {
        let bytes = bytes.as_ref();
        match kind(bytes) {
            Some((mime, _)) => Self::payload(mime, bytes),
            None => Err(PayloadError {
                problem: format!(
                    "{} of an unknown kind cannot be shown: {}",
                    binary_bytes(bytes.len() as u64),
                    begin(bytes)
                ),
                advice: "name the kind, as in `MimeBundle::of(\"image/jpeg\", bytes)`",
            }),
        }
    }

    fn payload(mime: &str, bytes: &[u8]) -> Result<Self, PayloadError> {
        let fail = |problem: String, advice| Err(PayloadError { problem, advice });
        let named = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
        };
        // Parameters, as in `text/plain; charset=utf-8`, are not part of a front end's keys.
        let mime = mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if !mime.split_once('/').is_some_and(|(kind, form)| named(kind) && named(form)) {
            return fail(format!("`{mime}` is not a MIME type"), "write it as in `image/png` or `text/latex`");
        }
        let size = binary_bytes(bytes.len() as u64);
        let json = mime == "application/json" || mime.ends_with("+json");
        if !json && !mime.starts_with("text/") && !TEXTUAL.contains(&mime.as_str()) {
            return match kind(bytes) {
                Some((found, name)) if found != mime && (mime.starts_with("image/") || mime == "application/pdf") => {
                    fail(
                        format!("these bytes are {name}, not {mime}"),
                        "name the kind that they are, or show them without one",
                    )
                }
                None if SIGNATURES.iter().any(|(known, ..)| *known == mime) => {
                    fail(format!("these bytes are not {mime}: {}", begin(bytes)), "give the whole contents of the file")
                }
                found => {
                    let name = found.map_or(mime.clone(), |(_, name)| name.to_owned());
                    let pixels = dimensions(bytes).map(|(width, height)| format!(", {width} × {height}"));
                    let plain = format!("{name}{}, {size}", pixels.unwrap_or_default());
                    Ok(Self::text(plain).with(&mime, base64::engine::general_purpose::STANDARD.encode(bytes)))
                }
            };
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return fail(format!("{mime} is text, and these bytes are not UTF-8"), "decode them before");
        };
        if mime == "image/svg+xml" {
            if !is_svg(text) {
                return fail(
                    format!("this text is not SVG: {}", begin(bytes)),
                    "give an `<svg>` element with all of its contents",
                );
            }
            return Ok(Self::text(format!("SVG, {size}")).with(&mime, text));
        }
        if json {
            return match serde_json::from_str::<serde_json::Value>(text) {
                Ok(value) => Ok(Self::text(text).with(&mime, value)),
                Err(error) => fail(format!("this text is not JSON: {error}"), "give one JSON value"),
            };
        }
        Ok(Self::text(text).with(&mime, text))
    }
}

/// MIME type and name of what bytes clearly are.
fn kind(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let known = SIGNATURES.iter().find(|(_, _, signature, at)| {
        bytes.get(*at..).is_some_and(|rest| rest.starts_with(signature))
            && (*signature != b"WEBP" || bytes.starts_with(b"RIFF"))
    });
    let svg = || std::str::from_utf8(bytes).is_ok_and(is_svg).then_some(("image/svg+xml", "SVG"));
    known.map(|(mime, name, ..)| (*mime, *name)).or_else(svg)
}

/// Whether the first element of a text is `<svg>`, behind declarations and comments.
pub(super) fn is_svg(text: &str) -> bool {
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    loop {
        let end = match rest {
            _ if rest.starts_with("<!--") => "-->",
            _ if rest.starts_with("<?") => "?>",
            _ if rest.starts_with("<!") => ">",
            _ => break,
        };
        let Some((_, after)) = rest.split_once(end) else { return false };
        rest = after.trim_start();
    }
    let name =
        rest.strip_prefix('<').and_then(|rest| rest.split(|c: char| c.is_whitespace() || c == '>' || c == '/').next());
    name.is_some_and(|name| name == "svg" || name.ends_with(":svg"))
}

/// Width and height that a PNG or GIF file begins with.
fn dimensions(bytes: &[u8]) -> Option<(u32, u32)> {
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let short = |at: usize| Some(u32::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    match kind(bytes)?.0 {
        "image/png" => Some((word(16)?, word(20)?)),
        "image/gif" => Some((short(6)?, short(8)?)),
        _ => None,
    }
}

/// The first bytes, for a message.
fn begin(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "they are empty".to_owned();
    }
    let first = &bytes[..bytes.len().min(24)];
    format!("they begin with \"{}\"", first.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\x80\0\0\x01\xe0\x08\x02\0\0\0";

    #[test]
    fn bytes_tell_what_they_are() {
        let shown = MimeBundle::sniffed(PNG).unwrap();
        assert_eq!(shown.plain(), "PNG, 640 × 480, 29 B");
        assert!(shown.get("image/png").unwrap().as_str().unwrap().starts_with("iVBORw0KGgo"));
        let kinds: [(&[u8], &str); 5] = [
            (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
            (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
            (b"GIF89a\x01\0\x02\0", "image/gif"),
            (b"\xef\xbb\xbf<?xml version=\"1.0\"?>\n<!-- a --><!DOCTYPE svg>\n<svg width=\"1\"/>", "image/svg+xml"),
            (b"%PDF-1.7", "application/pdf"),
        ];
        for (bytes, mime) in kinds {
            assert!(MimeBundle::sniffed(bytes).unwrap().get(mime).is_some(), "{mime}");
        }
        for bytes in [b"".as_slice(), b"hello", b"\0\x01\x02", b"<svgs>", b"<html><svg/></html>", b"<?xml"] {
            let error = MimeBundle::sniffed(bytes).unwrap_err().to_string();
            assert!(error.contains("cannot be shown") && error.contains("MimeBundle::of"), "{error}");
        }
    }

    #[test]
    fn payloads_are_what_they_are_said_to_be() {
        let jpeg = b"\xff\xd8\xff\xe0";
        assert_eq!(MimeBundle::of("image/jpeg", jpeg).unwrap().plain(), "JPEG, 4 B");
        let error = MimeBundle::png(jpeg).unwrap_err().to_string();
        assert!(error.starts_with("these bytes are JPEG, not image/png\n  do:"), "{error}");
        assert!(MimeBundle::png(b"abc").is_err() && MimeBundle::svg("").is_err());
        assert!(MimeBundle::of("text/latex", [0xff]).is_err());
        assert!(MimeBundle::of("application/geo+json", "{").is_err());
        assert!(MimeBundle::of("picture", "x").is_err() && MimeBundle::of("image/", "x").is_err());
        // Kinds that are not known here are left to the front end.
        assert_eq!(MimeBundle::of("image/x-icon", [0, 0, 1, 0]).unwrap().get("image/x-icon").unwrap(), "AAABAA==");
        let markdown = MimeBundle::of("text/markdown; charset=utf-8", "*a*").unwrap();
        assert_eq!((markdown.get("text/markdown").unwrap(), markdown.plain()), (&"*a*".into(), "*a*"));
        let json = MimeBundle::of("application/json", r#"{"a": 1}"#).unwrap();
        assert_eq!(json.get("application/json").unwrap()["a"], 1);
    }
}
