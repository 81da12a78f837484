//! Cells link to compiled instances of generic functions. Without them they work as well, but compile for twice as long.

use std::process::Command;

use chandlery_kernel::toolkit::Toolkit;

/// The functions that the compiler makes of a cell with this expression, by their names.
fn compiled(expression: &str) -> Vec<String> {
    let toolkit = Toolkit::locate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "extern crate chandlery;\nuse chandlery::cell::show::*;\n\
         #[unsafe(no_mangle)] pub fn cell() -> Result<(), chandlery::cell::CellError> {{ (&&&&&Shown(&{expression})).show(); Ok(()) }}\n"
    );
    std::fs::write(folder.path().join("cell.rs"), text).unwrap();
    let output = Command::new(&toolkit.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["--edition=2024", "--crate-type=cdylib", "--emit=obj", "-Cprefer-dynamic", "-Zprint-mono-items=yes"])
        .arg(format!("--extern=chandlery={}", toolkit.library.display()))
        .arg(format!("-Ldependency={}", toolkit.metadata.display()))
        .arg("cell.rs")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let items = String::from_utf8(output.stdout).unwrap();
    items.lines().filter_map(|line| line.strip_prefix("MONO_ITEM fn ")).map(str::to_owned).collect()
}

fn assert_links_to(functions: &[&str], expression: &str) {
    let own = compiled(expression);
    assert!(own.iter().any(|name| name.starts_with("cell")), "the cell itself is compiled: {own:#?}");
    for function in functions {
        let found: Vec<&String> = own.iter().filter(|name| name.contains(function)).collect();
        assert!(found.is_empty(), "compiled in the cell: {found:#?}");
    }
}

#[test]
fn a_query_on_a_frame_links_to_those_of_polars() {
    assert_links_to(
        &[
            "LazyFrame::group_by",
            "LazyGroupBy::agg",
            "NewChunkedArray",
            "NamedFrom",
            "drop_in_place::<polars_lazy",
            "Display",
        ],
        "{ use chandlery::polars::prelude::*;
           df!(\"name\" => [\"a\", \"b\", \"a\"], \"count\" => [1i64, 2, 3])?.lazy().filter(col(\"count\").gt(lit(1)))
           .group_by([col(\"name\")]).agg([col(\"count\").sum()]).sort([\"name\"], Default::default()).collect()? }",
    );
}

#[test]
fn computing_with_tensors_links_to_those_of_candle() {
    assert_links_to(
        &[
            "Tensor::arange",
            "Tensor::reshape",
            "from_vec",
            "drop_in_place::<chandlery::candle_core::CpuStorage>",
            "backtrace",
        ],
        "{ use chandlery::candle::{Device, Tensor};
           let one = Tensor::arange(0f32, 6., &Device::Cpu)?.reshape((2, 3))?;
           (&one * 2.)?.matmul(&one.t()?)?.sum_all()?.to_scalar::<f32>()? }",
    );
}

#[test]
fn showing_lists_and_maps_links_to_the_debug_lookup() {
    for value in
        ["vec![1.5, 2.5]", "Some(String::new())", "std::collections::HashMap::from([(\"a\", 1)])", "(1, 2usize)"]
    {
        assert_links_to(&["Debug"], value);
    }
}
