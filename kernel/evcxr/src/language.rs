//! Completion and inspection.

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use crate::analyzer::Analyzer;
use crate::messages::{BODY, Crate, LanguageReply, LanguageRequest, Match, Question, STD};
use crate::{standard, toolkit};

/// Answers questions until standard input ends.
pub(crate) fn run(folder: &Path) -> Result<(), String> {
    let began = Instant::now();
    let requests = listen(folder.to_owned());
    let Ok(LanguageRequest::Start { crates, std, dependencies }) = requests.recv() else {
        return Err("not told how to start".to_owned());
    };
    let groups = if dependencies { toolkit::groups() } else { 0 };
    let more = toolkit::groups() > groups;
    let (mut analyzer, dependencies) = start(folder, &crates, std.as_deref(), groups)?;
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    say(&LanguageReply::Ready { milliseconds, dependencies, more });
    let mut waiting = VecDeque::new();
    while let Ok(request) = waiting.pop_front().map_or_else(|| requests.recv(), Ok) {
        waiting.extend(requests.try_iter());
        let LanguageRequest::Question(question) = request else { continue };
        // Earlier answers are useless to a person who has typed more.
        let nothing = LanguageReply::Nothing { id: question.id };
        let is_like = |later: &LanguageRequest| matches!(later, LanguageRequest::Question(later) if later.inspect == question.inspect);
        let outdated = waiting.iter().any(is_like);
        // rust-analyzer panics on some code; it can answer the next question anyway.
        let known = |analyzer: &mut Analyzer| catch_unwind(AssertUnwindSafe(|| answer(analyzer, &question)));
        say(&if outdated { nothing } else { known(&mut analyzer).unwrap_or(nothing) });
    }
    Ok(())
}

/// Reads requests on a thread of its own, which ends the process when the kernel is gone, whatever it is doing.
fn listen(folder: PathBuf) -> Receiver<LanguageRequest> {
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

/// rust-analyzer with the toolkit and these crates as dependencies, and the names of the crates and of the toolkit's own
/// dependencies that it knows: those of at most so many groups.
fn start(folder: &Path, wanted: &[Crate], std: Option<&Path>, most: usize) -> Result<(Analyzer, Vec<String>), String> {
    let fault = |error: std::io::Error| format!("{}: {error}", folder.display());
    let (context, package) = (folder.join("context"), folder.join("toolkit"));
    std::fs::create_dir_all(&context).map_err(fault)?;
    let std_folder = folder.join(STD);
    match std {
        Some(sources) => symlink(sources, &std_folder),
        None => standard::write(&std_folder),
    }
    .map_err(fault)?;
    let mut why = "rust-analyzer does not find the toolkit".to_owned();
    // With dependencies that are not on this machine, or conflict, cargo does not find anything; then fewer are tried.
    let fewer = |with: bool| (0..=most).rev().map(move |groups| (with, groups));
    for (with, groups) in fewer(true).chain(fewer(false).filter(|_| !wanted.is_empty())) {
        let dependencies = toolkit::shown(groups);
        toolkit::write(&package, &context, &dependencies).map_err(fault)?;
        let crates = if with { wanted } else { &[] };
        std::fs::write(context.join("Cargo.toml"), manifest(&package.join("crate"), crates)).map_err(fault)?;
        let mut analyzer = match Analyzer::load(&context, &std_folder) {
            Ok(analyzer) => analyzer,
            Err(problem) => {
                why = problem;
                continue;
            }
        };
        let mut knows = |code: &str| complete(&mut analyzer, code, code.len()).is_some_and(|found| !found.0.is_empty());
        if knows("chandlery::") {
            // Finding the first methods takes seconds, so it is done before the first question.
            for first in ["String::new().", "use chandlery::prelude::*;\nproject(\"llama\")?."] {
                knows(first);
            }
            let names = crates.iter().map(|found| found.name.as_str());
            return Ok((analyzer, dependencies.into_iter().chain(names).map(str::to_owned).collect()));
        }
    }
    Err(why)
}

/// The package whose source is the cells.
fn manifest(toolkit: &Path, crates: &[Crate]) -> String {
    let toolkit = toolkit.display().to_string();
    let mut text = format!(
        "[package]\nname = \"cells\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
         [dependencies]\nchandlery = {{ path = {toolkit:?} }}\n"
    );
    crates.iter().for_each(|found| text.push_str(&format!("{} = {}\n", found.name, found.dependency)));
    text
}

/// What stands before the definitions of cells, before the body of a function in which `?` and `.await` may stand, and behind it.
const HEAD: &str = "#![allow(unused)]\n";
const BEFORE: &str = "async fn __cell() -> ::core::result::Result<(), ::std::boxed::Box<dyn ::std::error::Error>> {\n";
const BEHIND: &str = "\n;Ok(()) }\n";

/// The source for a question's text, and what to add to positions in the text.
fn source(code: &str) -> (String, isize) {
    let (items, body) = code.split_once(BODY).unwrap_or(("", code));
    let text = [HEAD, items, BEFORE, body, BEHIND].concat();
    let before = HEAD.len() + items.len() + BEFORE.len();
    (text, before.cast_signed() - (code.len() - body.len()).cast_signed())
}

fn complete(analyzer: &mut Analyzer, code: &str, cursor: usize) -> Option<(Vec<Match>, usize, usize)> {
    let (text, shift) = source(code);
    analyzer.set_source(text.clone());
    let (mut matches, start, end) = analyzer.completions(&text, cursor.checked_add_signed(shift)?)?;
    matches.retain(|found| !found.text.starts_with("__"));
    Some((matches, start.checked_add_signed(-shift)?, end.checked_add_signed(-shift)?))
}

fn inspect(analyzer: &mut Analyzer, code: &str, cursor: usize) -> Option<String> {
    // Right after its parenthesis, the call is meant.
    let at = if code[..cursor].ends_with('(') { cursor - 1 } else { cursor };
    let (text, shift) = source(code);
    analyzer.set_source(text);
    let markdown = analyzer.hover(at.checked_add_signed(shift)?)?;
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, pulldown_cmark::Parser::new(&markdown));
    // Items of the notebook have the name of the package in their path.
    let own =
        ["cells::__cell", "cells"].map(|name| format!("<pre><code class=\"language-rust\">{name}\n</code></pre>\n"));
    Some(own.iter().find_map(|own| html.strip_prefix(own.as_str())).unwrap_or(&html).to_owned())
}

