//! A matrix as a small picture: one square for each number.
//!
//! It does not come with a chart that shows values under the pointer: an output is shown in one of its forms, and
//! JupyterLab would take the chart for it and hide shape and statistics. [`HeatMap`](crate::display::HeatMap) is for
//! looking closer.

use super::sample::Grid;

/// The colors of a picture: blue below zero, orange above, gray at zero, so it is legible on light and dark pages.
const LOW: [f64; 3] = [38.0, 112.0, 184.0];
const ZERO: [f64; 3] = [226.0, 224.0, 220.0];
const HIGH: [f64; 3] = [190.0, 88.0, 10.0];
const NOT_FINITE: [u8; 3] = [220, 20, 160];
/// Steps from `LOW` to `HIGH`; the palette's last color is for values that are not finite.
const STEPS: usize = 65;

/// The picture as a PNG file with `scale` pixels to a square.
pub(super) fn png(grid: &Grid, scale: usize) -> Option<Vec<u8>> {
    let most = grid.most();
    let color = |value: f64| match value {
        value if !value.is_finite() => STEPS as u8,
        _ if most == 0.0 => (STEPS / 2) as u8,
        value => ((value / most + 1.0) / 2.0 * (STEPS - 1) as f64).round() as u8,
    };
    let mut pixels = Vec::with_capacity(grid.values.len() * scale * scale);
    for row in grid.values.chunks(grid.columns) {
        let line: Vec<u8> = row.iter().flat_map(|value| std::iter::repeat_n(color(*value), scale)).collect();
        (0..scale).for_each(|_| pixels.extend_from_slice(&line));
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, (grid.columns * scale) as u32, (grid.rows * scale) as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette());
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&pixels).ok()?;
    writer.finish().ok()?;
    Some(file)
}

fn palette() -> Vec<u8> {
    let middle = (STEPS / 2) as f64;
    let steps = (0..STEPS).flat_map(|step| {
        let share = step as f64 / middle - 1.0;
        let end = if share < 0.0 { LOW } else { HIGH };
        [0, 1, 2].map(|channel| (ZERO[channel] + (end[channel] - ZERO[channel]) * share.abs()).round() as u8)
    });
    steps.chain(NOT_FINITE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_a_few_kilobytes() {
        // Noise, which compresses worst.
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as f64 / f64::from(1u32 << 30) - 1.0
        };
        let mut values: Vec<f64> = (0..48 * 64).map(|_| next()).collect();
        values[0] = f64::NAN;
        let grid = Grid { rows: 48, columns: 64, values, slice: String::new(), whole: true };
        let small = png(&grid, 1).unwrap();
        assert!(small.len() < 4096, "{}", small.len());
        let mut reader = png::Decoder::new(std::io::Cursor::new(&small)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!((reader.info().width, reader.info().height, pixels[0]), (64, 48, STEPS as u8));
        assert!(png(&grid, 6).unwrap().len() < 40_000);
    }
}
