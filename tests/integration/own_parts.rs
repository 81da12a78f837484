//! Parts that users write: in a program, in a project's folder, and in the cells of a notebook.

use std::path::Path;
use std::process::Output;

use chandlery::candle::DType as CandleType;
use chandlery::model::{Batch, CausalLm, InitialWeights, KvCache};
use chandlery::part::*;
use chandlery::project::{ProjectConfig, project};
use chandlery::spec::ModelSpec;
use chandlery_tests::json;
use tempfile::{TempDir, tempdir};

use crate::command::command as built;

/// y = W₃ (W₁ x · scale · W₂ x), which no built-in part computes.
struct Bilinear {
    left: Linear,
    right: Linear,
    output: Linear,
    shift: Tensor,
}

impl Part for Bilinear {
    const NAME: &str = "bilinear";
    const MIXER: MixerKind = MixerKind::FeedForward;

    fn fields() -> Vec<PartField> {
        vec![PartField::number("bilinear_scale", 2.0).help("Factor on the product")]
    }

    fn parameters(config: &PartConfig) -> Result<Vec<PartParameter>, PartError> {
        let (hidden, inner) = (config.hidden_size(), config.intermediate_size());
        if inner < 2 {
            return Err(config.error("intermediate_size is below 2", "make it larger"));
        }
        Ok(vec![
            PartParameter::linear("left", hidden, inner),
            PartParameter::linear_with_bias("right", hidden, inner),
            PartParameter::linear("output", inner, hidden).init(Init::Normal { std: 0.1, zero_row: None }),
            PartParameter::tensor("shift", &[inner], Init::Constant(0.25)),
        ])
    }

    fn load(_: &PartConfig, weights: &PartWeights) -> Result<Self> {
        Ok(Self {
            left: weights.linear("left")?,
            right: weights.linear("right")?,
            output: weights.linear("output")?,
            shift: weights.tensor("shift")?,
        })
    }

    fn forward(&self, x: &Tensor, context: &PartContext) -> Result<Tensor> {
        let scale = context.config().number("bilinear_scale")?;
        let right = self.right.forward(x)?.broadcast_add(&self.shift)?;
        self.output.forward(&((self.left.forward(x)? * right)? * scale)?)
    }
}

/// Grouped-query attention with a cache, as the built-in part computes it.
struct Again {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
}

impl Part for Again {
    const NAME: &str = "again";
    const MIXER: MixerKind = MixerKind::Attention;
    const CACHES: bool = true;

    fn parameters(config: &PartConfig) -> Result<Vec<PartParameter>, PartError> {
        let hidden = config.hidden_size();
        let width = |heads: usize| heads * config.head_dim();
        let (queries, keys) = (width(config.num_attention_heads()), width(config.num_key_value_heads()));
        Ok(vec![
            PartParameter::linear("query_linear", hidden, queries),
            PartParameter::linear("key_linear", hidden, keys),
            PartParameter::linear("value_linear", hidden, keys),
            PartParameter::linear("output_linear", queries, hidden),
        ])
    }

    fn load(_: &PartConfig, weights: &PartWeights) -> Result<Self> {
        Ok(Self {
            query: weights.linear("query_linear")?,
            key: weights.linear("key_linear")?,
            value: weights.linear("value_linear")?,
            output: weights.linear("output_linear")?,
        })
    }

    fn forward(&self, x: &Tensor, context: &PartContext) -> Result<Tensor> {
        let config = context.config();
        let query = context.rotate(&context.split_heads(&self.query.forward(x)?, config.num_attention_heads())?)?;
        let key = context.rotate(&context.split_heads(&self.key.forward(x)?, config.num_key_value_heads())?)?;
        let value = context.split_heads(&self.value.forward(x)?, config.num_key_value_heads())?;
        let (key, value) = context.cached(key, value)?;
        let mixed = context.attention(&query, &key, &value, 1.0 / (config.head_dim() as f64).sqrt())?;
        self.output.forward(&context.merge_heads(&mixed)?)
    }
}

/// Its backward pass is wrong: it hides half of what it computes from the gradient.
struct Wrong(Linear);

impl Part for Wrong {
    const NAME: &str = "wrong_gradient";
    const MIXER: MixerKind = MixerKind::FeedForward;

    fn parameters(config: &PartConfig) -> Result<Vec<PartParameter>, PartError> {
        Ok(vec![PartParameter::linear("map", config.hidden_size(), config.hidden_size())])
    }

