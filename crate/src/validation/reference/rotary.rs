//! How positions turn queries and keys: the published formulas of each kind of rotary parameters.

use std::f64::consts::TAU;

use serde_json::{Map, Value};

use super::ReferenceModel;
use super::arithmetic::{Activations, Real};

/// Keys of the rotary parameters that are read, whatever their type.
const KEYS: &[&str] = &["rope_type", "type", "rope_theta", "partial_rotary_factor"];

/// Keys that a type reads as well; those it cannot do without come first, as many as the number says.
fn keys_of(kind: &str) -> Option<(&'static [&'static str], usize)> {
    Some(match kind {
        "default" => (&[], 0),
        "linear" | "dynamic" => (&["factor"], 1),
        "proportional" => (&["factor"], 0),
        "llama3" => (&["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"], 4),
        "yarn" => (
            &[
                "factor",
                "original_max_position_embeddings",
                "attention_factor",
                "beta_fast",
                "beta_slow",
                "mscale",
                "mscale_all_dim",
                "truncate",
            ],
            1,
        ),
        "longrope" => {
            (&["short_factor", "long_factor", "factor", "attention_factor", "original_max_position_embeddings"], 2)
        }
        _ => return None,
    })
}

/// How the heads of a layer turn.
#[derive(Clone, Debug)]
pub(super) struct Rotation {
    /// Radians per token of each pair that turns.
    pub(super) frequencies: Vec<f64>,
    /// What turned elements are multiplied by.
    pub(super) factor: f64,
    /// Whether 2i turns with 2i + 1, instead of i with i + half.
    pub(super) neighbors: bool,
}

impl Rotation {
    /// Turns pairs at the beginning of each head by the position times the pair's frequency.
    pub(super) fn apply<F: Real>(&self, x: &mut Activations<F>, head: usize) {
        let (width, half) = (x.width, self.frequencies.len());
        for (position, row) in x.data.chunks_exact_mut(width).enumerate() {
            for head in row.chunks_exact_mut(head) {
                for (pair, frequency) in self.frequencies.iter().enumerate() {
                    let (first, second) = if self.neighbors { (2 * pair, 2 * pair + 1) } else { (pair, pair + half) };
                    let (sin, cos) = (position as f64 * frequency).sin_cos();
                    let (a, b): (f64, f64) = (head[first].into(), head[second].into());
                    head[first] = F::nearest((a * cos - b * sin) * self.factor);
                    head[second] = F::nearest((b * cos + a * sin) * self.factor);
                }
            }
        }
    }
}

/// Rotary parameters and what stands around them.
struct Parameters<'m> {
    /// What they are called in config.json, for messages.
    place: String,
    own: Map<String, Value>,
    model: &'m ReferenceModel<'m>,
    /// Whether the layer has a window, in models whose kinds of layers have parameters of their own.
    windowed: bool,
}

