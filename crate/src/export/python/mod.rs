//! The Python sources: a configuration class and the model, for `trust_remote_code`.

use minijinja::Environment;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use serde_json::{Value, json};

use super::blueprint::{Blueprint, parts_in_words, runs_of};
use super::fields::{fields_of, python_block, runs_json};
use super::kinds::{rope_json, slopes_formula};
use super::naming::{position, wrapped};
use super::own::{python_class, without_python};
use super::recipe::groups_of;
use super::{ExportError, SourceFile};
use crate::spec::{Activation, AlibiSlopes, ModelConfig, ModelSpec, PositionEmbedding};

/// The files' names.
pub(super) const FILES: [&str; 2] = ["configuration_chandlery.py", "modeling_chandlery.py"];

const CONFIGURATION: &str = include_str!("configuration.py.jinja");

/// The parts of the model's file, in order.
const MODELING: &[(&str, &str)] = &[
    ("head.py", include_str!("head.py.jinja")),
    ("norm.py", include_str!("norm.py.jinja")),
    ("rope.py", include_str!("rope.py.jinja")),
    ("alibi.py", include_str!("alibi.py.jinja")),
    ("mask.py", include_str!("mask.py.jinja")),
    ("attention.py", include_str!("attention.py.jinja")),
    ("recurrent.py", include_str!("recurrent.py.jinja")),
    ("short_conv.py", include_str!("short_conv.py.jinja")),
    ("latent_attention.py", include_str!("latent_attention.py.jinja")),
    ("gated_delta_net.py", include_str!("gated_delta_net.py.jinja")),
    ("mamba.py", include_str!("mamba.py.jinja")),
    ("feed_forward.py", include_str!("feed_forward.py.jinja")),
    ("experts.py", include_str!("experts.py.jinja")),
    ("own_parts.py", include_str!("own_parts.py.jinja")),
    ("layer.py", include_str!("layer.py.jinja")),
    ("stack.py", include_str!("stack.py.jinja")),
    ("embedding.py", include_str!("embedding.py.jinja")),
    ("initial.py", include_str!("initial.py.jinja")),
    ("causal_lm.py", include_str!("causal_lm.py.jinja")),
];

