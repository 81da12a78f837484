//! What parameters are for: asked by role, never by name.

use std::path::Path;

use chandlery::display::View;
use chandlery::project::{Project, project};
use chandlery::spec::{DType, ModelSpec, ParamPath, Recipe, Role, TensorRow, TensorTable};

#[test]
fn every_parameter_of_every_definition_has_a_role() {
    for name in Project::names() {
        let config = project(&name).unwrap().config("4M").unwrap_or_else(|_| panic!("{name} has no 4M"));
        let built = config.construct().build().unwrap();
        for row in built.table.rows() {
            assert!(row.role.is_some(), "{name}: {} has no role", row.path);
        }
        let groups = built.estimate().groups;
        let sum: u64 = groups.iter().map(|group| group.parameters).sum();
        assert_eq!(sum, built.table.parameters(), "{name}: {groups:?}");
    }
}

#[test]
fn the_head_and_what_is_used_transposed_are_not_quantized() {
    for (name, ignored) in [("llama", &["lm_head"][..]), ("single_head", &["lm_head", r"re:.*\.query_key_linear$"])] {
        let config = project(name).unwrap().config("4M").unwrap().render().unwrap();
        assert_eq!(Recipe::Int8WeightOnly.for_model(&config).unwrap().ignore, ignored, "{name}");
        let spec = ModelSpec::resolve(&config);
        assert_eq!(spec.modules(Role::Head), [ParamPath::from("lm_head")]);
        assert_eq!(spec.table(DType::F32).of_role(Role::TokenEmbedding).count(), 1);
    }
}

#[test]
fn every_numbered_level_of_a_table_is_folded() {
    let mut rows = Vec::new();
    for layer in 0..3 {
        for expert in 0..4 {
            let name = format!("model.layers.{layer}.experts.{expert}.up.weight");
            rows.push(TensorRow::stored(name.as_str().into(), vec![8, 4], DType::F32));
        }
        let name = format!("model.layers.{layer}.router.weight");
        rows.push(TensorRow::stored(name.as_str().into(), vec![4, 4], DType::F32));
    }
    let table = TensorTable::from_rows(rows);
    let text = table.view().plain().to_owned();
    let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{text}"));
    assert!(line("model.layers.*.experts.*.up.weight").contains("×12"), "{text}");
    assert!(line("model.layers.*.router.weight").contains("×3"), "{text}");
    let tree = table.tree().text();
    assert!(tree.contains("layers.* ×3") && tree.contains("experts.*.up.weight ×4"), "{tree}");
}

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn only_parts_and_converters_know_the_names_of_parameters() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("crate/src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut names: Vec<String> = Vec::new();
    for project_name in Project::names() {
        let config = project(&project_name).unwrap().config("4M").unwrap().render().unwrap();
        for row in ModelSpec::resolve(&config).table(DType::F32).rows() {
            let module = row.path.parent().last().to_owned();
            // Words of the field that are other things, too.
            let other = ["embedding", "layer_norm", "norm", "attention"].contains(&module.as_str());
            // Parameters of a layer itself stand below its number.
            if !other && module.parse::<usize>().is_err() && !names.contains(&module) {
                names.push(module);
            }
        }
    }
    assert!(names.iter().any(|name| name == "query_linear") && names.len() > 12, "{names:?}");
    for (file, text) in files {
        // Parts give the names, recipes have pseudo-names alike, converters and sources are about names.
        let knows = ["/spec/parts/", "/spec/role.rs", "/spec/initialization.rs", "/convert/", "/update/", "/export/"];
        // Layers of models that nothing describes are told by their names.
        let knows = [&knows[..], &["/quantize/plan.rs"]].concat();
        let is_test = file.ends_with("tests.rs") || file.ends_with("on_a_gpu.rs");
        if is_test || knows.iter().any(|place| file.contains(place)) {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for name in &names {
                let quoted = line.contains(&format!("\"{name}\"")) || line.contains(&format!("{name}.weight\""));
                assert!(!quoted, "{file} matches on the name {name}: {line}");
            }
        }
    }
}
