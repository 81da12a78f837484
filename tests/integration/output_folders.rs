//! Folders that commands write into: existing files stay, or are named before they are replaced.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use chandlery::checkpoint::{AtomicFolder, Checkpoint};
use chandlery::command::{self, Failure};
use chandlery::construct::Construct;
use chandlery::project;
use chandlery_tests::{copy_of, entries, fixture, json};
use serde_json::Value;
use tempfile::tempdir;

/// Files that users keep next to a model, and that commands do not write.
const OWN: &[(&str, &str)] = &[
    ("notes.md", "my notes"),
    ("chat_template.jinja", "{{ messages }}"),
    ("adapter_model.safetensors", "an adapter"),
    ("adapter_config.json", "{}"),
    ("optimizer.pt", "moments"),
    ("model-q4.gguf", "a GGUF file of the user's"),
    ("runs/events.out", "a log of losses"),
    (".gitignore", "runs"),
    ("rust/notes.txt", "in a folder of sources"),
];

/// One layer of the 4M configuration, into a folder.
fn construct(folder: &Path) -> Construct {
    let config = project("llama").unwrap().config("4M").unwrap().set("num_hidden_layers", 1).unwrap();
    config.construct().device("cpu").unwrap().output_dir(folder)
}

fn put(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn put_own(folder: &Path) {
    OWN.iter().for_each(|(name, text)| put(folder, name, text));
}

fn assert_own(folder: &Path) {
    for (name, text) in OWN {
        assert_eq!(std::fs::read_to_string(folder.join(name)).ok().as_deref(), Some(*text), "{name}");
    }
}

/// Every file below a folder with its bytes, links with their targets.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for name in entries(folder) {
        let path = folder.join(&name);
        let status = path.symlink_metadata().unwrap();
        if status.is_dir() {
            found.extend(tree(&path).into_iter().map(|(inner, bytes)| (Path::new(&name).join(inner), bytes)));
        } else if status.is_symlink() {
            found.insert(name.into(), std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
        } else {
            found.insert(name.into(), std::fs::read(&path).unwrap());
        }
    }
    found
}

fn ran(words: &[&str]) -> Result<Value, String> {
    match command::run(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()) {
        Ok(outcome) => Ok(outcome.json),
        Err(Failure::Failed { diagnostic, .. }) => Err(diagnostic.to_string()),
        Err(other) => panic!("{words:?}: {other:?}"),
    }
}

#[test]
fn saving_weights_into_a_built_folder_keeps_all_of_it() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("model");
    construct(&folder).build().unwrap();
    put_own(&folder);
    put(&folder, "modeling_chandlery.py", "# edited");
    let before = tree(&folder);
    let built = construct(&folder).save_checkpoint(true).build().unwrap();
    assert_eq!(built.changes.writes, ["model.safetensors"]);
    assert!(built.changes.overwrites.is_empty() && built.changes.removes.is_empty());
    let mut after = tree(&folder);
    assert!(after.remove(Path::new("model.safetensors")).is_some());
    assert!(after == before);
}

#[test]
fn rebuilding_leaves_what_it_does_not_write() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("model");
    construct(&folder).save_checkpoint(true).build().unwrap();
    put_own(&folder);
    let before = tree(&folder);
    construct(&folder).refresh(true).build().unwrap();
    assert!(tree(&folder) == before, "the same configuration again changes nothing");
    // Another configuration that the weights do not belong to.
    let refused = construct(&folder).seed(2).save_checkpoint(true).refresh(true).build().unwrap_err().to_string();
    assert!(refused.contains("holds model.safetensors") && refused.contains("--force"), "{refused}");
    assert!(tree(&folder) == before);
    let built = construct(&folder).seed(2).save_checkpoint(true).refresh(true).force(true).build().unwrap();
    assert_eq!(built.changes.overwrites, ["model.safetensors"]);
    assert_own(&folder);
    assert!(std::fs::read(folder.join("model.safetensors")).unwrap() != before[Path::new("model.safetensors")]);
}

