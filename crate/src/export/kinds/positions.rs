//! Positions, as sources write them.

use crate::spec::{AlibiSlopes, RopeConfig};

/// Returns the formula of ALiBi's first slopes for heads i = 0 … H−1.
pub(in crate::export) fn slopes_formula(slopes: AlibiSlopes) -> &'static str {
    match slopes {
        AlibiSlopes::Standard => "2^(−7i/(H−1)) for head i of H",
        AlibiSlopes::Alternate => "2^(−1 − 7i/(H−1)) for head i of H, and 0 in the second half of the heads",
        AlibiSlopes::Half => "one half",
        AlibiSlopes::Geometric => "2^(−8(i+1)/H) for head i of H = 2^n; between them those of 2 H for other numbers",
    }
}

/// Rotary parameters as config.json has them.
pub(in crate::export) fn rope_json(rope: &RopeConfig) -> serde_json::Value {
    let mut fields = crate::spec::parts::rope_fields(rope);
    let Some(serde_json::Value::Object(mut own)) = fields.remove("rope_parameters") else { return fields.into() };
    let mut ordered = serde_json::Map::new();
    for first in ["rope_theta", "rope_type"] {
        ordered.extend(own.shift_remove(first).map(|value| (first.to_owned(), value)));
    }
    ordered.extend(own);
    ordered.into()
}
