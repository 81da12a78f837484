//! Time and memory of training steps: `cargo run --release -p chandlery-tests --example bench-training`.
//!
//! A Llama of 56.4 M parameters (vocabulary 32000, hidden 512, 8 layers), batches of 2 x 512 tokens, plain SGD, by default
//! in float32 on the CPU, in every way that a step can be computed. Each way runs in a process of its own, so that its
//! peak memory is its own; one step warms up, the median of five counts. Processor time is printed beside wall time: on a
//! busy machine it is the steadier of the two. `training.py` does the same with torch.
#![expect(clippy::print_stdout, reason = "a benchmark's table is its output")]

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use chandlery::model::{Batch, StepOptions};
use chandlery::ops::{AttentionImplementation, sgd_in_place};
use chandlery::project;

const ROWS: usize = 2;
const TOKENS: usize = 512;
const STEPS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [attention, checkpointing, fused] = arguments.as_slice() {
        let attention = attention.parse().expect("an implementation");
        let (gradient_checkpointing, fuse_optimizer) = (checkpointing == "true", fused == "true");
        return measure(&StepOptions { attention, gradient_checkpointing, fuse_optimizer, dropout_seed: None });
    }
    println!(
        "{:<20} {:>13} {:>6} {:>9} {:>9} {:>9} {:>8}",
        "attention", "checkpointing", "fused", "ms", "CPU ms", "MiB", "loss"
    );
    let ways = AttentionImplementation::ALL.map(|attention| (attention, false, false));
    let sdpa = AttentionImplementation::Sdpa;
    for (attention, checkpointing, fused) in
        ways.into_iter().chain([(sdpa, true, false), (sdpa, false, true), (sdpa, true, true)])
    {
        let own = std::env::current_exe().expect("the benchmark's own path");
        let arguments = [attention.to_string(), checkpointing.to_string(), fused.to_string()];
        let output = Command::new(own).args(&arguments).output().expect("the benchmark runs itself");
        print!("{:<20} {checkpointing:>13} {fused:>6} {}", attention, String::from_utf8_lossy(&output.stdout));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn measure(options: &StepOptions) {
    let mut config = project("llama").and_then(|project| project.config("4M")).expect("a built-in configuration");
    let sizes = [
        ("vocab_size", 32_000),
        ("hidden_size", 512),
        ("num_hidden_layers", 8),
        ("num_attention_heads", 8),
        ("num_key_value_heads", 4),
        ("intermediate_size", 1408),
    ];
    for (name, value) in sizes {
        config = config.set(name, value).expect("an argument of the project");
    }
    let built = config.construct().device("cpu").expect("there is a CPU").build().expect("the model fits");
    let model = built.model.as_ref().expect("a model on the CPU");
    let id = |place: usize| (place as u32).wrapping_mul(2_654_435_761) % 32_000;
    let ids: Vec<Vec<u32>> = (0..ROWS).map(|row| (0..TOKENS).map(|place| id(row * TOKENS + place)).collect()).collect();
    let labels: Vec<Vec<i64>> = ids.iter().map(|row| row.iter().map(|&id| i64::from(id)).collect()).collect();
    let batch = Batch::new(ids).expect("rows of one length");
    let mut times = Vec::new();
    let mut loss = 0.0;
    for _ in 0..=STEPS {
        let (began, processor) = (Instant::now(), processor_seconds());
        let sink = Arc::new(|_: &_, var: &_, gradient| sgd_in_place(var, &gradient, 0.1));
        loss = model.loss_and_gradients(&batch, &labels, options, sink).expect("the step runs");
        times.push((began.elapsed().as_secs_f64() * 1e3, (processor_seconds() - processor) * 1e3));
    }
    let median = |part: fn(&(f64, f64)) -> f64| {
        let mut times: Vec<f64> = times[1..].iter().map(part).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let peak = chandlery::device::Device::Cpu.peak_memory().map_or(f64::NAN, |bytes| bytes as f64 / f64::from(1 << 20));
    println!("{:>9.0} {:>9.0} {peak:>9.0} {loss:>8.4}", median(|time| time.0), median(|time| time.1));
}

/// Processor time of all threads so far, where the system tells.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|f| f.parse().ok())
        .collect();
    // The kernel counts hundredths of a second.
    fields.iter().sum::<f64>() / 100.0
}