#[test]
fn edited_files_are_named_and_need_force() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("model");
    construct(&folder).build().unwrap();
    let whole = tree(&folder);
    for name in ["modeling_chandlery.py", "rust/src/main.rs", "tokenizer_config.json", "generation_config.json"] {
        put(&folder, name, "{\"edited\": true}");
    }
    let refused = construct(&folder).refresh(true).build().unwrap_err().to_string();
    for name in ["modeling_chandlery.py", "rust/src/main.rs", "tokenizer_config.json", "generation_config.json"] {
        assert!(refused.contains(name), "{name} in {refused}");
    }
    assert!(!refused.contains("configuration_chandlery.py"), "{refused}");
    let built = construct(&folder).refresh(true).force(true).build().unwrap();
    assert_eq!(built.changes.overwrites.len(), 4);
    assert!(tree(&folder) == whole);
    // Modes are kept. A link is kept if its content is what would be written; it is never written through.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(folder.join("config.json"), mode).unwrap();
    std::fs::rename(folder.join("tokenizer.json"), temp.path().join("shared.json")).unwrap();
    symlink("../shared.json", folder.join("tokenizer.json")).unwrap();
    construct(&folder).refresh(true).build().unwrap();
    assert!(folder.join("tokenizer.json").is_symlink());
    std::fs::write(temp.path().join("shared.json"), "{}").unwrap();
    let refused = construct(&folder).refresh(true).build().unwrap_err().to_string();
    assert!(refused.contains("tokenizer.json"), "{refused}");
    construct(&folder).refresh(true).force(true).build().unwrap();
    assert_eq!(std::fs::read_to_string(temp.path().join("shared.json")).unwrap(), "{}");
    // What was written for another configuration was not edited.
    let wider = project("llama").unwrap().config("4M").unwrap().set("num_hidden_layers", 2).unwrap();
    wider.construct().output_dir(&folder).refresh(true).build().unwrap();
    assert_eq!(json(folder.join("config.json"))["num_hidden_layers"], 2);
    let mode = std::os::unix::fs::PermissionsExt::mode(&folder.join("config.json").metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_linked_output_folder_stays_a_link() {
    let temp = tempdir().unwrap();
    let (real, link) = (temp.path().join("disk/model"), temp.path().join("model"));
    std::fs::create_dir_all(&real).unwrap();
    symlink("disk/model", &link).unwrap();
    construct(&link).save_checkpoint(true).build().unwrap();
    put_own(&real);
    construct(&link).seed(3).save_checkpoint(true).refresh(true).force(true).build().unwrap();
    assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("disk/model"));
    assert_own(&real);
    assert!(Checkpoint::open(&real).is_ok());
    assert_eq!(entries(temp.path()), ["disk", "model"]);
    let dangling = temp.path().join("dangling");
    symlink("gone", &dangling).unwrap();
    let refused = construct(&dangling).build().unwrap_err().to_string();
    assert!(refused.contains("this link points to"), "{refused}");
}

