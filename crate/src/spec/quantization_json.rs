//! The block `quantization_config` of config.json, read and written in the layout of compressed-tensors.

use serde_json::{Map, Value, json};

use super::config::ConfigError;
use super::fields::Fields;
use super::quantization::{Quantization, QuantizationGroup, pattern_in, pattern_of};
use super::scheme::{Granularity, QuantDType, Scheme};

/// The block's name.
pub(super) const KEY: &str = "quantization_config";
/// The only supported method: safetensors with packed numbers and their scales.
const METHOD: &str = "compressed-tensors";
const WEIGHTS: &str = "4-bit and 8-bit int, 8-bit float";
const FORMATS: [&str; 5] = ["pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mixed-precision"];

/// Reads the block of a config.json, if there is one.
pub(super) fn quantization_from(fields: &Fields<'_>) -> Result<Option<Quantization>, ConfigError> {
    let Some(object) = fields.object(KEY)? else { return Ok(None) };
    let origin = format!("{}, {KEY}", fields.origin);
    let block = Fields { object, origin: &origin, ..*fields };
    let method = block.text("quant_method")?.ok_or_else(|| block.missing("quant_method"))?;
    if method != METHOD {
        return Err(block.unsupported("quant_method", method, METHOD));
    }
    if let Some(status) = block.text("quantization_status")?.filter(|status| *status != "compressed") {
        return Err(block.unsupported("quantization_status", status, "compressed"));
    }
    for field in ["kv_cache_scheme", "transform_config", "sparsity_config"] {
        let found = block.get(field).filter(|value| value.as_object().is_none_or(|object| !object.is_empty()));
        if let Some(found) = found {
            return Err(block.unsupported(field, found, "none"));
        }
    }
    let format = block.text("format")?;
    let groups = block.object("config_groups")?.ok_or_else(|| block.missing("config_groups"))?;
    let mut read = Vec::with_capacity(groups.len());
    for (name, group) in groups {
        let Some(object) = group.as_object() else {
            return Err(block.invalid(&format!("config_groups.{name}"), group, "an object with targets and weights"));
        };
        let origin = format!("{origin}, config_groups.{name}");
        read.push(group_from(&Fields { object, origin: &origin, ..*fields }, format)?);
    }
    if read.is_empty() {
        return Err(block.invalid("config_groups", &json!({}), "at least one group"));
    }
    let recipe = block.text("recipe")?.map(str::to_owned);
    Ok(Some(Quantization { groups: read, ignore: names(&block, "ignore")?, recipe }))
}

fn names(fields: &Fields<'_>, field: &str) -> Result<Vec<String>, ConfigError> {
    let Some(value) = fields.get(field) else { return Ok(Vec::new()) };
    let list = value.as_array().and_then(|list| list.iter().map(|name| Some(name.as_str()?.to_owned())).collect());
    let list: Vec<String> = list.ok_or_else(|| fields.invalid(field, value, "a list of names"))?;
    if let Some(bad) = list.iter().find(|name| pattern_in(name).is_some_and(|pattern| pattern_of(pattern).is_err())) {
        return Err(fields.invalid(field, &json!(bad), "names, or `re:` and a regular expression"));
    }
    Ok(list)
}