    fn load(_: &PartConfig, weights: &PartWeights) -> Result<Self> {
        weights.linear("map").map(Self)
    }

    fn forward(&self, x: &Tensor, _: &PartContext) -> Result<Tensor> {
        self.0.forward(x)? + self.0.forward(x)?.detach()
    }
}

fn tiny() -> ProjectConfig {
    let config = project("llama").unwrap().config("4M").unwrap();
    [("hidden_size", 32), ("num_hidden_layers", 2), ("num_attention_heads", 4), ("intermediate_size", 48)]
        .into_iter()
        .fold(config, |config, (field, value)| config.set(field, value).unwrap())
        .set("num_key_value_heads", 2)
        .unwrap()
}

fn model(config: &ProjectConfig) -> CausalLm {
    let config = config.render().unwrap();
    let table = ModelSpec::resolve(&config).table(config.dtype);
    let weights = Box::new(InitialWeights::new(&table, 7));
    CausalLm::build(&config, weights, config.dtype, &chandlery::candle::Device::Cpu, true).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(CandleType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn attention_of_ones_own_computes_what_the_built_in_one_does() {
    let (built_in, own) = (model(&tiny()), model(&tiny().part::<Again>().unwrap()));
    let batch = Batch::new(vec![vec![5, 9, 2, 40, 7]]).unwrap();
    let (expected, found) = (built_in.forward(&batch).unwrap(), own.forward(&batch).unwrap());
    // The same names of parameters draw the same values only where the recipe is the same, so outputs are compared after
    // the weights were made equal: queries and keys are drawn alike here.
    assert_eq!(built_in.table().parameters(), own.table().parameters());
    let names =
        |model: &CausalLm| model.parameters().tensors().iter().map(|(path, _)| path.to_string()).collect::<Vec<_>>();
    let (mut ours, mut theirs) = (names(&own), names(&built_in));
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
    let of = |model: &CausalLm, name: &str| {
        model.parameters().variables().into_iter().find(|(path, _)| path.as_str() == name).unwrap().1
    };
    for name in &ours {
        of(&own, name).set(of(&built_in, name).as_tensor()).unwrap();
    }
    let found_equal = own.forward(&batch).unwrap();
    assert_eq!(numbers(&expected), numbers(&found_equal));
    assert_ne!(numbers(&expected), numbers(&found), "the test sees differences");

    let mut cache = KvCache::new();
    let first = own.forward_cached(&Batch::new(vec![vec![5, 9, 2]]).unwrap(), &mut cache).unwrap();
    let rest = own.forward_cached(&Batch::new(vec![vec![40, 7]]).unwrap(), &mut cache).unwrap();
    let cached: Vec<f32> = [numbers(&first), numbers(&rest)].concat();
    let worst = cached.iter().zip(numbers(&expected)).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(worst < 1e-4, "{worst}");
    assert_eq!(own.generate_greedy(&[5, 9], 6, &[]).unwrap(), built_in.generate_greedy(&[5, 9], 6, &[]).unwrap());
}

#[test]
fn a_part_without_a_cache_generates_and_refuses_one() {
    let own = model(&tiny().part::<Bilinear>().unwrap());
    let tokens = own.generate_greedy(&[5, 9], 4, &[]).unwrap();
    let logits = own.forward(&Batch::new(vec![[vec![5, 9], tokens[..3].to_vec()].concat()]).unwrap()).unwrap();
    let best = logits.argmax(D::Minus1).unwrap().flatten_all().unwrap().to_vec1::<u32>().unwrap();
    assert_eq!(tokens, best[1..]);
    let error = own.forward_cached(&Batch::new(vec![vec![1]]).unwrap(), &mut KvCache::new()).unwrap_err();
    assert!(error.to_string().contains("keeps no keys"), "{error}");
}

#[test]
fn wrong_gradients_disagree_with_finite_differences() {
    let check = check_gradients::<Bilinear>(&tiny().part::<Bilinear>().unwrap()).unwrap();
    let names: Vec<&str> = check.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["x", "left.weight", "right.weight", "right.bias", "output.weight", "shift"]);
    assert!(check.passed(), "{check:?}");
    assert!(check_gradients::<Again>(&tiny().part::<Again>().unwrap()).unwrap().passed());
    let wrong = check_gradients::<Wrong>(&tiny().part::<Wrong>().unwrap()).unwrap();
    assert!(wrong.tensors.iter().all(|tensor| tensor.relative_error > 0.1), "{wrong:?}");
}

#[test]
fn fields_of_a_part_are_set_written_and_read_again() {
    let config = tiny().part::<Bilinear>().unwrap().set("bilinear_scale", 0.5).unwrap();
    let rendered = config.render().unwrap();
    let native = rendered.to_native_json(None);
    assert_eq!((&native["feed_forward_type"], &native["bilinear_scale"]), (&"bilinear".into(), &0.5.into()));
    assert_eq!(chandlery::spec::ModelConfig::from_json(&native, "it").unwrap(), rendered);
    let error = config.set("bilinear_scale", "much").unwrap_err().to_string();
    assert!(error.contains("expected a number"), "{error}");
    let error = tiny().set("bilinear_scale", 0.5).unwrap_err().to_string();
    assert!(error.contains("there is no argument `bilinear_scale`"), "{error}");
    let error =
        tiny().part::<Bilinear>().unwrap().set("intermediate_size", 1).unwrap().render().unwrap_err().to_string();
    assert!(error.contains("intermediate_size is below 2; make it larger"), "{error}");
}

#[test]
fn a_model_with_a_part_is_saved_and_loaded() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("out");
    let config = tiny().part::<Bilinear>().unwrap();
    let saved = config.construct().device("cpu").unwrap().output_dir(&folder).save_checkpoint(true).build().unwrap();
    let loaded =
        config.construct().device("cpu").unwrap().seed(9).load_from_checkpoint(&folder).strict(true).build().unwrap();
    let batch = Batch::new(vec![vec![1, 2, 3]]).unwrap();
    let logits = |construction: &chandlery::Construction| {
        numbers(&construction.model.as_ref().unwrap().forward(&batch).unwrap())
    };
    assert_eq!(logits(&saved), logits(&loaded));
    // No class of Python computes it.
    assert!(json(folder.join("config.json")).get("auto_map").is_none());
    assert!(!folder.join("modeling_chandlery.py").exists());
}

