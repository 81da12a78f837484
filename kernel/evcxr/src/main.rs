//! The process that holds evcxr: `chandlery-evcxr language FOLDER` completes and inspects with the rust-analyzer it is built on,
//! `chandlery-evcxr engine FOLDER` runs cells in its context. It is started by the kernel, and speaks JSON, a value a line,
//! on standard input and output.

#![expect(clippy::print_stderr, reason = "a command that says why it failed")]

mod analyzer;
mod language;
#[expect(unreachable_pub, reason = "the kernel's library, whose file it is, shows them")]
#[path = "../../src/language/messages.rs"]
mod messages;
mod session;
mod standard;
mod toolkit;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    session::relay_hook();
    // In the processes that evcxr starts from this executable, this does not return.
    evcxr::runtime_hook();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ran = match words.as_slice() {
        ["language", folder] => language::run(Path::new(folder)),
        ["engine", folder] => session::run(Path::new(folder)),
        _ => Err("the kernel starts it: chandlery-evcxr language|engine FOLDER".to_owned()),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("chandlery-evcxr: {problem}");
            ExitCode::FAILURE
        }
    }
}
