//! Families that are not built in: files, folders and Rust values, in both directions, and what they get wrong.

use std::path::{Path, PathBuf};

use chandlery::checkpoint::{Checkpoint, IndexBox, Piece, ShardPlan, Strides};
use chandlery::compare;
use chandlery::compare::compare_with_reference;
use chandlery::convert::Convert;
use chandlery::device::Device;
use chandlery::naming::{Families, Family, FamilyError, Rule};
use chandlery::spec::Naming;
use chandlery::{convert, finalize, project};
use chandlery_tests::{copy_of, edit_config, edit_header, entries, fixture, json, without_lists};
use serde_json::json;
use tempfile::tempdir;

fn gpt2_yaml() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("notebooks/converters/gpt2.yaml")
}

fn gpt2_text() -> String {
    std::fs::read_to_string(gpt2_yaml()).unwrap()
}

fn with_gpt2(source: impl AsRef<Path>, destination: impl AsRef<Path>) -> Convert {
    convert(source, destination).converter_path(gpt2_yaml())
}

fn contents(folder: &Path) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let read = |path: &chandlery::spec::ParamPath| checkpoint.read(path).unwrap();
    let rows = checkpoint.table().rows().iter();
    rows.map(|row| (row.path.to_string(), row.shape.clone(), read(&row.path).bytes)).collect()
}

/// The message of an error, without the folder that this repository lies in.
fn said(error: impl std::fmt::Display, temp: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    without_lists(
        &error.to_string().replace(temp.to_str().unwrap(), "[temp]").replace(root.to_str().unwrap(), "[root]"),
    )
}

#[test]
fn gpt2_converts_both_ways_with_transposed_split_matrices() {
    let temp = tempdir().unwrap();
    let (native, back) = (temp.path().join("native"), temp.path().join("back"));
    let there = with_gpt2(fixture("families/gpt2"), &native).generation_test(true).run().unwrap();
    assert!(there.passed() && there.to == Naming::Native);
    assert!(there.logits.as_ref().unwrap().max_abs() < 1e-4);
    let proof = there.proof.as_ref().unwrap();
    // Two layers with six matrices and the three biases that one bias splits into.
    assert_eq!((proof.tensors.len(), proof.bit_identical()), (2 * 16 + 4, 2 * 7 + 4));
    assert!(proof.lost.is_empty());
    assert_eq!(there.plan.tensors(), 36);
    let config = json(native.join("config.json"));
    assert_eq!((&config["hf_model_type"], &config["intermediate_size"]), (&json!("gpt2"), &json!(128)));

    let again = with_gpt2(&native, &back).run().unwrap();
    assert!(again.passed() && again.to == Naming::HuggingFace);
    assert_eq!(contents(&fixture("families/gpt2")), contents(&back));
    assert_eq!(json(fixture("families/gpt2").join("config.json")), json(back.join("config.json")));
}

#[test]
fn logits_of_gpt2_are_those_of_transformers_on_both_sides() {
    let temp = tempdir().unwrap();
    let native = temp.path().join("native");
    with_gpt2(fixture("families/gpt2"), &native).run().unwrap();
    let families = Families::with_paths([gpt2_yaml()]).unwrap();
    let file = fixture("families/gpt2").join("reference.safetensors");
    for folder in [fixture("families/gpt2"), native.clone()] {
        for diff in compare_with_reference(&folder, &file, Device::Cpu, &families).unwrap() {
            assert!(diff.max_abs() < 1e-3, "{}: {}", folder.display(), diff.max_abs());
        }
    }
    let diff = compare(fixture("families/gpt2"), &native).families(families).by_layer(true).run().unwrap();
    assert_eq!(diff.max_abs(), 0.0);
}