fn answer(analyzer: &mut Analyzer, question: &Question) -> LanguageReply {
    let Question { id, ref code, cursor, inspect: inspects } = *question;
    let answer = if !code.is_char_boundary(cursor) {
        None
    } else if inspects {
        inspect(analyzer, code, cursor).map(|html| LanguageReply::Inspection { id, html })
    } else {
        let found = complete(analyzer, code, cursor);
        found.map(|(matches, start, end)| LanguageReply::Completions { id, matches, start, end })
    };
    answer.unwrap_or(LanguageReply::Nothing { id })
}

fn say(answer: &LanguageReply) {
    let mut out = std::io::stdout().lock();
    // A closed pipe means that the kernel is gone; the listening thread ends the process.
    let _ = serde_json::to_writer(&mut out, answer).map(|()| out.write_all(b"\n").and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends of cells, and what may follow there.
    const CHAINS: &[(&str, &str)] = &[
        ("let v = vec![String::new()];\nv.iter().map(|s| s.len()).max()?.pow(2).", "count_ones"),
        ("std::fs::read_to_string(\"a\")?.lines().next().unwrap_or_default().", "trim"),
        ("let m = std::collections::HashMap::<String, Vec<u8>>::new();\nm.get(\"a\").unwrap().", "len"),
        ("\"1\".parse::<f64>()?.", "sqrt"),
        ("std::rc::Rc::new(vec![1]).iter().sum::<i32>().", "abs"),
        ("Some(Box::new(1u8)).as_ref().ok_or(\"a\")?.", "checked_add"),
        ("for (i, c) in \"a\".chars().enumerate() { c.", "is_alphabetic"),
        ("std::sync::Arc::new(std::sync::Mutex::new(vec![1])).lock().unwrap().", "push"),
        ("let s: String = [\"a\", \"b\"].concat();\ns.", "push_str"),
        ("std::time::Instant::now().elapsed().", "as_millis"),
        ("(0..10).map(|x| x * 2).filter(|x| x % 2 == 0).collect::<Vec<i32>>().", "sort_by"),
        ("let m: std::collections::BTreeMap<String, Vec<u8>> = todo!();\nfor (k, v) in &m { v.", "len"),
        ("let mut m = std::collections::HashMap::new();\nm.insert(\"a\", 1u8);\nfor (k, v) in &m { k.", "len"),
        (
            "let mut m = std::collections::HashMap::<String, Vec<u8>>::new();\nm.entry(\"a\".into()).or_default().",
            "push",
        ),
        ("std::env::args().collect::<Vec<_>>().join(\" \").", "len"),
        ("std::thread::spawn(|| 1u8).join().unwrap().", "pow"),
        ("let (tx, rx) = std::sync::mpsc::channel::<String>();\nrx.recv()?.", "len"),
        ("let c = std::rc::Rc::new(std::cell::RefCell::new(vec![1]));\nc.borrow_mut().", "push"),
        ("let v = [1, 2, 3];\nv.iter().zip(v.iter().skip(1)).map(|(a, b)| a + b).collect::<Vec<_>>().", "windows"),
        ("[3.0, 1.0].iter().cloned().fold(f64::NAN, f64::max).", "sqrt"),
        ("\"a b\".split_whitespace().map(str::to_owned).collect::<Vec<_>>()[0].", "push_str"),
        ("\"a=b\".split_once('=').map(|(a, b)| b).unwrap_or(\"x\").", "trim"),
        ("std::path::Path::new(\"a\").join(\"b\").file_name().unwrap().to_string_lossy().", "len"),
        ("std::process::Command::new(\"ls\").output()?.stdout.", "len"),
        ("let x: Result<u8, String> = Ok(1);\nif let Ok(n) = x { n.", "pow"),
        ("match Some(\"a\") { Some(s) => s.", "len"),
        ("let o: Option<&str> = None;\no.map(|s| s.to_uppercase()).as_deref().", "unwrap_or"),
        ("std::io::stdin().lines().next().unwrap()?.", "len"),
        ("let v: Vec<Vec<f32>> = vec![];\nv.iter().flatten().copied().sum::<f32>().", "powi"),
        ("let s = format!(\"{}\", 1);\ns.", "len"),
        ("vec![1u8, 2].chunks(2).next().unwrap().", "len"),
        (
            "let v = vec![(1, \"a\".to_string())];\nlet (a, b): (Vec<i32>, Vec<String>) = v.into_iter().unzip();\nb.",
            "len",
        ),
        ("std::fs::File::open(\"a\")?.metadata()?.", "len"),
        (
            "use std::io::BufRead;\nstd::io::BufReader::new(std::fs::File::open(\"a\")?).lines().map_while(Result::ok).next().unwrap().",
            "len",
        ),
        ("let x = std::borrow::Cow::from(\"a\");\nx.", "to_owned"),
        ("let n = 5usize;\n(n as f64).", "sqrt"),
        ("let t = (1u8, String::new());\nt.1.", "len"),
        (
            "std::collections::HashSet::from([1, 2]).iter().copied().collect::<std::collections::BTreeSet<i32>>().",
            "range",
        ),
        ("let mut it = \"abc\".chars().rev().peekable();\nit.peek().", "unwrap"),
        ("let a: Box<dyn Fn(u8) -> String> = todo!();\na(1).", "len"),
        ("let d = std::time::Duration::from_secs(1) * 2;\nd.", "as_secs"),
        ("let v = vec![1u64];\nv.iter().max_by_key(|x| **x).copied().", "unwrap_or"),
        ("String::from_utf8(vec![])?.", "len"),
        ("let c = std::cell::Cell::new(1u8);\nc.get().", "pow"),
        ("std::sync::OnceLock::<String>::new().get().", "unwrap"),
        ("u8::try_from(5i32)?.", "pow"),
        ("let x = vec![1, 2, 3].into_iter().rev().step_by(2).last().unwrap();\nx.", "pow"),
        ("std::sync::atomic::AtomicU32::new(1).fetch_add(1, std::sync::atomic::Ordering::SeqCst).", "pow"),
        ("let mut a = [1, 2];\na.sort();\na.first().", "copied"),
        ("'a'.to_digit(10)?.", "pow"),
        ("std::", "collections"),
        ("std::coll", "collections"),
        ("use std::collections::Ha", "HashMap"),
        ("println", "println!"),
        ("let v: Ve", "Vec"),
    ];

    /// What completes the end of a cell, where no sources of the standard library are.
    fn names(analyzer: &mut Analyzer, code: &str) -> Vec<String> {
        let found = complete(analyzer, code, code.len()).map(|(matches, ..)| matches).unwrap_or_default();
        found.into_iter().map(|found| found.text).collect()
    }

    #[test]
    fn types_of_std_are_known_without_its_sources() {
        let folder = std::env::temp_dir().join(format!("chandlery-standard-{}", std::process::id()));
        let package = folder.join("context");
        std::fs::create_dir_all(&package).unwrap();
        standard::write(&folder.join(STD)).unwrap();
        std::fs::write(
            package.join("Cargo.toml"),
            "[package]\nname = \"cells\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n",
        )
        .unwrap();
        let mut analyzer = Analyzer::load(&package, &folder.join(STD)).unwrap();
        for (code, wanted) in CHAINS {
            let found = names(&mut analyzer, code);
            assert!(found.iter().any(|name| name == wanted), "{code} has no {wanted}: {found:?}");
        }
        // Definitions of earlier cells, and variables of their types.
        let code = format!("/// A.\nstruct Spot {{ height: f32 }}\n{BODY}let s: crate::Spot = todo!();\ns.hei");
        let (found, start, end) = complete(&mut analyzer, &code, code.len()).unwrap();
        assert_eq!((found[0].text.as_str(), &code[start..end]), ("height", "hei"));
        assert!(inspect(&mut analyzer, &code, code.len() - 4).unwrap().contains("let s: Spot"));
        // Private items are not shown.
        let private = "mod inner { pub struct A { pub open: u8, hidden: u8 } impl A { fn secret(&self) {} pub fn shown(&self) {} } }\n";
        let found = names(&mut analyzer, &format!("{private}let a: inner::A = todo!();\na."));
        assert!(
            found.contains(&"shown".to_owned())
                && !found.contains(&"secret".to_owned())
                && !found.contains(&"hidden".to_owned()),
            "{found:?}"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }
}
