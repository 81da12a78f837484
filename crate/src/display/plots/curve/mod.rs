//! Curves: named series of points, as a chart that zooms and as a picture.

mod points;

use plotters::coord::Shift;
use plotters::prelude::*;
use serde_json::json;

use self::points::thin;
pub(in crate::display) use self::points::{Series, finite, is_counted, odd};
use crate::display::plots::picture::{BAD, CARD, DrawResult, Drawing, GRID, INK, LINES, text, with_pictures};
use crate::display::plots::vega;
use crate::display::{MimeBundle, View, is_interactive};

/// Series of points over a common axis: losses, learning rates, speeds.
///
/// ```
/// use chandlery::display::{Curve, View};
/// let mut curve = Curve::new("Learning rate").axes("step", "rate");
/// for step in 0..100 {
///     curve.push("warmup", f64::from(step), f64::from(step) * 1e-5);
/// }
/// assert!(curve.view().get("image/png").is_some());
/// ```
///
/// To watch one grow, draw it into an [`Updating`](crate::display::Updating) display.
#[derive(Clone, Debug)]
pub struct Curve {
    title: String,
    axes: (String, String),
    /// The least range of the horizontal axis.
    span: Option<(f64, f64)>,
    series: Vec<Series>,
}

impl Curve {
    /// An empty chart.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), axes: ("x".to_owned(), "y".to_owned()), span: None, series: Vec::new() }
    }

    /// A chart of one series, numbered from 1.
    pub fn of<T: Into<f64>>(title: impl Into<String>, values: impl IntoIterator<Item = T>) -> Self {
        let mut curve = Self::new(title).axes("", "");
        let points = values.into_iter().enumerate().map(|(index, value)| ((index + 1) as f64, value.into())).collect();
        curve.series.push(Series { name: curve.title.clone(), points });
        curve
    }

    /// Names the axes.
    pub fn axes(mut self, x: impl Into<String>, y: impl Into<String>) -> Self {
        self.axes = (x.into(), y.into());
        self
    }

    /// Sets where the horizontal axis begins and ends, if the points do not reach that far yet.
    pub fn span(mut self, from: f64, to: f64) -> Self {
        self.span = Some((from, to));
        self
    }

    /// Adds a point to a series, which begins with its first point.
    pub fn push(&mut self, series: &str, x: f64, y: f64) {
        match self.series.iter_mut().find(|known| known.name == series) {
            Some(known) => known.points.push((x, y)),
            None => self.series.push(Series { name: series.to_owned(), points: vec![(x, y)] }),
        }
    }

    /// The picture alone, for displays that change many times a second.
    pub fn picture(&self) -> MimeBundle {
        self.drawn(&self.thinned())
    }

    fn thinned(&self) -> Vec<Series> {
        self.series.iter().map(|series| Series { name: series.name.clone(), points: thin(&series.points) }).collect()
    }

    fn drawn(&self, series: &[Series]) -> MimeBundle {
        let typed = json!({
            "kind": "curve",
            "series": series.iter().map(|series| json!({
                "name": series.name,
                "x": series.points.iter().map(|point| point.0).collect::<Vec<_>>(),
                "y": series.points.iter().map(|point| point.1).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        });
        let bundle = MimeBundle::text(self.summary()).with("application/vnd.chandlery.curve+json", typed);
        with_pictures(bundle, &Plot { curve: self, series })
    }

    fn summary(&self) -> String {
        let mut lines = vec![self.title.clone()];
        for series in &self.series {
            if let ([first, ..], [.., last]) = (&series.points[..], &series.points[..]) {
                let (from, to) = (number(first.1), number(last.1));
                let odd = series.points.iter().filter(|point| !point.1.is_finite()).count();
                let odd = if odd > 0 { format!(", {odd} not finite") } else { String::new() };
                lines.push(format!("{}: {from} → {to} over {} points{odd}", series.name, series.points.len()));
            }
        }
        if self.series.is_empty() {
            lines.push("no points yet".to_owned());
        }
        lines.join("\n")
    }

    fn bounds(&self, series: &[Series]) -> ((f64, f64), (f64, f64)) {
        let finite = || series.iter().flat_map(|series| finite(&series.points));
        let reach = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
        };
        let mut xs = reach(&mut finite().map(|point| point.0).chain(odd(series).into_iter().map(|point| point.0)));
        if let Some((from, to)) = self.span {
            xs = (xs.0.min(from), xs.1.max(to));
        }
        let ys = reach(&mut finite().map(|point| point.1));
        // A chart without height or width could not be drawn, nor one whose range is below the precision of the numbers.
        let open = |(low, high): (f64, f64), margin: f64| match low <= high {
            true => {
                let size = low.abs().max(high.abs()).max(1e-30);
                let flat = high - low < size * 1e-9;
                let room = if flat { size * 0.01 } else { (high - low) * margin };
                (low - room, high + room)
            }
            false => (0.0, 1.0),
        };
        (open(xs, 0.0), open(ys, 0.08))
    }
}

impl View for Curve {
    fn view(&self) -> MimeBundle {
        let series = self.thinned();
        let bundle = self.drawn(&series);
        if is_interactive() && series.iter().any(|series| !series.points.is_empty()) {
            let (xs, ys) = self.bounds(&series);
            bundle.with(vega::MIME, vega::lines(&self.title, &self.axes, &series, xs, ys))
        } else {
            bundle
        }
    }
}

/// At most four significant digits.
pub(in crate::display) fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => value.to_string(),
        0.0 => "0".to_owned(),
        size if (0.001..100_000.0).contains(&size) => {
            let digits = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
            let text = format!("{value:.digits$}");
            let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
            text.to_owned()
        }
        _ => format!("{value:.3e}"),
    }
}

