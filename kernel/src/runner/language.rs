//! Finds the kernel that a notebook was written for, from its metadata.

use serde_json::{Map, Value};

/// Kernels of other languages, by the prefixes of their names, for notebooks that name only the kernel.
const OTHERS: &[&str] =
    &["python", "pypy", "ir", "julia", "bash", "javascript", "deno", "xcpp", "octave", "scala", "sagemath"];

/// Returns the kernel, and its language if it is given, if the notebook is not a Rust notebook. Without metadata it may be one.
pub(super) fn other_kernel(metadata: &Map<String, Value>) -> Option<(String, Option<String>)> {
    let word = |field: &str, name: &str| {
        let word = metadata.get(field)?.get(name)?.as_str()?.trim();
        (!word.is_empty()).then(|| word.to_owned())
    };
    let kernel = word("kernelspec", "name").or_else(|| word("kernelspec", "display_name"));
    // A notebook whose kernel was changed keeps the language of its last run until it runs again.
    let language = word("kernelspec", "language").or_else(|| match &kernel {
        Some(kernel) if is_rust(kernel) => None,
        _ => word("language_info", "name"),
    });
    match (kernel, language) {
        (kernel, Some(language)) => (!language.eq_ignore_ascii_case("rust"))
            .then(|| (kernel.unwrap_or_else(|| language.to_lowercase()), Some(language))),
        (Some(kernel), None) => is_other(&kernel).then_some((kernel, None)),
        (None, None) => None,
    }
}

fn is_rust(kernel: &str) -> bool {
    let kernel = kernel.to_lowercase();
    ["chandlery", "rust", "evcxr"].iter().any(|name| kernel.starts_with(name))
}

fn is_other(kernel: &str) -> bool {
    let kernel = kernel.to_lowercase();
    let word = kernel.trim_end_matches(|c: char| !c.is_alphabetic());
    // `ir` is R's kernel; other names only begin with it.
    OTHERS.iter().any(|name| word == *name || (*name != "ir" && kernel.starts_with(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn other(metadata: Value) -> Option<String> {
        other_kernel(metadata.as_object().unwrap()).map(|(kernel, _)| kernel)
    }

    #[test]
    fn notebooks_of_other_languages_are_recognized() {
        for metadata in [
            json!({"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}),
            json!({"kernelspec": {"name": "python3", "display_name": "Python 3"}}),
            json!({"kernelspec": {"name": "my-env", "display_name": "Mine"}, "language_info": {"name": "python"}}),
            json!({"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}),
            json!({"kernelspec": {"name": "ir"}}),
            json!({"kernelspec": {"name": "julia-1.11"}}),
            json!({"language_info": {"name": "python"}}),
            json!({"kernelspec": {"name": "python3", "language": "python"}, "language_info": {"name": "rust"}}),
        ] {
            assert!(other(metadata.clone()).is_some(), "{metadata}");
        }
        assert_eq!(other(json!({"kernelspec": {"name": "ir", "language": "R"}})).as_deref(), Some("ir"));
        assert_eq!(other(json!({"language_info": {"name": "Python"}})).as_deref(), Some("python"));
    }

    #[test]
    fn rust_notebooks_and_those_without_metadata_run() {
        for metadata in [
            json!({}),
            json!({"kernelspec": {}, "language_info": {}}),
            json!({"kernelspec": 7, "language_info": "x"}),
            json!({"kernelspec": {"name": "chandlery", "display_name": "Rust (Chandlery)", "language": "rust"}}),
            json!({"kernelspec": {"name": "rust", "display_name": "Rust", "language": "rust"}, "language_info": {"name": "Rust"}}),
            json!({"kernelspec": {"name": "evcxr"}, "language_info": {"name": "python"}}),
            json!({"kernelspec": {"name": "chandlery-cuda"}, "language_info": {"name": "python"}}),
            json!({"kernelspec": {"name": "iron"}}),
            json!({"kernelspec": {"name": "mine", "language": "Rust"}, "language_info": {"name": "python"}}),
        ] {
            assert_eq!(other(metadata.clone()), None, "{metadata}");
        }
    }
}
