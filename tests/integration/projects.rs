//! Projects and tokenizers: found, rendered, traced, copied, trained, and refused with file and line.

use std::path::{Path, PathBuf};
use std::process::Output;

use chandlery::ops::AttentionImplementation;
use chandlery::project::{Origin, Project, TemplateLine, tokenizer};
use chandlery::tokenizer::{TokenizerFiles, train_tokenizer};
use chandlery::{command, project};
use chandlery_tests::{entries, fixture, json};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::command::command as built;

/// A project of one's own in a temporary folder.
struct Own {
    temp: TempDir,
}

impl Own {
    fn new(config: &str) -> Self {
        let own = Self { temp: tempdir().unwrap() };
        own.write("mine/project.yaml", DECLARATION);
        own.write("mine/configs/small.yaml", config);
        own.write("mine/model.yaml", MODEL);
        own
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.temp.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn folder(&self) -> PathBuf {
        self.temp.path().join("mine")
    }

    /// Runs the command in the folder that holds the project.
    fn say(&self, words: &[&str]) -> Output {
        built().args(words).current_dir(self.temp.path()).output().unwrap()
    }

    /// What rendering the configuration is refused with, without the temporary folder's name.
    fn refused(&self) -> String {
        let said = self.say(&["-p", "mine", "model", "construct", "--output-dir", "out"]);
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        assert!(said.stdout.is_empty(), "{said:?}");
        assert_eq!(entries(self.temp.path()).iter().filter(|name| name.contains("out")).count(), 0);
        self.anonymous(&said.stderr)
    }

    fn anonymous(&self, bytes: &[u8]) -> String {
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(!text.contains("panicked"), "{text}");
        let temp = self.temp.path().canonicalize().unwrap();
        text.replace(temp.to_str().unwrap(), "[temp]").replace(self.temp.path().to_str().unwrap(), "[temp]")
    }
}

const DECLARATION: &str = "name: mine\ndescription: A llama of one's own\ndefault_config: small\narguments:\n\
    \x20 - { name: hidden_size, type: int, help: Width, default: 64 }\n\
    \x20 - { name: rope_parameters, type: dict, help: Rotary parameters }\n\
    \x20 - { name: tie_word_embeddings, type: bool, help: Tied }\n\
    \x20 - { name: depth, type: choices, choices: [shallow, deep], help: How many layers }\n\
    \x20 - { name: unread, type: str, help: Read by nobody }\n";

const MODEL: &str = "model_type: llama\nmodel_name: {{ model_name | default(\"mine\") | tojson }}\nvocab_size: 2000\n\
    hidden_size: {{ hidden_size | default(4096) | tojson }}\nintermediate_size: {{ hidden_size * 3 }}\n\
    num_hidden_layers: {{ layers | tojson }}\nnum_attention_heads: 4\nrms_norm_eps: 1.0e-5\n\
    rope_parameters: {{ rope_parameters | default({\"rope_theta\": 10000.0}) | tojson }}\n\
    tie_word_embeddings: {{ tie_word_embeddings | default(false) | tojson }}\n\
    max_position_embeddings:\n  {{ 128 }}\n";

const SMALL: &str = "{% set hidden_size = hidden_size | default(64) -%}\n\
    {% set layers = 2 if depth | default(\"shallow\") == \"shallow\" else 8 -%}\n{% include \"model.yaml\" %}\n";

#[test]
fn projects_are_found_by_path_and_a_path_wins_over_a_name() {
    let own = Own::new(SMALL);
    let config = project(own.folder().to_str().unwrap()).unwrap().config("small").unwrap().render().unwrap();
    assert_eq!((config.hidden_size, config.intermediate_size, config.num_hidden_layers), (64, 192, 2));
    let inside = project(own.folder().join("configs").to_str().unwrap()).unwrap();
    assert_eq!(inside.name(), "mine");

    let shown = |folder: &Path, words: &[&str]| -> Value {
        let said = built().args(words).args(["project", "show", "--json"]).current_dir(folder).output().unwrap();
        assert_eq!(said.status.code(), Some(0), "{said:?}");
        serde_json::from_slice(&said.stdout).unwrap()
    };
    assert_eq!(shown(&own.folder().join("configs"), &[])["project"], "mine");
    assert_eq!(shown(own.temp.path(), &[])["project"], "llama");
    assert_eq!(shown(own.temp.path(), &["-p", "mine"])["note"], Value::Null);

    // A folder without a declaration is not meant, one with a declaration is; either is said.
    own.write("llama/notes.txt", "");
    let builtin = shown(own.temp.path(), &["-p", "llama"]);
    assert_eq!(builtin["path"], Value::Null);
    assert!(builtin["note"].as_str().unwrap().contains("using the built-in project"), "{builtin}");
    std::fs::rename(own.folder(), own.temp.path().join("mistral")).unwrap();
    let folder = shown(own.temp.path(), &["-p", "mistral"]);
    assert_eq!(folder["project"], "mine");
    assert!(folder["note"].as_str().unwrap().contains("not the built-in project"), "{folder}");
    let said = own.say(&["-p", "mistral", "model", "construct", "--device", "meta"]);
    assert!(own.anonymous(&said.stdout).contains("using the folder `mistral`, not the built-in project"), "{said:?}");
}

#[test]
fn each_value_knows_the_line_or_the_argument_it_comes_from() {
    let own = Own::new(SMALL);
    let config = project(own.folder().to_str().unwrap()).unwrap().config("small").unwrap();
    let origin = |arguments: &[(&str, Value)], key: &str| {
        let config =
            arguments.iter().fold(config.clone(), |config, (name, value)| config.set(name, value.clone()).unwrap());
        let trace = config.trace().unwrap();
        trace.values.iter().find(|value| value.key == key).unwrap().origin.clone()
    };
    let place = |file: &str, line| TemplateLine { file: file.to_owned(), line };
    assert_eq!(origin(&[], "model_type"), Origin::Written(place("model.yaml", 1)));
    assert_eq!(origin(&[], "model_name"), Origin::Default(place("model.yaml", 2)));
    assert_eq!(origin(&[], "hidden_size"), Origin::Set(place("configs/small.yaml", 1)));
    assert_eq!(origin(&[("hidden_size", 64.into())], "hidden_size"), Origin::Argument("hidden_size".to_owned()));
    let computed = |line, from: &[&str]| Origin::Computed {
        place: place(if line == 2 { "configs/small.yaml" } else { "model.yaml" }, line),
        from: from.iter().map(|name| (*name).to_owned()).collect(),
    };
    assert_eq!(origin(&[], "intermediate_size"), computed(5, &["hidden_size"]));
    assert_eq!(origin(&[("depth", "deep".into())], "num_hidden_layers"), computed(2, &["depth"]));
    assert_eq!(origin(&[], "num_hidden_layers"), Origin::Set(place("configs/small.yaml", 2)));
    assert_eq!(origin(&[], "rms_norm_eps"), Origin::Written(place("model.yaml", 8)));
    assert_eq!(origin(&[], "max_position_embeddings"), Origin::Written(place("model.yaml", 12)));
    let rope = serde_json::json!({ "rope_theta": 5e5 });
    assert_eq!(origin(&[("rope_parameters", rope)], "rope_parameters"), Origin::Argument("rope_parameters".to_owned()));
}

#[test]
fn what_show_prints_is_the_yaml_with_its_origins() {
    let own = Own::new(SMALL);
    let said = own.say(&["-p", "mine", "project", "show", "--hidden-size", "32"]);
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    insta::assert_snapshot!(own.anonymous(&said.stdout));
    let outcome = command::run(&["-p", "qwen3", "-t", "8B", "project", "show"].map(str::to_owned)).ok().unwrap();
    let html = outcome.view.get("text/html").and_then(Value::as_str).unwrap();
    assert!(html.contains("<table") && html.contains("default in model.yaml:"), "{html}");
}

#[test]
fn a_project_extends_a_built_in_one() {
    let own = Own::new("{% set hidden_size = 128 -%}\n{% include \"builtin/llama/configs/4M.yaml\" %}\n");
    let config = project(own.folder().to_str().unwrap()).unwrap().config("small").unwrap();
    let rendered = config.render().unwrap();
    assert_eq!((rendered.hidden_size, rendered.intermediate_size), (128, 768));
    let trace = config.trace().unwrap();
    let origin = |key: &str| trace.values.iter().find(|value| value.key == key).unwrap().origin.to_string();
    assert_eq!(origin("hidden_size"), "configs/small.yaml:1");
    assert!(
        origin("intermediate_size").starts_with("builtin/llama/configs/4M.yaml:"),
        "{}",
        origin("intermediate_size")
    );
    assert!(origin("rms_norm_eps").starts_with("default in builtin/llama/model.yaml:"), "{}", origin("rms_norm_eps"));
}

#[test]
fn arguments_are_flags_with_types_defaults_and_help() {
    let own = Own::new(SMALL);
    let help = own.say(&["-p", "mine", "model", "--help"]);
    let help = own.anonymous(&help.stdout);
    for line in
        ["--hidden-size <N>", "Width [default: 64]", "--depth <shallow|deep>", "--attn-implementation", "--output-dir"]
    {
        assert!(help.contains(line), "{line}\n{help}");
    }
    let value = |flag: &[&str], key: &str| {
        let words = ["-p", "mine", "project", "show", "--json"].iter().chain(flag).copied().collect::<Vec<_>>();
        let said = own.say(&words);
        assert_eq!(said.status.code(), Some(0), "{said:?}");
        let report: Value = serde_json::from_slice(&said.stdout).unwrap();
        let found = report["values"].as_array().unwrap().iter().find(|value| value["key"] == key).unwrap().clone();
        assert_eq!(found["origin"]["kind"], "argument", "{found}");
        found["value"].to_string()
    };
    assert_eq!(value(&["--tie-word-embeddings"], "tie_word_embeddings"), "true");
    assert_eq!(value(&["--tie-word-embeddings=false"], "tie_word_embeddings"), "false");
    assert_eq!(value(&["--rope-parameters", "{rope_theta: 5.0}"], "rope_parameters"), "{\"rope_theta\":5.0}");
    for (flag, expected) in [
        (&["--hidden-size", "wide"][..], "a whole number"),
        (&["--depth", "deeper"], "one of shallow, deep"),
        (&["--hiden-size", "8"], "--hidden-size"),
        (&["--rope-parameters", "[1]"], "an object such as"),
    ] {
        let words = ["-p", "mine", "model", "construct"].iter().chain(flag).copied().collect::<Vec<_>>();
        let said = own.say(&words);
        assert_eq!(said.status.code(), Some(2), "{said:?}");
        assert!(own.anonymous(&said.stderr).contains(expected), "{expected}: {}", own.anonymous(&said.stderr));
    }
}

#[test]
fn the_arguments_of_every_project_have_an_effect() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("there");
    let config = project("llama").unwrap().config("4M").unwrap();
    let config = config.set("output_dir", folder.to_str().unwrap()).unwrap().set("model_name", "named").unwrap();
    let config = config.set("attn-implementation", "eager").unwrap();
    assert_eq!(config.model_name().unwrap(), "named");
    let built = config.construct().build().unwrap();
    assert_eq!(built.attention, AttentionImplementation::Eager);
    assert!(folder.join("config.json").is_file());
}

