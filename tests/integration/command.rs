//! The built command as a process: exit codes, pipes, signals.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use chandlery_kernel::engine::Engine;

use crate::cells::Notebook;

/// The command of this build: named by `CHANDLERY`, or two folders above the test's own executable.
pub(crate) fn command() -> Command {
    let built = || std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("chandlery");
    let path = std::env::var_os("CHANDLERY").map_or_else(built, PathBuf::from);
    assert!(path.is_file(), "{} is not built; run `cargo build --release` first", path.display());
    Command::new(path)
}

pub(super) fn say(words: &[&str]) -> Output {
    command().args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn one_page_lists_everything() {
    let help = say(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let listed = ["run ", "kernel install", "kernel uninstall", "kernel start", "kernel doctor"];
    for words in chandlery::command::verbs().chain(listed) {
        assert!(text(&help.stdout).contains(&format!("\n  {words}")), "{words}\n{}", text(&help.stdout));
    }
    assert!(!text(&help.stdout).contains("__worker"));
    let nothing = say(&[]);
    assert_eq!((nothing.status.code(), nothing.stdout.len()), (Some(2), 0));
    assert!(text(&say(&["run", "--help"]).stdout).contains("--html"));
    assert!(text(&say(&["--version"]).stdout).starts_with("chandlery "));
}

#[test]
fn every_verb_is_in_help_completion_and_the_notebook() {
    let page = say(&["--help"]);
    let nb = Notebook::new();
    let assist = nb.engine.assist();
    let verbs: Vec<&str> = chandlery::command::verbs().collect();
    assert!(verbs.len() > 5 && verbs.contains(&"convert"), "{verbs:?}");
    for verb in verbs {
        assert!(text(&page.stdout).contains(&format!("\n  {verb} ")), "{verb}");
        let own = say(&[verb, "--help"]);
        assert!(own.status.success() && text(&own.stdout).contains(&format!("Usage: {verb}")), "{verb}");
        assert!(chandlery::command::complete(&[], &verb[..3]).contains(&verb.to_owned()), "{verb}");
        assert!(chandlery::command::explain(&[verb.to_owned()], 0).unwrap().contains(verb), "{verb}");
        let line = format!("%{verb}");
        assert!(assist.complete(&line, line.len()).matches.contains(&verb.to_owned()), "{verb}");
        assert!(assist.inspect(&line, line.len()).unwrap().plain().contains(verb), "{verb}");
    }
}

/// Fields that nothing reads: their flags are accepted for scripts and change nothing.
const WITHOUT_EFFECT: &[&str] = &["safetensors", "log_level", "log"];

#[test]
fn every_field_that_a_flag_fills_is_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("crate/src/command");
    let mut files: Vec<String> = Vec::new();
    for folder in [folder.clone(), folder.join("model")] {
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.extend(paths.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).unwrap()));
    }
    let all = files.join("\n");
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let reads = |name: &str| {
        all.split(&format!(".{name}")).skip(1).any(|after| !after.starts_with(|c| is_name(c) || c.is_ascii_digit()))
    };
    let mut found = 0;
    for fields in all.split("#[derive(Debug, Args)]").skip(1).filter_map(|part| part.split("\n}").next()) {
        let fields = fields.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
        for (name, _) in fields {
            let name = name.strip_prefix("pub(super) ").unwrap_or(name);
            if name.chars().all(is_name) {
                found += 1;
                assert!(reads(name) || WITHOUT_EFFECT.contains(&name), "no verb reads the flag of `{name}`");
            }
        }
    }
    assert!(found > 80, "{found} fields");
}

#[test]
fn usage_errors_exit_with_2_and_failures_with_1() {
    for words in [&["no-such-verb"][..], &["run"], &["kernel"], &["kernel", "install", "--user", "--sys-prefix"]] {
        let said = say(words);
        assert_eq!((said.status.code(), said.stdout.len()), (Some(2), 0), "{words:?}");
    }
    for words in [&["run", "gone.ipynb"][..], &["kernel", "start", "--connection-file", "gone.json"]] {
        let said = say(words);
        assert_eq!(said.status.code(), Some(1), "{words:?}");
        assert!(text(&said.stderr).starts_with("error: "), "{}", text(&said.stderr));
    }
}

#[test]
fn a_closed_pipe_does_not_panic() {
    let mut child = command().arg("--help").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    assert_eq!(said, "");
}

#[test]
fn a_notebook_runs_and_its_failure_is_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ipynb");
    let write = |code: &str| {
        let cell = serde_json::json!({"cell_type": "code", "metadata": {}, "outputs": [], "source": code});
        let notebook = serde_json::json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]});
        std::fs::write(&path, notebook.to_string()).unwrap();
    };
    let run = || say(&["run", "--engine", "echo", "--inplace", path.to_str().unwrap()]);
    write("print a");
    assert_eq!(run().status.code(), Some(0));
    assert!(std::fs::read_to_string(&path).unwrap().contains("\"a\\n\""));
    write("fail no luck");
    let failed = run();
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("Failed: no luck"), "{}", text(&failed.stderr));
}