/// The source of a part in a project: y = scale · W x.
const SCALED: &str = r#"
use chandlery::part::*;

pub struct Scaled(Linear);

impl Part for Scaled {
    const NAME: &str = "scaled";
    const MIXER: MixerKind = MixerKind::FeedForward;

    fn fields() -> Vec<PartField> {
        vec![PartField::number("map_scale", 1.0).help("Factor on the map"), PartField::word("map_kind", &["plain", "odd"])]
    }

    fn parameters(config: &PartConfig) -> Result<Vec<PartParameter>, PartError> {
        Ok(vec![PartParameter::linear("map", config.hidden_size(), config.hidden_size())])
    }

    fn load(_: &PartConfig, weights: &PartWeights) -> Result<Self> {
        Ok(Self(weights.linear("map")?))
    }

    fn forward(&self, x: &Tensor, context: &PartContext) -> Result<Tensor> {
        self.0.forward(x)? * context.config().number("map_scale")?
    }
}
"#;

/// A copy of the project llama with a part of its own.
fn own_project(part: &str) -> TempDir {
    let temp = tempdir().unwrap();
    assert!(say(temp.path(), &["project", "new", "mine"]).status.success());
    let folder = temp.path().join("mine");
    std::fs::create_dir(folder.join("parts")).unwrap();
    std::fs::write(folder.join("parts/scaled.rs"), part).unwrap();
    let model = std::fs::read_to_string(folder.join("model.yaml")).unwrap();
    let model = model + "feed_forward_type: scaled\nmap_scale: {{ map_scale | default(1.0) | tojson }}\n";
    std::fs::write(folder.join("model.yaml"), model).unwrap();
    temp
}

fn say(folder: &Path, words: &[&str]) -> Output {
    // What is compiled is kept in the test's own folder.
    built().args(words).current_dir(folder).env("XDG_CACHE_HOME", folder.join("cache")).output().unwrap()
}

const TEST: &[&str] = &[
    "-p",
    "mine",
    "-t",
    "4M",
    "model",
    "test",
    "--hidden-size",
    "32",
    "--steps",
    "1",
    "--sequence-length",
    "16",
    "--json",
];

