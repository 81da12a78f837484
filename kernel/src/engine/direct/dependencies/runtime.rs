//! The source of a set's library: the crates of the set, and a tokio runtime in which cells run.
//!
//! A reactor belongs to the same build of tokio as its futures, so the set itself makes the runtime. The worker finds
//! the functions by their names, and runs every cell through the second one.

use serde_json::Value;

use super::cache::Tokio;
use super::resolved::ResolvedCrate;
use crate::worker::{TOKIO_ENTER as ENTER, TOKIO_KEY as KEY};

/// The name by which a set depends on the tokio that only its crates ask for.
pub(super) const HIDDEN: &str = "chandlery_tokio";

/// A tokio, as cargo resolved it.
pub(super) struct Resolved {
    pub(super) version: String,
    features: Vec<String>,
    package: String,
    /// Whether it comes from a registry, so that a manifest can name it by its version.
    pub(super) is_published: bool,
}

impl Resolved {
    /// Returns the tokio of a set, from the output of `cargo metadata`.
    pub(super) fn find(tree: &Value) -> Option<Self> {
        let packages = tree["packages"].as_array()?;
        let is_tokio = |package: &&Value| {
            package["name"] == "tokio" && package["version"].as_str().is_some_and(|version| version.starts_with("1."))
        };
        let found = packages.iter().find(is_tokio)?;
        let node = tree["resolve"]["nodes"].as_array()?.iter().find(|node| node["id"] == found["id"])?;
        let features = node["features"].as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Some(Self {
            version: found["version"].as_str()?.to_owned(),
            features,
            package: found["id"].as_str()?.to_owned(),
            is_published: found["source"]
                .as_str()
                .is_some_and(|source| source.starts_with("registry+") || source.starts_with("sparse+")),
        })
    }

    /// Returns the name under which the set depends on it, if it does.
    pub(super) fn called<'a>(&self, direct: &'a [ResolvedCrate]) -> Option<&'a str> {
        direct.iter().find(|found| found.package == self.package).map(|found| found.name.as_str())
    }

    fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|found| found == feature)
    }
}

/// Returns the source of the library, and how much of tokio it has.
pub(super) fn source(direct: &[ResolvedCrate], tokio: Option<&Resolved>) -> (String, Tokio) {
    let mut text: String = direct.iter().map(|found| format!("pub extern crate {};\n", found.name)).collect();
    let Some(tokio) = tokio else { return (text, Tokio::Absent) };
    let Some(name) = tokio.called(direct).filter(|_| tokio.has("rt")) else { return (text, Tokio::WithoutRuntime) };
    // A single-threaded runtime is driven by a separate thread, because cells run on the worker's thread.
    let (builder, drive) = match tokio.has("rt-multi-thread") {
        true => ("new_multi_thread", ""),
        false => (
            "new_current_thread",
            "let drive = || if let Some(runtime) = RUNTIME.wait() { runtime.block_on(std::future::pending::<()>()) };\n\
             let _ = std::thread::Builder::new().name(\"tokio\".into()).spawn(drive);\n",
        ),
    };
    let key = format!("{} {}", tokio.version, tokio.features.join(" "));
    text.push_str(&format!(
        "#[unsafe(no_mangle)]\npub fn {KEY}() -> &'static str {{ {key:?} }}\n\
         #[unsafe(no_mangle)]\npub fn {ENTER}(work: &mut dyn FnMut()) {{\n\
         use {name}::runtime::{{Builder, Runtime}};\n\
         static RUNTIME: std::sync::OnceLock<Option<Runtime>> = std::sync::OnceLock::new();\n\
         let runtime = RUNTIME.get_or_init(|| {{\n{drive}Builder::{builder}().enable_all().build().ok()\n}});\n\
         let _inside = runtime.as_ref().map(Runtime::enter);\nwork()\n}}\n"
    ));
    (text, Tokio::Runtime)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tree(features: &[&str]) -> Value {
        json!({
            "packages": [{"id": "t", "name": "tokio", "version": "1.2.3", "source": "registry+https://x"}],
            "resolve": {"nodes": [{"id": "t", "features": features}]},
        })
    }

    fn found(name: &str) -> ResolvedCrate {
        ResolvedCrate { asked: name.into(), name: name.into(), package: "t".into(), version: "1.2.3".into() }
    }

    #[test]
    fn the_features_of_tokio_decide_its_runtime() {
        let of = |features: &[&str], names: &[&str]| {
            let tokio = Resolved::find(&tree(features));
            source(&names.iter().map(|name| found(name)).collect::<Vec<_>>(), tokio.as_ref())
        };
        let (text, kind) = of(&["rt", "rt-multi-thread"], &["renamed"]);
        assert!(text.contains("use renamed::runtime") && text.contains("new_multi_thread"), "{text}");
        assert_eq!(kind, Tokio::Runtime);
        let (text, _) = of(&["rt"], &["tokio"]);
        assert!(text.contains("new_current_thread") && text.contains("block_on"), "{text}");
        assert_eq!(of(&["time"], &["tokio"]).1, Tokio::WithoutRuntime);
        assert_eq!(of(&["rt"], &[]).1, Tokio::WithoutRuntime);
        assert_eq!(source(&[], None), (String::new(), Tokio::Absent));
    }
}
