//! One run of cargo: its progress while it runs, and its output when it is done.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use super::Failure;
use crate::engine::direct::run::busy::{Busy, Stopped};

/// Runs cargo to its end and returns its standard output. `progress` receives short descriptions of what it is doing.
pub(super) fn run(command: &mut Command, busy: &Busy, progress: &mut dyn FnMut(&str)) -> Result<String, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let lost = |problem: std::io::Error| Failure::Cargo(format!("error: {program}: {problem}"));
    let mut child = command.spawn().map_err(lost)?;
    if busy.compiling(child.id()) == Err(Stopped) {
        crate::system::send_group(child.id(), crate::system::KILL);
    }
    let out = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        out.map(|mut out| out.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    });
    let words = child.stderr.take().map(|errors| follow(errors, progress)).unwrap_or_default();
    let stopped = busy.compiled();
    let status = child.wait().map_err(lost)?;
    let text = reader.join().unwrap_or_default();
    match (stopped, status.success()) {
        (Err(Stopped), _) => Err(Failure::Stopped),
        (Ok(()), true) => Ok(text),
        (Ok(()), false) => Err(Failure::Cargo(words + &ended_by(status))),
    }
}

/// The message for a cargo that was killed, which cargo itself cannot write.
fn ended_by(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else { return String::new() };
    format!("error: cargo was ended by signal {signal}, perhaps because memory ran out; what was built before stays\n")
}

/// Reads cargo's messages. Returns those that are not progress.
fn follow(mut errors: impl Read, progress: &mut dyn FnMut(&str)) -> String {
    let mut words = String::new();
    let mut line = Vec::new();
    let mut bytes = [0; 4096];
    let mut told = Instant::now();
    while let Ok(count @ 1..) = errors.read(&mut bytes) {
        for byte in &bytes[..count] {
            if !matches!(byte, b'\n' | b'\r') {
                line.push(*byte);
                continue;
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            match step(&text) {
                // A build with many small crates is reported in steps that are slow enough to read.
                Some(step) if told.elapsed().as_millis() > 100 => {
                    told = Instant::now();
                    progress(&step);
                }
                Some(_) => {}
                None if *byte == b'\n' => words.push_str(&(text + "\n")),
                None => {}
            }
        }
    }
    words
}

/// Returns the progress that a line of cargo's output reports.
fn step(line: &str) -> Option<String> {
    let plain = line.trim();
    let plain = plain.strip_prefix("\u{1b}[K").unwrap_or(plain).trim();
    let (verb, rest) = plain.split_once(' ')?;
    match verb {
        // `Building [====>    ] 3/17: serde, syn`
        "Building" | "Fetch" => {
            let (_, counted) = rest.split_once(']')?;
            let (count, names) = counted.trim().split_once(':').unwrap_or((counted.trim(), ""));
            let (done, all) = count.split_once('/')?;
            let names: String = names.trim().replace("...", "…");
            Some(format!("{done} of {all} {names}").trim_end().to_owned())
        }
        "Compiling" | "Updating" | "Downloading" | "Downloaded" | "Blocking" | "Locking" | "Adding" | "Finished"
        | "Fresh" | "Checking" => Some(format!("{} {}", verb.to_lowercase(), rest.trim())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_separated_from_messages() {
        assert_eq!(step("    Building [==>   ] 3/17: serde, syn...    ").as_deref(), Some("3 of 17 serde, syn…"));
        assert_eq!(step("   Compiling itoa v1.0.1").as_deref(), Some("compiling itoa v1.0.1"));
        let text = "    Updating crates.io index\r\u{1b}[Kerror: no matching package\n  found\n";
        let words = follow(text.as_bytes(), &mut |_| ());
        assert!(words.contains("no matching package\n  found"), "{words}");
    }
}
