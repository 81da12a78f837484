//! What the integration tests share: where fixtures are, how the command is run, how a safetensors file is bent.

use std::path::{Path, PathBuf};

use chandlery::checkpoint::Checkpoint;
use chandlery::naming::Families;
use chandlery::spec::Architecture;
use serde_json::Value;

/// All reference models.
pub const MODELS: &[&str] = &[
    "llama-gqa",
    "llama-gqa-4x",
    "llama-headdim",
    "llama-tied",
    "llama-rope3",
    "llama-rope3-4x",
    "llama-bias",
    "llama-bf16",
    "llama-sharded",
    "llama-bin",
    "llama-bin-sharded",
    "mistral-sw8",
    "mistral-sw8-4x",
    "qwen3-tied",
    "qwen3-4x",
];

/// The folder of a reference model.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A JSON file's content.
pub fn json(path: impl AsRef<Path>) -> Value {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A copy of a fixture that a test may damage.
pub fn copy_of(name: &str, into: &Path) -> PathBuf {
    let folder = into.join(name);
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    for entry in std::fs::read_dir(fixture(name)).expect("the fixture exists") {
        let entry = entry.expect("the fixture can be listed");
        let name = entry.file_name();
        // Reference outputs are the largest files, and no part of the model.
        if !name.to_string_lossy().starts_with("reference") {
            std::fs::copy(entry.path(), folder.join(name)).expect("the fixture can be copied");
        }
    }
    folder
}

/// Rewrites the header of a safetensors file; its data stay.
pub fn edit_header(file: &Path, edit: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    let bytes = std::fs::read(file).expect("the file can be read");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let mut header = match serde_json::from_slice(&bytes[8..8 + length]) {
        Ok(Value::Object(header)) => header,
        other => panic!("no header: {other:?}"),
    };
    edit(&mut header);
    let text = Value::Object(header).to_string();
    let mut edited = (text.len() as u64).to_le_bytes().to_vec();
    edited.extend_from_slice(text.as_bytes());
    edited.extend_from_slice(&bytes[8 + length..]);
    std::fs::write(file, edited).expect("the file can be written");
}

/// Edits config.json of a folder.
pub fn edit_config(folder: &Path, edit: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    let path = folder.join("config.json");
    let mut config = json(&path);
    edit(config.as_object_mut().expect("an object"));
    std::fs::write(path, config.to_string()).expect("the file can be written");
}

/// Every tensor's name and bytes; a tied head that a PyTorch file repeats is left out.
pub fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let checkpoint = Checkpoint::open(folder).expect("a model folder");
    let tied = json(folder.join("config.json"))["tie_word_embeddings"] == true;
    let rows = checkpoint.table().rows().iter().filter(|row| !(tied && row.path.as_str() == "lm_head.weight"));
    rows.map(|row| (row.path.to_string(), checkpoint.read(&row.path).expect("it was listed").bytes)).collect()
}

/// A text without the lists of built-in families and architectures, which grow by a file.
pub fn without_lists(text: &str) -> String {
    let architectures: Vec<&str> = Architecture::all().map(Architecture::name).collect();
    let text = text.replace(&architectures.join(", "), "[architectures]");
    text.replace(&Families::built_in().expect("they are read when asked for").names(), "[families]")
}

/// The names of a folder's entries, hidden ones included, sorted.
pub fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder can be listed");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
