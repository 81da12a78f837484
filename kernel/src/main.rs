//! The `chandlery` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == chandlery_kernel::worker::COMMAND) {
        return chandlery_kernel::worker::main();
    }
    ExitCode::from(2)
}