#[test]
fn gpt2_in_shards_and_in_another_type_still_validates() {
    let temp = tempdir().unwrap();
    let native = temp.path().join("native");
    let bf16 = chandlery::spec::DType::BF16;
    let cast = with_gpt2(fixture("families/gpt2"), &native).dtype(Some(bf16)).max_shard_size(30_000).run().unwrap();
    assert!(cast.passed());
    assert!(native.join("model.safetensors.index.json").exists());
    assert!(Checkpoint::open(&native).unwrap().table().rows().iter().all(|row| row.dtype == bf16));
    let back = temp.path().join("back");
    assert!(with_gpt2(&native, &back).run().unwrap().passed());
    assert_eq!(json(back.join("config.json"))["dtype"], "bfloat16");
    assert_eq!(json(back.join("config.json"))["summary_type"], "cls_index");
}

/// OpenAI's own files leave the first word out and keep the causal mask.
#[test]
fn other_spellings_and_masks_of_old_gpt2_files_are_read() {
    let temp = tempdir().unwrap();
    let folder = copy_of("families/gpt2", temp.path());
    edit_header(&folder.join("model.safetensors"), |header| {
        let names: Vec<String> = header.keys().cloned().collect();
        for name in names {
            if let Some(short) = name.strip_prefix("transformer.") {
                let entry = header.remove(&name).unwrap();
                header.insert(short.to_owned(), entry);
            }
        }
        let vector = header["ln_f.bias"].clone();
        // Not a mask, but called like one.
        header.insert("h.0.attn.masked_bias".to_owned(), vector);
        header.remove("ln_f.bias");
    });
    let refused = with_gpt2(&folder, temp.path().join("native")).run().unwrap_err().to_string();
    assert!(refused.contains("missing: `transformer.ln_f.bias`"), "{refused}");
    edit_header(&folder.join("model.safetensors"), |header| {
        let vector = header.remove("h.0.attn.masked_bias").unwrap();
        header.insert("ln_f.bias".to_owned(), vector);
    });
    assert!(with_gpt2(&folder, temp.path().join("native")).run().unwrap().passed());
}

#[test]
fn sizes_of_a_split_that_are_not_the_models_are_located() {
    let temp = tempdir().unwrap();
    let wrong = gpt2_text().replace(
        "sizes: [hidden_size, hidden_size, hidden_size]",
        "sizes: [hidden_size, hidden_size // 2, hidden_size]",
    );
    let family = Family::from_yaml(&wrong, "gpt2.yaml").unwrap();
    let error = convert(fixture("families/gpt2"), temp.path().join("native")).family(family).run().unwrap_err();
    insta::assert_snapshot!(said(error, temp.path()));
    assert!(entries(temp.path()).is_empty());
}

#[test]
fn a_table_of_positions_has_the_length_it_has() {
    let temp = tempdir().unwrap();
    let error = with_gpt2(fixture("families/gpt2"), temp.path().join("native")).max_length(Some(20)).run().unwrap_err();
    assert!(error.to_string().contains("a trained row for each of 48 positions"), "{error}");
}

/// The judge knows nothing of the rules: queries and keys that change places have all the right names and shapes.
#[test]
fn logits_reveal_rules_that_swap_queries_and_keys() {
    let temp = tempdir().unwrap();
    let wrong = gpt2_text().replace(
        "['query_linear.', 'key_linear.', 'value_linear.']",
        "['key_linear.', 'query_linear.', 'value_linear.']",
    );
    assert_ne!(wrong, gpt2_text());
    let family = Family::from_yaml(&wrong, "gpt2.yaml").unwrap();
    let conversion = convert(fixture("families/gpt2"), temp.path().join("native")).family(family).run().unwrap();
    assert!(!conversion.passed() && conversion.proof().unwrap().different().next().is_none());
    assert_eq!(conversion.logit_diff().unwrap().first_divergent_layer(), Some(0));
    assert!(entries(temp.path()).is_empty());
}

