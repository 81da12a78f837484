//! `chandlery bench cells`: the same cells through engines and kernels, as a table.

mod cells;
mod error;
mod notebook;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::engine::{Cell, Engine, Event, Outcome, Output};
use crate::private_folder::PrivateFolder;
use crate::runner::StartError;
use cells::{CELLS, Measured, text};

pub use cells::Language;
pub use error::BenchError;
pub use notebook::notebook;

/// Starts an engine whose cells run in a folder, if one is given.
pub type Start = Box<dyn Fn(Option<&Path>) -> Result<Box<dyn Engine>, StartError>>;

/// An engine or a kernel under its name.
pub struct Target {
    /// Its name in the table.
    pub name: &'static str,
    /// The language of its cells.
    pub language: Language,
    /// Starts it.
    pub start: Start,
}

/// The number of runs, and the pause.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The runs of each cell.
    pub runs: u32,
    /// The pause between cells, except in the rows without pauses.
    pub pause: Duration,
}

/// People type between cells, and the kernel uses that time; "Run All" does not leave any.
pub const PAUSE: Duration = Duration::from_millis(400);

struct Quiet;

impl Output for Quiet {
    fn event(&mut self, _: Event) {}
    fn input(&mut self, _: &str, _: bool) -> Option<String> {
        None
    }
}

/// An engine that runs, and the cells it ran.
struct RunningEngine {
    name: &'static str,
    engine: Box<dyn Engine>,
    count: u32,
    model: PathBuf,
}

impl RunningEngine {
    fn start(target: &Target, within: Option<&Path>, model: &Path) -> Result<Self, BenchError> {
        let engine = (target.start)(within).map_err(|source| BenchError::Start { engine: target.name, source })?;
        Ok(Self { name: target.name, engine, count: 0, model: model.to_owned() })
    }

    /// Runs a built-in cell with the next number: those of variables go from 3 to 30.
    fn run(&mut self, code: &str) -> Result<f64, BenchError> {
        self.execute(text(code, self.count + 2, &self.model))
    }

    /// Returns milliseconds, or the reason if it failed.
    fn execute(&mut self, code: String) -> Result<f64, BenchError> {
        self.count += 1;
        let cell = Cell { code, number: self.count };
        let began = Instant::now();
        let outcome = self.engine.execute(&cell, &mut Quiet);
        let took = began.elapsed().as_secs_f64() * 1e3;
        match outcome {
            Outcome::Ok => Ok(took),
            Outcome::Error { name, value, .. } => {
                Err(BenchError::Cell { engine: self.name, name, value, code: cell.code })
            }
        }
    }

    fn warm(&mut self, code: &str, Plan { runs, pause }: Plan) -> Result<Vec<f64>, BenchError> {
        let once = |_| {
            std::thread::sleep(pause);
            self.run(code)
        };
        (0..runs).map(once).collect()
    }
}

impl Drop for RunningEngine {
    fn drop(&mut self) {
        self.engine.shutdown();
    }
}

/// Measures the built-in cells and reports line by line: medians, with least and greatest in brackets, in milliseconds.
///
/// # Errors
/// [`BenchError`]: an engine that does not start, or a cell that failed.
pub fn cells(targets: &[Target], plan: Plan, say: &mut dyn FnMut(&str)) -> Result<(), BenchError> {
    let folder = PrivateFolder::fresh(&std::env::temp_dir())?;
    let model = folder.path().join("model.safetensors");
    std::fs::write(&model, cells::weights())?;
    say(&format!("{} Milliseconds: median (least-greatest) of {} runs.\n", machine(), plan.runs));
    // Alternating, so that a busy moment of the machine affects all.
    let mut starts = vec![Vec::new(); targets.len()];
    for _ in 0..plan.runs {
        for (target, starts) in targets.iter().zip(&mut starts) {
            let began = Instant::now();
            let mut running = RunningEngine::start(target, None, &model)?;
            running.run("1 + {n}")?;
            starts.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    table(&["engine", "start to first reply"], say);
    for (target, starts) in targets.iter().zip(starts) {
        say(&row(&[target.name, &spread(starts)]));
    }
    say("");
    table(
        &["engine", "cell", "budget", "first", "warm", "after 50 cells, 30 variables", "the same without pauses"],
        say,
    );
    targets.iter().try_for_each(|target| one(target, plan, &model, say))?;
    say(&format!("\n{}", machine()));
    Ok(())
}

/// Measures the rows of one engine.
fn one(target: &Target, plan: Plan, model: &Path, say: &mut dyn FnMut(&str)) -> Result<(), BenchError> {
    let language = target.language;
    let wanted: Vec<(&Measured, &str)> = CELLS.iter().filter_map(|cell| Some((cell, cell.code(language)?))).collect();
    let mut running = RunningEngine::start(target, None, model)?;
    running.run(cells::first(language))?;
    let mut fresh = Vec::new();
    for (_, code) in &wanted {
        std::thread::sleep(plan.pause);
        fresh.push((running.run(code)?, running.warm(code, plan)?));
    }
    drop(running);

    let mut running = RunningEngine::start(target, None, model)?;
    running.run(cells::first(language))?;
    for _ in 3..31 {
        running.run(cells::variable(language))?;
    }
    for _ in 31..52 {
        running.run(cells::use_of_one(language))?;
    }
    let at_once = Plan { pause: Duration::ZERO, ..plan };
    for ((cell, code), (first, fresh)) in wanted.iter().zip(fresh) {
        running.run(code)?;
        let later = running.warm(code, plan)?;
        let rush = running.warm(code, at_once)?;
        let (budget, first) = (cell.budget.to_string(), format!("{first:.1}"));
        say(&row(&[target.name, cell.name, &budget, &first, &spread(fresh), &spread(later), &spread(rush)]));
    }
    Ok(())
}

/// Describes the machine, and how busy it was.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("{cores} cores, load {}.", load.split(' ').next().unwrap_or("unknown"))
}

fn table(heading: &[&str], say: &mut dyn FnMut(&str)) {
    say(&row(heading));
    say(&row(&vec!["---"; heading.len()]));
}

fn row(cells: &[&str]) -> String {
    let mut line = String::from("|");
    for cell in cells {
        let _ = write!(line, " {} |", cell.replace('|', "\\|"));
    }
    line
}

fn spread(mut took: Vec<f64>) -> String {
    took.sort_by(f64::total_cmp);
    match (took.first(), took.last()) {
        (Some(least), Some(most)) => format!("{:.1} ({least:.1}-{most:.1})", took[took.len() / 2]),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_markdown_with_any_content() {
        assert_eq!(row(&["a | b", ""]), "| a \\| b |  |");
        assert_eq!(spread(vec![3.0, 1.0, 2.26]), "2.3 (1.0-3.0)");
        assert_eq!(spread(Vec::new()), "");
    }
}