fn group_from(group: &Fields<'_>, format: Option<&str>) -> Result<QuantizationGroup, ConfigError> {
    let part = |field: &str| -> Result<Option<Arguments>, ConfigError> {
        let Some(object) = group.object(field)? else { return Ok(None) };
        let origin = format!("{}, {field}", group.origin);
        arguments_from(&Fields { object, origin: &origin, ..*group }).map(Some)
    };
    let weights = part("weights")?.ok_or_else(|| group.missing("weights"))?;
    if weights.dynamic {
        return Err(group.unsupported("weights.dynamic", "true", "false"));
    }
    let granularity = match (weights.strategy.as_str(), weights.group_size) {
        ("group", Some(size)) => Granularity::Group(size),
        ("channel", _) => Granularity::Channel,
        ("tensor", _) => Granularity::Tensor,
        ("group", None) => return Err(group.missing("weights.group_size")),
        (other, _) => return Err(group.unsupported("weights.strategy", other, "group, channel, tensor")),
    };
    let activations = match part("input_activations")? {
        None => None,
        Some(inputs) if inputs.numbers == QuantDType::Int4 => {
            return Err(group.unsupported("input_activations.num_bits", 4, "8"));
        }
        Some(inputs) if inputs.dynamic && inputs.strategy == "token" => Some(inputs.numbers),
        Some(inputs) => {
            let found = format!("{} {}", if inputs.dynamic { "dynamic" } else { "static" }, inputs.strategy);
            return Err(group.unsupported("input_activations", found, "dynamic token"));
        }
    };
    if let Some(found) = group.get("output_activations") {
        return Err(group.unsupported("output_activations", found, "none"));
    }
    let format = group.text("format")?.or(format).ok_or_else(|| group.missing("format"))?;
    let packed = match (format, weights.numbers) {
        ("pack-quantized", QuantDType::Int4 | QuantDType::Int8) => true,
        ("int-quantized" | "naive-quantized", QuantDType::Int8) => false,
        ("float-quantized" | "naive-quantized", QuantDType::F8E4M3) => false,
        (known, numbers) if FORMATS.contains(&known) => {
            let supported = "pack-quantized with int weights, int-quantized with int8, float-quantized with float8";
            return Err(group.unsupported("format", format!("{known} with {}", numbers.name()), supported));
        }
        (unknown, _) => return Err(group.unsupported("format", unknown, &FORMATS[..4].join(", "))),
    };
    // Two numbers share a byte.
    if let (Granularity::Group(size), QuantDType::Int4) = (granularity, weights.numbers)
        && size % 2 != 0
    {
        return Err(group.unsupported("weights.group_size", size, "even numbers"));
    }
    let targets = names(group, "targets")?;
    if targets.is_empty() {
        return Err(group.missing("targets"));
    }
    Ok(QuantizationGroup { targets, scheme: Scheme { weights: weights.numbers, granularity, packed, activations } })
}

/// The numbers of weights or inputs and their scales.
struct Arguments {
    numbers: QuantDType,
    strategy: String,
    group_size: Option<usize>,
    dynamic: bool,
}

fn arguments_from(fields: &Fields<'_>) -> Result<Arguments, ConfigError> {
    let (bits, kind) = (fields.size("num_bits")?.unwrap_or(8), fields.text("type")?.unwrap_or("int"));
    let numbers = match (bits, kind) {
        (4, "int") => QuantDType::Int4,
        (8, "int") => QuantDType::Int8,
        (8, "float") => QuantDType::F8E4M3,
        _ => return Err(fields.unsupported("number type", format!("{bits}-bit {kind}"), WEIGHTS)),
    };
    if !fields.flag("symmetric", true)? {
        return Err(fields.unsupported("symmetric", false, "true"));
    }
    if let Some(order) = fields.get("actorder").filter(|order| !matches!(order.as_str(), Some("weight" | "static"))) {
        return Err(fields.unsupported("actorder", order, "weight, or none"));
    }
    let group_size = match fields.get("group_size") {
        Some(value) if value.as_i64() == Some(-1) => None,
        _ => fields.size("group_size")?,
    };
    if group_size == Some(0) {
        return Err(fields.invalid("group_size", &json!(0), "a number from 1"));
    }
    let dynamic = match fields.get("dynamic") {
        Some(value) => value.as_bool().ok_or_else(|| fields.unsupported("dynamic", value, "true, false"))?,
        None => false,
    };
    let strategy = match (fields.text("strategy")?, group_size) {
        (Some(strategy), _) => strategy,
        (None, Some(_)) => "group",
        (None, None) if fields.get("group_size").is_some() => "channel",
        (None, None) => "tensor",
    };
    Ok(Arguments { numbers, strategy: strategy.to_owned(), group_size, dynamic })
}

impl Quantization {
    /// Returns the block as compressed-tensors, and with it transformers, reads it.
    pub fn to_json(&self) -> Value {
        let mut groups = Map::new();
        let mut formats: Vec<&str> = Vec::new();
        for (index, group) in self.groups.iter().enumerate() {
            let format = format_of(&group.scheme);
            if !formats.contains(&format) {
                formats.push(format);
            }
            let written = json!({
                "format": format,
                "input_activations": group.scheme.activations.map(inputs),
                "output_activations": null,
                "targets": group.targets,
                "weights": weights(&group.scheme),
            });
            groups.insert(format!("group_{index}"), written);
        }
        let format = if let [one] = formats.as_slice() { one } else { "mixed-precision" };
        let mut block = json!({
            "config_groups": groups,
            "format": format,
            "ignore": self.ignore,
            "kv_cache_scheme": null,
            "quant_method": METHOD,
            "quantization_status": "compressed",
        });
        if let Some(recipe) = &self.recipe {
            block["recipe"] = json!(recipe);
        }
        block
    }
}

fn format_of(scheme: &Scheme) -> &'static str {
    match (scheme.packed, scheme.weights) {
        (true, _) => "pack-quantized",
        (false, QuantDType::F8E4M3) => "float-quantized",
        (false, QuantDType::Int4 | QuantDType::Int8) => "int-quantized",
    }
}

