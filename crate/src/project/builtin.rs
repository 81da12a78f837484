//! The projects and tokenizers that ship inside the library.

/// A project's name and its files.
#[derive(Debug)]
pub(super) struct Builtin {
    pub(super) name: &'static str,
    pub(super) files: &'static [(&'static str, &'static str)],
}

macro_rules! project_files {
    ($project:literal: $($file:literal),+ $(,)?) => {
        Builtin {
            name: $project,
            files: &[$(($file, include_str!(concat!("../../projects/", $project, "/", $file)))),+],
        }
    };
}

/// Every built-in project.
pub(super) const PROJECTS: &[Builtin] = &[
    project_files!(
        "llama": "project.yaml", "model.yaml", "configs/4M.yaml", "configs/small.yaml", "configs/medium.yaml",
        "configs/117M.yaml", "configs/default.yaml", "configs/llama2_7b.yaml", "configs/llama3.2_1b.yaml",
        "configs/llama3.1_70b.yaml",
    ),
    project_files!(
        "mistral": "project.yaml", "model.yaml", "configs/4M.yaml", "configs/119M.yaml", "configs/medium.yaml",
        "configs/default.yaml", "configs/7B.yaml", "configs/7B_instruct.yaml",
    ),
    project_files!(
        "qwen3": "project.yaml", "model.yaml", "configs/4M.yaml", "configs/medium.yaml", "configs/default.yaml",
        "configs/8B.yaml",
    ),
    project_files!("mixtral": "project.yaml", "model.yaml", "configs/4M.yaml", "configs/8x7B.yaml"),
    project_files!(
        "qwen3_moe": "project.yaml", "model.yaml", "configs/4M.yaml", "configs/30B_A3B.yaml", "configs/235B_A22B.yaml",
    ),
    project_files!(
        "causal_lm": "project.yaml", "model.yaml", "configs/4M.yaml", "configs/small.yaml", "configs/23M.yaml",
        "configs/117M.yaml", "configs/medium.yaml",
    ),
    project_files!(
        "deepone": "project.yaml", "model.yaml", "configs/4M.yaml", "configs/117M.yaml", "configs/medium.yaml",
        "configs/1_7B.yaml",
    ),
    project_files!("single_head": "project.yaml", "model.yaml", "configs/4M.yaml"),
];

macro_rules! tokenizer_files {
    ($tokenizer:literal) => {
        tokenizer_files!($tokenizer, $tokenizer)
    };
    // The vocabulary of one folder with the configuration of another.
    ($tokenizer:literal, $vocabulary:literal) => {
        ($tokenizer, &[
            tokenizer_files!(@ $vocabulary, "tokenizer.json"),
            tokenizer_files!(@ $tokenizer, "tokenizer_config.json"),
            tokenizer_files!(@ $vocabulary, "special_tokens_map.json"),
        ])
    };
    (@ $tokenizer:literal, $file:literal) => {
        ($file, include_bytes!(concat!("../../projects/tokenizers/", $tokenizer, "/", $file)))
    };
}

type Files = &'static [(&'static str, &'static [u8])];

/// Every built-in tokenizer by name: 0.4 MB in all.
pub(super) const TOKENIZERS: &[(&str, Files)] =
    &[tokenizer_files!("2k"), tokenizer_files!("2k_32k", "2k"), tokenizer_files!("4k"), tokenizer_files!("8k")];
