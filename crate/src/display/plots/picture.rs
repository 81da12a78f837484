//! Pictures of charts: SVG and PNG of one drawing, and the colors that all share.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::TextStyle;

use crate::display::{MimeBundle, View, register_fonts};

// Dark ink on a light card of its own: the picture is an image, so the page's theme does not reach it, and no ink reads
// well on white and black alike.
pub(in crate::display) const CARD: RGBColor = RGBColor(250, 249, 246);
pub(in crate::display) const INK: RGBColor = RGBColor(60, 56, 54);
pub(in crate::display) const GRID: RGBColor = RGBColor(222, 218, 210);
/// For values that should not occur.
pub(in crate::display) const BAD: RGBColor = RGBColor(183, 28, 28);
/// Lines in their order; each at least 3:1 on the card.
pub(in crate::display) const LINES: [RGBColor; 6] = [
    RGBColor(196, 98, 16),
    RGBColor(30, 102, 168),
    RGBColor(46, 125, 50),
    RGBColor(142, 68, 173),
    BAD,
    RGBColor(90, 90, 90),
];

pub(in crate::display) type DrawResult = Result<(), Box<dyn std::error::Error>>;

/// A drawing for any canvas.
pub(in crate::display) trait Drawing {
    /// Width and height in pixels.
    fn size(&self) -> (u32, u32);

    /// Draws it. The card is there already.
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> DrawResult
    where
        B::ErrorType: 'static;
}

/// Adds a drawing as SVG and as PNG, which nbconvert, GitHub and VS Code show.
pub(in crate::display) fn with_pictures(bundle: MimeBundle, drawing: &impl Drawing) -> MimeBundle {
    register_fonts();
    match (svg(drawing), png(drawing)) {
        (Ok(svg), Some(png)) => bundle.with("image/svg+xml", svg).with_png(&png),
        _ => bundle,
    }
}

fn svg(drawing: &impl Drawing) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, drawing.size()).into_drawing_area();
        root.fill(&CARD)?;
        drawing.draw(&root)?;
        root.present()?;
    }
    Ok(svg)
}

fn png(drawing: &impl Drawing) -> Option<Vec<u8>> {
    let (width, height) = drawing.size();
    let mut pixels = vec![0u8; (width * height * 3) as usize];
    {
        let root = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        root.fill(&CARD).ok()?;
        drawing.draw(&root).ok()?;
        root.present().ok()?;
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&pixels).ok()?;
    writer.finish().ok()?;
    Some(file)
}

/// A figure of plotters' `evcxr_figure`: its picture, and its HTML where that has a style of its own.
impl View for plotters::evcxr::SVGWrapper {
    fn view(&self) -> MimeBundle {
        // The type does not expose its contents otherwise.
        let printed = format!("{self:?}");
        let html = printed.split_once('\n').map_or("", |(_, rest)| rest).trim_end_matches("\nEVCXR_END_CONTENT");
        let svg = html.find("<svg").and_then(|at| html[at..].rfind("</svg>").map(|end| &html[at..at + end + 6]));
        match svg.map(MimeBundle::svg) {
            Some(Ok(bundle)) if html.starts_with("<div style=\"\">") => bundle,
            Some(Ok(bundle)) => bundle.with_html(html),
            _ => MimeBundle::text("a figure without a picture").with_html(html),
        }
    }
}

/// Text in ink.
pub(in crate::display) fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// A color as style sheets write it.
pub(in crate::display) fn css(color: RGBColor) -> String {
    format!("#{:02x}{:02x}{:02x}", color.0, color.1, color.2)
}
