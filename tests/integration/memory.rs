//! Memory that is not there: an error that says how much is needed, before or instead of the end of the process.

use std::process::{Command, Output};

use chandlery_tests::{entries, fixture};
use tempfile::tempdir;

use crate::command::command;

/// Runs the command with at most so many KiB of addresses.
fn limited(kibibytes: u64, words: &[&str]) -> Output {
    let script = format!("ulimit -v {kibibytes}; exec \"$@\"");
    Command::new("bash").args(["-c", &script, "bash"]).arg(command().get_program()).args(words).output().unwrap()
}

fn refused(said: &Output) -> String {
    let error = String::from_utf8(said.stderr.clone()).unwrap();
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    assert!(error.starts_with("error: ") && error.contains("\n  do: ") && !error.contains("panicked"), "{error}");
    error
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_its_size() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("deep/model");
    let words = ["-p", "llama", "-t", "llama3.1_70b", "model", "--device", "cpu", "construct", "--output-dir"];
    for more in [&["--save-checkpoint"][..], &["--no-init-weights"]] {
        let run = command().args(words).arg(&folder).args(more).output().unwrap();
        let error = refused(&run);
        // 70,553,706,496 parameters of four bytes, and the largest of them once more.
        assert!(error.contains("the weights take 262.8 GiB in float32 (266.7 GiB while"), "{error}");
        assert!(error.contains("is left"), "{error}");
    }
    assert_eq!(entries(temp.path()), Vec::<String>::new());
}

#[test]
fn limits_of_the_process_are_known_before_they_are_met() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("model");
    // Layers of 3.4 MB: too many for the limit, and so many that only the program itself makes them too many.
    for (layers, expected) in [("1200", "to this process (ulimit -v)"), ("900", "the weights take")] {
        let words = ["-p", "llama", "-t", "4M", "model", "--device", "cpu", "--num-hidden-layers", layers, "construct"];
        let words = [&words[..], &["--save-checkpoint", "--output-dir", folder.to_str().unwrap()]].concat();
        let error = refused(&limited(3 << 20, &words));
        assert!(error.contains(expected) && error.contains("the weights take"), "{error}");
        assert_eq!(entries(temp.path()), Vec::<String>::new());
    }
}

#[test]
fn computing_logits_without_memory_is_an_error() {
    let temp = tempdir().unwrap();
    let big = temp.path().join("big");
    let words = ["-p", "llama", "-t", "4M", "model", "--num-hidden-layers", "60", "--device", "cpu", "construct"];
    let saved = ["--dtype", "bfloat16", "--save-checkpoint", "--output-dir"];
    let built = command().args(words).args(saved).arg(&big).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    let (ids, out) = (temp.path().join("ids.json"), temp.path().join("out.safetensors"));
    std::fs::write(&ids, "[[1, 2, 3]]").unwrap();
    let [big, ids, out] = [&big, &ids, &out].map(|path| path.to_str().unwrap());
    // Enough to start, too little for buffers, two layers and logits.
    let used = limited(1 << 30, &["inspect", fixture("llama-gqa").to_str().unwrap()]);
    assert!(used.status.success());
    let mut kibibytes = 64 << 10;
    let error = loop {
        let said = limited(kibibytes, &["logits", big, "--input-ids", ids, "-o", out]);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        // Below that the program itself does not load.
        if said.status.code() == Some(1) && text.starts_with("error: two layers of the model") {
            break text;
        }
        assert!(!said.status.success(), "no limit was in the way: {kibibytes} KiB");
        kibibytes += 16 << 10;
    };
    assert!(error.contains("is left to this process"), "{error}");
}
