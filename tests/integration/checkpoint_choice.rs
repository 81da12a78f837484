//! The choice of weights in a folder: one rule for every command, and every report names the choice.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use chandlery::checkpoint::{Checkpoint, ChoiceReason};
use chandlery::command::{self, Failure, Outcome};
use chandlery::spec::ParamPath;
use chandlery::{convert, project};
use chandlery_tests::{edit_header, fixture};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// The tensor that tells the weights apart.
const NORM: &str = "causal_lm.layer_norm.weight";

/// Copies weights, with the first number of the last norm set to `mark`.
fn marked(from: &Path, folder: &Path, mark: f32) {
    std::fs::create_dir_all(folder).unwrap();
    let mut bytes = std::fs::read(from).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let start = header[NORM]["data_offsets"][0].as_u64().unwrap() as usize + 8 + length;
    bytes[start..start + 4].copy_from_slice(&mark.to_le_bytes());
    std::fs::write(folder.join("model.safetensors"), bytes).unwrap();
}

/// The mark of the weights that a folder holds, under native or Hugging Face names.
fn mark(folder: &Path) -> f32 {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let name = [NORM, "model.norm.weight"].map(ParamPath::from);
    let name = name.iter().find(|name| checkpoint.table().get(name).is_some()).unwrap();
    f32::from_le_bytes(checkpoint.read(name).unwrap().bytes[..4].try_into().unwrap())
}

/// A native folder with weights of its own (marked 1), checkpoints at the steps 900 and 1000 (marked so), a directory
/// without weights, and one at 1100 that is being written.
fn trained() -> (TempDir, PathBuf) {
    let temp = tempdir().unwrap();
    let run = temp.path().join("run");
    convert(fixture("llama-gqa"), &run).validate(false).run().unwrap();
    let own = run.join("model.safetensors");
    for step in [900, 1000, 1100] {
        marked(&own, &run.join(format!("checkpoints/checkpoint-{step}")), step as f32);
    }
    marked(&own, &run, 1.0);
    let writing = run.join("checkpoints/checkpoint-1100/model.safetensors");
    let bytes = std::fs::read(&writing).unwrap();
    std::fs::write(writing, &bytes[..bytes.len() - 100]).unwrap();
    std::fs::create_dir(run.join("checkpoints/best")).unwrap();
    (temp, run)
}

fn ran(words: &[&str]) -> Result<Outcome, String> {
    match command::run(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()) {
        Ok(outcome) => Ok(outcome),
        Err(Failure::Failed { diagnostic, .. }) => Err(diagnostic.to_string()),
        Err(other) => panic!("{words:?}: {other:?}"),
    }
}