#[test]
fn magics_complete_flags_projects_and_configurations() {
    let complete = |line: &str| {
        let (before, typed) = line.rsplit_once(' ').unwrap();
        let before: Vec<String> = before.split(' ').map(str::to_owned).collect();
        command::complete(&before, typed)
    };
    assert_eq!(complete("model --hid"), ["--hidden-size"]);
    assert_eq!(complete("model construct --save-c"), ["--save-checkpoint"]);
    assert_eq!(complete("model -p mis"), ["mistral"]);
    assert_eq!(complete("model -p qwen3 -t 8"), ["8B"]);
    assert_eq!(complete("model --config-template=llama2"), ["--config-template=llama2_7b"]);
    assert_eq!(complete("model --attn-implementation s"), ["sdpa"]);
    assert_eq!(complete("project s"), ["show"]);
    assert_eq!(complete("tokenizer train --vocab"), ["--vocab-size"]);
    assert!(complete("model -p gone --hid").is_empty());
}

#[test]
fn a_new_project_is_a_copy_that_renders_the_same() {
    let temp = tempdir().unwrap();
    for name in Project::names() {
        let folder = temp.path().join(format!("my_{name}"));
        let said = built().args(["project", "new"]).arg(&folder).args(["--from", &name]).output().unwrap();
        assert_eq!(said.status.code(), Some(0), "{said:?}");
        let (copy, original) = (project(folder.to_str().unwrap()).unwrap(), project(&name).unwrap());
        assert_eq!(copy.name(), format!("my_{name}"));
        assert!(std::fs::read_to_string(folder.join("README.md")).unwrap().contains("--hidden-size"));
        let mut configs = original.configs();
        configs.sort();
        assert_eq!(copy.configs(), configs);
        for config in configs {
            let of = |project: &Project| project.config(&config).unwrap().render_yaml().unwrap();
            assert_eq!(of(&copy), of(&original), "{name} {config}");
        }
        let again = built().args(["project", "new"]).arg(&folder).output().unwrap();
        assert_eq!(again.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&again.stderr).contains("the destination exists"), "{again:?}");
    }
    let mut expected: Vec<String> = Project::names().iter().map(|name| format!("my_{name}")).collect();
    expected.sort();
    assert_eq!(entries(temp.path()), expected, "nothing half made is left");

    let listed = built().args(["project", "list", "--json"]).current_dir(temp.path()).output().unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let names: Vec<&str> = listed.as_array().unwrap().iter().filter_map(|entry| entry["name"].as_str()).collect();
    assert!(names.contains(&"llama") && names.contains(&"my_llama"), "{names:?}");
}

