//! The points of a curve: which fit an axis, which are not numbers, and how they are thinned out.

#[derive(Clone, Debug)]
pub(in crate::display) struct Series {
    pub(in crate::display) name: String,
    pub(in crate::display) points: Vec<(f64, f64)>,
}

/// The most points that are stored with a notebook: a picture has fewer columns.
const POINTS: usize = 1000;

/// The points that fit an axis: finite, and small enough that the length of the axis is finite, too.
pub(in crate::display) fn finite(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> {
    points.iter().copied().filter(|point| point.0.abs() <= 1e100 && point.1.abs() <= 1e100)
}

/// Whether the horizontal axis counts something: steps, epochs.
pub(in crate::display) fn is_counted(series: &[Series]) -> bool {
    series.iter().flat_map(|series| &series.points).all(|point| point.0.fract() == 0.0)
}

/// Where values are not finite, up to a number of marks that can be told apart.
pub(in crate::display) fn odd(series: &[Series]) -> Vec<(f64, f64)> {
    let points = series.iter().flat_map(|series| &series.points).copied();
    points.filter(|point| point.0.abs() <= 1e100 && !point.1.is_finite()).take(100).collect()
}

/// At most [`POINTS`] of them, with the least and the greatest of each stretch, so that peaks stay.
pub(super) fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= POINTS {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(POINTS / 2);
    let mut kept = Vec::with_capacity(POINTS + 2);
    for (index, chunk) in points.chunks(stretch).enumerate() {
        // Values that are not finite compare as they are sorted, so they stay, too.
        let order = |a: &usize, b: &usize| chunk[*a].1.total_cmp(&chunk[*b].1);
        let (Some(low), Some(high)) = ((0..chunk.len()).min_by(order), (0..chunk.len()).max_by(order)) else {
            continue;
        };
        let mut places = vec![low, high];
        if index == 0 {
            places.push(0);
        }
        if (index + 1) * stretch >= points.len() {
            places.push(chunk.len() - 1);
        }
        places.sort_unstable();
        places.dedup();
        kept.extend(places.into_iter().map(|place| chunk[place]));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_points_are_thinned_and_their_peaks_stay() {
        let mut points: Vec<(f64, f64)> =
            (0..100_000).map(|step| (f64::from(step), (f64::from(step) * 0.01).sin())).collect();
        (points[12_345].1, points[77_777].1) = (9.0, -9.0);
        let thinned = thin(&points);
        assert!(thinned.len() <= POINTS + 2 && thinned.len() > POINTS / 2, "{}", thinned.len());
        assert!(thinned.contains(&(12_345.0, 9.0)) && thinned.contains(&(77_777.0, -9.0)));
        assert_eq!((thinned[0], thinned[thinned.len() - 1]), (points[0], points[99_999]));
        assert!(thinned.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn steps_are_counted_and_fractions_are_not() {
        let of = |x: f64| [Series { name: String::new(), points: vec![(1.0, 0.5), (x, f64::NAN)] }];
        assert!(is_counted(&of(3.0)) && !is_counted(&of(0.5)));
        assert_eq!(odd(&of(3.0)).len(), 1);
    }
}
