//! Latency of warm cells: `cargo run --release -p chandlery-tests --example bench-cells`.
//!
//! Prints medians (and minima) in milliseconds, after one cell and after fifty with thirty live variables. Cells follow
//! each other with a pause, as people type, and without one, as "Run All" does.
#![expect(clippy::print_stdout, reason = "a benchmark's table is its output")]

use std::time::{Duration, Instant};

use chandlery_kernel::engine::direct::DirectEngine;
use chandlery_kernel::engine::{Cell, Engine, Event, Outcome, Output};

const CELLS: &[(&str, &str)] = &[
    ("1 + 1", "1 + 1"),
    ("println", "println!(\"{}\", 1 + 1);"),
    ("toolkit call", "MimeBundle::text(\"x\")"),
    ("stored variables", "a1 + a2"),
    (
        "candle",
        "(chandlery::candle::Tensor::arange(0f32, 6., &chandlery::candle::Device::Cpu)?.reshape((2, 3))? * 2.)?",
    ),
    (
        "polars lazy",
        "use chandlery::polars::prelude::*;\ndf![\"a\" => [1, 2, 3], \"b\" => [\"x\", \"y\", \"x\"]]?.lazy().filter(col(\"a\").gt(lit(1)))\
         .group_by([col(\"b\")]).agg([col(\"a\").sum()]).sort([\"a\"], Default::default()).collect()?",
    ),
    ("magic", "%vars"),
];

struct Quiet;
impl Output for Quiet {
    fn event(&mut self, _: Event) {}
    fn input(&mut self, _: &str, _: bool) -> Option<String> {
        None
    }
}

struct Session {
    engine: DirectEngine,
    count: u32,
}

impl Session {
    fn run(&mut self, code: &str) -> f64 {
        self.count += 1;
        let start = Instant::now();
        let outcome = self.engine.execute(&Cell { code: code.to_owned(), number: self.count }, &mut Quiet);
        let took = start.elapsed().as_secs_f64() * 1e3;
        assert_eq!(outcome, Outcome::Ok, "{code}");
        took
    }

    fn measure(&mut self, heading: &str, samples: usize, pause: Duration) {
        println!("\n{heading} (n = {samples}, median ms, minimum)");
        for (name, code) in CELLS {
            self.run(code);
            let mut took: Vec<f64> = (0..samples)
                .map(|_| {
                    std::thread::sleep(pause);
                    self.run(code)
                })
                .collect();
            took.sort_by(f64::total_cmp);
            println!("  {name:<18} {:>7.1} {:>7.1}", took[took.len() / 2], took[0]);
        }
    }
}

fn main() {
    let samples = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(9);
    let exe = std::env::current_exe().unwrap_or_default();
    let program = exe.ancestors().map(|folder| folder.join("chandlery")).find(|program| program.is_file());
    let Some(program) = program else {
        println!("build the command first: cargo build --release");
        return;
    };
    let start = Instant::now();
    let mut session = Session { engine: DirectEngine::new(program), count: 0 };
    session.run("let a1 = 1; let a2 = 2;");
    println!("engine start to the end of the first Rust cell: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    let pause = Duration::from_millis(400);
    session.measure("after 1 cell", samples, pause);
    for cell in 3..31 {
        session.run(&format!(
            "let mut a{cell} = vec![a1; {cell}]; fn f{cell}(x: i32) -> i32 {{ x + {cell} }} a{cell}.push(f{cell}(1));"
        ));
    }
    for _ in 31..51 {
        session.run("a3.push(1); a3.len()");
    }
    session.measure("after 50 cells, 30 variables", samples, pause);
    session.measure("the same without pauses", samples, Duration::ZERO);
    session.engine.shutdown();
}
