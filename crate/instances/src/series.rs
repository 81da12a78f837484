//! Series from arrays, vectors and slices, and back.

use polars::prelude::*;

/// By the element's type.
macro_rules! series {
    ($($name:ident: $element:ty => $array:ident),+ $(,)?) => {
        $(pub mod $name {
            use super::*;

            pub fn chunked(values: &[$element], optional: &[Option<$element>]) -> [$array; 2] {
                [
                    $array::from_slice(PlSmallStr::EMPTY, values),
                    $array::from_slice_options(PlSmallStr::EMPTY, optional),
                ]
            }

            pub fn series(slice: &[$element], vec: Vec<$element>, optional: Vec<Option<$element>>) -> Vec<Series> {
                vec![
                    Series::new(PlSmallStr::EMPTY, slice),
                    Series::new(PlSmallStr::EMPTY, &vec),
                    Series::new(PlSmallStr::EMPTY, vec),
                    Series::new(PlSmallStr::EMPTY, optional),
                ]
            }

            pub fn arrays(
                a: [$element; 1], b: [$element; 2], c: [$element; 3], d: [$element; 4],
                e: [$element; 5], f: [$element; 6], g: [$element; 7], h: [$element; 8],
            ) -> Vec<Series> {
                let name = PlSmallStr::EMPTY;
                vec![
                    Series::new(name.clone(), a), Series::new(name.clone(), b), Series::new(name.clone(), c),
                    Series::new(name.clone(), d), Series::new(name.clone(), e), Series::new(name.clone(), f),
                    Series::new(name.clone(), g), Series::new(name, h),
                ]
            }
        })+
    };
}

series!(
    booleans: bool => BooleanChunked,
    int32: i32 => Int32Chunked,
    int64: i64 => Int64Chunked,
    uint32: u32 => UInt32Chunked,
    uint64: u64 => UInt64Chunked,
    float32: f32 => Float32Chunked,
    float64: f64 => Float64Chunked,
    text: &str => StringChunked,
    strings: String => StringChunked,
);
