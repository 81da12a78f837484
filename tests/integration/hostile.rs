//! Hostile files before every verb: a clear error, exit 1, bounded time and memory, nothing written, nothing run.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use chandlery_tests::{copy_of, edit_config, entries, fixture};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::command::command;

/// KiB of address space that a verb may take: the toolkit itself and its threads take a good part.
const MEMORY: u64 = 4 << 20;
/// What no verb takes, also where several tests run at once.
const TIME: Duration = Duration::from_secs(60);

/// The verbs that read a model folder, and their words around it.
const VERBS: &[(&str, &str)] = &[
    ("inspect", "inspect MODEL"),
    ("convert", "convert MODEL OUT"),
    ("finalize", "finalize MODEL OUT"),
    ("update", "update NATIVE OUT"),
    ("compare", "compare MODEL MODEL --input-ids IDS"),
    ("logits", "logits MODEL --input-ids IDS -o OUT"),
    (
        "construct",
        "-p llama -t 4M model construct --device cpu --vocab-size 1024 --hidden-size 64 --intermediate-size 160 \
         --num-hidden-layers 3 --num-attention-heads 8 --num-key-value-heads 2 --load-from-checkpoint MODEL --output-dir OUT",
    ),
];
/// Those that open weights, and those that open config.json.
const WEIGHTS: &str = "inspect convert finalize update compare logits construct";
const CONFIG: &str = "convert finalize update compare logits";

