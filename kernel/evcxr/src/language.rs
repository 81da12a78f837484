//! Completion and inspection.

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use evcxr::CommandContext;

use crate::messages::{Answer, Crate, Match, Question, Request, STD};
use crate::{crates, toolkit};

/// Answers questions until standard input ends.
pub(crate) fn run(folder: &Path) -> Result<(), String> {
    let began = Instant::now();
    let requests = listen(folder.to_owned());
    let Ok(Request::Start { crates, std, dependencies }) = requests.recv() else {
        return Err("not told how to start".to_owned());
    };
    let groups = if dependencies { toolkit::groups() } else { 0 };
    let more = toolkit::groups() > groups;
    let (mut context, dependencies) = start(folder, &crates, std.as_deref(), groups)?;
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    say(&Answer::Ready { milliseconds, dependencies, more });
    let mut waiting = VecDeque::new();
    while let Ok(request) = waiting.pop_front().map_or_else(|| requests.recv(), Ok) {
        waiting.extend(requests.try_iter());
        let Request::Question(question) = request else { continue };
        // A person who types on has no use for earlier answers.
        let nothing = Answer::Nothing { id: question.id };
        let is_like = |later: &Request| matches!(later, Request::Question(later) if later.inspect == question.inspect);
        let outdated = waiting.iter().any(is_like);
        // rust-analyzer panics on some code; it is ready for the next question all the same.
        let known = |context: &mut CommandContext| catch_unwind(AssertUnwindSafe(|| answer(context, &question)));
        say(&if outdated { nothing } else { known(&mut context).unwrap_or(nothing) });
    }
    Ok(())
}

/// Reads requests on a thread of its own, which ends the process when the kernel is gone, whatever it is doing.
fn listen(folder: PathBuf) -> Receiver<Request> {
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if let Ok(request) = serde_json::from_str(&line) {
                let _ = sender.send(request);
            }
        }
        let _ = std::fs::remove_dir_all(folder);
        std::process::exit(0);
    });
    requests
}

/// evcxr with the toolkit and these crates as dependencies, and the names of the crates and of the toolkit's own
/// dependencies that it knows: those of so many groups, or fewer.
fn start(
    folder: &Path,
    wanted: &[Crate],
    std: Option<&Path>,
    most: usize,
) -> Result<(CommandContext, Vec<String>), String> {
    let fault = |error: std::io::Error| format!("{}: {error}", folder.display());
    // The kernel has named this folder in EVCXR_TMPDIR.
    let context_folder = folder.join("context");
    let package_folder = folder.join("toolkit");
    std::fs::create_dir_all(&context_folder).map_err(fault)?;
    let package = toolkit::stand_in(&package_folder).map_err(fault)?;
    // evcxr has rust-analyzer look at the standard library before there is anything to know; it sees nothing of it yet.
    let std_folder = folder.join(STD);
    std::fs::create_dir_all(std_folder.join("core")).map_err(fault)?;
    let (mut context, outputs) = CommandContext::new().map_err(|error| error.to_string())?;
    // No cell runs here, but evcxr waits until its output was read.
    std::thread::spawn(move || outputs.stdout.iter().for_each(drop));
    let run = |context: &mut CommandContext, code: &str| {
        context.execute(code).map(drop).map_err(|error| format!("{code}: {error}"))
    };
    let others = crates::stand_ins(folder, wanted).map_err(fault)?;
    run(&mut context, &format!("{others}:dep chandlery = {{ path = {:?} }}", package.display().to_string()))?;
    if let Some(sources) = std {
        std::fs::remove_dir_all(&std_folder).and_then(|()| symlink(sources, &std_folder)).map_err(fault)?;
    }
    // From here on the packages are only read. rust-analyzer looks again when the context's manifest changes. Dependencies
    // that are not on this machine, or do not go together, make it find nothing; then fewer are tried.
    let fewer = |with: bool| (0..=most).rev().map(move |groups| (with, groups));
    for (attempt, (with, groups)) in fewer(true).chain(fewer(false).filter(|_| !wanted.is_empty())).enumerate() {
        let dependencies = toolkit::shown(groups);
        toolkit::write(&package_folder, &context_folder, &dependencies).map_err(fault)?;
        crates::fill(folder, wanted, with).map_err(fault)?;
        // Any level but evcxr's own, 2, and the last; nothing is compiled any more.
        run(&mut context, [":opt 0", ":opt 1"][attempt % 2])?;
        let knows = |context: &mut CommandContext, code: &str| {
            context.completions(code, code.len()).is_ok_and(|found| !found.completions.is_empty())
        };
        if knows(&mut context, "chandlery::") {
            // The first methods take seconds to find; nobody should wait for them.
            for first in ["String::new().", "use chandlery::prelude::*;\nproject(\"llama\")?."] {
                knows(&mut context, first);
            }
            let names = wanted.iter().filter(|_| with).map(|found| found.name.as_str());
            return Ok((context, dependencies.into_iter().chain(names).map(str::to_owned).collect()));
        }
    }
    Err("rust-analyzer does not find the toolkit".to_owned())
}

fn answer(context: &mut CommandContext, question: &Question) -> Answer {
    let Question { id, ref code, cursor, inspect } = *question;
    let nothing = Answer::Nothing { id };
    if !code.is_char_boundary(cursor) {
        return nothing;
    }
    if inspect {
        return match context.hover_at(code, cursor) {
            // evcxr says so in words, where rust-analyzer says nothing.
            Ok((plain, html)) if plain != "No documentation found" => {
                // Things of the notebook come with the name of evcxr's own crate.
                let own = "<pre><code class=\"language-rust\">ctx\n</code></pre>\n";
                Answer::Inspection { id, html: html.strip_prefix(own).unwrap_or(&html).to_owned() }
            }
            _ => nothing,
        };
    }
    let Ok(found) = context.completions(code, cursor) else { return nothing };
    let typed = code.get(found.start_offset..found.end_offset).unwrap_or_default();
    let mut matches: Vec<Match> = Vec::new();
    for completion in found.completions {
        let text = name(&completion.code).to_owned();
        // Some begin otherwise than what is typed, `iter().len()` for `len`.
        if !text.starts_with(typed) || text.starts_with("evcxr_") {
            continue;
        }
        let kind = completion.kind.to_owned();
        match matches.iter_mut().find(|other| other.text == text) {
            // A method is what a person means who has it and a private field of its name.
            Some(other) if other.kind == "instance" => other.kind = kind,
            Some(_) => {}
            None => matches.push(Match { text, kind }),
        }
    }
    Answer::Completions { id, matches, start: found.start_offset, end: found.end_offset }
}

/// A call without its arguments, as a person types it: the arguments are placeholders, which no front end removes.
fn name(code: &str) -> &str {
    let end = code.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '!' | '#' | ':'))).unwrap_or(code.len());
    if code[end..].starts_with('(') { &code[..end] } else { code }
}

fn say(answer: &Answer) {
    let mut out = std::io::stdout().lock();
    // A closed pipe means that the kernel is gone; the listening thread ends the process.
    let _ = serde_json::to_writer(&mut out, answer).map(|()| out.write_all(b"\n").and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_lose_their_arguments() {
        assert_eq!(name("push(value)"), "push");
        assert_eq!(name("len()"), "len");
        assert_eq!(name("println!()"), "println!");
        assert_eq!(name("Vec"), "Vec");
        assert_eq!(name("if let Some(x) = y"), "if let Some(x) = y");
    }
}