#[test]
fn every_command_takes_the_newest_complete_checkpoint() {
    let (temp, run) = trained();
    let ids = temp.path().join("ids.json");
    std::fs::write(&ids, "[[1, 2, 3]]").unwrap();
    let out = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
    let (run, ids) = (run.to_str().unwrap(), ids.to_str().unwrap());
    let project = ["-p", "llama", "-t", "4M", "model", "--device", "cpu"];
    let load = [&project[..], &["--load-from-checkpoint", run, "construct", "--output-dir"]].concat();
    let commands: Vec<Vec<String>> = [
        vec!["convert", run, &out("hf"), "--no-validate"],
        vec!["convert", run, &out("planned"), "--dry-run"],
        vec!["finalize", run, &out("final"), "--root-copy"],
        vec!["finalize", run, &out("low-bit"), "--quantize", "int8-weight-only", "--no-validate"],
        vec!["finalize", run, &out("gguf"), "--format", "gguf"],
        vec!["update", run, &out("updated")],
        vec!["inspect", run],
        vec!["compare", run, run, "--input-ids", ids],
        vec!["logits", run, "--input-ids", ids, "-o", &out("logits.safetensors")],
    ]
    .into_iter()
    .map(|words| words.into_iter().map(str::to_owned).collect())
    .collect();
    for words in &commands {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let outcome = ran(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let report = &outcome.json;
        let taken = report.get("checkpoint").or_else(|| report["checkpoints"].get(0)).unwrap();
        assert!(taken.as_str().unwrap().ends_with("checkpoint-1000"), "{words:?}: {taken}");
        let warned = report["warnings"].to_string();
        assert!(warned.contains("checkpoint-1100") && warned.contains("safetensors file"), "{words:?}: {warned}");
        let shown = outcome.view.plain();
        assert!(shown.contains("checkpoint-1000") && shown.contains("checkpoint-1100"), "{words:?}: {shown}");
    }
    for written in ["hf", "final", "updated"] {
        assert_eq!(mark(&temp.path().join(written)), 1000.0, "{written}");
    }
    // The names of a model that does not fit are told with the checkpoint that was looked at.
    let refused = ran(&[&load[..], &[&out("loaded")]].concat()).err().unwrap();
    assert!(refused.contains("checkpoints/checkpoint-1000/model.safetensors"), "{refused}");
}

#[test]
fn weights_to_load_are_chosen_by_the_same_rule() {
    let temp = tempdir().unwrap();
    let config = project("llama").unwrap().config("4M").unwrap().set("num_hidden_layers", 1).unwrap();
    let run = temp.path().join("run");
    let construct = || config.construct().device("cpu").unwrap();
    construct().output_dir(&run).save_checkpoint(true).build().unwrap();
    marked(&run.join("model.safetensors"), &run.join("checkpoints/checkpoint-5"), 5.0);
    std::fs::create_dir(run.join("checkpoints/checkpoint-6")).unwrap();
    let built =
        construct().load_from_checkpoint(&run).output_dir(temp.path().join("out")).save_checkpoint(true).build();
    let load = built.unwrap().load.unwrap();
    assert_eq!(load.choice.reason, ChoiceReason::Newest);
    assert!(load.choice.warnings()[0].contains("checkpoint-6"), "{:?}", load.choice);
    assert_eq!(mark(&temp.path().join("out")), 5.0);
}

#[test]
fn a_named_checkpoint_is_taken_or_nothing_is() {
    let (temp, run) = trained();
    let from = run.to_str().unwrap();
    let out = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
    let older = run.join("checkpoints/checkpoint-900");
    let damaged = run.join("checkpoints/checkpoint-1100");
    for (verb, more) in [("convert", "--no-validate"), ("finalize", "--root-copy"), ("update", "--no-strict")] {
        for (name, checkpoint, expected) in [("older", &older, 900.0), ("own", &run, 1.0)] {
            let to = out(&format!("{verb}-{name}"));
            let outcome = ran(&[verb, from, &to, "-c", checkpoint.to_str().unwrap(), more]).unwrap();
            assert_eq!(mark(Path::new(&to)), expected, "{verb} {name}");
            assert_eq!(outcome.json["choice"]["reason"], "named");
        }
        let refused = ran(&[verb, from, &out("none"), "-c", damaged.to_str().unwrap(), more]).err().unwrap();
        assert!(refused.contains("checkpoint-1100"), "{refused}");
        assert!(!temp.path().join("none").exists());
    }
    let shown = ran(&["inspect", from, "-c", older.to_str().unwrap()]).unwrap();
    assert!(shown.view.plain().contains("checkpoint-900 (as named)"), "{}", shown.view.plain());
}

#[test]
fn the_root_is_used_if_no_checkpoint_is_complete() {
    let (_temp, run) = trained();
    let read = || Checkpoint::open(&run).unwrap().choice().clone();
    for step in [1000, 900] {
        let weights = run.join(format!("checkpoints/checkpoint-{step}/model.safetensors"));
        edit_header(&weights, |header| drop(header.insert("more".to_owned(), header[NORM].clone())));
    }
    let choice = read();
    assert_eq!((choice.reason, choice.passed_over.len()), (ChoiceReason::Root, 3));
    assert!(choice.warnings()[2].contains("checkpoint-900"), "{:?}", choice.warnings());
    assert_eq!(mark(&run), 1.0);
    std::fs::remove_file(run.join("model.safetensors")).unwrap();
    let error = Checkpoint::open(&run).unwrap_err().to_string();
    assert!(error.contains("checkpoint-1100"), "the newest is told first: {error}");
    std::fs::remove_dir_all(run.join("checkpoints")).unwrap();
    assert!(Checkpoint::open(&run).unwrap_err().to_string().starts_with("no weights found"));
}

#[test]
fn a_root_that_links_to_a_checkpoint_is_that_checkpoint() {
    let (temp, run) = trained();
    let best = run.join("checkpoints/best");
    std::fs::rename(run.join("checkpoints/checkpoint-900/model.safetensors"), best.join("model.safetensors")).unwrap();
    std::fs::write(best.join("optimizer_state.pt"), "moments").unwrap();
    for step in [900, 1000, 1100] {
        std::fs::remove_dir_all(run.join(format!("checkpoints/checkpoint-{step}"))).unwrap();
    }
    std::fs::remove_file(run.join("model.safetensors")).unwrap();
    symlink("checkpoints/best/model.safetensors", run.join("model.safetensors")).unwrap();
    let choice = Checkpoint::open(&run).unwrap().choice().clone();
    assert_eq!((choice.path, choice.reason), (best, ChoiceReason::Linked));
    let done = temp.path().join("done");
    let words = ["finalize", run.to_str().unwrap(), done.to_str().unwrap(), "--keep-optimizer"];
    let outcome = ran(&words).unwrap();
    assert!(outcome.json["checkpoint"].as_str().unwrap().ends_with("checkpoints/best"));
    assert_eq!(std::fs::read_to_string(done.join("checkpoints/checkpoint-0/optimizer_state.pt")).unwrap(), "moments");
}

#[test]
fn a_checkpoints_folder_stands_for_its_model() {
    let (temp, run) = trained();
    let (older, newer) = (run.join("checkpoints/checkpoint-900"), run.join("checkpoints/checkpoint-1000"));
    let ids = temp.path().join("ids.json");
    std::fs::write(&ids, "[[1, 2, 3]]").unwrap();
    let words = [older.to_str().unwrap(), newer.to_str().unwrap()];
    let outcome = ran(&["compare", words[0], words[1], "--input-ids", ids.to_str().unwrap()]).unwrap();
    assert!(outcome.json["max_abs_diff"].as_f64().unwrap() > 0.1);
    assert_eq!(outcome.json["checkpoints"], serde_json::json!(words));
}
