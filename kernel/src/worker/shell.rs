//! Shell scripts. They write to the worker's own pipes, so their text appears as it is written.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chandlery::cell::Ending;
use chandlery::diagnostic::Diagnose;
use chandlery::interrupt::Interrupted;

use super::channel::flush;
use super::magic::failed;
use crate::system;

/// How long a script may take to exit after an interrupt.
const GRACE: Duration = Duration::from_millis(500);

/// Runs a script to its end. An interrupt reaches all its processes, and those that ignore it are killed.
pub(super) fn run(shell: &str, script: &str) -> Ending {
    flush();
    let mut command = Command::new(shell);
    command.args(["-c", script, shell]).stdin(Stdio::null()).process_group(0);
    system::end_with_parent(&mut command);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(problem) => return failed("NoShell", format!("{shell}: {problem}")),
    };
    let mut asked: Option<Instant> = None;
    let mut pause = Duration::from_micros(500);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(problem) => return failed("NoShell", format!("{shell}: {problem}")),
        }
        match asked {
            None if chandlery::interrupt::check().is_err() => {
                asked = Some(Instant::now());
                system::send_group(child.id(), system::INTERRUPT);
            }
            Some(when) if when.elapsed() > GRACE => system::send_group(child.id(), system::KILL),
            _ => {}
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    };
    if asked.is_some() {
        // The shell has ended, but programs that it started may still run.
        system::send_group(child.id(), system::KILL);
        return Ending::Failed {
            type_name: "Interrupted".to_owned(),
            diagnostic: Interrupted.diagnostic(),
            place: None,
            interrupted: true,
        };
    }
    match (status.code(), status.signal()) {
        (Some(0), _) => Ending::Done,
        (Some(code), _) => failed("ExitStatus", format!("{shell} ended with exit status {code}")),
        (None, signal) => failed("ExitStatus", format!("{shell} was ended by signal {}", signal.unwrap_or_default())),
    }
}
