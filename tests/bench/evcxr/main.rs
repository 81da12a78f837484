//! evcxr's kernel as its own program starts it: `bench-evcxr --control_file FILE`.

#![expect(clippy::print_stderr, reason = "a command that says why it failed")]

use std::process::ExitCode;

fn main() -> ExitCode {
    match evcxr_jupyter::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-evcxr: {error:#}");
            ExitCode::FAILURE
        }
    }
}