#[test]
fn every_command_takes_an_empty_folder_and_a_link_to_one() {
    let temp = tempdir().unwrap();
    let native = temp.path().join("native");
    construct(&native).save_checkpoint(true).build().unwrap();
    let hf = copy_of("llama-gqa", temp.path());
    std::fs::write(temp.path().join("text.txt"), "some words to learn from ".repeat(200)).unwrap();
    let text = temp.path().join("text.txt");
    let (native, hf, text) = (native.to_str().unwrap(), hf.to_str().unwrap(), text.to_str().unwrap());
    let commands: [&[&str]; 7] = [
        &["-p", "llama", "-t", "4M", "model", "--num-hidden-layers", "1", "construct", "--output-dir"],
        &["convert", hf],
        &["finalize", hf],
        &["update", native],
        &["tokenizer", "add", hf, "-o"],
        &["tokenizer", "train", "--vocab-size", "270", "--files", text, "-o"],
        &["project", "new"],
    ];
    for (at, words) in commands.iter().enumerate() {
        let (empty, link) = (temp.path().join(format!("empty-{at}")), temp.path().join(format!("link-{at}")));
        let (target, fresh) = (temp.path().join(format!("target-{at}")), temp.path().join(format!("fresh-{at}")));
        std::fs::create_dir(&empty).unwrap();
        std::fs::create_dir(&target).unwrap();
        symlink(&target, &link).unwrap();
        for folder in [&fresh, &empty, &link] {
            ran(&[words, &[folder.to_str().unwrap()][..]].concat())
                .unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
        let names = |folder: &Path| tree(folder).into_keys().collect::<Vec<_>>();
        assert_eq!(names(&empty), names(&fresh), "{words:?}");
        assert_eq!(names(&target), names(&fresh), "{words:?}");
        assert!(link.is_symlink() && !names(&fresh).is_empty());
        // What is not empty is refused, and stays as it is.
        let before = tree(&empty);
        let again = ran(&[words, &[empty.to_str().unwrap()][..]].concat());
        assert!(at == 0 || again.is_err_and(|error| error.starts_with("the destination exists")), "{words:?}");
        assert!(tree(&empty) == before, "{words:?}");
    }
}

#[test]
fn force_puts_a_model_in_place_of_another_and_names_it() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("model");
    // Shards that would take precedence over the new weights or stay next to them, and checkpoints that would be newer.
    chandlery::convert(fixture("llama-gqa"), &folder).max_shard_size(200_000).validate(false).run().unwrap();
    put_own(&folder);
    put(&folder, "added_tokens.json", "{}");
    let checkpoint = folder.join("checkpoints/checkpoint-7");
    std::fs::create_dir_all(&checkpoint).unwrap();
    std::fs::copy(fixture("llama-gqa").join("model.safetensors"), checkpoint.join("model.safetensors")).unwrap();
    let before = tree(&folder);
    let source = fixture("qwen3-tied");
    let (from, to) = (source.to_str().unwrap(), folder.to_str().unwrap());
    for words in [&["convert", from, to, "--no-validate"][..], &["finalize", from, to]] {
        let refused = ran(words).unwrap_err();
        for name in ["model.safetensors.index.json", "checkpoints", "config.json", "added_tokens.json", "notes.md"] {
            assert!(refused.contains(name), "{name} in {refused}");
        }
        let planned = ran(&[words, &["--force", "--dry-run"]].concat()).unwrap();
        assert!(tree(&folder) == before, "{words:?}");
        let done = ran(&[words, &["--force"]].concat()).unwrap();
        assert_eq!(planned["changes"], done["changes"]);
        // Everything that is written was planned, and everything else is as it was.
        let writes: Vec<&str> =
            done["changes"]["writes"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        for (name, bytes) in tree(&folder) {
            let name = name.to_str().unwrap();
            assert!(writes.contains(&name) || before.get(Path::new(name)) == Some(&bytes), "{words:?}: {name}");
        }
        assert!(!folder.join("model.safetensors.index.json").exists() && !folder.join("added_tokens.json").exists());
        assert!(!folder.join("checkpoints/checkpoint-7").exists());
        for (name, text) in OWN.iter().filter(|(name, _)| *name != "chat_template.jinja") {
            assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), *text, "{name}");
        }
        let (new, old) = (Checkpoint::open(&folder).unwrap(), Checkpoint::open(&source).unwrap());
        assert_eq!(new.table().len(), old.table().len());
        assert!(!entries(&folder).iter().any(|name| name.starts_with(".chandlery")));
        std::fs::remove_dir_all(&folder).unwrap();
        for (name, bytes) in &before {
            put(&folder, name.to_str().unwrap(), "");
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

#[test]
fn a_source_is_never_overwritten() {
    let temp = tempdir().unwrap();
    let source = copy_of("llama-gqa", temp.path());
    let before = tree(&source);
    let (from, inside) = (source.to_str().unwrap(), temp.path().to_str().unwrap());
    for (verb, to) in [("convert", from), ("finalize", from), ("finalize", inside)] {
        let refused = ran(&[verb, from, to, "--force"]).unwrap_err();
        assert!(refused.contains("lies in this one"), "{refused}");
    }
    assert!(tree(&source) == before);
}

#[test]
fn a_folder_of_other_things_gets_a_model_only_with_force() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("home");
    put_own(&folder);
    let refused = construct(&folder).build().unwrap_err().to_string();
    assert!(refused.contains("notes.md") && refused.contains("--force"), "{refused}");
    construct(&folder).force(true).build().unwrap();
    assert!(folder.join("config.json").is_file());
    assert_own(&folder);
}

#[test]
fn nothing_is_written_that_was_not_planned() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let stage = AtomicFolder::create(&folder).unwrap();
    stage.write("model.txt", "new").unwrap();
    stage.write("inner/model.txt", "new").unwrap();
    // It appears while the run works.
    std::fs::write(folder.join("model.txt"), "the user's").unwrap();
    let error = stage.commit().unwrap_err().to_string();
    assert!(error.contains("appeared while"), "{error}");
    assert_eq!(entries(&folder), ["model.txt"]);
    assert_eq!(std::fs::read_to_string(folder.join("model.txt")).unwrap(), "the user's");
}

#[test]
fn overwrite_leaves_nothing_of_the_model_that_was_there() {
    let temp = tempdir().unwrap();
    let (source, folder) = (fixture("llama-gqa"), temp.path().join("out"));
    let (from, to) = (source.to_str().unwrap(), folder.to_str().unwrap());
    for words in [&["convert", from, to, "--no-validate"][..], &["finalize", from, to]] {
        construct(&folder).build().unwrap();
        put_own(&folder);
        assert!(ran(words).is_err());
        ran(&[words, &["--overwrite", "--dry-run"]].concat()).unwrap();
        assert_own(&folder);
        let done = ran(&[words, &["--overwrite"]].concat()).unwrap();
        assert_eq!(done["changes"]["stays"].as_array().unwrap().len(), 0);
        for (name, _) in OWN.iter().filter(|(name, _)| *name != "chat_template.jinja" && !name.starts_with("rust/")) {
            assert!(!folder.join(name).exists(), "{name}");
        }
        assert_eq!(Checkpoint::open(&folder).unwrap().table().len(), Checkpoint::open(&source).unwrap().table().len());
        std::fs::remove_dir_all(&folder).unwrap();
    }
    // What is not a model's folder is not replaced.
    let other = temp.path().join("other");
    put(&other, "thesis.tex", "ten years of work");
    let refused = ran(&["convert", from, other.to_str().unwrap(), "--overwrite"]).unwrap_err();
    assert!(refused.contains("thesis.tex") && other.join("thesis.tex").exists(), "{refused}");
}
