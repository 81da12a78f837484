//! The arguments of the kernel's own commands: the runner, the kernel, and the page that lists everything.

use std::path::PathBuf;
use std::time::Duration;

use chandlery_kernel::runner::{Images, RuleError, Tolerance};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// The kernel's own commands.
#[derive(Debug, Parser)]
#[command(name = "chandlery", version, disable_help_subcommand = true)]
pub(crate) enum Cli {
    /// Run notebooks without a browser, save their outputs, fail at the first failing cell
    #[command(after_help = RUN_HELP)]
    Run(Box<RunArgs>),
    /// Install, remove, start or examine the Jupyter kernel
    Kernel {
        /// What to do.
        #[command(subcommand)]
        action: KernelAction,
    },
    /// Measure the latency of cells, as a table
    Bench {
        /// What to measure.
        #[command(subcommand)]
        subject: BenchSubject,
    },
}

const RUN_HELP: &str = "\
Tags of cells:
  parameters        its `let`s are what -p overrides, in a cell put after it
  skip-execution    not run
  raises-exception  may fail; with --check, may not compile
  remove-output     run, but its outputs are not saved
  setup             run even before the cell given by --from

Exit codes: 0 all cells ran, 1 a cell failed, does not compile (--check),\ndiffers from the golden one, or took too long, 2 usage, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP\n\nA signal stops the run: the outputs so far are saved. A cell that does not stop is killed, after 3 s (SIGTERM: 1 s)\nor by a second signal. FILE may be `-` for standard output, a device or a pipe";

/// `chandlery bench`.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchSubject {
    /// Compare engines and kernels: start to first reply, first cell, warm, after 50 cells, one after another
    Cells {
        /// Measure the code cells of this notebook instead of the built-in ones
        #[arg(long, value_name = "FILE")]
        notebook: Option<PathBuf>,
        /// Number of runs of each measurement; the table shows the median, the least and the greatest
        #[arg(short = 'n', long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,
        /// Measure only this engine; may be repeated
        #[arg(long)]
        engine: Vec<BenchTarget>,
    },
}

/// `chandlery run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The notebooks, each run in its own folder with its own engine
    #[arg(required = true, value_name = "NOTEBOOK")]
    pub(crate) notebooks: Vec<PathBuf>,
    /// Save the executed notebook here
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Save it as one self-contained page
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write a JUnit report here: a suite per notebook, a case per code cell
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Save each executed notebook over itself
    #[arg(long)]
    pub(crate) inplace: bool,
    /// Stop a cell after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// Stop the whole run after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) total_timeout: Option<Duration>,
    /// Continue after failing cells (the tag `raises-exception` allows one)
    #[arg(long)]
    pub(crate) allow_errors: bool,
    /// Continue with the next notebook after one failed
    #[arg(short, long)]
    pub(crate) keep_going: bool,
    /// Run this many notebooks at a time, fewer while memory is short
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: u16,
    /// Resume from a cell (number or id): of the cells before it, only parameters, definitions and cells tagged
    /// `setup` run; all of them keep their outputs, from the file of -o if it has them
    #[arg(long, value_name = "CELL")]
    pub(crate) from: Option<String>,
    /// Write seconds and peak memory of every cell into its metadata
    #[arg(long)]
    pub(crate) timings: bool,
    /// Keep this many bytes of a cell's text, from its start and its end
    #[arg(long, value_name = "BYTES", default_value = "1048576")]
    pub(crate) max_output: usize,
    /// Compare the outputs with a golden notebook, or one of the same name in a folder; fail if they differ
    #[arg(long, value_name = "GOLDEN")]
    pub(crate) compare: Option<PathBuf>,
    /// Make the executed notebook the golden one
    #[arg(long, requires = "compare")]
    pub(crate) accept: bool,
    /// Compare notebooks as they are, without running them
    #[arg(long, requires = "compare")]
    pub(crate) no_execute: bool,
    /// How much fractional numbers may differ [default: 1e-8]
    #[arg(long, value_name = "NUMBER", requires = "compare", value_parser = from_zero)]
    pub(crate) atol: Option<f64>,
    /// How much they may differ relative to the golden number, in addition [default: 1e-5]
    #[arg(long, value_name = "NUMBER", requires = "compare", value_parser = from_zero)]
    pub(crate) rtol: Option<f64>,
    /// How much a field may differ: `loss=0.05`, `loss=5%`, `n=exact`, `rows.seconds=ignore`; may be repeated.
    /// Seconds, rates and peak memory are ignored
    #[arg(long, value_name = "FIELD=HOW", requires = "compare", value_parser = tolerance)]
    pub(crate) tolerance: Vec<(String, Tolerance)>,
    /// How images are compared: `ignore` (the default), `size` or `exact`
    #[arg(long, value_name = "RULE", requires = "compare")]
    pub(crate) images: Option<Images>,
    /// Let numbers in text differ like other numbers
    #[arg(long, requires = "compare")]
    pub(crate) text_numbers: bool,
    /// Compile all cells without running them, in a fraction of the time; report every cell that does not compile, including
    /// arguments of `%` lines. Nothing is written. Crates of `:dep` are built, because cells need them to compile
    #[arg(long)]
    pub(crate) check: bool,
    /// Print a report for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// Override a `let` of the cell tagged `parameters`; may be repeated
    #[arg(short, long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    pub(crate) parameters: Vec<(String, String)>,
    #[arg(long, hide = true, default_value = "direct")]
    pub(crate) engine: EngineName,
}