fn kind(numbers: QuantDType) -> &'static str {
    if numbers == QuantDType::F8E4M3 { "float" } else { "int" }
}

fn weights(scheme: &Scheme) -> Value {
    let (strategy, group_size) = match scheme.granularity {
        Granularity::Tensor => ("tensor", None),
        Granularity::Channel => ("channel", None),
        Granularity::Group(size) => ("group", Some(size)),
    };
    json!({
        "dynamic": false,
        "group_size": group_size,
        "num_bits": scheme.weights.bits(),
        "strategy": strategy,
        "symmetric": true,
        "type": kind(scheme.weights),
    })
}

fn inputs(numbers: QuantDType) -> Value {
    json!({
        "dynamic": true,
        "group_size": null,
        "num_bits": numbers.bits(),
        "strategy": "token",
        "symmetric": true,
        "type": kind(numbers),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Recipe;

    fn read(block: Value) -> Result<Option<Quantization>, ConfigError> {
        let config = json!({ "quantization_config": block });
        let object = config.as_object().unwrap();
        quantization_from(&Fields { object, origin: "config.json", family: "llama", strict: true })
    }

    #[test]
    fn every_recipe_is_read_as_it_was_written() {
        for recipe in Recipe::ALL {
            let written = Quantization::of(recipe, recipe.scheme(), vec!["lm_head".to_owned()]);
            assert_eq!(read(written.to_json()), Ok(Some(written)));
        }
        assert_eq!(read(Value::Null), Ok(None));
    }

    #[test]
    fn what_is_not_supported_is_named_with_what_is() {
        let good = || Quantization::of(Recipe::Int4WeightOnly, Recipe::Int4WeightOnly.scheme(), Vec::new()).to_json();
        let changed = |place: &str, value: Value| {
            let mut block = good();
            *block.pointer_mut(place).unwrap() = value;
            block
        };
        let activations = |dynamic: bool, strategy: &str| json!({ "num_bits": 8, "type": "int", "symmetric": true, "dynamic": dynamic, "strategy": strategy });
        let weights = "/config_groups/group_0/weights";
        let inputs = "/config_groups/group_0/input_activations";
        for (block, said) in [
            (json!({ "bits": 4 }), "`quant_method` is missing"),
            (json!("gptq"), "expected an object"),
            (changed("/quant_method", json!("gptq")), "`gptq` is not supported"),
            (changed("/quantization_status", json!("frozen")), "`frozen` is not supported"),
            (changed("/kv_cache_scheme", json!({ "num_bits": 8 })), "kv_cache_scheme"),
            (changed("/config_groups", json!({})), "at least one group"),
            (changed("/config_groups", json!({ "W4A16": ["Linear"] })), "an object with targets"),
            (changed("/format", json!("marlin-24")), ""),
            (changed("/config_groups/group_0/format", json!("marlin-24")), "`marlin-24` is not supported"),
            (changed("/config_groups/group_0/format", json!("float-quantized")), "float-quantized with int4"),
            (changed("/config_groups/group_0/targets", json!(["re:("])), "a regular expression"),
            (changed("/config_groups/group_0/targets", json!([])), "`targets` is missing"),
            (changed(&format!("{weights}/num_bits"), json!(3)), "3-bit int"),
            (changed(&format!("{weights}/type"), json!("float")), "4-bit float"),
            (changed(&format!("{weights}/symmetric"), json!(false)), "symmetric"),
            (changed(&format!("{weights}/strategy"), json!("block")), "`block` is not supported"),
            (changed(&format!("{weights}/group_size"), json!(0)), "a number from 1"),
            (changed(&format!("{weights}/group_size"), json!(-7)), "a whole number"),
            (changed(&format!("{weights}/group_size"), Value::Null), "group_size"),
            (changed(&format!("{weights}/group_size"), json!(33)), "even numbers"),
            (changed(weights, Value::Null), "`weights` is missing"),
            (changed(inputs, activations(false, "tensor")), "static tensor"),
            (changed(inputs, activations(true, "tensor")), "dynamic tensor"),
        ] {
            let found = read(block);
            match found {
                Ok(_) => assert!(said.is_empty(), "nothing was said instead of {said}"),
                Err(error) => {
                    let error = error.to_string();
                    assert!(
                        error.contains(said) && error.contains("config.json, quantization_config")
                            || said == "expected an object" && error.contains("an object"),
                        "{said}: {error}"
                    );
                }
            }
        }
    }
}
