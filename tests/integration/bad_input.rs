//! Bad input: a clear error, exit 1, and nothing left behind.

use std::path::{Path, PathBuf};
use std::process::Output;

use chandlery_tests::{copy_of, edit_config, edit_header, entries, fixture, without_lists};
use serde_json::json;
use tempfile::{TempDir, tempdir};

use crate::command::command;

/// A copy of a model in a folder of its own, to be damaged and then converted.
struct Case {
    temp: TempDir,
    model: PathBuf,
}

impl Case {
    fn new(name: &str) -> Self {
        let temp = tempdir().unwrap();
        let model = copy_of(name, temp.path());
        Self { temp, model }
    }

    fn weights(&self) -> PathBuf {
        self.model.join("model.safetensors")
    }

    /// Converts, and gives what was said without the temporary folder's name.
    fn refused(&self) -> String {
        let said = convert(&self.model, &self.temp.path().join("out"));
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        assert!(said.stdout.is_empty(), "{said:?}");
        let left = entries(self.temp.path());
        assert_eq!(left, [self.model.file_name().unwrap().to_str().unwrap()], "something was left behind");
        let text = String::from_utf8(said.stderr).unwrap();
        assert!(!text.contains("panicked") && !text.contains("backtrace"), "{text}");
        without_lists(&text.replace(self.temp.path().to_str().unwrap(), "[temp]"))
    }
}

fn convert(source: &Path, destination: &Path) -> Output {
    command().arg("convert").args([source, destination]).output().unwrap()
}

#[test]
fn a_truncated_file() {
    let case = Case::new("llama-gqa");
    let bytes = std::fs::read(case.weights()).unwrap();
    std::fs::write(case.weights(), &bytes[..bytes.len() / 2]).unwrap();
    insta::assert_snapshot!(case.refused());
}

#[test]
fn a_header_length_that_lies() {
    let case = Case::new("llama-gqa");
    let mut bytes = std::fs::read(case.weights()).unwrap();
    bytes[..8].copy_from_slice(&90_000_000u64.to_le_bytes());
    std::fs::write(case.weights(), &bytes).unwrap();
    insta::assert_snapshot!(case.refused());
}

#[test]
fn overlapping_offsets() {
    let case = Case::new("llama-gqa");
    edit_header(&case.weights(), |header| {
        let other = header["lm_head.weight"]["data_offsets"].clone();
        header["model.embed_tokens.weight"]["data_offsets"] = other;
    });
    // Either of the two may be named.
    let said = case.refused().replace("model.embed_tokens.weight", "[tensor]").replace("lm_head.weight", "[tensor]");
    insta::assert_snapshot!(said);
}

#[test]
fn a_missing_shard() {
    let case = Case::new("llama-sharded");
    std::fs::remove_file(case.model.join("model-00003-of-00004.safetensors")).unwrap();
    insta::assert_snapshot!(case.refused());
}

#[test]
fn a_shard_name_that_leaves_the_folder() {
    let case = Case::new("llama-sharded");
    let index = case.model.join("model.safetensors.index.json");
    let text = std::fs::read_to_string(&index).unwrap();
    std::fs::write(&index, text.replace("model-00003-of-00004.safetensors", "../../etc/passwd")).unwrap();
    insta::assert_snapshot!(case.refused());
}

#[test]
fn a_tensor_of_the_wrong_shape() {
    let case = Case::new("llama-gqa");
    edit_header(&case.weights(), |header| header["model.layers.1.mlp.up_proj.weight"]["shape"] = json!([64, 160]));
    insta::assert_snapshot!(case.refused());
}

#[test]
fn a_misnamed_tensor_gets_a_suggestion() {
    let case = Case::new("llama-gqa");
    edit_header(&case.weights(), |header| {
        let entry = header.remove("model.layers.1.mlp.up_proj.weight").unwrap();
        header.insert("model.layers.1.mlp.upp_proj.weight".to_owned(), entry);
    });
    insta::assert_snapshot!(case.refused());
}