/// A kernel process on ipc sockets.
fn kernel(folder: &std::path::Path, parent: u32) -> Child {
    let file = folder.join("connection.json");
    let connection = serde_json::json!({
        "transport": "ipc", "ip": folder.join("k"), "shell_port": 1, "iopub_port": 2, "stdin_port": 3,
        "control_port": 4, "hb_port": 5, "key": "k", "signature_scheme": "hmac-sha256",
    });
    std::fs::File::create(&file).unwrap().write_all(connection.to_string().as_bytes()).unwrap();
    let child = command()
        .args(["kernel", "start", "--engine", "echo", "--connection-file"])
        .arg(&file)
        .env("JPY_PARENT_PID", parent.to_string())
        .spawn()
        .unwrap();
    while !folder.join("k-1").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn ends_within(child: &mut Child, limit: Duration) -> bool {
    let began = Instant::now();
    while began.elapsed() < limit {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_kernel_survives_sigint_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let mut kernel = kernel(folder.path(), std::process::id());
    signal(&kernel, "INT");
    assert!(!ends_within(&mut kernel, Duration::from_millis(200)));
    signal(&kernel, "TERM");
    assert!(ends_within(&mut kernel, Duration::from_secs(5)));
}

#[test]
fn a_kernel_ends_when_its_parent_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut parent = Command::new("sleep").arg("100").spawn().unwrap();
    let mut kernel = kernel(folder.path(), parent.id());
    assert!(!ends_within(&mut kernel, Duration::from_millis(100)));
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(ends_within(&mut kernel, Duration::from_secs(5)));
}

/// Runs the command with redirections of a shell.
fn redirected(words: &[String], redirections: &str) -> Output {
    let script = format!("exec \"$@\" {redirections}");
    Command::new("bash").args(["-c", &script, "bash"]).arg(command().get_program()).args(words).output().unwrap()
}

#[test]
fn closed_and_full_outputs_never_panic() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("ids.json"), "[[1, 2, 3]]").unwrap();
    std::fs::write(path("text.txt"), "some words to learn from ".repeat(100)).unwrap();
    std::fs::write(path("chat.json"), "[{\"role\": \"user\", \"content\": \"hello\"}]").unwrap();
    let model = chandlery_tests::fixture("llama-gqa").to_str().unwrap().to_owned();
    let notebook = "{\"cells\": [], \"metadata\": {}, \"nbformat\": 4, \"nbformat_minor\": 5}";
    std::fs::write(path("n.ipynb"), notebook).unwrap();
    let verbs = [
        format!("inspect {model}"),
        format!("inspect {model} --json"),
        format!("inspect {}", path("gone")),
        format!("convert {model} OUT"),
        format!("finalize {model} OUT"),
        format!("compare {model} {model} --by-layer"),
        format!("logits {model} --input-ids {} -o OUT", path("ids.json")),
        "-p llama -t 4M model construct --output-dir OUT".to_owned(),
        "-p llama -t 4M model test --sequence-length 8 --steps 2 --num-hidden-layers 1".to_owned(),
        "-p llama -t 4M project show".to_owned(),
        "project list".to_owned(),
        "project new OUT".to_owned(),
        format!("tokenizer show {model}"),
        format!("tokenizer chat {model} --messages {}", path("chat.json")),
        format!("tokenizer train --vocab-size 270 --files {} -o OUT", path("text.txt")),
        format!("run {}", path("n.ipynb")),
        format!("run {} --check", path("n.ipynb")),
        "kernel doctor".to_owned(),
        "kernel clean --dry-run".to_owned(),
        "--help".to_owned(),
        "convert --help".to_owned(),
        "--version".to_owned(),
        "no-such-verb".to_owned(),
    ];
    for (at, verb) in verbs.iter().enumerate() {
        for (nth, redirections) in [">&- 2>&-", ">/dev/full 2>/dev/full", "| true"].iter().enumerate() {
            let out = path(&format!("out-{at}-{nth}"));
            let words: Vec<String> = verb.split(' ').map(|word| word.replace("OUT", &out)).collect();
            let said = redirected(&words, redirections);
            let text = String::from_utf8_lossy(&said.stderr);
            assert!(!text.contains("panicked"), "{verb} {redirections}: {text}");
            // A panic ends with 101, an abort with a signal.
            let code = said.status.code();
            assert!(matches!(code, Some(0..=2)), "{verb} {redirections}: {code:?} {text}");
        }
    }
    let lost = redirected(&["inspect".to_owned(), model], ">/dev/full");
    assert_eq!(lost.status.code(), Some(1));
    assert!(text(&lost.stderr).starts_with("error: the report cannot be written"), "{}", text(&lost.stderr));
}

#[test]
fn families_lists_the_fields_of_a_family() {
    let report = |words: &[&str]| -> serde_json::Value {
        let out = say(words);
        assert!(out.status.success(), "{}", text(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap()
    };
    let all = report(&["families", "--json"])["families"].as_array().unwrap().clone();
    let of = |name: &str| all.iter().find(|family| family["model_type"] == name).unwrap();
    assert_eq!((of("gpt2")["class"].as_str(), of("gpt2")["judged"].as_bool()), (Some("GPT2LMHeadModel"), Some(true)));
    assert!(text(&say(&["families"]).stdout).contains("Phi3ForCausalLM"));

    let one = report(&["families", "gpt2", "--json"]);
    assert_eq!(one, *of("gpt2"));
    let field = |name: &str| one["fields"].as_array().unwrap().iter().find(|field| field["name"] == name).unwrap();
    assert_eq!(field("n_embd")["native"], serde_json::json!(["hidden_size"]));
    assert_eq!(field("n_embd")["aliases"], serde_json::json!(["hidden_size"]));
    assert_eq!(field("scale_attn_weights")["treatment"], serde_json::json!({ "must": [true] }));
    assert_eq!(field("use_cache")["treatment"], "harmless");
    assert!(text(&say(&["families", "gpt2"]).stdout).contains("must be true"));

    let unknown = say(&["families", "gtp2"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("model_type `gtp2` is not supported"), "{}", text(&unknown.stderr));
}
