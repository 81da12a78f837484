//! Folders on disk: those that appear whole or not at all, and the links in those that are read.

use std::os::unix::fs::symlink;

use chandlery::checkpoint::{AtomicFolder, CheckpointError, inside};
use chandlery_tests::entries;
use tempfile::tempdir;

#[test]
fn the_next_run_removes_only_what_a_killed_run_left() {
    let parent = tempdir().unwrap();
    // No process has this number: it is above the largest that Linux gives.
    let leftover = parent.path().join(".model.partial-4194999");
    std::fs::create_dir_all(leftover.join("checkpoints")).unwrap();
    std::fs::write(leftover.join("checkpoints/model.safetensors"), "half").unwrap();
    for other in [".other.partial-4194999", ".model.partial-mine", ".model.partial-1"] {
        std::fs::create_dir(parent.path().join(other)).unwrap();
    }
    std::fs::write(parent.path().join(".model.partial-4194998"), "a file").unwrap();
    let folder = AtomicFolder::create(&parent.path().join("model")).unwrap();
    folder.write("a/b.txt", "whole").unwrap();
    folder.commit().unwrap();
    let kept = [".model.partial-1", ".model.partial-4194998", ".model.partial-mine", ".other.partial-4194999", "model"];
    assert_eq!(entries(parent.path()), kept);
}

#[test]
fn a_folder_being_built_is_not_a_leftover() {
    let parent = tempdir().unwrap();
    let first = AtomicFolder::create(&parent.path().join("model")).unwrap();
    first.write("config.json", "{}").unwrap();
    let second = AtomicFolder::create(&parent.path().join("model"));
    assert!(matches!(second, Err(CheckpointError::DestinationExists { .. })));
    assert_eq!(entries(first.path()), ["config.json"]);
    drop(first);
    assert_eq!(entries(parent.path()), Vec::<String>::new());
}

#[test]
fn copies_are_counted_and_whole() {
    let parent = tempdir().unwrap();
    let from = parent.path().join("optimizer_state.pt");
    std::fs::write(&from, vec![7; 100_000]).unwrap();
    let folder = AtomicFolder::create(&parent.path().join("model")).unwrap();
    let counted = std::cell::Cell::new(0);
    folder.copy("deep/down/state.pt", &from, &|bytes| counted.set(counted.get() + bytes)).unwrap();
    assert_eq!(counted.get(), 100_000);
    assert_eq!(std::fs::read(folder.path().join("deep/down/state.pt")).unwrap(), vec![7; 100_000]);
}

#[test]
fn links_inside_a_model_folder_and_a_hub_cache_are_read() {
    let temp = tempdir().unwrap();
    let model = temp.path().join("model");
    let checkpoint = model.join("checkpoints/checkpoint-3");
    std::fs::create_dir_all(&checkpoint).unwrap();
    std::fs::write(checkpoint.join("weights"), "").unwrap();
    std::fs::write(model.join("at-root"), "").unwrap();
    symlink("checkpoints/checkpoint-3/weights", model.join("weights")).unwrap();
    symlink("../../at-root", checkpoint.join("up")).unwrap();
    assert!(inside(&model, &model.join("weights")).unwrap().ends_with("checkpoint-3/weights"));
    assert!(inside(&checkpoint, &checkpoint.join("up")).is_ok());

    let snapshot = temp.path().join("models--a--b/snapshots/abc");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir(temp.path().join("models--a--b/blobs")).unwrap();
    std::fs::write(temp.path().join("models--a--b/blobs/123"), "").unwrap();
    symlink("../../blobs/123", snapshot.join("weights")).unwrap();
    assert!(inside(&snapshot, &snapshot.join("weights")).is_ok());
}

#[test]
fn links_that_point_outside_or_nowhere_are_errors() {
    let temp = tempdir().unwrap();
    let model = temp.path().join("model");
    std::fs::create_dir(&model).unwrap();
    std::fs::write(temp.path().join("secret"), "").unwrap();
    symlink("../secret", model.join("out")).unwrap();
    symlink("gone", model.join("dangling")).unwrap();
    assert!(
        matches!(inside(&model, &model.join("out")), Err(CheckpointError::LeavesFolder { link, .. }) if link == "out")
    );
    assert!(matches!(inside(&model, &model.join("dangling")), Err(CheckpointError::Io { .. })));
}
