//! Kills and failures at every move, and foreign journals.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::*;

thread_local! {
    /// How many moves are made before one fails.
    static MOVES: Cell<usize> = const { Cell::new(usize::MAX) };
    /// Whether those after it fail as well.
    static FOR_GOOD: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn count_a_move() -> Result<(), CheckpointError> {
    match MOVES.get() {
        usize::MAX => return Ok(()),
        0 if FOR_GOOD.get() => {}
        0 => MOVES.set(usize::MAX),
        left => {
            MOVES.set(left - 1);
            return Ok(());
        }
    }
    Err(CheckpointError::io("moving", Path::new("here"))(std::io::Error::other("no more moves")))
}

/// How a replacement ends early.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Killed,
    Failed,
    /// And what was done cannot be undone at once either.
    FailedForGood,
}

/// Files and links by name; what is hidden is left out.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    let mut names = Vec::new();
    list(folder, "", &mut names).unwrap();
    let read = |name: &String| match std::fs::read_link(folder.join(name)) {
        Ok(target) => format!("-> {}", target.display()),
        Err(_) => std::fs::read_to_string(folder.join(name)).unwrap(),
    };
    names.iter().filter(|name| !name.starts_with(".chandlery")).map(|name| (name.clone(), read(name))).collect()
}

fn put(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Returns a folder with a model, what its user keeps there, and a stage that holds another model.
fn prepared(root: &Path) -> (PathBuf, PathBuf, FolderChanges) {
    let folder = root.join("model");
    for name in ["config.json", "model.safetensors", "rust/main.rs", "checkpoints/checkpoint-1/model.safetensors"] {
        put(&folder, name, &format!("old {name}"));
    }
    for name in ["notes", "rust/notes", "checkpoints/checkpoint-1/optimizer.pt"] {
        put(&folder, name, "the user's");
    }
    std::os::unix::fs::symlink("notes", folder.join("link")).unwrap();
    let stage = folder.join(".chandlery.partial-4194999");
    let writes = [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "checkpoints/checkpoint-1/model.safetensors",
        "checkpoints/checkpoint-2/model.safetensors",
        "rust/main.rs",
        "rust/parts/norm.rs",
        "link",
    ];
    writes.iter().for_each(|name| put(&stage.join(NEW), name, &format!("new {name}")));
    let found = crate::checkpoint::DestinationState::at(&folder).unwrap();
    let contradicted = ["model.safetensors", "checkpoints"].map(str::to_owned);
    let writes = writes.map(str::to_owned);
    let changes = FolderChanges::new(&folder, &found, writes, &contradicted);
    assert_eq!(changes.overwrites, ["config.json", "rust/main.rs", "link"]);
    assert_eq!(changes.removes, ["checkpoints", "model.safetensors"]);
    (folder, stage, changes)
}

#[test]
fn a_kill_at_any_move_leaves_the_old_or_the_new() {
    let root = std::env::temp_dir().join(format!("replacing-{}", std::process::id()));
    let mut ended = 0;
    for (moves, end) in (0..14).flat_map(|moves| [End::Killed, End::Failed, End::FailedForGood].map(|end| (moves, end)))
    {
        std::fs::create_dir_all(&root).unwrap();
        let (folder, stage, changes) = prepared(&root);
        let old = tree(&folder);
        FOR_GOOD.set(end == End::FailedForGood);
        MOVES.set(moves);
        let done = match end {
            End::Killed => replace_until_it_fails(&folder, &stage, &changes),
            End::Failed | End::FailedForGood => replace(&folder, &stage, &changes),
        };
        MOVES.set(usize::MAX);
        // While there is a journal, the folder must not be read as a model.
        let journal = folder.join(JOURNAL).exists();
        assert!(!journal || moves == 0 || !folder.join(CONFIG).exists(), "{moves} moves");
        let stays = end == End::Killed || (end == End::FailedForGood && moves > 0);
        assert_eq!(journal, done.is_err() && stays, "{moves} moves");
        settle(&folder).unwrap();
        assert!(!folder.join(JOURNAL).exists());
        let found = tree(&folder);
        if done.is_err() {
            assert!(found == old, "after {moves} moves: {found:#?}");
            ended += 1;
        } else {
            assert_eq!(found["config.json"], "new config.json");
            assert!(found["checkpoints/checkpoint-2/model.safetensors"].starts_with("new"));
            assert!(!found.contains_key("model.safetensors") && found["rust/notes"] == "the user's");
            assert_eq!((found.len(), found["notes"].as_str()), (10, "the user's"));
        }
        std::fs::remove_dir_all(&root).unwrap();
    }
    // Config, two entries that are removed, eight files, and two that are replaced by them.
    assert_eq!(ended, 3 * 13);
}

/// As [`replace`], but for what it does about a failure: so a kill leaves the folder.
fn replace_until_it_fails(folder: &Path, stage: &Path, changes: &FolderChanges) -> Result<(), CheckpointError> {
    let journal = Journal::of(folder, stage, changes)?;
    journal.make_room(stage)?;
    journal.write(folder)?;
    journal.apply(folder, stage)?;
    finish(folder)
}

#[test]
fn a_journal_from_elsewhere_moves_nothing_outside() {
    let root = std::env::temp_dir().join(format!("journal-{}", std::process::id()));
    put(&root, "secret", "outside");
    let stage = root.join("model/.chandlery.partial-1");
    std::fs::create_dir_all(stage.join(NEW)).unwrap();
    std::fs::create_dir_all(root.join("outer")).unwrap();
    put(&root, "outer/file", "outside");
    std::os::unix::fs::symlink("../outer", root.join("model/inner")).unwrap();
    for (stage, moves) in [(".chandlery.partial-1", "../secret"), ("../outer", "file"), (".chandlery.partial-1", "/x")]
    {
        let text = format!(r#"{{"stage": "{stage}", "removes": [], "folders": [], "moves": ["{moves}"]}}"#);
        put(&root, &format!("model/{JOURNAL}"), &text);
        let refused = settle(&root.join("model")).unwrap_err().to_string();
        assert!(refused.contains(JOURNAL), "{refused}");
    }
    // Through a link to a folder neither.
    let text = r#"{"stage": ".chandlery.partial-1", "removes": [], "folders": [], "moves": ["inner/file"]}"#;
    put(&root, &format!("model/{JOURNAL}"), text);
    settle(&root.join("model")).unwrap();
    assert_eq!(std::fs::read_to_string(root.join("outer/file")).unwrap(), "outside");
    assert_eq!(std::fs::read_to_string(root.join("secret")).unwrap(), "outside");
    // One that was being written when the process ended names nothing that was moved.
    put(&root, &format!("model/{JOURNAL}"), r#"{"stage": ".chan"#);
    settle(&root.join("model")).unwrap();
    assert!(!root.join("model").join(JOURNAL).exists());
    std::fs::remove_dir_all(root).unwrap();
}