// Bad projects.

#[test]
fn an_undefined_variable_in_an_included_template() {
    let own = Own::new(SMALL);
    own.write("mine/model.yaml", &MODEL.replace("num_hidden_layers: {{ layers", "num_hidden_layers: {{ layer"));
    insta::assert_snapshot!(own.refused());
}

#[test]
fn a_template_that_does_not_parse() {
    insta::assert_snapshot!(Own::new("{% set hidden_size = 64 -%}\n{% if %}\n").refused());
}

#[test]
fn an_include_that_points_outside_the_project() {
    let own = Own::new("{% set layers = 1 -%}\n{% include \"../../secret.yaml\" %}\n");
    own.write("secret.yaml", "hidden_size: 1\n");
    insta::assert_snapshot!(own.refused());
}

#[test]
fn an_include_of_a_link_that_points_outside_the_project() {
    let own = Own::new("{% include \"link.yaml\" %}\n");
    own.write("secret.yaml", "hidden_size: 1\n");
    std::os::unix::fs::symlink("../secret.yaml", own.folder().join("link.yaml")).unwrap();
    insta::assert_snapshot!(own.refused());
}

#[test]
fn an_include_that_is_not_there() {
    insta::assert_snapshot!(Own::new("{% include \"modle.yaml\" %}\n").refused());
}

