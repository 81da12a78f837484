//! evcxr's context as an engine: runs cells, and reports how they really ended.
//!
//! evcxr reports a panic, and an error that `?` returned, as success; it sees both only as lines on the standard output of
//! the process that runs the cells. So that process is started through a relay, which passes everything on and notes
//! those lines in a file.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evcxr::{CommandContext, Error, EvalContext};
use serde_json::{Value, json};

/// Names the relay's file; where it is set, this process is the relay.
const NOTES: &str = "CHANDLERY_EVCXR_NOTES";
const PANIC: &str = "EVCXR_PANIC_NOTIFICATION";
const ERROR: &str = "EVCXR_ERROR_OCCURRED";

/// Runs the cells that standard input names, a JSON string a line, until it ends.
pub(crate) fn run(folder: &Path) -> Result<(), String> {
    let notes = folder.join("notes");
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(this);
    child.env(NOTES, &notes);
    let (context, outputs) = EvalContext::with_subprocess_command(child).map_err(|error| error.to_string())?;
    let mut context = CommandContext::with_eval_context(context);
    std::thread::spawn(move || outputs.stdout.iter().for_each(|line| say(&json!({ "stdout": line + "\n" }))));
    // The last line of standard error is an error's text, if there was one.
    let last = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&last);
    std::thread::spawn(move || {
        for line in outputs.stderr.iter() {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
            say(&json!({ "stderr": line + "\n" }));
        }
    });
    say(&json!({ "ready": true }));
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(code) = serde_json::from_str::<String>(&line) else { continue };
        last.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let done = cell(&mut context, &code, &notes, &last);
        say(&json!({ "done": done }));
    }
    let _ = std::fs::remove_dir_all(folder);
    Ok(())
}

/// How a cell ended: `content` by MIME type, or `name`, `value` and `traceback`.
fn cell(context: &mut CommandContext, code: &str, notes: &Path, last: &Mutex<Vec<String>>) -> Value {
    let noted = || std::fs::read_to_string(notes).unwrap_or_default();
    let before = noted().len();
    let outcome = context.execute(code);
    let noted = noted();
    let how = noted.get(before..).unwrap_or("").lines().find(|line| [PANIC, ERROR].contains(line));
    // Standard error comes on a thread of its own; what the cell wrote there is on its way.
    std::thread::sleep(Duration::from_millis(20));
    let last = last.lock().unwrap_or_else(PoisonError::into_inner);
    match (outcome, how) {
        (Ok(outputs), None) => json!({ "content": outputs.content_by_mime_type }),
        (Ok(_), Some(PANIC)) => {
            let at = last.iter().rposition(|line| line.contains("panicked at"));
            let message = at.and_then(|at| last.get(at + 1)).map_or("the cell panicked", String::as_str);
            json!({ "name": "Panic", "value": message, "traceback": at.map_or(&[][..], |at| &last[at..]) })
        }
        (Ok(_), Some(_)) => json!({
            "name": "Error",
            "value": last.last().map_or("`?` returned an error", String::as_str),
            "traceback": *last,
        }),
        (Err(Error::CompilationErrors(errors)), _) => {
            let rendered: Vec<String> = errors.iter().map(evcxr::CompilationError::rendered).collect();
            let code = errors.iter().find_map(|error| error.code());
            let name = code.map_or("CompileError".to_owned(), |code| format!("CompileError[{code}]"));
            let value = errors.first().map(evcxr::CompilationError::message).unwrap_or_default();
            json!({ "name": name, "value": value, "traceback": rendered })
        }
        (Err(Error::SubprocessTerminated(how)), _) => {
            json!({ "name": "WorkerDied", "value": format!("{how}; all variables were lost"), "traceback": [how] })
        }
        (Err(error), _) => json!({ "name": "Error", "value": error.to_string(), "traceback": [error.to_string()] }),
    }
}

fn say(value: &Value) {
    let mut out = std::io::stdout().lock();
    // A closed pipe means that the kernel is gone; then standard input ends as well.
    let _ = writeln!(out, "{value}").and_then(|()| out.flush());
}

/// If evcxr started this process to run cells, stands between it and the process that does. Returns otherwise.
pub(crate) fn relay_hook() {
    if let Some(notes) = std::env::var_os(NOTES) {
        let code = relay(&PathBuf::from(notes)).unwrap_or(1);
        std::process::exit(code);
    }
}

fn relay(notes: &Path) -> std::io::Result<i32> {
    let mut runtime = Command::new(std::env::current_exe()?)
        .env_remove(NOTES)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut notes = std::fs::OpenOptions::new().create(true).append(true).open(notes)?;
    writeln!(notes, "{}", runtime.id())?;
    let (Some(mut input), Some(output)) = (runtime.stdin.take(), runtime.stdout.take()) else { return Ok(1) };
    let runtime = Arc::new(Mutex::new(runtime));
    let ended = Arc::clone(&runtime);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut input);
        // evcxr is gone; a running cell does not read input, and would continue.
        let _ = ended.lock().unwrap_or_else(PoisonError::into_inner).kill();
    });
    let mut out = std::io::stdout().lock();
    for line in BufReader::new(output).split(b'\n') {
        let mut line = line?;
        if line == PANIC.as_bytes() || line == ERROR.as_bytes() {
            notes.write_all(&line)?;
            notes.write_all(b"\n")?;
        }
        line.push(b'\n');
        out.write_all(&line)?;
        out.flush()?;
    }
    let status = runtime.lock().unwrap_or_else(PoisonError::into_inner).wait()?;
    Ok(status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1))
}