impl Parameters<'_> {
    fn number(&self, key: &str) -> Option<f64> {
        self.own.get(key).and_then(Value::as_f64)
    }

    fn kind(&self) -> &str {
        let kind = ["rope_type", "type"].iter().find_map(|key| self.own.get(*key)?.as_str()).unwrap_or("default");
        self.model.outline.rotary.types.get(kind).map_or(kind, String::as_str)
    }

    fn theta(&self) -> f64 {
        let rotary = &self.model.outline.rotary;
        let term = if self.windowed { rotary.window_theta.as_ref() } else { rotary.theta.as_ref() };
        let stated = self.number("rope_theta").or_else(|| self.model.number(term.map_or("rope_theta", |term| &term.0)));
        stated.unwrap_or(10_000.0)
    }

    /// Returns how many elements of a head turn.
    fn width(&self, head: usize) -> usize {
        let rotary = &self.model.outline.rotary;
        if self.kind() == "proportional" {
            return head;
        }
        if let Some(width) = rotary.width.as_ref().and_then(|term| self.model.size(&term.0)) {
            return width;
        }
        match &rotary.part {
            Some(term) => {
                let part = self.number("partial_rotary_factor").or_else(|| self.model.number(&term.0)).unwrap_or(1.0);
                (head as f64 * part) as usize
            }
            None => head,
        }
    }

    /// Returns the part of heads that would turn, although the section does not say that the class reads it.
    fn unread_part(&self) -> Option<f64> {
        let rotary = &self.model.outline.rotary;
        let stated = || self.number("partial_rotary_factor").or_else(|| self.model.number("partial_rotary_factor"));
        let unread = rotary.part.is_none() && rotary.width.is_none() && self.kind() != "proportional";
        stated().filter(|part| unread && *part != 1.0)
    }

    /// Returns the context of the first training. A field beside the parameters wins over theirs.
    fn original_positions(&self) -> f64 {
        let key = "original_max_position_embeddings";
        let stated = self.model.number(key).or_else(|| self.number(key));
        stated.or_else(|| self.model.number("max_position_embeddings")).unwrap_or(1.0)
    }

    /// Returns how often the context has grown, where the parameters do not say it.
    fn growth(&self) -> f64 {
        let stretched = || self.model.number("max_position_embeddings").unwrap_or(1.0) / self.original_positions();
        self.number("factor").unwrap_or_else(stretched)
    }

    /// Radians per token of `width` / 2 pairs, and the factor on what they turn, for a sequence of `tokens`.
    fn frequencies(&self, width: usize, tokens: usize) -> (Vec<f64>, f64) {
        let (theta, kind) = (self.theta(), self.kind());
        let plain = |theta: f64| (0..width / 2).map(move |pair| theta.powf(-2.0 * pair as f64 / width as f64));
        let exponent = width as f64 / (width as f64 - 2.0);
        match kind {
            "proportional" => {
                // Of whole heads, of which the pairs beyond a share stand still.
                let turning = (self.number("partial_rotary_factor").unwrap_or(1.0) * width as f64 / 2.0).floor();
                let factor = self.number("factor").unwrap_or(1.0);
                let one = |(pair, frequency)| if (pair as f64) < turning { frequency / factor } else { 0.0 };
                (plain(theta).enumerate().map(one).collect(), 1.0)
            }
            "linear" => (plain(theta).map(|frequency| frequency / self.growth()).collect(), 1.0),
            "dynamic" if self.model.outline.rotary.alpha && self.number("alpha").unwrap_or(0.0) != 0.0 => {
                let alpha = self.number("alpha").unwrap_or(1.0);
                (plain(theta * alpha.powf(exponent)).collect(), 1.0)
            }
            "dynamic" => {
                let trained = self.model.number("max_position_embeddings").unwrap_or(1.0);
                let (factor, length) = (self.growth(), trained.max(tokens as f64));
                let base = theta * (factor * length / trained - (factor - 1.0)).powf(exponent);
                (plain(base).collect(), 1.0)
            }
            "llama3" => (plain(theta).map(|frequency| self.llama3(frequency)).collect(), 1.0),
            "yarn" => {
                let keep = self.yarn_ramp(theta, width);
                let one = |(pair, frequency): (usize, f64)| {
                    let keep = keep(pair);
                    frequency * (keep + (1.0 - keep) / self.growth())
                };
                (plain(theta).enumerate().map(one).collect(), self.yarn_factor())
            }
            "longrope" => {
                let (original, growth) = (self.original_positions(), self.growth());
                let key = if tokens as f64 > original { "long_factor" } else { "short_factor" };
                let list = self.own.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
                let stretch = |pair: usize| list.get(pair).and_then(Value::as_f64).unwrap_or(f64::NAN);
                let usual = if growth <= 1.0 { 1.0 } else { (1.0 + growth.ln() / original.ln()).sqrt() };
                let factor = self.number("attention_factor").unwrap_or(usual);
                (plain(theta).enumerate().map(|(pair, frequency)| frequency / stretch(pair)).collect(), factor)
            }
            _ => (plain(theta).collect(), 1.0),
        }
    }

    fn llama3(&self, frequency: f64) -> f64 {
        let (factor, low, high) = (
            self.number("factor").unwrap_or(1.0),
            self.number("low_freq_factor").unwrap_or(1.0),
            self.number("high_freq_factor").unwrap_or(4.0),
        );
        let turns = self.original_positions() * frequency / TAU;
        let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        frequency * (keep + (1.0 - keep) / factor)
    }

    /// Returns how much of each pair's own frequency is kept (Peng et al. 2023).
    fn yarn_ramp(&self, theta: f64, width: usize) -> impl Fn(usize) -> f64 {
        let positive = |key: &str, other: f64| self.number(key).filter(|value| *value != 0.0).unwrap_or(other);
        let pair_of = |turns: f64| width as f64 * (self.original_positions() / (turns * TAU)).ln() / (2.0 * theta.ln());
        let (mut low, mut high) = (pair_of(positive("beta_fast", 32.0)), pair_of(positive("beta_slow", 1.0)));
        if self.own.get("truncate").and_then(Value::as_bool).unwrap_or(true) {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(width as f64 - 1.0));
        if low == high {
            high += 0.001;
        }
        move |pair| 1.0 - ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0)
    }

    fn yarn_factor(&self) -> f64 {
        let growth = self.growth();
        let scale = |factor: f64| if growth <= 1.0 { 1.0 } else { 0.1 * factor * growth.ln() + 1.0 };
        let given = |key: &str| self.number(key).filter(|value| *value != 0.0);
        let usual = match (given("mscale"), given("mscale_all_dim")) {
            (Some(one), Some(all)) => scale(one) / scale(all),
            _ => scale(1.0),
        };
        self.number("attention_factor").unwrap_or(usual)
    }

    /// Returns keys that nothing reads.
    fn unread(&self) -> Vec<String> {
        let rotary = &self.model.outline.rotary;
        let own = keys_of(self.kind()).map_or(&[][..], |(keys, _)| keys);
        let read = |key: &String| {
            let special = rotary.alpha && key == "alpha"
                || rotary.growing_queries
                    && ["llama_4_scaling_beta", "original_max_position_embeddings"].contains(&key.as_str());
            KEYS.contains(&key.as_str()) || own.contains(&key.as_str()) || rotary.ignored.contains(key) || special
        };
        let unread = self.own.iter().filter(|(key, value)| !value.is_null() && !read(key));
        unread.map(|(key, _)| format!("{}.{key}", self.place)).collect()
    }

    /// Returns why there is no formula for these parameters.
    fn not_covered(&self, head: usize) -> Option<String> {
        if let Some(part) = self.unread_part() {
            return Some(format!("`partial_rotary_factor` is {part}: the reference forward rotates whole heads"));
        }
        let (kind, width) = (self.kind(), self.width(head));
        if width == 0 || width > head || !width.is_multiple_of(2) {
            return Some(format!("{width} of {head} elements of a head would turn"));
        }
        let Some((keys, required)) = keys_of(kind) else {
            return Some(format!("the reference forward has no formula for rotary positions of type `{kind}`"));
        };
        let missing = keys[..required].iter().find(|key| match kind {
            "longrope" => self.own.get(**key).and_then(Value::as_array).is_none_or(|list| list.len() != width / 2),
            _ => self.number(key).is_none(),
        });
        missing.map(|missing| format!("the rotary positions of type `{kind}` lack `{missing}`"))
    }
}

