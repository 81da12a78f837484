//! The loss over the steps of a run, as a picture that grows while the run goes on.

use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use serde_json::json;

use super::MimeBundle;

/// Losses by step, drawn by plotters as SVG and PNG.
#[derive(Clone, Debug)]
pub struct LossCurve {
    title: String,
    planned: usize,
    points: Vec<(usize, f32)>,
}

const SIZE: (u32, u32) = (640, 320);
// Mid tones on a neutral card: the picture is an image, so the page's theme does not reach it.
const CARD: RGBColor = RGBColor(250, 249, 246);
const INK: RGBColor = RGBColor(60, 56, 54);
const GRID: RGBColor = RGBColor(222, 218, 210);
const LINE: RGBColor = RGBColor(196, 98, 16);

type DrawResult = Result<(), Box<dyn std::error::Error>>;

impl LossCurve {
    /// A curve that will have `planned` steps.
    pub fn new(title: impl Into<String>, planned: usize) -> Self {
        Self { title: title.into(), planned, points: Vec::new() }
    }

    /// Adds a step's loss, in nats per token.
    pub fn push(&mut self, step: usize, loss: f32) {
        self.points.push((step, loss));
    }

    /// The picture so far in all its forms. A loss that is not finite is left out of the line and named in the text.
    pub fn bundle(&self) -> MimeBundle {
        let last = self.points.last();
        let text = match (self.points.first(), last) {
            (Some(first), Some(last)) => {
                format!("{}: loss {:.4} → {:.4} in {} of {} steps", self.title, first.1, last.1, last.0, self.planned)
            }
            _ => format!("{}: no steps yet", self.title),
        };
        let typed = json!({
            "kind": "loss_curve",
            "steps": self.points.iter().map(|point| point.0).collect::<Vec<_>>(),
            "losses": self.points.iter().map(|point| point.1).collect::<Vec<_>>(),
        });
        let mut bundle = MimeBundle::text(&text).with("application/vnd.chandlery.loss+json", typed);
        if let Ok(svg) = self.svg() {
            bundle = bundle.with("image/svg+xml", svg);
        }
        if let Some(png) = self.png() {
            bundle = bundle.with_png(&png);
        }
        bundle
    }

    fn svg(&self) -> Result<String, Box<dyn std::error::Error>> {
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            self.draw(&root)?;
            root.present()?;
        }
        Ok(svg)
    }

    fn png(&self) -> Option<Vec<u8>> {
        let mut pixels = vec![0u8; (SIZE.0 * SIZE.1 * 3) as usize];
        {
            let root = BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area();
            self.draw(&root).ok()?;
            root.present().ok()?;
        }
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, SIZE.0, SIZE.1);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().ok()?;
        writer.write_image_data(&pixels).ok()?;
        writer.finish().ok()?;
        Some(file)
    }

    fn draw<B: DrawingBackend>(&self, root: &DrawingArea<B, plotters::coord::Shift>) -> DrawResult
    where
        B::ErrorType: 'static,
    {
        static FONT: std::sync::Once = std::sync::Once::new();
        FONT.call_once(|| {
            let _ = register_font("sans-serif", FontStyle::Normal, include_bytes!("fonts/DejaVuSans-subset.ttf"));
        });
        let finite: Vec<(usize, f64)> = self
            .points
            .iter()
            .filter(|(_, loss)| loss.is_finite())
            .map(|&(step, loss)| (step, f64::from(loss)))
            .collect();
        let low = finite.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
        let high = finite.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let margin = ((high - low) * 0.08).max(0.01);
        root.fill(&CARD)?;
        let text = |size: u32| ("sans-serif", size).into_font().color(&INK);
        let mut chart = ChartBuilder::on(root)
            .caption(format!("{}: loss (nats per token)", self.title), text(16))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(1..self.planned.max(2), (low - margin)..(high + margin))?;
        chart
            .configure_mesh()
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(CARD)
            .label_style(text(13))
            .x_desc("step")
            .x_labels(self.planned.clamp(2, 12))
            .y_label_formatter(&|loss| format!("{loss:.2}"))
            .draw()?;
        chart.draw_series(LineSeries::new(finite.iter().copied(), LINE.stroke_width(2)))?;
        chart.draw_series(finite.iter().map(|&point| Circle::new(point, 3, LINE.filled())))?;
        Ok(())
    }
}