/// Runs a verb with bounded memory and time.
pub(crate) fn bounded(words: &[String], folder: &Path) -> Output {
    let script = format!("ulimit -v {MEMORY}; exec \"$@\"");
    let mut limited = Command::new("bash");
    limited.args(["-c", &script, "bash"]).arg(command().get_program()).args(words).current_dir(folder);
    let mut child = limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > TIME {
            child.kill().unwrap();
            panic!("{words:?} did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// One hostile folder: what it is, the model it was, the verbs that must refuse it, and what was done to it.
struct Case(&'static str, &'static str, &'static str, Box<dyn Fn(&Path)>);

fn case(name: &'static str, model: &'static str, verbs: &'static str, spoil: impl Fn(&Path) + 'static) -> Case {
    Case(name, model, verbs, Box::new(spoil))
}

impl Case {
    /// What each verb said, equal words once.
    fn said(&self) -> String {
        let Case(name, model, verbs, spoil) = self;
        let temp = tempdir().unwrap();
        let folder = copy_of(model, temp.path());
        spoil(&folder);
        // Only native folders are updated: one whose files have the same names is spoiled alike.
        let native = temp.path().join("native");
        if *model == "llama-gqa" {
            chandlery::convert(fixture(model), &native).validate(false).run().unwrap();
            spoil(&native);
        }
        std::fs::write(temp.path().join("ids.json"), "[[1, 2, 3]]").unwrap();
        let before = entries(temp.path());
        let mut said: Vec<(Vec<&str>, String)> = Vec::new();
        for (verb, words) in VERBS.iter().filter(|(verb, _)| *verb != "update" || native.exists()) {
            let place = |word: &str| match word {
                "MODEL" => folder.display().to_string(),
                "NATIVE" => native.display().to_string(),
                "OUT" => temp.path().join("out").display().to_string(),
                "IDS" => temp.path().join("ids.json").display().to_string(),
                word => word.to_owned(),
            };
            let output = bounded(&words.split(' ').map(place).collect::<Vec<_>>(), temp.path());
            let text = String::from_utf8_lossy(&output.stderr).replace(temp.path().to_str().unwrap(), "[temp]");
            let refused = output.status.code() == Some(1);
            assert!(
                refused || output.status.code() == Some(0),
                "{name}: {verb} ended by {:?}\n{text}",
                output.status.signal()
            );
            assert!(!text.contains("panicked"), "{name}: {verb}\n{text}");
            assert!(refused || !verbs.split(' ').any(|known| known == *verb), "{name}: {verb} took it");
            if refused {
                assert!(text.starts_with("error: ") && text.contains("  do: "), "{name}: {verb}\n{text}");
                assert!(text.len() < 4000, "{name}: {verb} says {} bytes", text.len());
                assert_eq!(entries(temp.path()), before, "{name}: {verb} left something behind");
                match said.iter_mut().find(|(_, known)| *known == text) {
                    Some((verbs, _)) => verbs.push(verb),
                    None => said.push((vec![verb], text)),
                }
            }
            for left in ["out", "pwned"].map(|name| temp.path().join(name)).iter().filter(|left| left.exists()) {
                assert!(!left.ends_with("pwned"), "{name}: {verb} ran code");
                if left.is_dir() { std::fs::remove_dir_all(left).unwrap() } else { std::fs::remove_file(left).unwrap() }
            }
        }
        let said = said.iter().map(|(verbs, text)| format!("{}:\n{text}", verbs.join(", ")));
        format!("== {name}\n{}", said.collect::<String>())
    }
}

fn all(cases: Vec<Case>) -> String {
    cases.iter().map(Case::said).collect()
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), bytes).unwrap();
}

/// Replaces `pytorch_model.bin` by a zip of these members. `bombs` say that they are deflated, from four gigabytes each.
fn zipped(folder: &Path, members: &[(&str, &[u8], bool)]) {
    let path = folder.join("pytorch_model.bin");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes, _) in members {
        zip.start_file(*name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    for (name, ..) in members.iter().filter(|(.., bomb)| *bomb) {
        for at in
            (30..bytes.len() - name.len()).filter(|at| bytes[*at..].starts_with(name.as_bytes())).collect::<Vec<_>>()
        {
            // The name stands behind a local header of 30 bytes, or one of 46 in the directory.
            let (method, size) =
                if bytes[at - 30..].starts_with(b"PK\x03\x04") { (at - 22, at - 8) } else { (at - 36, at - 22) };
            bytes[method] = 8;
            bytes[size..size + 4].fill(0xff);
        }
    }
    std::fs::write(path, bytes).unwrap();
}

/// A pickle of a state dict with one float32 tensor `x` of this shape, of storage 0 with `elements` elements.
fn pickled(elements: u64, shape: &[u64]) -> Vec<u8> {
    // LONG1 of nine bytes: the numbers are not negative.
    let long = |number: u64| [&[0x8a, 9][..], &number.to_le_bytes(), &[0]].concat();
    let tuple =
        |numbers: &[u64]| [b"(", numbers.iter().flat_map(|n| long(*n)).collect::<Vec<_>>().as_slice(), b"t"].concat();
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let strides = vec![1; shape.len()];
    [
        b"\x80\x02}(".to_vec(),
        text("x"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        long(elements),
        b"tQK\x00".to_vec(),
        tuple(shape),
        tuple(&strides),
        b"\x89ccollections\nOrderedDict\n)RtRu.".to_vec(),
    ]
    .concat()
}

#[test]
fn pickles_and_archives_that_mean_harm() {
    let pickle = |bytes: &'static [u8]| move |folder: &Path| zipped(folder, &[("a/data.pkl", bytes, false)]);
    let nested: &'static [u8] = Vec::leak([b"\x80\x02".to_vec(), b"(".repeat(1 << 20), b".".to_vec()].concat());
    // Each list holds the one before it twice: 2^60 leaves, if somebody unfolds them.
    let mut laughs = b"\x80\x02]q\x00".to_vec();
    for level in 0..60u8 {
        laughs.extend([b'0', b']', b'q', level + 1, b'(', b'h', level, b'h', level, b'e']);
    }
    laughs.push(b'.');
    let laughs: &'static [u8] = Vec::leak(laughs);
    insta::assert_snapshot!(all(vec![
        case("a pickle that runs os.system", "llama-bin", WEIGHTS, pickle(b"cos\nsystem\n(S'touch pwned'\ntR.")),
        case(
            "a pickle that evaluates",
            "llama-bin",
            WEIGHTS,
            pickle(b"cbuiltins\neval\n(S'open(\"pwned\", \"w\")'\ntR.")
        ),
        case(
            "an object that reduces to a call",
            "llama-bin",
            WEIGHTS,
            pickle(b"\x80\x02csubprocess\nPopen\n(S'touch'\nS'pwned'\nltR.")
        ),
        case("a pickle nested without end", "llama-bin", WEIGHTS, pickle(nested)),
        case("lists of lists of lists", "llama-bin", WEIGHTS, pickle(laughs)),
        case("a pickle that is not one", "llama-bin", WEIGHTS, pickle(b"\xff\xfe\xfd")),
        case("a text of four gigabytes", "llama-bin", WEIGHTS, pickle(b"\x80\x02X\xff\xff\xff\xffabc.")),
        case("a bomb in place of the pickle", "llama-bin", WEIGHTS, |folder| {
            zipped(folder, &[("a/data.pkl", b"\x80\x02}.", true)]);
        }),
        case("a bomb in place of a storage", "llama-bin", WEIGHTS, |folder| {
            zipped(folder, &[("a/data.pkl", &pickled(1 << 24, &[1 << 24]), false), ("a/data/0", &[0; 64], true)]);
        }),
        case("an archive in an archive", "llama-bin", WEIGHTS, |folder| {
            zipped(folder, &[("a/data.pkl", b"\x80\x02}.", false)]);
            let inner = std::fs::read(folder.join("pytorch_model.bin")).unwrap();
            zipped(folder, &[("a/data.pkl", &inner, false)]);
        }),
        case("two members of one name, of which the last counts", "llama-bin", "convert compare logits", |folder| {
            // Same length, so that only the names in the archive have to be changed.
            zipped(
                folder,
                &[
                    ("a/data.pkl", &pickled(4, &[4]), false),
                    ("a/data/0", &[0; 16], false),
                    ("a/data/1", &[0; 16], false),
                ],
            );
            let path = folder.join("pytorch_model.bin");
            let mut bytes = std::fs::read(&path).unwrap();
            let at: Vec<usize> = (0..bytes.len() - 8).filter(|at| &bytes[*at..at + 8] == b"a/data/1").collect();
            at.iter().for_each(|at| bytes[at + 7] = b'0');
            std::fs::write(path, bytes).unwrap();
        }),
        case("a storage smaller than it says", "llama-bin", WEIGHTS, |folder| {
            zipped(folder, &[("a/data.pkl", &pickled(1 << 40, &[1 << 40]), false), ("a/data/0", &[0; 16], false)]);
        }),
        case("a shape whose product overflows", "llama-bin", WEIGHTS, |folder| {
            zipped(folder, &[("a/data.pkl", &pickled(4, &[1 << 33, 1 << 33]), false), ("a/data/0", &[0; 16], false)]);
        }),
        case("an archive cut off", "llama-bin", WEIGHTS, |folder| {
            let path = folder.join("pytorch_model.bin");
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() - 30]).unwrap();
        }),
    ]));
}

#[test]
fn headers_that_lie() {
    let put = |text: &'static str| {
        move |folder: &Path| {
            let bytes = [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &[0; 16][..]].concat();
            write(folder, "model.safetensors", bytes);
        }
    };
    insta::assert_snapshot!(all(vec![
        case(
            "a shape whose product overflows",
            "llama-gqa",
            WEIGHTS,
            put(r#"{"x":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,16]}}"#)
        ),
        case(
            "a shape beyond 64 bits",
            "llama-gqa",
            WEIGHTS,
            put(r#"{"x":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,16]}}"#)
        ),
        case(
            "offsets that run backwards",
            "llama-gqa",
            WEIGHTS,
            put(r#"{"x":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}}"#)
        ),
        case(
            "two tensors of one name",
            "llama-gqa",
            WEIGHTS,
            put(
                r#"{"x":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"x":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}}"#
            )
        ),
        case("a name that is not UTF-8", "llama-gqa", WEIGHTS, |folder| {
            let text = b"{\"\xff\xfe\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16]}}";
            write(folder, "model.safetensors", [&(text.len() as u64).to_le_bytes(), &text[..], &[0; 16]].concat());
        }),
        case("a header nested without end", "llama-gqa", WEIGHTS, |folder| {
            let text = [b"{\"x\":".repeat(500_000), b"1".to_vec(), b"}".repeat(500_000)].concat();
            write(folder, "model.safetensors", [&(text.len() as u64).to_le_bytes(), &text[..]].concat());
        }),
        case("one tensor in two shards", "llama-sharded", WEIGHTS, |folder| {
            let shards: Vec<String> = entries(folder).into_iter().filter(|name| name.contains("-of-")).collect();
            std::fs::copy(folder.join(&shards[0]), folder.join(&shards[1])).unwrap();
        }),
        case("a shard above the folder", "llama-sharded", WEIGHTS, index_with("../secret.safetensors")),
        case("a shard anywhere", "llama-sharded", WEIGHTS, index_with("/etc/passwd")),
        case("a shard in a folder", "llama-sharded", WEIGHTS, index_with("sub/model.safetensors")),
        case("a shard of no name", "llama-sharded", WEIGHTS, index_with("")),
        case("an index nested without end", "llama-sharded", WEIGHTS, |folder| {
            write(folder, "model.safetensors.index.json", [b"[".repeat(1 << 20), b"]".repeat(1 << 20)].concat());
        }),
        case("an index that is not UTF-8", "llama-sharded", WEIGHTS, |folder| {
            write(folder, "model.safetensors.index.json", b"{\"weight_map\": {\"\xff\": \"a\"}}");
        }),
        case("a folder in place of the weights", "llama-gqa", WEIGHTS, |folder| {
            std::fs::remove_file(folder.join("model.safetensors")).unwrap();
            std::fs::create_dir(folder.join("model.safetensors")).unwrap();
        }),
    ]));
}

/// Names a file in the index.
fn index_with(name: &'static str) -> impl Fn(&Path) {
    move |folder| {
        let path = folder.join("model.safetensors.index.json");
        let mut index = chandlery_tests::json(&path);
        let map = index["weight_map"].as_object_mut().unwrap();
        let first = map.keys().next().unwrap().clone();
        map.insert(first, json!(name));
        std::fs::write(path, index.to_string()).unwrap();
        // What it would find one folder up.
        let shard = entries(folder).into_iter().find(|name| name.contains("-of-")).unwrap();
        let _ = std::fs::copy(folder.join(shard), folder.parent().unwrap().join("secret.safetensors"));
    }
}

/// Writes a number into config.json that no JSON value holds.
fn literal(field: &'static str, number: &'static str) -> impl Fn(&Path) {
    move |folder| {
        edit_config(folder, |config| drop(config.insert(field.to_owned(), json!("HERE"))));
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).unwrap().replace("\"HERE\"", number);
        std::fs::write(path, text).unwrap();
    }
}

#[test]
fn configurations_that_ask_too_much() {
    let set = |field: &'static str, value: Value| {
        move |folder: &Path| edit_config(folder, |config| drop(config.insert(field.to_owned(), value.clone())))
    };
    let raw = |bytes: &'static [u8]| move |folder: &Path| write(folder, "config.json", bytes);
    insta::assert_snapshot!(all(vec![
        case("layers without end", "llama-gqa", CONFIG, set("num_hidden_layers", json!(1_000_000_000_000_000_000u64))),
        case("many layers that are not there", "llama-gqa", CONFIG, set("num_hidden_layers", json!(10_000))),
        case("a vocabulary without end", "llama-gqa", CONFIG, set("vocab_size", json!(u64::MAX))),
        case("a large vocabulary that is not there", "llama-gqa", CONFIG, set("vocab_size", json!(1 << 28))),
        case("a size beyond 64 bits", "llama-gqa", CONFIG, literal("hidden_size", "99999999999999999999999")),
        case("no heads", "llama-gqa", CONFIG, set("num_attention_heads", json!(0))),
        case("a negative size", "llama-gqa", CONFIG, set("hidden_size", json!(-64))),
        case("a size with a fraction", "llama-gqa", CONFIG, set("intermediate_size", json!(160.5))),
        case("a negative ε", "llama-gqa", CONFIG, set("rms_norm_eps", json!(-1e-5))),
        case("ε that is not a number", "llama-gqa", CONFIG, literal("rms_norm_eps", "NaN")),
        case(
            "an infinite θ",
            "llama-gqa",
            CONFIG,
            set("rope_parameters", json!({ "rope_theta": "1e999", "rope_type": "default" }))
        ),
        case(
            "θ of zero",
            "llama-gqa",
            CONFIG,
            set("rope_parameters", json!({ "rope_theta": 0.0, "rope_type": "default" }))
        ),
        case("a window of nothing", "mistral-sw8", CONFIG, set("sliding_window", json!(0))),
        case("ids beyond the vocabulary", "llama-gqa", CONFIG, set("bos_token_id", json!(1 << 30))),
        case("a configuration nested without end", "llama-gqa", CONFIG, |folder| {
            write(folder, "config.json", [b"{\"a\":".repeat(1 << 20), b"1".to_vec(), b"}".repeat(1 << 20)].concat());
        }),
        case("a configuration that is not UTF-8", "llama-gqa", CONFIG, raw(b"{\"model_type\": \"\xff\xfe\"}")),
        case("a configuration that is a list", "llama-gqa", CONFIG, raw(b"[]")),
        case("an empty configuration", "llama-gqa", CONFIG, raw(b"")),
        case("a configuration that is a folder", "llama-gqa", CONFIG, |folder| {
            std::fs::remove_file(folder.join("config.json")).unwrap();
            std::fs::create_dir(folder.join("config.json")).unwrap();
        }),
    ]));
}

#[test]
fn tokenizers_that_are_not_what_they_should_be() {
    let raw = |name: &'static str, bytes: &'static [u8]| move |folder: &Path| write(folder, name, bytes);
    insta::assert_snapshot!(all(vec![
        case("a tokenizer that is not UTF-8", "llama-gqa", "", raw("tokenizer.json", b"{\"model\": \"\xff\xfe\"}")),
        case("a tokenizer nested without end", "llama-gqa", "", |folder| {
            write(
                folder,
                "tokenizer.json",
                [b"{\"model\":".repeat(1 << 18), b"1".to_vec(), b"}".repeat(1 << 18)].concat(),
            );
        }),
        case("a tokenizer_config.json that is not JSON", "llama-gqa", "", raw("tokenizer_config.json", b"{\"a\": ")),
        case(
            "a chat template that is not UTF-8",
            "llama-gqa",
            "",
            raw("chat_template.jinja", b"\xff\xfe{{ messages }}")
        ),
        case("a generation_config.json nested without end", "llama-gqa", "", |folder| {
            write(folder, "generation_config.json", [b"[".repeat(1 << 20), b"]".repeat(1 << 20)].concat());
        }),
        case("a generation_config.json that is a list", "llama-gqa", "", raw("generation_config.json", b"[]")),
    ]));
}

#[test]
fn links_that_lead_out_of_the_folder() {
    let link = |name: &'static str| {
        move |folder: &Path| {
            // The file itself, next to the folder, not named by anyone.
            let elsewhere = folder.parent().unwrap().join("elsewhere");
            std::fs::create_dir_all(&elsewhere).unwrap();
            std::fs::rename(folder.join(name), elsewhere.join(name)).unwrap();
            symlink(elsewhere.join(name), folder.join(name)).unwrap();
        }
    };
    insta::assert_snapshot!(all(vec![
        case("weights", "llama-gqa", WEIGHTS, link("model.safetensors")),
        case("weights of PyTorch", "llama-bin", WEIGHTS, link("pytorch_model.bin")),
        case("an index", "llama-sharded", WEIGHTS, link("model.safetensors.index.json")),
        case("a shard", "llama-sharded", WEIGHTS, link("model-00002-of-00004.safetensors")),
        case("a configuration", "llama-gqa", CONFIG, link("config.json")),
        case("a tokenizer", "llama-gqa", "convert finalize update", link("tokenizer.json")),
        case("a generation configuration", "llama-gqa", "", link("generation_config.json")),
        case("a loop", "llama-gqa", WEIGHTS, |folder| {
            std::fs::remove_file(folder.join("model.safetensors")).unwrap();
            symlink("model.safetensors", folder.join("model.safetensors")).unwrap();
        }),
        case("nothing", "llama-gqa", WEIGHTS, |folder| {
            std::fs::remove_file(folder.join("model.safetensors")).unwrap();
            symlink("gone", folder.join("model.safetensors")).unwrap();
        }),
    ]));
}