#[test]
fn a_loop_without_end_is_stopped() {
    let nested = "{% for a in range(10000) %}{% for b in range(10000) %}{% set c = a * b %}{% endfor %}{% endfor %}\n";
    insta::assert_snapshot!(Own::new(nested).refused());
}

#[test]
fn a_template_that_includes_itself() {
    insta::assert_snapshot!(Own::new("{% include \"configs/small.yaml\" %}\n").refused());
}

#[test]
fn yaml_without_end() {
    let endless = "{% for a in range(100000) %}\nkey_{{ a }}: {{ a }}, and more text to fill the line\n{% endfor %}\n";
    insta::assert_snapshot!(Own::new(endless).refused());
}

#[test]
fn text_that_doubles() {
    let doubling = "{% set ns = namespace(x=\"xxxxxxxx\") -%}\n{% for a in range(60) %}\n\
        {%- set x = ns.x ~ ns.x %}{% set ns.x = x %}{% endfor -%}\na: 1\n";
    insta::assert_snapshot!(Own::new(doubling).refused());
}

#[test]
fn a_file_too_large() {
    let own = Own::new("{% include \"large.yaml\" %}\n");
    own.write("mine/large.yaml", &"a: 1\n".repeat(300_000));
    insta::assert_snapshot!(own.refused());
}