#[test]
fn an_extra_tensor() {
    let case = Case::new("llama-gqa");
    edit_config(&case.model, |config| drop(config.insert("num_hidden_layers".to_owned(), json!(2))));
    insta::assert_snapshot!(case.refused());
}

#[test]
fn a_missing_configuration() {
    let case = Case::new("llama-gqa");
    std::fs::remove_file(case.model.join("config.json")).unwrap();
    insta::assert_snapshot!(case.refused());
}

#[test]
fn a_configuration_that_is_not_json() {
    let case = Case::new("llama-gqa");
    std::fs::write(case.model.join("config.json"), "{\"model_type\": \"llama\",\n}").unwrap();
    insta::assert_snapshot!(case.refused());
}

#[test]
fn an_unknown_model_type() {
    let case = Case::new("llama-gqa");
    edit_config(&case.model, |config| drop(config.insert("model_type".to_owned(), json!("gpt5"))));
    insta::assert_snapshot!(case.refused());
}

#[test]
fn an_unsupported_activation() {
    let case = Case::new("llama-gqa");
    edit_config(&case.model, |config| drop(config.insert("hidden_act".to_owned(), json!("relu6"))));
    insta::assert_snapshot!(case.refused());
}

#[test]
fn sizes_that_do_not_fit_each_other() {
    let case = Case::new("llama-gqa");
    edit_config(&case.model, |config| drop(config.insert("num_key_value_heads".to_owned(), json!(3))));
    insta::assert_snapshot!(case.refused());
}

#[test]
fn a_destination_that_exists_stays_as_it_is() {
    let temp = tempdir().unwrap();
    let precious = temp.path().join("out");
    std::fs::create_dir(&precious).unwrap();
    std::fs::write(precious.join("notes"), "keep").unwrap();
    let said = convert(&fixture("llama-gqa"), &precious);
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8(said.stderr).unwrap().starts_with("error: the destination exists\n  where: "));
    assert_eq!((entries(temp.path()), entries(&precious)), (vec!["out".to_owned()], vec!["notes".to_owned()]));
}

/// A pickle that would run a command in Python, bare and inside a zip like torch's.
#[test]
fn pickles_are_read_but_never_run() {
    let payload = b"cos\nsystem\n(S'touch pwned'\ntR.";
    let zipped = {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        zip.start_file("pytorch_model/data.pkl", stored).unwrap();
        std::io::Write::write_all(&mut zip, payload).unwrap();
        zip.finish().unwrap().into_inner()
    };
    for bytes in [&payload[..], &zipped, b""] {
        let temp = tempdir().unwrap();
        let folder = temp.path().join("bin");
        std::fs::create_dir(&folder).unwrap();
        std::fs::copy(fixture("llama-gqa").join("config.json"), folder.join("config.json")).unwrap();
        std::fs::write(folder.join("pytorch_model.bin"), bytes).unwrap();
        let said = command()
            .current_dir(temp.path())
            .arg("convert")
            .args([&folder, &temp.path().join("out")])
            .output()
            .unwrap();
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        let text = String::from_utf8(said.stderr).unwrap();
        assert!(text.starts_with("error: not a readable PyTorch file: ") && !text.contains("panicked"), "{text}");
        assert_eq!(entries(temp.path()), ["bin"]);
    }
}

/// /dev/full cannot hold a folder, so a file-size limit stands in: the kernel refuses the write all the same.
#[test]
fn a_disk_that_fills_up() {
    let temp = tempdir().unwrap();
    let out = temp.path().join("out");
    let script = "ulimit -f 500; trap '' XFSZ; exec \"$@\"";
    let said = std::process::Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(command().get_program())
        .args(["convert".as_ref(), fixture("llama-gqa").as_os_str(), out.as_os_str()])
        .output()
        .unwrap();
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    let text = String::from_utf8(said.stderr).unwrap();
    assert!(text.contains("failed") && text.contains("  do: "), "{text}");
    assert_eq!(entries(temp.path()), Vec::<String>::new());
}