#[test]
fn a_project_brings_a_part_and_its_edits_count() {
    let temp = own_project(SCALED);
    let loss = |words: &[&str]| {
        let said = say(temp.path(), &[TEST, words].concat());
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let report: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
        report["steps"][0]["loss"].as_f64().unwrap_or_else(|| panic!("{report}"))
    };
    let (first, again, other) = (loss(&[]), loss(&["--map-scale", "1.0"]), loss(&["--map-scale", "30.0"]));
    assert_eq!(first, again);
    assert_ne!(first, other);
    let part = temp.path().join("mine/parts/scaled.rs");
    let edited = SCALED
        .replace("* context.config().number(\"map_scale\")?", "* (30.0 * context.config().number(\"map_scale\")?)");
    assert_ne!(edited, SCALED);
    std::fs::write(&part, edited).unwrap();
    assert_eq!(loss(&[]), other, "the edit is compiled");

    let help = say(temp.path(), &["-p", "mine", "-t", "4M", "model", "test", "--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("Factor on the map [default: 1.0]"));
    let fields = say(temp.path(), &["-p", "mine", "project", "fields", "scaled"]);
    let listed = String::from_utf8_lossy(&fields.stdout).into_owned();
    assert!(listed.contains("feed_forward_type: scaled") && listed.contains("plain, odd"), "{listed}");
    let copied = say(temp.path(), &["project", "new", "copy", "--from", "mine"]);
    assert!(copied.status.success() && temp.path().join("copy/parts/scaled.rs").is_file(), "{copied:?}");
}

#[test]
fn a_folder_of_such_a_model_needs_the_project() {
    let temp = own_project(SCALED);
    let words =
        ["-p", "mine", "-t", "4M", "model", "construct", "--hidden-size", "32", "--device", "cpu", "--save-checkpoint"];
    assert!(say(temp.path(), &[&words[..], &["--output-dir", "out"]].concat()).status.success());
    assert!(temp.path().join("out/parts/scaled.rs").is_file(), "the source goes along");
    let alone = say(temp.path(), &["finalize", "out", "final"]);
    let text = String::from_utf8_lossy(&alone.stderr).into_owned();
    assert!(
        alone.status.code() == Some(1) && text.contains("feed_forward_type `scaled`") && text.contains("(-p)"),
        "{text}"
    );
    let with = say(temp.path(), &["-p", "mine", "finalize", "out", "final"]);
    assert!(with.status.success(), "{}", String::from_utf8_lossy(&with.stderr));
    let compared = say(temp.path(), &["-p", "mine", "compare", "out", "final"]);
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stderr));
}

#[test]
fn what_is_wrong_with_a_part_is_said_with_its_line() {
    for (text, expected) in [
        (SCALED.replace("&self, x: &Tensor", "&self, x: &Tensorr"), &["error[E0425]", "parts/scaled.rs:22"][..]),
        (SCALED.replace("fn load(", "fn load(("), &["error: mismatched closing delimiter", "parts/scaled.rs:1"]),
        ("pub struct Nothing;".to_owned(), &["the part cannot be used: it does not have an `impl Part for"]),
        (
            SCALED.replace("\"map_scale\", 1.0", "\"hidden_size\", 1.0"),
            &["field `hidden_size` is a field of every model"],
        ),
        (SCALED.replace("\"scaled\"", "\"mlp\""), &["`mlp` cannot be the name of a part"]),
        (
            SCALED.replace("number(\"map_scale\")", "number(\"map_scal\")"),
            &["reads the field `map_scal`", "map_scale, map_kind"],
        ),
        (SCALED.replace("linear(\"map\")", "linear(\"mop\")"), &["no parameter `mop`; it has: map"]),
        (
            SCALED.replace("self.0.forward(x)? *", "self.0.forward(x)?.sum_keepdim(2)? *"),
            &["makes [2, 16, 1] of x [2, 16, 32]"],
        ),
    ] {
        let temp = own_project(&text);
        let said = say(temp.path(), TEST);
        let error = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(1), "{error}");
        assert!(!error.contains("panicked"), "{error}");
        for word in expected {
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}

#[test]
fn fields_of_a_part_are_checked_like_others() {
    let temp = own_project(SCALED);
    for (line, expected) in [
        ("map_scal: 2.0", "field `map_scal` is not supported; did you mean `map_scale`?"),
        ("map_kind: even", "`map_kind` is \"even\", expected one of plain, odd"),
        ("attention_type: scaled", "attention_type `scaled` is not supported"),
    ] {
        let file = temp.path().join("mine/model.yaml");
        let before = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{before}{line}\n")).unwrap();
        let said = say(temp.path(), TEST);
        let error = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.code() == Some(1) && error.contains(expected), "{line}: {error}");
        std::fs::write(&file, before).unwrap();
    }
}
