//! evcxr in a process of its own.

fn main() -> std::process::ExitCode {
    evcxr::runtime_hook();
    match evcxr_jupyter::main() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(_) => std::process::ExitCode::FAILURE,
    }
}
