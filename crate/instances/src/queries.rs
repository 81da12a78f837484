//! Lazy queries by arrays and vectors of expressions.

use polars::prelude::*;

macro_rules! queries {
    ($($name:ident: $expressions:ty),+ $(,)?) => {
        $(pub mod $name {
            use super::*;

            pub fn select(frame: LazyFrame, by: $expressions) -> LazyFrame {
                frame.select(by)
            }

            pub fn with_columns(frame: LazyFrame, by: $expressions) -> LazyFrame {
                frame.with_columns(by)
            }

            pub fn group_by(frame: LazyFrame, by: $expressions) -> LazyGroupBy {
                frame.group_by(by)
            }

            pub fn group_by_stable(frame: LazyFrame, by: $expressions) -> LazyGroupBy {
                frame.group_by_stable(by)
            }

            pub fn agg(groups: LazyGroupBy, by: $expressions) -> LazyFrame {
                groups.agg(by)
            }

            pub fn sort_by_exprs(frame: LazyFrame, by: $expressions) -> LazyFrame {
                frame.sort_by_exprs(by, SortMultipleOptions::default())
            }
        })+
    };
}

queries!(
    of_1: [Expr; 1], of_2: [Expr; 2], of_3: [Expr; 3], of_4: [Expr; 4], of_5: [Expr; 5], of_6: [Expr; 6], of_many: Vec<Expr>,
);

macro_rules! named {
    ($($name:ident: $names:ty),+ $(,)?) => {
        $(pub fn $name(frame: LazyFrame, by: $names) -> LazyFrame {
            frame.sort(by, SortMultipleOptions::default())
        })+
    };
}

named!(sort_by_1: [&str; 1], sort_by_2: [&str; 2], sort_by_3: [&str; 3], sort_by_many: Vec<&str>);

pub fn group_by_name(frame: LazyFrame, one: [&str; 1]) -> LazyGroupBy {
    frame.group_by(one)
}

pub fn collect(frame: LazyFrame) -> PolarsResult<DataFrame> {
    frame.collect()
}

pub fn drop_queries(frames: Vec<LazyFrame>, groups: Vec<LazyGroupBy>, expressions: Vec<Expr>) {
    drop((frames, groups, expressions));
}

pub fn column(name: &str) -> Expr {
    col(name)
}

pub fn literals(a: i32, b: i64, c: u32, d: u64, e: f32, f: f64, g: bool, h: &str, i: String) -> Vec<Expr> {
    vec![lit(a), lit(b), lit(c), lit(d), lit(e), lit(f), lit(g), lit(h), lit(i)]
}

pub fn compared(expression: &Expr, other: &Expr) -> Vec<Expr> {
    let (a, b) = (|| expression.clone(), || other.clone());
    vec![
        a().gt(b()),
        a().gt_eq(b()),
        a().lt(b()),
        a().lt_eq(b()),
        a().eq(b()),
        a().neq(b()),
        a().and(b()),
        a().or(b()),
        a().alias("x"),
    ]
}
