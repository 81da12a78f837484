//! Products of rows with rows as they are in memory: nothing is transposed or packed, which would cost more than the product
//! itself for a few dozen rows.

use pulp::{Arch, Simd, WithSimd};

/// Rows of W that are multiplied together.
pub(super) const TILE_ROWS: usize = 4;
/// Rows of x that are multiplied together. With those of W they fill the registers of AVX-512.
const TILE_COLUMNS: usize = 6;

macro_rules! dots {
    ($name:ident, $work:ident, $tile:ident, $float:ident, $as_simd:ident, $splat:ident, $mul_add:ident, $sum:ident) => {
        /// y = x Wᵀ for x `[tokens, width]`, W `[outputs, width]` and y `[tokens, outputs]`, by the widest vector
        /// instructions of the processor.
        pub(super) fn $name(x: &[$float], weight: &[$float], width: usize, y: &mut [$float]) {
            if width > 0 {
                Arch::new().dispatch($work { x, weight, width, y });
            }
        }

        struct $work<'a> {
            x: &'a [$float],
            weight: &'a [$float],
            width: usize,
            y: &'a mut [$float],
        }

        impl WithSimd for $work<'_> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(mut self, simd: S) {
                let outputs = self.weight.len() / self.width;
                let mut first = 0;
                while first < outputs {
                    if outputs - first >= TILE_ROWS {
                        self.rows::<S, TILE_ROWS>(simd, first, outputs);
                        first += TILE_ROWS;
                    } else {
                        self.rows::<S, 1>(simd, first, outputs);
                        first += 1;
                    }
                }
            }
        }

        impl $work<'_> {
            /// Some rows of W with all rows of x.
            #[inline(always)]
            fn rows<S: Simd, const R: usize>(&mut self, simd: S, first: usize, outputs: usize) {
                let width = self.width;
                let tokens = self.x.len() / width;
                // Without closures, which the compiler may compile without the processor's instructions.
                let mut weight = [&self.weight[..0]; R];
                for (row, weight) in weight.iter_mut().enumerate() {
                    *weight = &self.weight[(first + row) * width..][..width];
                }
                let mut token = 0;
                macro_rules! tile {
                    ($columns:expr) => {{
                        let mut x = [&self.x[..0]; $columns];
                        for (column, x) in x.iter_mut().enumerate() {
                            *x = &self.x[(token + column) * width..][..width];
                        }
                        let sums = $tile::<S, R, { $columns }>(simd, weight, x);
                        for (column, sums) in sums.iter().enumerate() {
                            self.y[(token + column) * outputs + first..][..R].copy_from_slice(sums);
                        }
                        token += $columns;
                    }};
                }
                while tokens - token >= TILE_COLUMNS {
                    tile!(TILE_COLUMNS);
                }
                if tokens - token >= 4 {
                    tile!(4);
                }
                while token < tokens {
                    tile!(1);
                }
            }
        }

        /// Returns the dot products of each row of W with each of x: `[x][W]`.
        #[inline(always)]
        fn $tile<S: Simd, const R: usize, const C: usize>(
            simd: S,
            weight: [&[$float]; R],
            x: [&[$float]; C],
        ) -> [[$float; R]; C] {
            let (mut rows, mut columns) = ([S::$as_simd(weight[0]).0; R], [S::$as_simd(x[0]).0; C]);
            let vectors = rows[0].len();
            for (vector, row) in rows.iter_mut().zip(weight) {
                *vector = &S::$as_simd(row).0[..vectors];
            }
            for (vector, column) in columns.iter_mut().zip(x) {
                *vector = &S::$as_simd(column).0[..vectors];
            }
            let mut sums = [[simd.$splat(0.0); C]; R];
            for index in 0..vectors {
                let mut values = [columns[0][index]; C];
                for column in 1..C {
                    values[column] = columns[column][index];
                }
                for row in 0..R {
                    let weight = rows[row][index];
                    for column in 0..C {
                        sums[row][column] = simd.$mul_add(weight, values[column], sums[row][column]);
                    }
                }
            }
            let mut out = [[0.0; R]; C];
            for column in 0..C {
                for row in 0..R {
                    let mut sum = simd.$sum(sums[row][column]);
                    let rest = (S::$as_simd(weight[row]).1, S::$as_simd(x[column]).1);
                    for index in 0..rest.0.len() {
                        sum += rest.0[index] * rest.1[index];
                    }
                    out[column][row] = sum;
                }
            }
            out
        }
    };
}
dots!(dots_f32, DotsF32, tile_f32, f32, as_simd_f32s, splat_f32s, mul_add_e_f32s, reduce_sum_f32s);
dots!(dots_f64, DotsF64, tile_f64, f64, as_simd_f64s, splat_f64s, mul_add_e_f64s, reduce_sum_f64s);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_gives_the_sums_of_products() {
        for (tokens, outputs, width) in [(1, 1, 1), (3, 5, 7), (6, 4, 16), (11, 9, 67), (13, 8, 130)] {
            let number = |place: usize, seed: usize| ((place * 31 + seed) % 17) as f64 - 8.0;
            let x: Vec<f64> = (0..tokens * width).map(|place| number(place, 3)).collect();
            let weight: Vec<f64> = (0..outputs * width).map(|place| number(place, 5)).collect();
            let dot = |token: usize, output: usize| -> f64 {
                (0..width).map(|place| x[token * width + place] * weight[output * width + place]).sum()
            };
            let expected: Vec<f64> = (0..tokens)
                .flat_map(|token| (0..outputs).map(move |output| (token, output)))
                .map(|(t, o)| dot(t, o))
                .collect();
            let mut y = vec![0.0; tokens * outputs];
            dots_f64(&x, &weight, width, &mut y);
            // Integers, so every order of summation gives the same result.
            assert_eq!(y, expected);
            let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
            let mut y = vec![0.0; tokens * outputs];
            dots_f32(&narrow(&x), &narrow(&weight), width, &mut y);
            assert_eq!(y, narrow(&expected));
        }
    }
}
