//! The fonts of plots. They are bundled, so every machine draws the same without fonts of its own.

use std::sync::Once;

use plotters::style::{FontStyle, register_font};

/// The families that style sheets know, and those that examples and documentation name most often.
const FAMILIES: [(&[u8], &[&str]); 3] = [
    (
        include_bytes!("fonts/DejaVuSans-subset.ttf"),
        &["sans-serif", "sans", "DejaVu Sans", "Arial", "Helvetica", "Calibri", "Verdana", "Roboto"],
    ),
    (
        include_bytes!("fonts/DejaVuSerif-subset.ttf"),
        &["serif", "DejaVu Serif", "Times New Roman", "Times", "Georgia", "Cambria"],
    ),
    (
        include_bytes!("fonts/DejaVuSansMono-subset.ttf"),
        &["monospace", "mono", "DejaVu Sans Mono", "Courier New", "Courier", "Consolas"],
    ),
];

/// Makes the bundled fonts known to plotters, once: `"sans-serif"`, `"serif"` and `"monospace"`, and the usual names of
/// fonts of those kinds. A font that the caller registers under one of these names later takes its place.
///
/// The notebook kernel does this at its start; other programs call it before they draw text with
/// [`plotters`](crate::plotters).
pub fn register_fonts() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        for (bytes, names) in FAMILIES {
            for name in names {
                // Only a file that is not a font is refused.
                let _ = register_font(name, FontStyle::Normal, bytes);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use plotters::style::{FontDesc, FontFamily};

    #[test]
    fn every_family_draws_text_in_every_style() {
        register_fonts();
        for name in FAMILIES.iter().flat_map(|(_, names)| *names) {
            for style in [FontStyle::Normal, FontStyle::Bold, FontStyle::Italic] {
                let font = FontDesc::new(FontFamily::from(*name), 20.0, style);
                let (width, height) = font.box_size("Größe αβ → 1.5 × 10⁶").unwrap();
                assert!(width > 100 && height > 10, "{name}: {width} × {height}");
            }
        }
        let width = |text: &str| FontDesc::new("monospace".into(), 20.0, FontStyle::Normal).box_size(text).unwrap().0;
        assert_eq!(width("iiii"), width("WWWW"));
    }
}
