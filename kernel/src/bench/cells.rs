//! The cells that are measured.

use std::path::Path;

/// The language of a cell, and what it can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust with the toolkit, and directives.
    Toolkit,
    /// Rust alone.
    Rust,
    /// Python.
    Python,
}

/// A cell to measure.
pub(super) struct Measured {
    /// Its name in the table.
    pub(super) name: &'static str,
    /// Its budget in milliseconds when warm.
    pub(super) budget: u32,
    rust: &'static str,
    /// Returns whether it needs the toolkit.
    toolkit: bool,
    python: Option<&'static str>,
}

/// The text of a cell: `{n}` is a number that no other cell has, `{model}` a file of weights.
pub(super) fn text(code: &str, number: u32, model: &Path) -> String {
    code.replace("{n}", &number.to_string()).replace("{model}", &model.display().to_string())
}

impl Measured {
    /// Returns the cell, if the language can express it.
    pub(super) fn code(&self, language: Language) -> Option<&'static str> {
        match language {
            Language::Toolkit => Some(self.rust),
            Language::Rust => Some(self.rust).filter(|_| !self.toolkit),
            Language::Python => self.python,
        }
    }
}

const fn plain(name: &'static str, rust: &'static str, python: &'static str) -> Measured {
    Measured { name, budget: 40, rust, toolkit: false, python: Some(python) }
}

const fn toolkit(name: &'static str, budget: u32, rust: &'static str) -> Measured {
    Measured { name, budget, rust, toolkit: true, python: None }
}

pub(super) const CELLS: &[Measured] = &[
    plain("`1 + 1`", "1 + {n}", "1 + {n}"),
    plain("a printed line", "println!(\"{}\", 1 + {n});", "print(1 + {n})"),
    plain("two stored variables", "a1 + a2 + {n}", "a1 + a2 + {n}"),
    toolkit("a model constructed", 100, "project(\"llama\")?.config(\"4M\")?.construct().seed({n}).build()?"),
    toolkit(
        "a candle tensor",
        100,
        "(chandlery::candle::Tensor::arange(0f32, 6., &chandlery::candle::Device::Cpu)?.reshape((2, 3))? * {n}.)?",
    ),
    toolkit(
        "a polars query",
        150,
        "{ use chandlery::polars::prelude::*; let frame = df![\"a\" => [1, 2, 3], \"b\" => [\"x\", \"y\", \"x\"]]?;\n\
         frame.lazy().filter(col(\"a\").lt(lit({n}))).group_by([col(\"b\")]).agg([col(\"a\").sum()]).collect()? }",
    ),
    toolkit("a checkpoint as a frame", 150, "inspect(\"{model}\")?.frame()?.height() + {n}"),
    toolkit("a magic", 2, "%inspect {model}"),
];

/// The first cell: two variables that later cells use.
pub(super) fn first(language: Language) -> &'static str {
    if language == Language::Python { "a1 = 1; a2 = 2" } else { "let a1 = 1; let a2 = 2;" }
}

/// A cell that makes a variable.
pub(super) fn variable(language: Language) -> &'static str {
    match language {
        Language::Python => "a{n} = [a1] * {n}; a{n}.append({n})",
        _ => "let mut a{n} = vec![a1; {n}]; a{n}.push({n});",
    }
}

/// A cell that uses one.
pub(super) fn use_of_one(language: Language) -> &'static str {
    if language == Language::Python { "a3.append({n}); len(a3)" } else { "a3.push({n}); a3.len()" }
}

/// A small file of weights as Llamas name them, two layers: what the magic shows.
pub(super) fn weights() -> Vec<u8> {
    let layer = |layer: usize| {
        let norms = ["input_layernorm", "post_attention_layernorm"].map(|name| (name.to_owned(), vec![64]));
        let square = ["q", "k", "v", "o"].map(|name| (format!("self_attn.{name}_proj"), vec![64, 64]));
        let wide = [("gate", [176, 64]), ("up", [176, 64]), ("down", [64, 176])]
            .map(|(name, shape)| (format!("mlp.{name}_proj"), shape.to_vec()));
        let parts = norms.into_iter().chain(square).chain(wide);
        parts.map(move |(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape))
    };
    let ends = [("model.embed_tokens", vec![256, 64]), ("model.norm", vec![64]), ("lm_head", vec![256, 64])];
    let ends = ends.map(|(name, shape)| (format!("{name}.weight"), shape));
    let mut header = serde_json::Map::new();
    let mut at = 0;
    for (name, shape) in ends.into_iter().chain((0..2).flat_map(layer)) {
        let end = at + 4 * shape.iter().product::<usize>();
        header.insert(name, serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [at, end]}));
        at = end;
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.resize(file.len() + at, 0);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_cells_have_the_same_text() {
        for cell in CELLS.iter().filter(|cell| cell.name != "a magic") {
            for language in [Language::Toolkit, Language::Rust, Language::Python] {
                let Some(code) = cell.code(language) else { continue };
                assert_ne!(text(code, 7, Path::new("m")), text(code, 8, Path::new("m")), "{}", cell.name);
            }
        }
        assert_eq!(text("inspect(\"{model}\")? + {n}", 3, Path::new("/a b")), "inspect(\"/a b\")? + 3");
    }

    #[test]
    fn the_weights_are_a_checkpoint() {
        let folder = std::env::temp_dir().join(format!("chandlery-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("model.safetensors");
        std::fs::write(&file, weights()).unwrap();
        let outcome = chandlery::command::run(&["inspect".to_owned(), file.display().to_string()]).unwrap();
        assert!(outcome.view.plain().contains("q_proj"), "{}", outcome.view.plain());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