impl ReferenceModel<'_> {
    /// Returns the rotary parameters of a layer. `rope_scaling` comes before `rope_parameters`, as in both generations of
    /// transformers.
    fn rotary(&self, layer: usize) -> Parameters<'_> {
        let object = |key: &str| self.field(key)?.as_object().filter(|rope| !rope.is_empty()).cloned();
        let named = |key: &str| Some((key.to_owned(), object(key)?));
        let found = named("rope_scaling").or_else(|| named("rope_parameters"));
        if self.outline.rotary.window_theta.is_none() {
            let (place, own) = found.unwrap_or_default();
            return Parameters { place, own, model: self, windowed: false };
        }
        let windowed = self.has_window_kind(layer);
        let kind = if windowed { "sliding_attention" } else { "full_attention" };
        let all = object("rope_parameters").unwrap_or_default();
        let mut own = all.get(kind).and_then(Value::as_object).cloned().unwrap_or_default();
        if !windowed {
            own.extend(object("rope_scaling").unwrap_or_default());
        }
        // There, this one key is read from around the layers' own.
        own.shift_remove("truncate");
        if let Some(truncate) = all.get("truncate") {
            own.insert("truncate".to_owned(), truncate.clone());
        }
        Parameters { place: format!("rope_parameters.{kind}"), own, model: self, windowed }
    }

    /// Returns how a layer turns heads of this width in a sequence of so many tokens.
    pub(super) fn rotation(&self, layer: usize, head: usize, tokens: usize) -> Option<Rotation> {
        if !self.outline.is_rotary() || !self.is_rotated(layer) {
            return None;
        }
        let parameters = self.rotary(layer);
        let (frequencies, factor) = parameters.frequencies(parameters.width(head), tokens);
        let neighbors = self.outline.positions == crate::naming::outline::PositionOutline::RotaryNeighbors;
        Some(Rotation { frequencies, factor, neighbors })
    }

    /// Returns what the query at each position is multiplied by: 1 + β ln(1 + ⌊position / original⌋), as in Llama 4.
    pub(super) fn query_growth(&self, layer: usize) -> Option<impl Fn(usize) -> f64> {
        let parameters = self.outline.rotary.growing_queries.then(|| self.rotary(layer))?;
        let (beta, original) = (parameters.number("llama_4_scaling_beta")?, parameters.original_positions());
        Some(move |position: usize| 1.0 + beta * (position as f64 / original).floor().ln_1p())
    }

    /// Returns why the rotary parameters of some layer are not covered.
    pub(super) fn rotary_not_covered(&self, layers: usize, head: usize) -> Option<String> {
        let rotated = (0..layers).filter(|layer| self.outline.is_rotary() && self.is_rotated(*layer));
        let mut heads = rotated.map(|layer| (self.rotary(layer), layer));
        heads.find_map(|(parameters, layer)| {
            let own = self.sizes_of(layer).head;
            parameters.not_covered(if own == self.sizes().head { head } else { own })
        })
    }

    /// Returns keys of the rotary parameters that nothing reads.
    pub(crate) fn unread_rotary_keys(&self) -> Vec<String> {
        if !self.outline.is_rotary() {
            return Vec::new();
        }
        let layers = 0..self.size(&self.outline.layers).unwrap_or(0);
        let mut unread: Vec<String> = layers.flat_map(|layer| self.rotary(layer).unread()).collect();
        unread.sort();
        unread.dedup();
        unread
    }
}
