//! The `chandlery` command: the toolkit's verbs, the notebook runner and the Jupyter kernel.

mod cli;

use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use chandlery::command::Failure;
use chandlery::diagnostic::{Diagnose, Diagnostic};
use chandlery::project::own_parts;
use chandlery_kernel::bench::Language;
use chandlery_kernel::client::{Kernelspec, Peer};
use chandlery_kernel::engine::direct::{DependencyCache, DirectEngine};
use chandlery_kernel::engine::{Echo, Engine, Evcxr, Unavailable};
use chandlery_kernel::install::{Names, Payload, Places, Scope};
use chandlery_kernel::system::{self, Again};
use chandlery_kernel::toolkit::Toolkit;
use chandlery_kernel::{bench, doctor, install, jupyter, link, parts, runner, worker};
use clap::{Parser, ValueEnum};

use cli::{BenchSubject, BenchTarget, Cli, EngineName, InstallPlace, KernelAction, RunArgs};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
/// The exit code that shells report for a process ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match words.first().map(String::as_str) {
        None => {
            if let Some(socket) = worker::socket() {
                return worker::main(socket);
            }
            say_error(cli::help().trim_end());
            ExitCode::from(USAGE)
        }
        Some("-h" | "--help" | "help") => {
            say(cli::help().trim_end());
            ExitCode::SUCCESS
        }
        Some("-V" | "--version") => {
            say(concat!("chandlery ", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Some(link::COMMAND) => link::main(&std::env::args_os().skip(2).collect::<Vec<_>>()),
        Some(word) if cli::WORDS.contains(&word) => match Cli::try_parse() {
            Ok(Cli::Run(args)) => run(*args),
            Ok(Cli::Kernel { action }) => kernel(action),
            Ok(Cli::Bench { subject }) => bench(subject),
            Err(error) => misused(error, &words),
        },
        Some(_) => verb(&words),
    }
}

/// Ends with what clap says of words that do not parse, or with help.
fn misused(error: clap::Error, words: &[String]) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(USAGE);
    let _ = error.print();
    if words.iter().any(|word| word == "--json")
        && let Failure::Usage { help: false, diagnostic, .. } = Failure::from(error)
    {
        say_failure("UsageError", &diagnostic);
    }
    ExitCode::from(code)
}

/// Runs one of the toolkit's verbs. Nothing is started before it, because `chandlery inspect` takes milliseconds.
fn verb(words: &[String]) -> ExitCode {
    // The first Ctrl-C asks the verb to stop at a safe point; the second ends the process.
    system::request_on_interrupt(Again::End);
    own_parts::compile_with(parts::register);
    // `chandlery inspect … | head` ends silently with `head`. Not for kernels, which must survive a closed socket.
    system::end_with_reader();
    let json = words.iter().any(|word| word == "--json");
    match chandlery::command::run(words) {
        Ok(outcome) => {
            let report = if json { format!("{:#}", outcome.json) } else { outcome.view.plain().to_owned() };
            // Standard output may be the requested file, and must not contain anything else.
            let written = if report.is_empty() { Ok(()) } else { writeln!(std::io::stdout(), "{report}") };
            match written {
                // A lost report is not a success. A reader that closed the pipe has what it wanted.
                Err(error) if error.kind() != ErrorKind::BrokenPipe => fail(
                    Diagnostic::new(format!("the report cannot be written: {error}"))
                        .at("standard output")
                        .advise("write it to a place with free space"),
                ),
                _ if outcome.passed => ExitCode::SUCCESS,
                _ => ExitCode::from(FAILED),
            }
        }
        Err(Failure::Usage { text, help: true, .. }) => {
            say(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(Failure::Usage { text, help: false, diagnostic }) => {
            if json {
                say_failure("UsageError", &diagnostic);
            }
            say_error(text.trim_end());
            ExitCode::from(USAGE)
        }
        Err(Failure::Failed { name, diagnostic }) => {
            if json {
                say_failure(&name, &diagnostic);
            }
            fail(diagnostic)
        }
        Err(Failure::Interrupted) => {
            say_error("interrupted");
            ExitCode::from(INTERRUPTED)
        }
    }
}

fn run(args: RunArgs) -> ExitCode {
    install::stay_in_use();
    let options = runner::Options {
        notebooks: args.notebooks,
        output: args.output,
        html: args.html,
        inplace: args.inplace,
        timeout: args.timeout,
        total_timeout: args.total_timeout,
        allow_errors: args.allow_errors,
        keep_going: args.keep_going,
        from: args.from,
        jobs: usize::from(args.jobs),
        timings: args.timings,
        max_output: Some(args.max_output),
        compare: args.compare,
        rules: runner::Rules {
            atol: args.atol,
            rtol: args.rtol,
            fields: args.tolerance,
            images: args.images,
            text_numbers: args.text_numbers.then_some(true),
        },
        accept: args.accept,
        no_execute: args.no_execute,
        check: args.check,
        json: args.json,
        live: std::io::stderr().is_terminal(),
        parameters: args.parameters,
        junit: args.junit,
    };
    // Cells name files relative to the notebook's folder.
    let start = |notebook: &Path| start_engine(args.engine, notebook.parent(), notebook.file_name());
    let mut report = Report { begun: false };
    let ran = runner::StopRequest::catch()
        .map_err(runner::RunError::from)
        .and_then(|stop| runner::run(&options, &start, &mut std::io::stderr(), &mut report, &stop));
    if let (Err(error), true, false) = (&ran, options.json, report.begun) {
        let usage = matches!(error, runner::RunError::Options(_));
        say_failure(if usage { "UsageError" } else { "RunError" }, &error.diagnostic());
    }
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ runner::RunError::Options(_)) => {
            say_error(&format!("error: {error}"));
            ExitCode::from(USAGE)
        }
        Err(error @ runner::RunError::Stopped { signal, .. }) => {
            say_error(&error.to_string());
            ExitCode::from(signal.exit_code())
        }
        Err(error) => fail(error),
    }
}

