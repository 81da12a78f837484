//! Finalizing: one checkpoint and what belongs to it, in a folder that stands for itself.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use chandlery::checkpoint::Checkpoint;
use chandlery::display::View;
use chandlery::spec::DType;
use chandlery::tokenizer::GenerationMode;
use chandlery::{command, compare, convert, finalize};
use chandlery_tests::{MODELS, contents, copy_of, edit_config, entries, fixture, json};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

/// A native model folder with checkpoints at steps 900 and 1200, an optimizer each, and a run that was killed at 1500.
fn trained(name: &str) -> (TempDir, PathBuf) {
    let temp = tempdir().unwrap();
    let source = temp.path().join("source");
    convert(fixture(name), &source).validate(false).run().unwrap();
    for step in [900, 1200] {
        let folder = source.join(format!("checkpoints/checkpoint-{step}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(source.join("model.safetensors"), folder.join("model.safetensors")).unwrap();
        std::fs::write(folder.join("optimizer_state.pt"), format!("moments of step {step}")).unwrap();
        for state in ["scheduler_state.pt", "rng_state.pt", "trainer_state.pt"] {
            std::fs::write(folder.join(state), "not carried").unwrap();
        }
    }
    let broken = source.join("checkpoints/checkpoint-1500");
    std::fs::create_dir_all(&broken).unwrap();
    std::fs::write(broken.join("model.safetensors"), [0; 100]).unwrap();
    (temp, source)
}

/// Every path below a folder with its bytes or, for links, its target.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for name in entries(folder) {
        let path = folder.join(&name);
        let status = path.symlink_metadata().unwrap();
        if status.is_dir() {
            found.extend(tree(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else if status.is_symlink() {
            found.insert(name, format!("→ {}", std::fs::read_link(&path).unwrap().display()).into_bytes());
        } else {
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
    found
}

fn failure(words: &[&str]) -> String {
    match command::run(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()) {
        Err(command::Failure::Failed { diagnostic, .. }) => diagnostic.to_string(),
        Err(command::Failure::Usage { text, .. }) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{words:?} did not fail"),
    }
}

#[test]
fn the_latest_complete_checkpoint_is_linked_at_the_root() {
    let (temp, source) = trained("llama-tied");
    let done = temp.path().join("done");
    finalize(&source, &done).run().unwrap();
    let link = std::fs::read_link(done.join("model.safetensors")).unwrap();
    assert_eq!(link, Path::new("checkpoints/checkpoint-1200/model.safetensors"));
    assert_eq!(entries(&done.join("checkpoints/checkpoint-1200")), ["checkpoint_manifest.json", "model.safetensors"]);
    assert_eq!(contents(&source), contents(&done));
    // It moves as a whole: links are relative.
    let moved = temp.path().join("moved");
    std::fs::rename(&done, &moved).unwrap();
    assert!(compare(&source, &moved).run().unwrap().max_abs() == 0.0);

    let flat = temp.path().join("flat");
    finalize(&source, &flat).root_copy(true).run().unwrap();
    assert!(flat.join("model.safetensors").is_file() && !flat.join("checkpoints").exists());
    finalize(&source, temp.path().join("nothing")).dry_run(true).run().unwrap();
    assert_eq!(entries(temp.path()), ["flat", "moved", "source"]);
}

#[test]
fn a_plan_names_exactly_the_files_that_are_written() {
    let (temp, source) = trained("qwen3-tied");
    std::fs::create_dir_all(source.join("parts/__pycache__")).unwrap();
    std::fs::write(source.join("parts/attention.py"), "# a package of code").unwrap();
    std::fs::write(source.join("parts/__pycache__/attention.pyc"), "").unwrap();
    std::fs::write(source.join("tools.py"), "# mine").unwrap();
    std::fs::write(source.join(".package_files_copied"), "parts").unwrap();
    std::fs::write(source.join("training.log"), "not carried").unwrap();
    for (name, asked) in [
        ("plain", finalize(&source, temp.path().join("plain"))),
        ("flat", finalize(&source, temp.path().join("flat")).root_copy(true).max_shard_size(100_000)),
        ("sharded", finalize(&source, temp.path().join("sharded")).max_shard_size(100_000).keep_optimizer(true)),
    ] {
        let plan = asked.plan().unwrap();
        assert!(!plan.destination.exists());
        let run = asked.run().unwrap();
        assert_eq!((&run.plan.files, &run.plan.config, &run.plan.table), (&plan.files, &plan.config, &plan.table));
        let mut planned: Vec<&str> = plan.files.iter().map(|file| file.path.as_str()).collect();
        planned.sort_unstable();
        let written = tree(&plan.destination);
        assert_eq!(planned, written.keys().map(String::as_str).collect::<Vec<_>>(), "{name}");
        for carried in ["parts/attention.py", "tools.py", "rust/src/main.rs", ".package_files_copied"] {
            assert_eq!(written[carried], std::fs::read(source.join(carried)).unwrap(), "{name}: {carried}");
        }
        assert_eq!(contents(&source), contents(&plan.destination), "{name}");
    }
}

#[test]
fn reference_models_are_finalized_in_every_format_and_layout() {
    for name in MODELS {
        let temp = tempdir().unwrap();
        let source = copy_of(name, temp.path());
        for (format, root) in [("safetensors", false), ("safetensors", true), ("pytorch", false), ("pytorch", true)] {
            let done = temp.path().join(format!("{format}-{root}"));
            let mut words = vec!["finalize", source.to_str().unwrap(), done.to_str().unwrap(), "--format", format];
            words.extend(root.then_some("--root-copy"));
            words.extend(["--max-shard-size", "200kB", "--skip-default-tokens"]);
            command::run(&words.into_iter().map(str::to_owned).collect::<Vec<_>>()).ok().unwrap();
            assert_eq!(contents(&source), contents(&done), "{name} {format} {root}");
            assert_eq!(compare(&source, &done).run().unwrap().max_abs(), 0.0, "{name} {format} {root}");
            assert_eq!(done.join("checkpoints/checkpoint-0").is_dir(), !root);
            let config = json(done.join("config.json"));
            assert_eq!(config["rope_parameters"]["rope_theta"], config["rope_theta"], "{name}");
            assert_eq!(config["dtype"], config["torch_dtype"], "{name}");
        }
    }
}

#[test]
fn a_checkpoint_may_be_named_and_must_be_a_folder() {
    let (temp, source) = trained("llama-tied");
    let older = source.join("checkpoints/checkpoint-900");
    let asked = finalize(&source, temp.path().join("older")).checkpoint(Some(older.clone()));
    asked.keep_optimizer(true).run().unwrap();
    let state = temp.path().join("older/checkpoints/checkpoint-900/optimizer_state.pt");
    assert_eq!(std::fs::read_to_string(state).unwrap(), "moments of step 900");
    let file = older.join("model.safetensors");
    for named in [file, source.join("checkpoints/checkpoint-901")] {
        let asked = finalize(&source, temp.path().join("not")).checkpoint(Some(named));
        let words = asked.run().unwrap_err().to_string();
        assert!(words.contains("--checkpoint") && words.contains("checkpoint-1200"), "{words}");
    }
    let broken =
        finalize(&source, temp.path().join("not")).checkpoint(Some(source.join("checkpoints/checkpoint-1500")));
    assert!(broken.run().is_err());
    assert_eq!(entries(temp.path()), ["older", "source"]);
}

#[test]
fn the_manifest_lists_what_the_checkpoint_holds() {
    let (temp, source) = trained("llama-tied");
    let done = temp.path().join("done");
    finalize(&source, &done).keep_optimizer(true).max_shard_size(200_000).run().unwrap();
    let folder = done.join("checkpoints/checkpoint-1200");
    let manifest = json(folder.join("checkpoint_manifest.json"));
    assert_eq!(manifest["checkpoint_path"], "checkpoints/checkpoint-1200");
    assert_eq!(manifest["world_size"], 1);
    assert_eq!(manifest["metadata"]["finalized"], true);
    let size = |names: &Value| -> u64 {
        let names = names.as_array().unwrap().iter();
        names.map(|name| folder.join(name.as_str().unwrap()).metadata().unwrap().len()).sum()
    };
    for (key, files) in [("model", 5), ("optimizer", 1)] {
        let component = &manifest["components"][key];
        assert_eq!(component["key"], key);
        assert_eq!(component["sharing_pattern"], "replicated");
        let names = &component["metadata"]["files"];
        assert_eq!((names.as_array().unwrap().len(), component["size_bytes"].as_u64()), (files, Some(size(names))));
    }
    let date = manifest["timestamp"].as_str().unwrap();
    assert!(date.len() == 25 && date.starts_with("20") && date.ends_with("+00:00"), "{date}");
}

#[test]
fn the_optimizer_is_copied_with_all_ranks_or_refused_early() {
    let (temp, source) = trained("llama-tied");
    let latest = source.join("checkpoints/checkpoint-1200");
    std::fs::rename(latest.join("optimizer_state.pt"), latest.join("optimizer_state_rank_0.pt")).unwrap();
    std::fs::write(latest.join("optimizer_state_rank_1.pt"), "moments of the other rank").unwrap();
    finalize(&source, temp.path().join("done")).keep_optimizer(true).run().unwrap();
    assert_eq!(
        entries(&temp.path().join("done/checkpoints/checkpoint-1200")),
        ["checkpoint_manifest.json", "model.safetensors", "optimizer_state_rank_0.pt", "optimizer_state_rank_1.pt"]
    );
    std::fs::remove_file(latest.join("optimizer_state_rank_0.pt")).unwrap();
    std::fs::remove_file(latest.join("optimizer_state_rank_1.pt")).unwrap();
    let words = finalize(&source, temp.path().join("not")).keep_optimizer(true).run().unwrap_err().to_string();
    insta::assert_snapshot!("finalize_no_optimizer", words.replace(temp.path().to_str().unwrap(), "TEMP"));
    let words = finalize(&source, temp.path().join("not")).keep_optimizer(true).root_copy(true).run().unwrap_err();
    insta::assert_snapshot!("finalize_optimizer_and_root_copy", words);
    let folders = [source.to_str().unwrap(), "not"];
    let words = failure(&["finalize", folders[0], folders[1], "--keep-optimizer", "--root-copy"]);
    assert!(words.contains("cannot be used with"), "{words}");
    assert_eq!(entries(temp.path()), ["done", "source"]);
}

#[test]
fn a_cast_is_written_and_config_says_so() {
    let (temp, source) = trained("llama-tied");
    let done = temp.path().join("done");
    finalize(&source, &done).dtype(Some(DType::BF16)).run().unwrap();
    assert!(Checkpoint::open(&done).unwrap().table().rows().iter().all(|row| row.dtype == DType::BF16));
    let config = json(done.join("config.json"));
    assert_eq!((&config["dtype"], &config["torch_dtype"]), (&json!("bfloat16"), &json!("bfloat16")));
    let words = finalize(&source, temp.path().join("not")).dtype(Some(DType::I8)).run().unwrap_err().to_string();
    assert!(words.contains("--dtype") && !temp.path().join("not").exists());
}

#[test]
fn a_finalized_folder_can_be_finalized_again_and_stays_as_it_is() {
    let (temp, source) = trained("llama-tied");
    let (once, twice) = (temp.path().join("once"), temp.path().join("twice"));
    finalize(&source, &once).run().unwrap();
    finalize(&once, &twice).run().unwrap();
    let without_date = |folder: &Path| {
        let mut tree = tree(folder);
        tree.remove("checkpoints/checkpoint-1200/checkpoint_manifest.json").unwrap();
        tree
    };
    assert_eq!(without_date(&once), without_date(&twice));
}

#[test]
fn links_inside_the_folder_are_followed_others_refused() {
    let (temp, source) = trained("llama-tied");
    let secret = temp.path().join("secret.py");
    std::fs::write(&secret, "password = 1").unwrap();
    std::fs::create_dir(source.join("parts")).unwrap();
    std::fs::write(source.join("parts/real.py"), "# mine").unwrap();
    symlink("parts/real.py", source.join("inside.py")).unwrap();
    finalize(&source, temp.path().join("done")).run().unwrap();
    assert_eq!(std::fs::read_to_string(temp.path().join("done/inside.py")).unwrap(), "# mine");
    assert!(temp.path().join("done/inside.py").symlink_metadata().unwrap().is_file());

    symlink("../secret.py", source.join("outside.py")).unwrap();
    let words = finalize(&source, temp.path().join("not")).run().unwrap_err().to_string();
    insta::assert_snapshot!("finalize_link_out", words.replace(temp.path().to_str().unwrap(), "TEMP"));
    std::fs::remove_file(source.join("outside.py")).unwrap();
    let latest = source.join("checkpoints/checkpoint-1200");
    std::fs::remove_file(latest.join("optimizer_state.pt")).unwrap();
    symlink("/etc/hostname", latest.join("optimizer_state.pt")).unwrap();
    let words = finalize(&source, temp.path().join("not")).keep_optimizer(true).run().unwrap_err().to_string();
    assert!(words.contains("points outside the folder"), "{words}");
    assert_eq!(entries(temp.path()), ["done", "secret.py", "source"]);
}

#[test]
fn several_end_of_sequence_ids_stay_and_stop_generation_too() {
    let (temp, source) = trained("llama-tied");
    let role = json(source.join("config.json"))["eos_token_id"].clone();
    edit_config(&source, |config| {
        config.insert("eos_token_id".to_owned(), json!([7, role, 9]));
    });
    std::fs::write(source.join("generation_config.json"), r#"{"eos_token_id": 9, "temperature": 0.5}"#).unwrap();
    finalize(&source, temp.path().join("done")).run().unwrap();
    assert_eq!(json(temp.path().join("done/config.json"))["eos_token_id"], json!([7, role, 9]));
    let generation = json(temp.path().join("done/generation_config.json"));
    assert_eq!(generation["eos_token_id"], json!([9, 7, role]));
    assert_eq!(generation["temperature"], 0.5);
}

/// The rows of a tensor as bytes.
fn rows(folder: &Path, name: &str) -> Vec<Vec<u8>> {
    let data = Checkpoint::open(folder).unwrap().read(&name.into()).unwrap();
    data.bytes.chunks(data.bytes.len() / data.shape[0]).map(<[u8]>::to_vec).collect()
}

#[test]
fn added_tokens_reach_every_file_that_knows_of_them() {
    for (name, head) in [("llama-gqa", Some("lm_head.weight")), ("llama-tied", None)] {
        let (temp, source) = trained(name);
        let done = temp.path().join("done");
        let asked = finalize(&source, &done).add_tokens("chatml").chat_template("chatml").keep_optimizer(true);
        let plan = asked.plan().unwrap();
        let words = plan.view().plain().replace(temp.path().to_str().unwrap(), "TEMP");
        insta::assert_snapshot!(format!("finalize_with_tokens_{name}"), words);
        asked.run().unwrap();

        let (before, config) = (json(source.join("config.json")), json(done.join("config.json")));
        let tokens = plan.tokens.as_ref().unwrap();
        let (old, new) = (tokens.vocab_before(), tokens.vocab_size());
        assert!(new > old);
        assert_eq!((&before["vocab_size"], &config["vocab_size"]), (&json!(old), &json!(new)));
        let id = |token: &str| tokens.mentioned().find(|(text, _)| *text == token).unwrap().1;
        assert_eq!(config["eos_token_id"], json!(id("<|im_end|>")));
        let generation = json(done.join("generation_config.json"));
        let stops = json(source.join("generation_config.json"))["eos_token_id"].clone();
        assert_eq!(generation["eos_token_id"], json!([stops, id("<|im_end|>")]));

        for tensor in ["causal_lm.input_encoder.embedding.weight"].into_iter().chain(head) {
            let (old_rows, new_rows) = (rows(&source, tensor), rows(&done, tensor));
            assert_eq!((old_rows.len(), new_rows.len()), (old, new), "{tensor}");
            assert!(old_rows == new_rows[..old], "{tensor}");
        }
        // Sources that nobody edited know the new sizes as their defaults.
        let python = std::fs::read_to_string(done.join("configuration_chandlery.py")).unwrap();
        assert!(python.contains(&format!("vocab_size={new}")), "{python}");
        let template = std::fs::read_to_string(done.join("chat_template.jinja")).unwrap();
        assert!(template.contains("<|im_start|>"));
        let manifest = json(done.join("checkpoints/checkpoint-1200/checkpoint_manifest.json"));
        let note = manifest["components"]["optimizer"]["metadata"]["note"].as_str().unwrap();
        assert!(note.contains(&format!("is for {old} tokens")) && plan.warnings.iter().any(|warning| warning == note));
        // The old tokens' logits are what they were.
        let ids = chandlery::tokenizer::TokenizerFiles::read(&done).unwrap().encode("<|im_start|>a").unwrap();
        assert!(ids.contains(&id("<|im_start|>")));
    }
}

#[test]
fn a_missing_padding_token_is_added_unless_declined() {
    let temp = tempdir().unwrap();
    let (added, skipped) = (temp.path().join("added"), temp.path().join("skipped"));
    let source = fixture("mistral-sw8");
    finalize(&source, &added).run().unwrap();
    finalize(&source, &skipped).skip_default_tokens(true).run().unwrap();
    let vocab = json(source.join("config.json"))["vocab_size"].as_u64().unwrap();
    let config = json(added.join("config.json"));
    let pad = config["pad_token_id"].as_u64().unwrap();
    assert_eq!(json(added.join("tokenizer_config.json"))["pad_token"], "[PAD]");
    assert_eq!(json(added.join("generation_config.json"))["pad_token_id"], pad);
    assert_eq!(config["vocab_size"].as_u64().unwrap(), vocab.max(pad + 1));
    let row = rows(&added, "model.embed_tokens.weight").swap_remove(pad as usize);
    assert!(row.iter().all(|byte| *byte == 0));
    assert!(json(skipped.join("tokenizer_config.json")).get("pad_token").is_none());
    assert_eq!(contents(&source), contents(&skipped));
    let padded = temp.path().join("padded");
    finalize(&source, &padded).pad_to_multiple(Some(64)).run().unwrap();
    let rounded = json(padded.join("config.json"))["vocab_size"].as_u64().unwrap();
    assert_eq!((rounded % 64, rows(&padded, "lm_head.weight").len() as u64), (0, rounded));
}

#[test]
fn stop_tokens_and_presets_shape_the_generation_config() {
    let (temp, source) = trained("llama-tied");
    let preset = temp.path().join("precise.json");
    std::fs::write(&preset, r#"{"max_tokens": 32, "temperature": 0.2, "comment": "mine"}"#).unwrap();
    let asked = |name: &str| finalize(&source, temp.path().join(name));
    let stops = json(source.join("generation_config.json"))["eos_token_id"].clone();

    let plan = asked("a").stop_tokens(vec!["<|pad|>".to_owned(), "nowhere".to_owned()]).plan().unwrap();
    let generation = plan.generation.unwrap();
    let pad = generation["pad_token_id"].clone();
    assert_eq!(generation["eos_token_id"], json!([stops, pad]));
    assert!(plan.warnings.iter().any(|warning| warning.contains("nowhere")), "{:?}", plan.warnings);

    let tokens = asked("a").add_tokens("chatml").auto_stop_tokens(false).plan().unwrap();
    assert_eq!(tokens.generation.unwrap()["eos_token_id"], stops);

    let mode = GenerationMode::from_word(preset.to_str().unwrap());
    asked("preset").generation_config(mode).run().unwrap();
    let written = json(temp.path().join("preset/generation_config.json"));
    assert_eq!(written["max_new_tokens"], 32);
    assert_eq!((&written["do_sample"], &written["eos_token_id"]), (&json!(true), &stops));
    asked("none").generation_config(GenerationMode::None).run().unwrap();
    assert!(!temp.path().join("none/generation_config.json").exists());
    std::fs::remove_file(source.join("generation_config.json")).unwrap();
    asked("made").run().unwrap();
    let made = json(temp.path().join("made/generation_config.json"));
    assert_eq!(made["eos_token_id"], json(source.join("config.json"))["eos_token_id"]);
}

#[test]
fn what_cannot_be_done_is_said_before_anything_is_written() {
    let (temp, source) = trained("llama-tied");
    let (from, to) = (source.to_str().unwrap().to_owned(), temp.path().join("not").to_str().unwrap().to_owned());
    std::fs::write(
        temp.path().join("loop.jinja"),
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    )
    .unwrap();
    std::fs::write(temp.path().join("tokens.yaml"), "eos_token: 7\n").unwrap();
    let file = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
    for (words, found) in [
        (vec!["-t", &file("gone.jinja")], "gone.jinja"),
        (vec!["-t", &file("loop.jinja")], "loop.jinja"),
        (vec!["--add-tokens", &file("tokens.yaml")], "tokens.yaml:1"),
        (vec!["--generation-config", "no-such-preset"], "no-such-preset"),
        (vec!["--pad-to-multiple", "0"], "--pad-to-multiple"),
        (vec!["--dtype", "int8"], "--dtype"),
        (vec!["-c", "nowhere"], "nowhere"),
    ] {
        let words: Vec<&str> = ["finalize", &from, &to].into_iter().chain(words).collect();
        let said = failure(&words);
        assert!(said.contains(found), "{said}");
    }
    // A plan that could not be carried out is none.
    assert!(failure(&["finalize", &from, &from, "--dry-run"]).contains("the destination exists"));
    assert!(failure(&["finalize", &from, "no/such/folder", "--dry-run"]).contains("mkdir"));
    std::fs::write(source.join("generation_config.json"), "[1]").unwrap();
    assert!(failure(&["finalize", &from, &to]).contains("not a JSON object"));
    assert_eq!(entries(temp.path()), ["loop.jinja", "source", "tokens.yaml"]);
}

#[test]
fn a_folder_without_a_tokenizer_is_finalized_with_a_note() {
    let (temp, source) = trained("llama-tied");
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        std::fs::remove_file(source.join(name)).unwrap();
    }
    let done = finalize(&source, temp.path().join("done")).run().unwrap();
    assert!(done.plan.warnings.iter().any(|warning| warning.contains("unread")), "{:?}", done.plan.warnings);
    let asked = finalize(&source, temp.path().join("not")).add_tokens("chatml");
    assert!(asked.run().unwrap_err().to_string().contains("no tokenizer"));
}

#[test]
fn weights_of_another_model_are_refused() {
    let (temp, source) = trained("llama-tied");
    edit_config(&source, |config| {
        config.insert("num_hidden_layers".to_owned(), json!(4));
    });
    let words = finalize(&source, temp.path().join("not")).dry_run(true).run().unwrap_err().to_string();
    assert!(words.contains("9 missing, 0 unused") && words.contains("checkpoint-1200"), "{words}");
}
