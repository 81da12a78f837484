//! Compares images by a rule.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::rules::Images;

/// Returns how two images of one type differ, if they do.
pub(super) fn difference(mime: &str, golden: &str, now: &str, rule: Images) -> Option<String> {
    match rule {
        Images::Ignore => None,
        Images::Exact => (golden.trim() != now.trim()).then(|| "the images differ".to_owned()),
        Images::Size => {
            let (a, b) = (size(mime, golden), size(mime, now));
            let shown =
                |size: Option<(String, String)>| size.map_or("an unknown size".to_owned(), |(w, h)| format!("{w}×{h}"));
            (a != b).then(|| format!("golden {}, now {}", shown(a), shown(b)))
        }
    }
}

fn size(mime: &str, data: &str) -> Option<(String, String)> {
    if mime == "image/svg+xml" {
        let tag = data.split_once("<svg")?.1.split_once('>')?.0;
        let attribute = |name: &str| Some(tag.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0.to_owned());
        return Some((attribute("width")?, attribute("height")?));
    }
    // A PNG file has both in its first chunk, as big-endian numbers.
    let bytes = STANDARD.decode(data.split_whitespace().collect::<String>()).ok()?;
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?).to_string());
    bytes.starts_with(b"\x89PNG").then(|| Some((number(16)?, number(20)?))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_png_and_svg() {
        let png = |width: u8| {
            let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0\0\0\0\x02more".to_vec();
            bytes[19] = width;
            STANDARD.encode(bytes)
        };
        assert_eq!(difference("image/png", &png(3), &png(3), Images::Size), None);
        assert_eq!(difference("image/png", &png(3), &png(4), Images::Size).unwrap(), "golden 3×2, now 4×2");
        assert!(difference("image/png", &png(3), "%", Images::Size).unwrap().contains("unknown size"));
        let svg = |more: &str| format!("<svg width=\"9\" height=\"8\">{more}</svg>");
        assert_eq!(difference("image/svg+xml", &svg("a"), &svg("b"), Images::Size), None);
        assert!(difference("image/svg+xml", &svg("a"), &svg("b"), Images::Exact).is_some());
        assert_eq!(difference("image/svg+xml", &svg("a"), "", Images::Ignore), None);
    }
}