/// `chandlery kernel …`.
#[derive(Debug, Subcommand)]
pub(crate) enum KernelAction {
    /// Put the kernel where Jupyter finds it
    Install {
        #[command(flatten)]
        place: InstallPlace,
        /// The name that people choose in Jupyter, instead of the default
        #[arg(long, value_name = "TEXT")]
        display_name: Option<String>,
    },
    /// Remove an installed kernel
    Uninstall {
        #[command(flatten)]
        place: InstallPlace,
    },
    /// Serve one notebook; Jupyter calls this
    Start {
        /// The file in which Jupyter says where to listen
        #[arg(short = 'f', long, value_name = "FILE")]
        connection_file: PathBuf,
        #[arg(long, hide = true, default_value = "direct")]
        engine: EngineName,
    },
    /// Check what this machine lacks for notebooks, and how to get it
    Doctor {
        /// Print the findings for programs
        #[arg(long)]
        json: bool,
    },
    /// Remove crates that `:dep` built and no notebook has used for a long time
    Clean {
        /// Remove those that were not used for this many days; 0 for all that no kernel has loaded
        #[arg(long, value_name = "DAYS", default_value_t = 30)]
        older_than: u32,
        /// Only list them
        #[arg(long)]
        dry_run: bool,
    },
}

/// Where a kernel is installed.
#[derive(Debug, Args)]
pub(crate) struct InstallPlace {
    /// For the current user (the default)
    #[arg(long, conflicts_with_all = ["prefix", "sys_prefix"])]
    pub(crate) user: bool,
    /// Under this prefix, such as /usr/local
    #[arg(long, value_name = "FOLDER", conflicts_with = "sys_prefix")]
    pub(crate) prefix: Option<PathBuf>,
    /// Under the prefix of the `python3` on the path, such as an active virtual environment
    #[arg(long)]
    pub(crate) sys_prefix: bool,
    /// The kernel's name
    #[arg(long, default_value = "chandlery")]
    pub(crate) name: String,
}

/// What `chandlery bench cells` measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchTarget {
    /// The engine of this command.
    Direct,
    /// The same as Jupyter sees it: this command as a kernel.
    Kernel,
    /// evcxr behind this command's seam.
    Evcxr,
    /// evcxr's own kernel, where Jupyter finds it.
    EvcxrJupyter,
    /// Python's kernel, likewise.
    Ipykernel,
}

/// Which engine runs the cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// Rust cells and magics.
    Direct,
    /// evcxr, for comparison: Rust cells without the toolkit.
    Evcxr,
    /// The toy language of the protocol tests.
    Echo,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|limit| !limit.is_zero())
        .ok_or_else(|| "must be above 0".to_owned())
}

fn from_zero(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number: &f64| *number >= 0.0 && number.is_finite())
        .ok_or_else(|| "must be a number of at least 0".to_owned())
}

fn tolerance(text: &str) -> Result<(String, Tolerance), String> {
    let (field, how) = parameter(text).map_err(|_| "write it as FIELD=HOW".to_owned())?;
    Ok((field, how.parse().map_err(|error: RuleError| error.to_string())?))
}

fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

/// The commands of [`Cli`]; all others are the toolkit's.
pub(crate) const WORDS: &[&str] = &["run", "kernel", "bench"];

/// Returns one page that lists everything. The toolkit's lines come from its own help.
pub(crate) fn help() -> String {
    use clap::CommandFactory;
    let mut page = String::from(
        "Chandlery: construct, test, convert and finalize causal language models on candle\n\n\
         Usage: chandlery [-p DIR] [-t CONFIG] COMMAND ...\n\nModels:\n",
    );
    for verb in chandlery::command::definitions() {
        line(&mut page, verb.get_name(), &about(verb));
    }
    page.push_str("\nNotebooks:\n");
    for command in Cli::command().get_subcommands() {
        if matches!(command.get_name(), "kernel" | "bench") {
            for action in command.get_subcommands().filter(|action| action.get_name() != "help") {
                line(&mut page, &format!("{} {}", command.get_name(), action.get_name()), &about(action));
            }
        } else {
            line(&mut page, command.get_name(), &about(command));
        }
    }
    page.push_str(
        "\n  -h, --help         this page; after a command, that command's options\n  \
         -V, --version      the version\n\n\
         In a notebook, `%` and the same words run a command of the first group: `%inspect DIR`.\n",
    );
    page
}

fn line(page: &mut String, words: &str, about: &str) {
    page.push_str(format!("  {words:<18} {about}").trim_end());
    page.push('\n');
}

fn about(command: &clap::Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}
