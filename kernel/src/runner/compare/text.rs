//! Compares text by lines, and numbers in it by tolerance if requested.

use super::rules::Rules;

/// Returns a unified diff; `None` if the texts are equal under the rules.
pub(super) fn diff(golden: &str, now: &str, rules: &Rules) -> Option<String> {
    let (golden, now) = (golden.trim_end(), now.trim_end());
    if golden == now || (rules.text_numbers == Some(true) && alike(golden, now, rules)) {
        return None;
    }
    let (golden, now) = (format!("{golden}\n"), format!("{now}\n"));
    let diff = similar::TextDiff::from_lines(&golden, &now);
    Some(diff.unified_diff().context_radius(2).header("golden", "now").to_string())
}

/// Returns whether texts agree except for numbers within tolerance.
fn alike(golden: &str, now: &str, rules: &Rules) -> bool {
    let (golden, now) = (pieces(golden), pieces(now));
    golden.len() == now.len()
        && golden.iter().zip(&now).all(|(a, b)| {
            a == b
                || matches!((number(a), number(b)), (Some(x), Some(y))
                    if rules.allowed("", x, whole(a) && whole(b)).is_some_and(|allowed| (x - y).abs() <= allowed))
        })
}

fn number(piece: &str) -> Option<f64> {
    piece.starts_with(|c: char| c.is_ascii_digit()).then(|| piece.parse().ok()).flatten()
}

fn whole(piece: &str) -> bool {
    piece.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the numbers of a text, without signs, and the text between them.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let length = number_length(&rest[start..]);
        pieces.push(&rest[..start]);
        pieces.push(&rest[start..start + length]);
        rest = &rest[start + length..];
    }
    pieces.push(rest);
    pieces
}

fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits =
        |from: usize| from + bytes[from.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') && digits(end + 1) > end + 1 {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if digits(end + 1 + sign) > end + 1 + sign {
            end = digits(end + 1 + sign);
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_names_the_lines() {
        assert_eq!(diff("a\nb\n", "a\nb", &Rules::default()), None);
        let text = diff("a\nb\nc\n", "a\nx\nc\n", &Rules::default()).unwrap();
        assert_eq!(text, "--- golden\n+++ now\n@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n");
    }

    #[test]
    fn numbers_in_text_have_a_tolerance_only_when_asked() {
        let (golden, now) = ("step 3: loss 2.500000e0 of 7é", "step 3: loss 2.500001e+0 of 7é");
        assert!(diff(golden, now, &Rules::default()).is_some());
        let rules = Rules { text_numbers: Some(true), ..Rules::default() };
        assert_eq!(diff(golden, now, &rules), None);
        assert!(diff(golden, "step 4: loss 2.5e0 of 7é", &rules).is_some(), "whole numbers are exact");
        assert!(diff("a 1.", "a 1.5", &rules).is_some());
    }
}