struct Plot<'a> {
    curve: &'a Curve,
    series: &'a [Series],
}

impl Drawing for Plot<'_> {
    fn size(&self) -> (u32, u32) {
        (640, 320)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> DrawResult
    where
        B::ErrorType: 'static,
    {
        let ((left, right), (low, high)) = self.curve.bounds(self.series);
        // Between two steps there is nothing to mark.
        let labels = if is_counted(self.series) { (right - left + 1.0).clamp(2.0, 10.0) as usize } else { 10 };
        let mut chart = ChartBuilder::on(area)
            .caption(&self.curve.title, text(16))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(left..right, low..high)?;
        chart
            .configure_mesh()
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(CARD)
            .label_style(text(13))
            .x_desc(&self.curve.axes.0)
            .x_labels(labels)
            .x_label_formatter(&|x| number(*x))
            .y_label_formatter(&|y| number(*y))
            .draw()?;
        for (series, color) in self.series.iter().zip(LINES.iter().copied().cycle()) {
            let points: Vec<(f64, f64)> = finite(&series.points).collect();
            let drawn = chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?;
            if self.series.len() > 1 {
                let sample = move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], color.stroke_width(2));
                drawn.label(&series.name).legend(sample);
            }
            if points.len() <= 64 {
                chart.draw_series(points.into_iter().map(|point| Circle::new(point, 3, color.filled())))?;
            }
        }
        let crosses = odd(self.series)
            .into_iter()
            .map(|(x, _)| EmptyElement::at((x, low)) + Cross::new((0, -6), 4, BAD.stroke_width(2)));
        chart.draw_series(crosses)?;
        if self.series.len() > 1 {
            let labels = SeriesLabelPosition::UpperRight;
            chart
                .configure_series_labels()
                .position(labels)
                .background_style(CARD)
                .border_style(GRID)
                .label_font(text(13))
                .draw()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_text_a_picture_twice_numbers_and_a_chart() {
        let mut curve = Curve::new("speed").axes("step", "tokens/s");
        for step in 0..5 {
            curve.push("a", f64::from(step), f64::from(step * step));
            curve.push("b", f64::from(step), if step == 2 { f64::NAN } else { 1.0 });
        }
        let bundle = curve.view();
        assert_eq!(bundle.plain(), "speed\na: 0 → 16 over 5 points\nb: 1 → 1 over 5 points, 1 not finite");
        for mime in ["image/png", "image/svg+xml", "application/vnd.chandlery.curve+json", vega::MIME] {
            assert!(bundle.get(mime).is_some(), "{mime}");
        }
        let chart = bundle.get(vega::MIME).unwrap();
        assert_eq!(chart["layer"][2]["data"]["values"], json!([{"x": 2.0, "what": "NaN"}]));
        assert_eq!(chart["encoding"]["x"]["axis"]["values"], json!([0, 1, 2, 3, 4]));
        // The same curve gives the same bytes.
        assert_eq!(bundle, curve.view());
        assert!(curve.picture().get(vega::MIME).is_none());
    }

    #[test]
    fn any_points_can_be_drawn() {
        for points in [
            vec![],
            vec![1.0],
            vec![f64::NAN, f64::INFINITY],
            vec![0.0; 5],
            vec![f64::MAX, f64::MIN],
            vec![1e-300, 2e-300],
        ] {
            let curve = Curve::of("odd", points);
            assert!(curve.view().get("image/png").is_some(), "{curve:?}");
        }
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 1.0, 0.5, 12.3456, 1234.5, 99_999.0, 1e6, 0.00025, -0.125].map(number);
        assert_eq!(shown, ["0", "1", "0.5", "12.35", "1234", "99999", "1.000e6", "2.500e-4", "-0.125"]);
    }
}