#[test]
fn yaml_that_does_not_parse() {
    let own = Own::new(SMALL);
    own.write("mine/model.yaml", &MODEL.replace("vocab_size: 2000", "vocab_size: [2000"));
    insta::assert_snapshot!(own.refused());
}

#[test]
fn yaml_of_the_wrong_type() {
    let own = Own::new(SMALL);
    own.write("mine/model.yaml", &MODEL.replace("num_attention_heads: 4", "num_attention_heads: four"));
    insta::assert_snapshot!(own.refused());
}

#[test]
fn yaml_that_is_a_list() {
    insta::assert_snapshot!(Own::new("- 1\n- 2\n").refused());
}

#[test]
fn an_argument_that_nothing_reads() {
    let own = Own::new(SMALL);
    let said = own.say(&["-p", "mine", "model", "construct", "--unread", "x"]);
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    insta::assert_snapshot!(own.anonymous(&said.stderr));
}

#[test]
fn a_tokenizer_that_is_not_there() {
    let own = Own::new(SMALL);
    own.write("mine/model.yaml", &format!("{MODEL}tokenizer: 2kk\n"));
    insta::assert_snapshot!(own.refused());
}

#[test]
fn a_tokenizer_folder_without_a_tokenizer() {
    let own = Own::new(SMALL);
    own.write("mine/model.yaml", &format!("{MODEL}tokenizer: words\n"));
    own.write("mine/words/vocab.txt", "");
    insta::assert_snapshot!(own.refused());
}

#[test]
fn a_declaration_that_is_wrong() {
    let own = Own::new(SMALL);
    own.write("mine/project.yaml", &DECLARATION.replace("type: dict", "type: dictionary"));
    insta::assert_snapshot!(own.refused());
}

#[test]
fn a_declaration_that_takes_a_flag_of_the_command() {
    let own = Own::new(SMALL);
    own.write("mine/project.yaml", &DECLARATION.replace("name: unread", "name: device"));
    insta::assert_snapshot!(own.refused());
}

#[test]
fn a_path_that_is_not_a_project() {
    let own = Own::new(SMALL);
    let said = own.say(&["-p", "./gone", "model", "construct"]);
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    insta::assert_snapshot!(own.anonymous(&said.stderr));
}

// Tokenizers.

#[test]
fn a_configuration_takes_a_tokenizer_by_path() {
    let own = Own::new(SMALL);
    let config = || project(own.folder().to_str().unwrap()).unwrap().config("small").unwrap();
    let vocabulary = |config: chandlery::project::ProjectConfig| {
        config.tokenizer().unwrap().tokenizer().unwrap().get_vocab_size(true)
    };
    own.write("mine/model.yaml", &format!("{MODEL}tokenizer: 2k\n"));
    assert_eq!(vocabulary(config()), 2000);
    let expected = TokenizerFiles::read(&fixture("llama-gqa")).unwrap().tokenizer().unwrap().get_vocab_size(true);
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        own.write(&format!("mine/words/{file}"), &std::fs::read_to_string(fixture("llama-gqa").join(file)).unwrap());
    }
    for name in ["words", "words/tokenizer.json"] {
        own.write("mine/model.yaml", &format!("{MODEL}tokenizer: {name}\n"));
        assert_eq!(vocabulary(config()), expected, "{name}");
    }
}