/// Standard output, and whether anything was written there.
struct Report {
    begun: bool,
}

impl Write for Report {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.begun = true;
        std::io::stdout().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stdout().flush()
    }
}

fn kernel(action: KernelAction) -> ExitCode {
    match action {
        KernelAction::Start { connection_file, engine } => {
            install::stay_in_use();
            let start = Box::new(move || {
                start_engine(engine, None, session_name().as_deref())
                    .unwrap_or_else(|reason| Box::new(Unavailable::new(reason)))
            });
            jupyter::run(&connection_file, start).map_or_else(fail, |()| ExitCode::SUCCESS)
        }
        KernelAction::Install { place, display_name } => {
            install_kernel(&place, display_name).map_or_else(fail, |()| ExitCode::SUCCESS)
        }
        KernelAction::Uninstall { place } => {
            let removed = Places::of(&scope(&place)).and_then(|places| install::uninstall(&places, &place.name));
            match removed {
                Ok(folders) => {
                    folders.iter().for_each(|folder| say(&format!("removed {}", folder.display())));
                    ExitCode::SUCCESS
                }
                Err(error) => fail(error),
            }
        }
        KernelAction::Doctor { json } => {
            let checks = doctor::examine();
            if json {
                say(&format!("{:#}", doctor::json(&checks)));
            } else {
                say(doctor::report(&checks).trim_end());
            }
            if doctor::passed(&checks) { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
        }
        KernelAction::Clean { older_than, dry_run } => {
            let older = Duration::from_secs(u64::from(older_than) * 24 * 60 * 60);
            match DependencyCache::of_user().clean(older, dry_run) {
                Ok(cleaned) => {
                    say(doctor::cleaned(&cleaned, dry_run).trim_end());
                    ExitCode::SUCCESS
                }
                Err(error) => fail(error),
            }
        }
    }
}

fn install_kernel(place: &InstallPlace, display_name: Option<String>) -> Result<(), install::InstallError> {
    let places = Places::of(&scope(place))?;
    let payload = Payload::of_this_build()?;
    let installed = install::install(&places, &Names { name: place.name.clone(), display_name }, &payload)?;
    let how = if installed.linked { ", linked to this build: no disk space used" } else { "" };
    say(&format!("kernelspec  {}", installed.spec.display()));
    say(&format!("toolkit     {} ({} MB{how})", installed.library.display(), installed.bytes >> 20));
    match &payload.rustc {
        Some(rustc) => say(&format!("rustc       {} at {}", rustc.version(), rustc.path.display())),
        None => say("rustc       none that fits; `chandlery kernel doctor` says which is needed for Rust cells"),
    }
    Ok(())
}

fn scope(place: &InstallPlace) -> Scope {
    match &place.prefix {
        Some(prefix) => Scope::Prefix(prefix.clone()),
        None if place.sys_prefix => Scope::SysPrefix,
        None => Scope::User,
    }
}

fn bench(subject: BenchSubject) -> ExitCode {
    let BenchSubject::Cells { notebook, runs, engine } = subject;
    let all = BenchTarget::value_variants().iter().filter(|one| engine.is_empty() || engine.contains(one));
    let targets: Vec<_> = all.filter_map(|one| target(*one).map_err(|why| say_error(&why.to_string())).ok()).collect();
    if targets.is_empty() {
        return fail(bench::BenchError::NothingLeft);
    }
    let plan = bench::Plan { runs, pause: bench::PAUSE };
    let measured = match &notebook {
        Some(path) => bench::notebook(path, &targets, plan, &mut say),
        None => bench::cells(&targets, plan, &mut say),
    };
    measured.map_or_else(fail, |()| ExitCode::SUCCESS)
}

/// Returns how a target of the benchmark is started, or why it is left out.
fn target(one: BenchTarget) -> Result<bench::Target, bench::BenchError> {
    let named = |name, language, start| bench::Target { name, language, start };
    let engine = |name| Box::new(move |within: Option<&Path>| start_engine(name, within, None));
    let kernel = |spec: Kernelspec| {
        Box::new(move |within: Option<&Path>| Ok(Box::new(Peer::start(&spec, within)?) as Box<dyn Engine>))
    };
    let installed = |spec: Option<Kernelspec>, kernel| spec.ok_or(bench::BenchError::NoKernel { kernel });
    Ok(match one {
        BenchTarget::Direct => named("direct", Language::Toolkit, engine(EngineName::Direct)),
        BenchTarget::Kernel => {
            let program = std::env::current_exe()?;
            named("direct, as a kernel", Language::Toolkit, kernel(Kernelspec::own(&program)))
        }
        BenchTarget::Evcxr => named("evcxr", Language::Rust, engine(EngineName::Evcxr)),
        BenchTarget::EvcxrJupyter => {
            let spec = installed(Kernelspec::evcxr(), "evcxr_jupyter")?;
            named("evcxr_jupyter", Language::Rust, kernel(spec))
        }
        BenchTarget::Ipykernel => {
            named("ipykernel", Language::Python, kernel(installed(Kernelspec::ipykernel(), "ipykernel")?))
        }
    })
}

/// Returns the file name of the notebook, as given by Jupyter Server.
fn session_name() -> Option<OsString> {
    let path = PathBuf::from(std::env::var_os("JPY_SESSION_NAME")?);
    path.file_name().map(OsStr::to_owned)
}

fn start_engine(
    name: EngineName,
    folder: Option<&Path>,
    notebook: Option<&OsStr>,
) -> Result<Box<dyn Engine>, runner::StartError> {
    match name {
        EngineName::Direct => {
            let program =
                std::env::current_exe().map_err(|error| format!("the command's own file is unknown: {error}"))?;
            let mut engine = DirectEngine::new(program);
            if let Some(folder) = folder {
                engine = engine.in_folder(folder);
            }
            if let Some(name) = notebook.and_then(OsStr::to_str) {
                engine = engine.of_notebook(name);
            }
            engine.start()?;
            Ok(Box::new(engine))
        }
        EngineName::Evcxr => {
            let toolkit = Toolkit::locate()?;
            let program = std::env::current_exe()?;
            Ok(Box::new(Evcxr::start(&program, &toolkit.rustc, folder)?))
        }
        EngineName::Echo => Ok(Box::new(Echo::new())),
    }
}

/// Prints why a command failed before it had a report, for programs.
fn say_failure(kind: &str, diagnostic: &Diagnostic) {
    say(&format!("{:#}", serde_json::json!({ "error": diagnostic.report(kind) })));
}

fn fail(error: impl std::fmt::Display) -> ExitCode {
    say_error(&format!("error: {error}"));
    ExitCode::from(FAILED)
}

/// Prints a line; a closed pipe does not panic.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn say_error(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