/// Python sources of a model for Hugging Face transformers 4.57 and 5: (file name, text). `auto_map` of the native
/// config.json names their classes.
///
/// # Errors
/// [`ExportError::Template`] if a template does not render, [`ExportError::OwnPart`] for a user's part without Python.
pub fn python(config: &ModelConfig) -> Result<Vec<SourceFile>, ExportError> {
    if let Some(why) = without_python(config) {
        return Err(ExportError::OwnPart { why });
    }
    let blueprint = Blueprint::new(config, |part| python_class(part).unwrap_or_default());
    let recipe = groups_of(config);
    let scaled = config.scale_embedding || config.embedding_multiplier.is_some();
    let sinusoidal = config.position == PositionEmbedding::Sinusoidal;
    let learned = config.position == PositionEmbedding::Learned;
    let math = !["plain", "any"].contains(&blueprint.rope_kind)
        || blueprint.rope_types.iter().any(|kind| ["yarn", "longrope", "llama3"].contains(&kind.as_str()))
        || config.scale_embedding
        || blueprint.any.xielu
        || blueprint.any.mamba
        || blueprint.any.mamba2
        || sinusoidal
        || recipe.iter().flat_map(|group| &group.lines).any(|line| line.contains("math."));
    let mut encoded = "The embedding of the ids".to_owned();
    for (holds, words) in [
        (config.scale_embedding, " times sqrt(hidden_size)"),
        (config.embedding_multiplier.is_some(), " times embedding_multiplier"),
        (sinusoidal, " plus sines and cosines of the position"),
        (learned, " plus the row of the position"),
        (config.embedding_norm, ", normalized"),
        (config.dropout.embedding > 0.0, ", with dropout"),
    ] {
        encoded.push_str(if holds { words } else { "" });
    }
    let rope = runs_of(config).into_iter().chain([(0, config)]).filter_map(|(_, own)| match &own.position {
        PositionEmbedding::Rope(rope) => Some(rope_json(rope)),
        _ => None,
    });
    // The model's own parameters if it rotates, else those of the layers that do.
    let rope = rope.reduce(|_, last| last).map(|rope| python_block(&rope, 8));
    let mut kinds: Vec<AlibiSlopes> = Vec::new();
    for (_, own) in runs_of(config) {
        if let PositionEmbedding::Alibi(alibi) = &own.position {
            position(&mut kinds, alibi.slopes);
        }
    }
    let slopes: Vec<_> = kinds
        .into_iter()
        .map(|kind| {
            json!({ "kind": kind.name(), "function": format!("{}_slopes", kind.name()), "formula": slopes_formula(kind) })
        })
        .collect();
    let mut parameters: Vec<&str> = Vec::new();
    for alibi in blueprint.attentions.iter().filter_map(|kind| kind.alibi.as_ref()).filter(|alibi| alibi.stored) {
        position(&mut parameters, alibi.parameter);
    }
    if blueprint.mixtures.iter().any(|kind| kind.correction) {
        parameters.push("router_correction");
    }
    let quoted =
        |names: &mut dyn Iterator<Item = &str>| names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let id = |id: Option<u32>| id.map_or("None".to_owned(), |id| id.to_string());
    let eos = match config.eos_token_id.as_slice() {
        [] => "None".to_owned(),
        [one] => one.to_string(),
        several => format!("{several:?}"),
    };
    let groups: Vec<_> = recipe
        .iter()
        .map(|group| {
            let test = match group.roles.as_slice() {
                [one] => format!("role == \"{one}\""),
                several => format!("role in ({})", quoted(&mut several.iter().map(String::as_str))),
            };
            json!({ "test": test, "lines": group.lines })
        })
        .chain(blueprint.attentions.iter().filter_map(|kind| {
            let alibi = kind.alibi.as_ref().filter(|alibi| alibi.stored)?;
            let draw = format!("module.{0}.copy_({1}(len(module.{0})))", alibi.parameter, alibi.function);
            Some(json!({ "test": format!("isinstance(module, {})", kind.name), "lines": [draw] }))
        }))
        .chain(blueprint.feedforwards.iter().filter(|part| part.activation == Activation::Xielu).map(|part| {
            let lines = ["module.xielu_alpha_p.fill_(math.log(math.expm1(0.8)))", "module.xielu_alpha_n.fill_(math.log(math.expm1(0.3)))"];
            json!({ "test": format!("isinstance(module, {})", part.name), "lines": lines })
        }))
        .chain(blueprint.attentions.iter().filter(|kind| kind.delta_net).map(|kind| {
            let lines = [
                "nn.init.ones_(module.decay_bias)",
                "module.decay_log.uniform_(0.01, 16).log_()",
                "for convolution in (module.query_conv, module.key_conv, module.value_conv):",
                "    nn.init.uniform_(convolution.weight, -(module.kernel**-0.5), module.kernel**-0.5)",
            ];
            json!({ "test": format!("isinstance(module, {})", kind.name), "lines": lines })
        }))
        .chain(blueprint.attentions.iter().filter(|kind| kind.short_conv).map(|kind| {
            let drawn = |parameter: &str| {
                format!("nn.init.uniform_(module.conv.{parameter}, -(module.kernel**-0.5), module.kernel**-0.5)")
            };
            let lines: Vec<String> = std::iter::once("weight").chain(kind.bias.then_some("bias")).map(drawn).collect();
            json!({ "test": format!("isinstance(module, {})", kind.name), "lines": lines })
        }))
        .chain(blueprint.attentions.iter().filter_map(|kind| {
            let own = kind.state_space.as_ref()?;
            let drawn = |parameter: &str| {
                format!("nn.init.uniform_(module.conv.{parameter}, -(module.kernel**-0.5), module.kernel**-0.5)")
            };
            let bias = if own.two { "module.step_bias" } else { "module.step_linear.bias" };
            let decay = match own.two {
                true => "module.decay_log.uniform_(1, 16).log_()".to_owned(),
                // ln 1, ln 2, …
                false => "module.decay_log.fill_(1).cumsum_(1).log_()".to_owned(),
            };
            let lines: Vec<String> = std::iter::once("weight")
                .chain(own.conv_bias.then_some("bias"))
                .map(drawn)
                .chain([
                    format!("step = torch.empty_like({bias}).uniform_(math.log(0.001), math.log(0.1)).exp()"),
                    format!("{bias}.copy_(step.expm1().log())"),
                    decay,
                    "nn.init.ones_(module.skip)".to_owned(),
                ])
                .collect();
            Some(json!({ "test": format!("isinstance(module, {})", kind.name), "lines": lines }))
        }))
        .chain(blueprint.mixtures.iter().filter(|kind| kind.expert_scale).map(|kind| {
            let lines = ["nn.init.ones_(module.router_expert_scale)"];
            json!({ "test": format!("isinstance(module, {})", kind.name), "lines": lines })
        }))
        .chain(blueprint.layers.iter().filter(|layer| layer.scalar).map(|layer| {
            let lines = ["nn.init.ones_(module.layer_scalar)"];
            json!({ "test": format!("isinstance(module, {})", layer.name), "lines": lines })
        }))
        .chain(blueprint.attentions.iter().filter(|kind| kind.sinks).map(|kind| {
            json!({ "test": format!("isinstance(module, {})", kind.name), "lines": ["nn.init.zeros_(module.sinks)"] })
        }))
        .collect();
    let feedforwards: Vec<_> = blueprint
        .feedforwards
        .iter()
        .chain(&blueprint.experts)
        .map(|part| {
            let (function, more) = match part.activation {
                Activation::Silu => ("F.silu", ""),
                Activation::Relu => ("F.relu", ""),
                Activation::Gelu => ("F.gelu", ""),
                Activation::GeluTanh => ("F.gelu", ", approximate=\"tanh\""),
                Activation::Relu2 => ("relu2", ""),
                Activation::Xielu => ("xielu", ", self.xielu_alpha_p, self.xielu_alpha_n"),
            };
            with(
                part,
                json!({ "python": function, "python_more": more, "xielu": part.activation == Activation::Xielu }),
            )
        })
        .collect();
    let layer_name = |kind: usize| blueprint.layers[kind].name.as_str();
    let own_parts = config.all_user_parts();
    let own_parts: Vec<&str> = own_parts.iter().filter_map(|part| part.python()).map(str::trim).collect();
    let own = json!({
        "parts": wrapped(&format!("{}.", parts_in_words(config)), 110),
        "model_type": format!("chandlery-{}", config.architecture.name()),
        "first_linear": ModelSpec::resolve(config).linear_layers().first().map(|map| map.path.clone()),
        "fields": fields_of(config),
        "rope_parameters": rope,
        "runs_python": python_block(&runs_json(config), 8),
        "ids": { "bos": id(config.bos_token_id), "eos": eos, "pad": id(config.pad_token_id) },
        "math": math,
        "alibi_slopes": slopes,
        "float32_names": quoted(&mut parameters.iter().copied()),
        "encoder": {
            "scale": scaled, "multiplier": config.embedding_multiplier.is_some(), "norm": config.embedding_norm,
            "sinusoidal": sinusoidal, "learned": learned, "dropout": config.dropout.embedding > 0.0,
            "doc": encoded + ".", "inputs": config.hidden_size_per_layer_input.is_some(),
        },
        "mlps": feedforwards,
        "own_parts": own_parts,
        "kinds": blueprint.runs.iter().map(|&(_, kind)| layer_name(kind)).collect::<Vec<_>>().join(", "),
        "stack_doc": blueprint.runs.iter().map(|&(count, kind)| format!("{count} × {}", layer_name(kind))).collect::<Vec<_>>(),
        "no_split": quoted(&mut blueprint.layers.iter().map(|layer| layer.name.as_str())),
        "recipe": groups,
    });
    let context = with(&blueprint, own);
    let configuration = render("configuration.py", CONFIGURATION, &context)?;
    let modeling: String =
        MODELING.iter().map(|(name, template)| render(name, template, &context)).collect::<Result<_, _>>()?;
    Ok(FILES.into_iter().map(str::to_owned).zip([configuration, modeling]).collect())
}

/// Renders an embedded template. They are part of the program: unit tests render each of their branches.
pub(super) fn render(name: &str, template: &str, context: &Value) -> Result<String, ExportError> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
    if let Ok(syntax) = syntax.build() {
        environment.set_syntax(syntax);
    }
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.render_named_str(name, template, minijinja::Value::from(Serde(context))).map_err(|error| {
        ExportError::Template {
            file: name.to_owned(),
            reason: format!("{error:#}"),
            parts: context["parts"].as_str().unwrap_or_default().to_owned(),
        }
    })
}

/// Returns the fields of `part`, replaced or extended by `more`.
pub(super) fn with(part: &impl serde::Serialize, more: Value) -> Value {
    let mut whole = json!(part);
    if let (Value::Object(whole), Value::Object(more)) = (&mut whole, more) {
        whole.extend(more);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_does_not_render_is_an_error() {
        let error = render("layer.py", "{{ layers | upside_down }}", &json!({ "parts": "odd layers" })).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`layer.py`") && text.contains("upside_down") && text.contains("odd layers"), "{text}");
        assert!(render("layer.py", "{{ missing }}", &json!({})).is_err());
    }
}