#[test]
fn without_a_reference_only_bits_are_proven() {
    let temp = tempdir().unwrap();
    let text = gpt2_text();
    let family = Family::from_yaml(&text[..text.find("reference:\n").unwrap()], "gpt2.yaml").unwrap();
    let conversion = convert(fixture("families/gpt2"), temp.path().join("native")).family(family).run().unwrap();
    assert!(conversion.passed() && conversion.logits.is_none());
    let text = chandlery::display::View::view(&conversion).plain().to_owned();
    assert!(text.contains("logits were NOT compared: the family gpt2 has no `reference:` section"), "{text}");
}

#[test]
fn the_way_back_names_the_family_that_it_needs() {
    let temp = tempdir().unwrap();
    let native = temp.path().join("native");
    with_gpt2(fixture("families/gpt2"), &native).run().unwrap();
    edit_config(&native, |config| drop(config.insert("hf_model_type".to_owned(), json!("gpt2_of_mine"))));
    let error = convert(&native, temp.path().join("back")).run().unwrap_err();
    insta::assert_snapshot!(said(error, temp.path()));
}

#[test]
fn what_is_not_covered_is_refused_with_the_line_that_says_so() {
    let temp = tempdir().unwrap();
    let mut texts = Vec::new();
    for (field, value) in [
        ("activation_function", json!("tanh")),
        ("scale_attn_by_inverse_layer_idx", json!(true)),
        ("n_layer", json!(null)),
        ("n_embd", json!("wide")),
    ] {
        let folder = copy_of("families/gpt2", temp.path());
        edit_config(&folder, |config| drop(config.insert(field.to_owned(), value)));
        let error = with_gpt2(&folder, temp.path().join("native")).run().unwrap_err();
        texts.push(said(error, temp.path()));
    }
    insta::assert_snapshot!(texts.join("\n\n"));
}

#[test]
fn a_model_that_never_was_a_gpt2_becomes_one_if_it_can() {
    let temp = tempdir().unwrap();
    let (native, hf, again) = (temp.path().join("native"), temp.path().join("hf"), temp.path().join("again"));
    let plain = temp.path().join("plain");
    with_gpt2(fixture("families/gpt2"), &native).run().unwrap();
    edit_config(&native, |config| {
        config.remove("hf_model_type");
        config.remove("hf_source_config");
    });
    let undecided = with_gpt2(&native, &hf).run().unwrap_err();
    let made = with_gpt2(&native, &hf).model_type(Some("gpt2".to_owned())).run().unwrap();
    assert!(made.passed());
    let config = json(hf.join("config.json"));
    assert_eq!((&config["n_inner"], &config["activation_function"]), (&json!(128), &json!("gelu_new")));
    assert_eq!(config["architectures"], json!(["GPT2LMHeadModel"]));
    assert!(with_gpt2(&hf, &again).run().unwrap().passed());

    // Sines and post-norm are beyond it.
    let built = project("causal_lm").unwrap().config("4M").unwrap().num_hidden_layers(1).unwrap();
    built.construct().device("cpu").unwrap().save_checkpoint(true).output_dir(&plain).build().unwrap();
    let beyond = with_gpt2(&plain, temp.path().join("no")).model_type(Some("gpt2".to_owned())).run().unwrap_err();
    insta::assert_snapshot!([said(undecided, temp.path()), said(beyond, temp.path())].join("\n\n"));
}

/// Llama as Meta publishes it: other names, other fields, and rotary pairs side by side in the rows of queries and keys.
const META: &str = r"
family: meta_llama
hugging_face: { class: LlamaForCausalLM }
native: { architecture: llama }
config:
  - { hf: dim, native: hidden_size }
  - { hf: n_layers, native: num_hidden_layers }
  - { hf: n_heads, native: num_attention_heads }
  - { hf: n_kv_heads, native: num_key_value_heads, default: n_heads }
  - { hf: hidden_dim, native: intermediate_size }
  - { hf: norm_eps, native: rms_norm_eps }
  - { hf: rope_theta, native: rope_parameters.rope_theta, default: '10000.0' }
  - { hf: max_seq_len, native: max_position_embeddings }
