//! Frames: made, taken apart, dropped.

use polars::prelude::*;

pub fn drop_values(
    frame: Vec<DataFrame>,
    series: Vec<Series>,
    columns: Vec<Column>,
    value: Vec<AnyValue<'static>>,
    types: Vec<DataType>,
    error: Vec<PolarsError>,
    result: PolarsResult<DataFrame>,
) {
    drop((frame, series, columns, value, types, error, result));
}

pub fn clone_values(
    frame: &DataFrame,
    series: &Series,
    column: &Column,
    value: &AnyValue<'static>,
) -> impl Sized + use<> {
    (frame.clone(), series.clone(), column.clone(), value.clone())
}

pub fn columns(a: [Column; 1], b: [Column; 2], c: [Column; 3], d: [Column; 4]) -> Vec<Vec<Column>> {
    vec![Vec::from(a), Vec::from(b), Vec::from(c), Vec::from(d)]
}

pub fn made(series: Series) -> Column {
    Column::from(series)
}

pub fn select(
    frame: &DataFrame,
    a: [&str; 1],
    b: [&str; 2],
    c: [&str; 3],
    names: Vec<&str>,
) -> Vec<PolarsResult<DataFrame>> {
    vec![frame.select(a), frame.select(b), frame.select(c), frame.select(names)]
}

pub fn sort(frame: &DataFrame, a: [&str; 1], b: [&str; 2], names: Vec<&str>) -> Vec<PolarsResult<DataFrame>> {
    let options = SortMultipleOptions::default;
    vec![frame.sort(a, options()), frame.sort(b, options()), frame.sort(names, options())]
}
