//! Errors are values of what, where and what to do: every one of them, until the outermost edge renders it.

use serde_json::Value;
use tempfile::tempdir;

use crate::command::say;
use crate::layering::texts;

/// The source without its tests and comments.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// What `#[error(…)]` says in a source, except that a diagnostic or the error inside is the text.
fn texts_of_their_own(text: &str) -> Vec<String> {
    let code = code(text);
    let attributes = code.split("#[error(").skip(1).map(|rest| rest.split(")]").next().unwrap().trim().to_owned());
    attributes.filter(|said| said != "transparent" && said != "\"{}\", self.diagnostic()").collect()
}

#[test]
fn every_error_is_rendered_from_its_diagnostic() {
    let mut errors = 0;
    for (file, text) in texts().into_iter().filter(|(file, _)| file.starts_with("crate/src/")) {
        let code = code(&text);
        let item = |line: &&str| ["pub ", "struct ", "enum "].iter().any(|word| line.starts_with(word));
        let items = code.split("thiserror::Error)]").skip(1).filter_map(|rest| rest.lines().find(item));
        let public = items.filter(|item| item.starts_with("pub ")).count();
        if public > 0 {
            errors += public;
            assert_eq!(texts_of_their_own(&text), Vec::<String>::new(), "{file}");
            assert_eq!(code.matches("impl Diagnose for ").count(), public, "{file}");
        }
    }
    assert!(errors >= 18, "{errors}");
    assert_eq!(texts_of_their_own("#[error(\"{what}\\n  do: {advice}\")]").len(), 1);
    assert_eq!(texts_of_their_own("#[error(transparent)]"), Vec::<String>::new());
}

/// The places of a source that take an error's text apart, or put one together by hand.
fn faults(text: &str) -> Vec<String> {
    let code = code(text);
    // A chain of calls stands on one line.
    let code: String = code
        .lines()
        .map(|line| match line.trim_start().starts_with('.') {
            true => line.trim_start().to_owned(),
            false => format!("\n{line}"),
        })
        .collect();
    let taking = ["lines", "split", "replace", "strip_", "trim_", "find", "starts_with", "ends_with"];
    let names = ["error", "err", "fault", "failure", "problem"];
    let apart = |line: &str| {
        names.iter().any(|name| taking.iter().any(|take| line.contains(&format!("{name}.to_string().{take}"))))
    };
    let by_hand = |line: &str| ["  where: ", "  do: ", "\"where:", "\"do:"].iter().any(|part| line.contains(part));
    code.lines().filter(|line| apart(line) || by_hand(line)).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn no_source_takes_the_text_of_an_error_apart() {
    for (file, text) in texts() {
        // The one that renders, and reads the texts of other crates.
        if file != "crate/src/diagnostic.rs" {
            assert_eq!(faults(&text), Vec::<String>::new(), "{file}");
        }
    }
    for planted in [
        "let first = error.to_string().lines().next();",
        "let first = error\n    .to_string()\n    .split_once('\\n');",
        "Err(error) => error.to_string().replace(\"a\", \"b\")",
        "let text = format!(\"{what}\\n  where: {place}\\n  do: {advice}\");",
    ] {
        assert_eq!(faults(planted).len(), 1, "{planted}");
    }
    assert_eq!(faults("let first = error.diagnostic().what;"), Vec::<String>::new());
}

#[test]
fn failed_commands_report_the_fault_as_json_fields() {
    let temp = tempdir().unwrap();
    let gone = temp.path().join("gone");
    let out = temp.path().join("out");
    let (gone, out) = (gone.to_str().unwrap(), out.to_str().unwrap());
    for words in [&["inspect", gone][..], &["convert", gone, out], &["compare", gone, gone], &["finalize", gone, out]] {
        let said = say(&[words, &["--json"]].concat());
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        let report: Value = serde_json::from_slice(&said.stdout).unwrap();
        let error = &report["error"];
        assert!(error["kind"].as_str().unwrap().ends_with("Error"), "{report:#}");
        assert!(error["origin"].as_str().unwrap().contains("gone"), "{report:#}");
        let text = String::from_utf8(said.stderr).unwrap();
        let [what, origin, advice] = ["what", "origin", "advice"].map(|key| error[key].as_str().unwrap());
        assert_eq!(text, format!("error: {what}\n  where: {origin}\n  do: {advice}\n"));
        // Without `--json` standard output stays empty.
        assert!(say(words).stdout.is_empty());
    }
}

#[test]
fn wrong_words_are_reported_as_json_as_well() {
    let cases: [(&[&str], &str, &str); 4] = [
        (&["convert", "a", "b", "--dtyp", "float32"], "--dtyp", "did you mean `--dtype`?"),
        (&["finalize", "a", "b", "--gguf-type", "q8_0"], "--format gguf", "give both"),
        (&["run", "a.ipynb", "--atol", "1"], "not provided", "--help"),
        (&["run", "a.ipynb", "b.ipynb", "-o", "c.ipynb"], "", ""),
    ];
    for (words, part, advice) in cases {
        let said = say(&[words, &["--json"]].concat());
        assert_eq!(said.status.code(), Some(2), "{said:?}");
        let report: Value = serde_json::from_slice(&said.stdout).unwrap();
        let error = &report["error"];
        assert_eq!(error["kind"], "UsageError", "{report:#}");
        assert!(error["what"].as_str().unwrap().contains(part), "{report:#}");
        assert!(error["advice"].as_str().unwrap_or_default().contains(advice), "{report:#}");
        assert!(!said.stderr.is_empty() && say(words).stdout.is_empty());
    }
    let said = say(&["run", "no/such.ipynb", "-p", "a=1", "--json"]);
    let report: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((said.status.code(), report["error"]["kind"].as_str()), (Some(1), Some("RunError")), "{report:#}");
}

#[test]
fn reports_go_along_with_the_error() {
    let temp = tempdir().unwrap();
    let model = chandlery_tests::copy_of("llama-gqa", temp.path());
    chandlery_tests::edit_header(&model.join("model.safetensors"), |header| {
        let tensor = header.remove("model.norm.weight").unwrap();
        header.insert("model.morn.weight".to_owned(), tensor);
    });
    let said = say(&["convert", model.to_str().unwrap(), temp.path().join("out").to_str().unwrap(), "--json"]);
    let report: Value = serde_json::from_slice(&said.stdout).unwrap();
    let details: Vec<_> =
        report["error"]["details"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    let [missing, unused] = details.as_slice() else { panic!("{report:#}") };
    assert!(
        missing.starts_with("missing: `model.norm.weight`") && unused == &"unused: `model.morn.weight`",
        "{report:#}"
    );
}