to_native:
  - { match: 'tok_embeddings\.', replace: 'causal_lm.input_encoder.embedding.' }
  - { match: 'norm\.', replace: 'causal_lm.layer_norm.' }
  - { match: 'output\.', replace: 'lm_head.' }
  - match: 'layers\.(\d+)\.'
    replace: 'causal_lm.layer_stack.layers.$1.'
    inside:
      - { match: 'attention_norm\.', replace: 'norm1.' }
      - { match: 'ffn_norm\.', replace: 'norm2.' }
      - match: 'attention\.'
        replace: 'attention.'
        inside:
          - match: 'wq\.'
            replace: 'query_linear.'
            permute: { rows: [num_attention_heads, head_dim // 2, '2'], order: [0, 2, 1] }
          - match: 'wk\.'
            replace: 'key_linear.'
            permute: { rows: [num_key_value_heads, head_dim // 2, '2'], order: [0, 2, 1] }
          - { match: 'wv\.', replace: 'value_linear.' }
          - { match: 'wo\.', replace: 'output_linear.' }
      - match: 'feed_forward\.'
        replace: 'feedforward.'
        inside:
          - { match: 'w1\.', replace: 'gate_proj.' }
          - { match: 'w2\.', replace: 'down_proj.' }
          - { match: 'w3\.', replace: 'up_proj.' }
reference:
  width: dim
  layers: n_layers
  heads: n_heads
  kv_heads: n_kv_heads
  norm: { kind: rms_norm, eps: norm_eps }
  activation: silu
  positions: rotary_neighbors
  tensors:
    embedding: tok_embeddings
    attention_norm: 'layers.{layer}.attention_norm'
    query: { tensor: 'layers.{layer}.attention.wq' }
    key: { tensor: 'layers.{layer}.attention.wk' }
    value: { tensor: 'layers.{layer}.attention.wv' }
    output: { tensor: 'layers.{layer}.attention.wo' }
    feedforward_norm: 'layers.{layer}.ffn_norm'
    gate: { tensor: 'layers.{layer}.feed_forward.w1' }
    up: { tensor: 'layers.{layer}.feed_forward.w3' }
    down: { tensor: 'layers.{layer}.feed_forward.w2' }
    final_norm: norm
    head: output
";

#[test]
fn rotary_pairs_side_by_side_are_permuted_there_and_back() {
    let temp = tempdir().unwrap();
    let (native, meta, again) = (temp.path().join("native"), temp.path().join("meta"), temp.path().join("again"));
    let family = Family::from_yaml(META, "meta.yaml").unwrap();
    convert(fixture("llama-gqa"), &native).run().unwrap();
    let out = convert(&native, &meta).family(family.clone()).model_type(Some("meta_llama".to_owned())).run().unwrap();
    // The reference turns neighbors, the model halves: only the right order of rows makes them agree.
    assert!(out.passed(), "{:?}", out.logits.as_ref().map(|logits| logits.max_abs()));
    let permuted = Checkpoint::open(&meta).unwrap().read(&"layers.0.attention.wq.weight".into()).unwrap();
    let straight = Checkpoint::open(fixture("llama-gqa")).unwrap();
    let straight = straight.read(&"model.layers.0.self_attn.q_proj.weight".into()).unwrap();
    // Row 1 of the first head is the partner of row 0: row 4 of eight in the order of halves.
    let row = |bytes: &[u8], row: usize| bytes[row * 64 * 4..][..64 * 4].to_vec();
    assert_eq!(row(&permuted.bytes, 1), row(&straight.bytes, 4));
    let config = json(meta.join("config.json"));
    assert_eq!(
        (&config["dim"], &config["n_kv_heads"], &config["model_type"]),
        (&json!(64), &json!(2), &json!("meta_llama"))
    );

    assert!(convert(&meta, &again).family(family.clone()).run().unwrap().passed());
    assert_eq!(contents(&native), contents(&again));

    // Without the permutation names and shapes fit as well; the logits do not.
    let lines: Vec<&str> = META.lines().filter(|line| !line.contains("permute:")).collect();
    let wrong = Family::from_yaml(&lines.join("\n"), "meta.yaml").unwrap();
    let conversion = convert(&meta, temp.path().join("wrong")).family(wrong).run().unwrap();
    assert!(!conversion.passed());
}

#[test]
fn a_family_made_in_rust_splits_one_tensor_and_joins_two() {
    let temp = tempdir().unwrap();
    let attention = Rule::new(r"self_attn\.", "attention.")
        .inside([Rule::split(r"qkv_proj\.", ["query_linear.", "key_linear.", "value_linear."])]);
    let mlp = Rule::new(r"mlp\.", "feedforward.")
        .inside([Rule::join([r"up_a\.", r"up_b\."], "up_proj.")
            .sizes(["intermediate_size // 4", "3 * intermediate_size // 4"])]);
    let layers = Rule::new(r"layers\.(\d+)\.", "layer_stack.layers.$1.").inside([attention, mlp]);
    let fused = Family::builder("fused_llama")
        .extends("llama")
        .class("FusedLlama")
        .rule(Rule::new(r"model\.", "causal_lm.").inside([layers]))
        .build()
        .unwrap();
    // A join needs no more than the way back of a split, and the other way round.
    for name in ["llama-gqa", "llama-bias"] {
        let native = temp.path().join(format!("{name}-native"));
        let (hf, again) = (temp.path().join(format!("{name}-hf")), temp.path().join(format!("{name}-again")));
        convert(fixture(name), &native).run().unwrap();
        let asked = Some("fused_llama".to_owned());
        let out = convert(&native, &hf).family(fused.clone()).model_type(asked).run().unwrap();
        assert!(out.passed() && out.logits_skipped.is_some());
        let table = Checkpoint::open(&hf).unwrap();
        let shape = |name: &str| table.table().get(&name.into()).unwrap().shape.clone();
        assert_eq!(shape("model.layers.1.self_attn.qkv_proj.weight"), [64 + 16 + 16, 64]);
        assert_eq!(
            (shape("model.layers.1.mlp.up_a.weight"), shape("model.layers.1.mlp.up_b.weight")),
            (vec![40, 64], vec![120, 64])
        );
        assert_eq!(json(hf.join("config.json"))["architectures"], json!(["FusedLlama"]));
        convert(&hf, &again).family(fused.clone()).run().unwrap();
        assert_eq!(contents(&native), contents(&again), "{name}");
    }
}

#[test]
fn construct_loads_a_folder_of_a_family_that_is_given() {
    let temp = tempdir().unwrap();
    let (native, meta) = (temp.path().join("native"), temp.path().join("meta"));
    let family = Family::from_yaml(META, "meta.yaml").unwrap();
    convert(fixture("llama-gqa"), &native).run().unwrap();
    convert(&native, &meta).family(family.clone()).model_type(Some("meta_llama".to_owned())).run().unwrap();
    let config = project("llama").unwrap().config("4M").unwrap();
    let config = config.hidden_size(64).unwrap().num_hidden_layers(3).unwrap().num_attention_heads(8).unwrap();
    let config = config.num_key_value_heads(Some(2)).unwrap().intermediate_size(160).unwrap().vocab_size(1024).unwrap();
    let families = Families::built_in().unwrap().with(family);
    let load = |folder: &Path, families: Families| {
        let construct = config.clone().construct().device("cpu").unwrap().families(families);
        construct.load_from_checkpoint(folder).strict(true).build().unwrap().model.unwrap()
    };
    let (from_meta, from_native) = (load(&meta, families), load(&native, Families::built_in().unwrap()));
    let bytes = |model: &chandlery::model::CausalLm| -> Vec<Vec<f32>> {
        let values = model.parameters().tensors().into_iter();
        values.map(|(_, tensor)| tensor.flatten_all().unwrap().to_vec1().unwrap()).collect()
    };
    assert_eq!(bytes(&from_meta), bytes(&from_native));
}

#[test]
fn finalize_takes_folders_of_a_family_that_is_given() {
    let temp = tempdir().unwrap();
    let families = Families::with_paths([gpt2_yaml()]).unwrap();
    let (source, done) = (fixture("families/gpt2"), temp.path().join("done"));
    finalize(&source, &done).families(families.clone()).skip_default_tokens(true).root_copy(true).run().unwrap();
    assert_eq!(contents(&source), contents(&done));
    assert_eq!(compare(&source, &done).families(families).run().unwrap().max_abs(), 0.0);
    let source = copy_of("families/gpt2", temp.path());
    edit_config(&source, |config| drop(config.insert("model_type".to_owned(), json!("gpt2_of_mine"))));
    // Without the family its tensors are copied as they are.
    let unknown = finalize(&source, temp.path().join("copied")).root_copy(true).run().unwrap();
    assert!(unknown.plan.warnings.iter().any(|warning| warning.contains("no family describes")), "{unknown:?}");
    assert_eq!(contents(&source), contents(&temp.path().join("copied")));
}

#[test]
fn faults_of_a_yaml_are_said_with_line_and_column() {
    let cases = [
        ("an unknown key", "family: x\nto_nativ: []\n"),
        ("a bad pattern", "family: x\nextends: llama\nto_native:\n  - { match: 'a(', replace: 'b' }\n"),
        (
            "no inverse",
            "family: x\nextends: llama\nto_native:\n  - match: 'a\\.'\n    replace: 'b.'\n    inside:\n      - { match: '.*', replace: 'c' }\n",
        ),
        ("a group that is lost", "family: x\nextends: llama\nto_native:\n  - { match: 'a(\\d)', replace: 'b' }\n"),
        (
            "an expression",
            "family: x\nnative: { architecture: llama }\nconfig:\n  - { hf: a, native: b, default: '4 *' }\n",
        ),
        ("an architecture", "family: x\nnative: { architecture: lama }\n"),
        ("no mapping", "family: x\nnative: { architecture: causal_lm }\n"),
        ("no parent", "family: x\nextends: y\n"),
        (
            "sizes",
            "family: x\nextends: llama\nto_native:\n  - { match: 'a', replace: [b, c], sizes: ['1', '2', '3'] }\n",
        ),
        (
            "an order",
            "family: x\nextends: llama\nto_native:\n  - { match: 'a', replace: b, permute: { rows: ['2', '3'], order: [0, 2] } }\n",
        ),
        ("no YAML", "family: x\nto_native: [\n"),
        (
            "a reference",
            "family: x\nextends: llama\nreference: { width: a, layers: b, heads: c, positions: somewhere }\n",
        ),
    ];
    let said = cases.map(|(what, yaml)| format!("{what}:\n{}", Family::from_yaml(yaml, "my.yaml").unwrap_err()));
    insta::assert_snapshot!(without_lists(&said.join("\n\n")));
}

#[test]
fn rules_that_merge_two_names_are_refused() {
    let temp = tempdir().unwrap();
    let yaml = "family: llama\nextends: llama\nto_native:\n  - match: 'model\\.'\n    replace: 'causal_lm.'\n    inside:\n      - { match: 'embed_tokens\\.', replace: 'layer_norm.' }\n";
    let family = Family::from_yaml(yaml, "two.yaml").unwrap();
    let error = convert(fixture("llama-gqa"), temp.path().join("native")).family(family).run().unwrap_err();
    insta::assert_snapshot!(said(error, temp.path()));
}

#[test]
fn folders_of_families_are_searched_and_may_extend_each_other() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("converters");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("notes.yaml"), "title: no family\n").unwrap();
    let nothing = Families::with_paths([&folder]).unwrap_err();
    std::fs::write(folder.join("a.yaml"), "# a child\nfamily: child\nextends: parent\n").unwrap();
    std::fs::write(folder.join("b.yaml"), "family: parent\nextends: qwen3\nhugging_face: { model_type: qwen_3 }\n")
        .unwrap();
    let families = Families::with_paths([&folder]).unwrap();
    let child = families.of_type("child").unwrap();
    assert_eq!((child.architecture().name(), families.of_type("qwen_3").unwrap().name()), ("qwen3", "parent"));
    std::fs::write(folder.join("c.yaml"), "family: child\nextends: llama\n").unwrap();
    let twice = Families::with_paths([&folder]).unwrap_err();
    std::fs::write(folder.join("c.yaml"), "family: one\nextends: two\n").unwrap();
    std::fs::write(folder.join("d.yaml"), "family: two\nextends: one\n").unwrap();
    let circle = Families::with_paths([&folder]).unwrap_err();
    std::fs::write(folder.join("big.yaml"), format!("family: big\n#{}\n", "x".repeat(2 << 20))).unwrap();
    let big = Families::with_paths([folder.join("big.yaml")]).unwrap_err();
    let absent = Families::with_paths([folder.join("nowhere")]).unwrap_err();
    let all = [nothing, twice, circle, big, absent];
    assert!(matches!(all[0], FamilyError::File { .. }));
    insta::assert_snapshot!(all.map(|error| said(error, temp.path())).join("\n\n"));
}

#[test]
fn gathered_pieces_are_cut_transposed_and_cast() {
    let temp = tempdir().unwrap();
    let file = temp.path().join("model.safetensors");
    let numbers: Vec<u8> = (0..24).flat_map(|n| (n as f32).to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![4, 6], &numbers).unwrap();
    std::fs::write(&file, safetensors::serialize([("a", view)], None).unwrap()).unwrap();
    let source = Checkpoint::open(&file).unwrap();
    // The transpose of columns 1 to 4, its rows in reverse pairs: 2, 1, 4, 3.
    let part = |from: usize, to: usize| IndexBox {
        tensor: "a".into(),
        sizes: vec![2, 4],
        from: Strides { start: from, steps: vec![2, 6] },
        to: Strides { start: to, steps: vec![8, 1] },
    };
    let gathered = Piece::Gathered { elements: 16, boxes: vec![part(2, 0), part(1, 4)] };
    let row = chandlery::spec::TensorRow::stored("b".into(), vec![4, 4], chandlery::spec::DType::F64);
    let copy = chandlery::checkpoint::CheckpointCopy::new(&source, [("b".into(), vec![gathered])].into());
    let out = temp.path().join("out");
    std::fs::create_dir(&out).unwrap();
    ShardPlan::new([row], u64::MAX).write(&out, &copy).unwrap();
    let bytes = Checkpoint::open(&out).unwrap().read(&"b".into()).unwrap().bytes;
    let found: Vec<f64> = bytes.chunks(8).map(|raw| f64::from_le_bytes(raw.try_into().unwrap())).collect();
    assert_eq!(found, [2, 8, 14, 20, 1, 7, 13, 19, 4, 10, 16, 22, 3, 9, 15, 21].map(f64::from));

    let beyond = Piece::Gathered { elements: 16, boxes: vec![part(8, 0)] };
    let row = chandlery::spec::TensorRow::stored("b".into(), vec![4, 4], chandlery::spec::DType::F32);
    let copy = chandlery::checkpoint::CheckpointCopy::new(&source, [("b".into(), vec![beyond])].into());
    let other = temp.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let error = ShardPlan::new([row], u64::MAX).write(&other, &copy).unwrap_err();
    assert!(error.to_string().contains("smaller than the requested part"), "{error}");
}