fn corpus(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("crate/projects/tokenizers/corpus").join(file).display().to_string()
}

#[test]
fn the_built_in_vocabularies_are_what_training_gives() {
    let (topics, docstrings) = (corpus("topics.txt"), corpus("docstrings.txt"));
    for (name, size, length, texts) in [
        ("2k", 2000, 2048, vec![&topics]),
        ("2k_32k", 2000, 32768, vec![&topics]),
        ("4k", 4000, 2048, vec![&topics, &docstrings]),
        ("8k", 8000, 32768, vec![&topics, &docstrings]),
    ] {
        let trained = train_tokenizer(size).files(texts.into_iter().cloned()).max_length(length).run().unwrap();
        let (trained, embedded) = (trained.files.to_write(), tokenizer(name).unwrap().to_write());
        for ((file, bytes), (same, expected)) in trained.iter().zip(&embedded) {
            assert!(file == same && bytes == expected, "{name}/{file}");
        }
        assert_eq!(trained.len(), embedded.len());
    }
}

#[test]
fn training_is_the_same_each_time_and_writes_a_whole_folder() {
    let temp = tempdir().unwrap();
    let lines: Vec<String> = std::fs::read_to_string(corpus("topics.txt"))
        .unwrap()
        .split("\n\n")
        .map(|text| serde_json::json!({ "id": 1, "body": text }).to_string())
        .collect();
    for (file, part) in [("b.jsonl", &lines[..lines.len() / 2]), ("a.jsonl", &lines[lines.len() / 2..])] {
        std::fs::write(temp.path().join(file), part.join("\n")).unwrap();
    }
    let train = |folder: &str, words: &[&str]| {
        built().current_dir(temp.path()).args(["tokenizer", "train", "-o", folder]).args(words).output().unwrap()
    };
    let words = ["--vocab-size", "700", "--files", "*.jsonl", "--text-field", "body", "--special-tokens", "<|tool|>"];
    for folder in ["first", "second"] {
        let said = train(folder, &words);
        assert_eq!(said.status.code(), Some(0), "{said:?}");
    }
    let read = |folder: &str, file: &str| std::fs::read(temp.path().join(folder).join(file)).unwrap();
    let files = ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(entries(&temp.path().join("first")), files);
    for file in files {
        assert!(read("first", file) == read("second", file), "{file}");
    }
    assert_eq!(json(temp.path().join("first/tokenizer_config.json"))["model_max_length"], 2048);
    let shown = built().args(["tokenizer", "show", "--json"]).arg(temp.path().join("first")).output().unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["vocab_size"], 700);
    let special: Vec<&str> =
        shown["special_tokens"].as_array().unwrap().iter().filter_map(|token| token["content"].as_str()).collect();
    assert_eq!(special, ["<|BOS|>", "<|PAD|>", "<|EOS|>", "<|UNK|>", "<|im_start|>", "<|im_end|>", "<|tool|>"]);
    assert_eq!(shown["sample"]["tokens"][0]["id"], 0);

    let wrong = train("third", &["--vocab-size", "700", "--files", "*.jsonl", "--text-field", "text"]);
    assert_eq!(wrong.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8(wrong.stderr).unwrap());
    assert_eq!(train("first", &words).status.code(), Some(1), "a folder that exists is refused");
    assert_eq!(entries(temp.path()), ["a.jsonl", "b.jsonl", "first", "second"]);
}

#[test]
fn what_tokenizer_show_prints() {
    let said = built().args(["tokenizer", "show", "2k"]).output().unwrap();
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    insta::assert_snapshot!(String::from_utf8(said.stdout).unwrap());
}
