//! The picture of a heat map: cells, as many labels as fit, and a scale.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{DECADES, HeatMap};
use crate::display::plots::picture::{DrawResult, Drawing, GRID, INK, LINES, text};

/// Labels longer than this are cut; the tooltip shows them whole.
pub(super) const LABEL: usize = 14;
/// Pixels of a letter, and of a line, of a label.
pub(super) const LETTER: f64 = 7.5;
const LINE: f64 = 15.0;
/// The width of the scale beside the cells.
const SCALE: i32 = 12;
/// Room around the cells.
const LEFT: u32 = 118;
const TOP: u32 = 56;
const RIGHT: u32 = 90;
const BOTTOM: u32 = 48;

impl HeatMap {
    /// Which columns have room for their labels.
    pub(super) fn labeled_columns(&self) -> Vec<usize> {
        let longest = self.columns.iter().map(|name| name.chars().count().min(LABEL)).max().unwrap_or(0);
        every(self.columns.len(), self.body().0, (longest as f64 + 1.5) * LETTER)
    }

    pub(super) fn labeled_rows(&self) -> Vec<usize> {
        every(self.rows.len(), self.body().1, LINE)
    }

    /// The size of the cells alone.
    pub(super) fn body(&self) -> (u32, u32) {
        let each = |count: usize, most: usize| (most / count.max(1)).clamp(4, 24) * count;
        (each(self.columns.len(), 520) as u32, each(self.rows.len(), 320).max(24) as u32)
    }
}

/// Selects the cells whose labels, which need `room` pixels, do not touch: each, or every second, fifth,
/// tenth and so on.
fn every(count: usize, pixels: u32, room: f64) -> Vec<usize> {
    let least = room * count as f64 / f64::from(pixels.max(1));
    let round = (0..).map(|power| 10usize.pow(power)).flat_map(|ten| [ten, 2 * ten, 5 * ten]);
    let step = round.take_while(|step| *step < count).find(|step| *step as f64 >= least);
    (0..count).step_by(step.unwrap_or(count.max(1))).collect()
}

/// A label, cut to the room that the picture has for it.
fn short(name: &str) -> String {
    match name.char_indices().nth(LABEL) {
        Some(_) => name.chars().take(LABEL - 1).chain(['…']).collect(),
        None => name.to_owned(),
    }
}

pub(super) struct Plot<'a>(pub(super) &'a HeatMap);

impl Drawing for Plot<'_> {
    fn size(&self) -> (u32, u32) {
        let (width, height) = self.0.body();
        ((width + LEFT + RIGHT).max(480), height + TOP + BOTTOM)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> DrawResult
    where
        B::ErrorType: 'static,
    {
        let map = self.0;
        let (width, height) = map.body();
        let (wide, tall) = (f64::from(width) / map.columns.len() as f64, f64::from(height) / map.rows.len() as f64);
        let (left, top) = (LEFT as i32, TOP as i32);
        let (right, bottom) = (left + width as i32, top + height as i32);
        let at = |start: i32, size: f64, index: f64| start + (size * index).round() as i32;
        let words = |words: &str, place: (i32, i32), size: u32, anchor: (HPos, VPos)| {
            area.draw(&Text::new(words.to_owned(), place, text(size).pos(Pos::new(anchor.0, anchor.1))))
        };
        // The card shows through between cells, unless the gaps would dominate.
        let gap = i32::from(wide >= 8.0);
        words(&map.title, (12, 12), 16, (HPos::Left, VPos::Top))?;
        for (index, value) in map.values.iter().enumerate() {
            let (row, column) = ((index / map.columns.len()) as f64, (index % map.columns.len()) as f64);
            let corners = [
                (at(left, wide, column), at(top, tall, row)),
                (at(left, wide, column + 1.0) - gap, at(top, tall, row + 1.0) - gap),
            ];
            area.draw(&Rectangle::new(corners, shade(map.strength(*value)).filled()))?;
        }
        for column in map.labeled_columns() {
            let middle = at(left, wide, column as f64 + 0.5);
            area.draw(&PathElement::new(vec![(middle, bottom), (middle, bottom + 4)], INK))?;
            words(&short(&map.columns[column]), (middle, bottom + 6), 12, (HPos::Center, VPos::Top))?;
        }
        for row in map.labeled_rows() {
            let middle = at(top, tall, row as f64 + 0.5);
            area.draw(&PathElement::new(vec![(left - 5, middle), (left - 1, middle)], INK))?;
            words(&short(&map.rows[row]), (left - 8, middle), 12, (HPos::Right, VPos::Center))?;
        }
        words(&map.axes.0, (left + width as i32 / 2, bottom + 24), 13, (HPos::Center, VPos::Top))?;
        words(&map.axes.1, (left - 8, top - 6), 13, (HPos::Right, VPos::Bottom))?;
        self.draw_scale(area, (right + 14, top), height.min(120) as i32)
    }
}

impl Plot<'_> {
    /// Draws the color scale.
    fn draw_scale<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, at: (i32, i32), height: i32) -> DrawResult
    where
        B::ErrorType: 'static,
    {
        let ((left, top), right) = (at, at.0 + SCALE);
        for line in 0..height {
            let color = shade(1.0 - f64::from(line) / f64::from(height));
            area.draw(&PathElement::new(vec![(left, top + line), (right, top + line)], color))?;
        }
        for (share, place) in [(0, VPos::Top), (1, VPos::Bottom)] {
            let value = format!("{:.0e}", self.0.most * 10f64.powf(-DECADES * f64::from(share)));
            let style = text(12).pos(Pos::new(HPos::Left, place));
            area.draw(&Text::new(value, (right + 6, top + height * share), style))?;
        }
        Ok(())
    }
}

/// The color of a strength.
fn shade(strength: f64) -> RGBColor {
    let (none, full) = (GRID, LINES[0]);
    let mix = |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * strength) as u8;
    RGBColor(mix(none.0, full.0), mix(none.1, full.1), mix(none.2, full.2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::display::View;
    use crate::display::plots::vega;

    #[test]
    fn labels_never_touch() {
        assert_eq!(every(5, 120, 20.0), [0, 1, 2, 3, 4]);
        assert_eq!(every(64, 512, 75.0), [0, 10, 20, 30, 40, 50, 60]);
        assert_eq!(every(3, 12, 1000.0), [0]);
        assert!(every(0, 0, 10.0).is_empty());
        let names = (0..64).map(|position| format!("{position} <|a long token|>")).collect();
        let mut map = HeatMap::new("m", ("position", "layer"), names, 1e-3);
        (0..100).for_each(|layer| map.row(layer.to_string(), [1e-5; 64]));
        let (width, height) = map.body();
        let apart = |places: Vec<usize>, least: f64| places.windows(2).all(|pair| (pair[1] - pair[0]) as f64 >= least);
        assert!(apart(map.labeled_columns(), LABEL as f64 * LETTER / (f64::from(width) / 64.0)));
        assert!(apart(map.labeled_rows(), LINE / (f64::from(height) / 100.0)));
        let view = map.view();
        let axis = &view.get(vega::MIME).unwrap()["encoding"]["x"]["axis"];
        assert_eq!(axis["values"].as_array().unwrap().len(), map.labeled_columns().len());
        let svg = view.get("image/svg+xml").and_then(|svg| svg.as_str()).unwrap();
        assert!(svg.contains("0 &lt;|a long to…") && !svg.contains("1 &lt;|a"), "{svg}");
    }
}
