//! `chandlery bench cells`: the same cells through the engines, as a table.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::engine::{Cell, Engine, Event, Outcome, Output};

/// A cell to measure.
struct Measured {
    name: &'static str,
    code: &'static str,
    /// Rust alone, which every engine runs; the others need the toolkit.
    plain: bool,
    /// Milliseconds it may take when warm.
    budget: f64,
}

const fn measured(name: &'static str, plain: bool, budget: f64, code: &'static str) -> Measured {
    Measured { name, code, plain, budget }
}

const CELLS: &[Measured] = &[
    measured("1 + 1", true, 40.0, "1 + 1"),
    measured("println", true, 40.0, "println!(\"{}\", 1 + 1);"),
    measured("stored variables", true, 40.0, "a1 + a2"),
    measured("toolkit call", false, 100.0, "MimeBundle::text(\"x\")"),
    measured(
        "candle",
        false,
        100.0,
        "(chandlery::candle::Tensor::arange(0f32, 6., &chandlery::candle::Device::Cpu)?.reshape((2, 3))? * 2.)?",
    ),
    measured(
        "polars query",
        false,
        150.0,
        "use chandlery::polars::prelude::*;\ndf![\"a\" => [1, 2, 3], \"b\" => [\"x\", \"y\", \"x\"]]?.lazy().filter(col(\"a\").gt(lit(1)))\
         .group_by([col(\"b\")]).agg([col(\"a\").sum()]).sort([\"a\"], Default::default()).collect()?",
    ),
    measured("magic", false, 2.0, "%vars"),
];

/// People type between cells, and the kernel uses it; "Run All" leaves none.
const PAUSE: Duration = Duration::from_millis(400);

/// An engine under its name, and whether it has the toolkit.
pub struct Contender {
    /// As the table calls it.
    pub name: &'static str,
    /// Whether its cells see the toolkit and its directives.
    pub toolkit: bool,
    /// The engine.
    pub engine: Box<dyn Engine>,
    /// How long it took to start.
    pub started: Duration,
}

struct Quiet;

impl Output for Quiet {
    fn event(&mut self, _: Event) {}
    fn input(&mut self, _: &str, _: bool) -> Option<String> {
        None
    }
}

struct Session<'a> {
    contender: &'a mut Contender,
    count: u32,
}

impl Session<'_> {
    /// Milliseconds; the reason if it failed.
    fn run(&mut self, code: &str) -> Result<f64, String> {
        self.count += 1;
        let began = Instant::now();
        let cell = Cell { code: code.to_owned(), number: self.count };
        let outcome = self.contender.engine.execute(&cell, &mut Quiet);
        let took = began.elapsed().as_secs_f64() * 1e3;
        match outcome {
            Outcome::Ok => Ok(took),
            Outcome::Error { name, value, .. } => Err(format!("{}: {name}: {value}: {code}", self.contender.name)),
        }
    }

    fn warm(&mut self, code: &str, runs: usize, pause: Duration) -> Result<Vec<f64>, String> {
        self.run(code)?;
        let once = |_| {
            std::thread::sleep(pause);
            self.run(code)
        };
        (0..runs).map(once).collect()
    }
}

/// Measures the built-in cells and says so line by line. Medians of `runs`, least and greatest in brackets, in milliseconds.
///
/// # Errors
/// A cell that failed.
pub fn cells(contenders: &mut [Contender], runs: usize, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    say(&row(&["engine", "cell", "budget", "warm", "warm after 50 cells, 30 variables", "without pauses"]));
    say(&row(&["---"; 6]));
    for contender in contenders {
        let name = contender.name;
        let wanted: Vec<&Measured> = CELLS.iter().filter(|cell| cell.plain || contender.toolkit).collect();
        let started = contender.started.as_secs_f64() * 1e3;
        let mut session = Session { contender, count: 0 };
        let first = session.run("let a1 = 1; let a2 = 2;")?;
        say(&row(&[name, "start; first cell", "", &format!("{started:.0}; {first:.0}"), "", ""]));
        let mut fresh = Vec::new();
        for cell in &wanted {
            fresh.push(session.warm(cell.code, runs, PAUSE)?);
        }
        for number in 3..31 {
            session.run(&format!("let mut a{number} = vec![a1; {number}]; a{number}.push({number});"))?;
        }
        for _ in 31..51 {
            session.run("a3.push(1); a3.len()")?;
        }
        for (cell, fresh) in wanted.iter().zip(fresh) {
            let later = session.warm(cell.code, runs, PAUSE)?;
            let rush = session.warm(cell.code, runs, Duration::ZERO)?;
            let budget = format!("{:.0}", cell.budget);
            say(&row(&[name, cell.name, &budget, &spread(fresh), &spread(later), &spread(rush)]));
        }
    }
    Ok(())
}

/// Measures the code cells of a notebook, each once, in order, in each engine.
///
/// # Errors
/// A file that is no notebook.
pub fn notebook(path: &Path, contenders: &mut [Contender], say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
    let book: serde_json::Value = serde_json::from_str(&text).map_err(|error| named(&error))?;
    let cells = book["cells"].as_array().ok_or_else(|| named(&"it has no cells"))?;
    let source = |cell: &serde_json::Value| match &cell["source"] {
        serde_json::Value::Array(lines) => lines.iter().filter_map(|line| line.as_str()).collect::<String>(),
        other => other.as_str().unwrap_or("").to_owned(),
    };
    let codes: Vec<String> = cells.iter().filter(|cell| cell["cell_type"] == "code").map(source).collect();
    let mut table: Vec<Vec<String>> = codes
        .iter()
        .enumerate()
        .map(|(at, code)| {
            let first = code.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
            vec![(at + 1).to_string(), first.chars().take(40).collect::<String>().replace('|', "\\|")]
        })
        .collect();
    let mut heading = vec!["cell", "first line"];
    for contender in contenders {
        heading.push(contender.name);
        let mut session = Session { contender, count: 0 };
        for (code, row) in codes.iter().zip(&mut table) {
            std::thread::sleep(PAUSE);
            row.push(session.run(code).map_or_else(|_| "failed".to_owned(), |took| format!("{took:.0}")));
        }
    }
    say(&row(&heading));
    say(&row(&vec!["---"; heading.len()]));
    for cells in &table {
        say(&row(&cells.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    Ok(())
}

fn row(cells: &[&str]) -> String {
    let mut line = String::from("|");
    for cell in cells {
        let _ = write!(line, " {cell} |");
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
