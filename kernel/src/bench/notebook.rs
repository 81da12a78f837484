//! Measures a notebook's own cells in each engine.

use std::path::Path;

use super::{BenchError, Language, Plan, RunningEngine, Target, machine, row, table};
use crate::runner;

/// Measures the code cells of a notebook, in order, in its folder: the median of `plan.runs` fresh engines. A cell that
/// an engine cannot run is marked, like those that fail because of it. Engines of another language than Rust are left out.
///
/// # Errors
/// [`BenchError`]: a file that is not a notebook, or an engine that does not start.
pub fn notebook(path: &Path, targets: &[Target], plan: Plan, say: &mut dyn FnMut(&str)) -> Result<(), BenchError> {
    let codes = runner::sources(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let rust: Vec<&Target> = targets.iter().filter(|target| target.language != Language::Python).collect();
    say(&format!("{} Milliseconds: median of {} runs.\n", machine(), plan.runs));
    let mut columns = Vec::new();
    for target in &rust {
        let mut took = vec![Vec::new(); codes.len()];
        for _ in 0..plan.runs {
            let mut running = RunningEngine::start(target, Some(folder), Path::new(""))?;
            for (code, took) in codes.iter().zip(&mut took) {
                std::thread::sleep(plan.pause);
                took.push(running.execute(code.clone()).ok());
            }
        }
        columns.push(took.into_iter().map(median).collect::<Vec<_>>());
    }
    let names = rust.iter().map(|target| target.name);
    table(&["cell", "first line"].into_iter().chain(names).collect::<Vec<_>>(), say);
    for (at, code) in codes.iter().enumerate() {
        let first: String = code.lines().find(|line| !line.trim().is_empty()).unwrap_or("").chars().take(40).collect();
        let number = (at + 1).to_string();
        let took = columns.iter().map(|column| column[at].as_str());
        say(&row(&[number.as_str(), &format!("`{first}`")].into_iter().chain(took).collect::<Vec<_>>()));
    }
    say(&format!("\n{}", machine()));
    Ok(())
}

/// Returns the medians of the cells that succeeded each time.
fn median(took: Vec<Option<f64>>) -> String {
    let all: Option<Vec<f64>> = took.into_iter().collect();
    all.map_or_else(
        || "failed".to_owned(),
        |mut all| {
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).map_or_else(String::new, |median| format!("{median:.0}"))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn a_cell_that_fails_once_failed() {
        assert_eq!(median(vec![Some(3.0), Some(1.0), Some(2.0)]), "2");
        assert_eq!(median(vec![Some(3.0), None]), "failed");
    }
}
