//! How cargo resolved a set of dependencies.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Failure;

/// A dependency as cargo resolved it.
#[derive(Clone, Debug)]
pub(super) struct ResolvedCrate {
    /// The name under which it was requested.
    pub(super) asked: String,
    /// The name that code uses for it.
    pub(super) name: String,
    pub(super) package: String,
    pub(super) version: String,
}

/// Returns the requested dependencies, from the output of `cargo metadata`.
pub(super) fn direct<'a>(
    tree: &Value,
    wanted: impl Iterator<Item = &'a String>,
) -> Result<Vec<ResolvedCrate>, Failure> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let root = &tree["resolve"]["root"];
    let packages = list(&tree["packages"]);
    let package = |id: &Value| packages.iter().find(|package| package["id"] == *id);
    let nodes = list(&tree["resolve"]["nodes"]);
    let node = nodes.iter().find(|node| node["id"] == *root).cloned().unwrap_or_default();
    let declared = package(root).map(|root| list(&root["dependencies"])).unwrap_or_default();
    let new_name = |found: &Value| found["rename"].as_str().map(|name| name.replace('-', "_"));
    // Two versions of one crate have the same package name, so one of them is renamed.
    let new_names: Vec<String> = declared.iter().filter_map(new_name).collect();
    let found = wanted.map(|asked| {
        let is_asked = |found: &&Value| {
            let renamed = found["rename"].as_str();
            renamed.or(found["name"].as_str()) == Some(asked.as_str())
        };
        let declared = declared.iter().find(is_asked);
        // Code uses the new name of a renamed crate, otherwise the name of its library, which may differ from its package's name.
        let renamed = declared.and_then(new_name);
        let original = declared.map(|found| &found["name"]);
        let matching = list(&node["deps"]).into_iter().find(|dep| match &renamed {
            Some(name) => dep["name"] == name.as_str(),
            None => {
                package(&dep["pkg"]).map(|package| &package["name"]) == original
                    && !new_names.iter().any(|name| dep["name"] == name.as_str())
            }
        });
        let found = matching.and_then(|dep| {
            let version = package(&dep["pkg"])?["version"].as_str()?.to_owned();
            let (name, package) = (dep["name"].as_str()?.to_owned(), dep["pkg"].as_str()?.to_owned());
            Some(ResolvedCrate { asked: asked.clone(), name, package, version })
        });
        found.ok_or_else(|| Failure::Cargo(format!("error: `{asked}` does not have a library that cells can use")))
    });
    found.collect()
}

/// Returns the folders of local packages, which come neither from a registry nor from a repository.
pub(super) fn local_folders(tree: &Value) -> Vec<PathBuf> {
    let packages = tree["packages"].as_array().into_iter().flatten();
    let local = packages.filter(|package| package["source"].is_null() && package["id"] != tree["resolve"]["root"]);
    local.filter_map(|package| Some(Path::new(package["manifest_path"].as_str()?).parent()?.to_owned())).collect()
}
