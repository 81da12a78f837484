//! Charts that zoom and show values under the pointer, as vega-lite 5: JupyterLab and VS Code draw it without an extension.

use serde_json::{Value, json};

use crate::display::plots::curve::{Series, finite, is_counted, odd};
use crate::display::plots::picture::{BAD, CARD, GRID, INK, LINES, css};

/// The newest version that JupyterLab 4 draws.
pub(in crate::display) const MIME: &str = "application/vnd.vegalite.v5+json";

const SCHEMA: &str = "https://vega.github.io/schema/vega-lite/v5.json";
const HINT: &str = "drag to move, Alt and wheel to zoom, double click to go back";

/// Lines over a common axis.
pub(in crate::display) fn lines(
    title: &str,
    axes: &(String, String),
    series: &[Series],
    (left, right): (f64, f64),
    (low, high): (f64, f64),
) -> Value {
    // Between two steps there is nothing to mark.
    let ticks = match is_counted(series) {
        true if right - left <= 12.0 => {
            json!({"values": (left.ceil() as i64..=right.floor() as i64).collect::<Vec<_>>(), "format": ",d"})
        }
        true => json!({"tickMinStep": 1, "format": ",d"}),
        false => json!({}),
    };
    let values: Vec<Value> = series
        .iter()
        .flat_map(|series| finite(&series.points).map(|(x, y)| json!({"x": x, "y": y, "series": series.name})))
        .collect();
    let names: Vec<&str> = series.iter().map(|series| series.name.as_str()).collect();
    let colors: Vec<String> = (0..names.len()).map(|index| css(LINES[index % LINES.len()])).collect();
    let legend = if names.len() > 1 { json!({"title": null, "orient": "top-right"}) } else { Value::Null };
    // Axes without a name still need one in the tooltip.
    let or = |name: &str, other: &str| if name.is_empty() { other.to_owned() } else { name.to_owned() };
    let mut layers = vec![
        json!({
            "mark": {"type": "line", "clip": true, "strokeWidth": 2},
            // The bare wheel scrolls the notebook.
            "params": [{"name": "zoom", "bind": "scales", "select": {"type": "interval", "zoom": "wheel![event.altKey]"}}],
        }),
        json!({
            "mark": {"type": "point", "clip": true, "filled": true, "size": 60},
            "params": [{"name": "near", "select": {"type": "point", "on": "pointerover", "nearest": true, "clear": "pointerout"}}],
            "encoding": {
                "opacity": {"condition": {"param": "near", "empty": false, "value": 1}, "value": 0},
                "tooltip": [
                    {"field": "series", "type": "nominal"},
                    {"field": "x", "type": "quantitative", "title": or(&axes.0, "x"), "format": ",.6~g"},
                    {"field": "y", "type": "quantitative", "title": or(&axes.1, "y"), "format": ".6~g"},
                ],
            },
        }),
    ];
    let odd = odd(series);
    if !odd.is_empty() {
        let values: Vec<Value> = odd.iter().map(|(x, y)| json!({"x": x, "what": y.to_string()})).collect();
        layers.push(json!({
            "data": {"values": values},
            "mark": {"type": "text", "text": "✕", "clip": true, "baseline": "bottom", "fontSize": 14},
            "encoding": {
                "y": {"value": 238},
                "color": {"value": css(BAD)},
                "tooltip": [
                    {"field": "x", "type": "quantitative", "title": or(&axes.0, "x"), "format": ",.6~g"},
                    {"field": "what", "type": "nominal", "title": or(&axes.1, "y")},
                ],
            },
        }));
    }
    json!({
        "$schema": SCHEMA,
        "title": {"text": title, "subtitle": HINT},
        "width": 540,
        "height": 240,
        "data": {"values": values},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": axes.0, "axis": ticks,
                "scale": {"domain": [left, right], "nice": false}},
            "y": {"field": "y", "type": "quantitative", "title": axes.1, "scale": {"domain": [low, high], "nice": false}},
            "color": {"field": "series", "type": "nominal", "scale": {"domain": names, "range": colors}, "legend": legend},
        },
        "layer": layers,
        "config": config(),
    })
}

/// The names along one side of a matrix.
pub(in crate::display) struct Side {
    pub(in crate::display) name: String,
    pub(in crate::display) all: Vec<String>,
    /// The names that have room for a label.
    pub(in crate::display) labeled: Vec<String>,
}

/// Cells of a matrix, colored by `strength` (0 to 1), which the expression `scale` turns into a value.
pub(in crate::display) fn cells(
    title: &str,
    [across, down]: [Side; 2],
    size: (u32, u32),
    values: Vec<Value>,
    scale: &str,
    label_width: f64,
) -> Value {
    // Gaps between narrow cells would dominate.
    let gap = if size.0 as usize >= 8 * across.all.len() { 0.5 } else { 0.0 };
    let axis = |side: &Side| json!({"values": side.labeled, "labelAngle": 0, "labelOverlap": false, "labelLimit": label_width});
    json!({
        "$schema": SCHEMA,
        "title": {"text": title, "subtitle": "values under the pointer"},
        "width": size.0,
        "height": size.1,
        "data": {"values": values},
        "mark": {"type": "rect", "stroke": css(CARD), "strokeWidth": gap},
        "encoding": {
            "x": {"field": "column", "type": "ordinal", "title": across.name, "sort": across.all, "axis": axis(&across)},
            "y": {"field": "row", "type": "ordinal", "title": down.name, "sort": down.all, "axis": axis(&down)},
            "color": {"field": "strength", "type": "quantitative",
                "scale": {"domain": [0, 1], "range": [css(GRID), css(LINES[0])]},
                "legend": {"title": null, "values": [0, 0.5, 1], "labelExpr": scale,
                    "gradientLength": size.1.clamp(60, 120)}},
            "tooltip": [
                {"field": "column", "type": "nominal", "title": across.name},
                {"field": "row", "type": "nominal", "title": down.name},
                {"field": "value", "type": "quantitative", "format": ".3~g"},
            ],
        },
        "config": config(),
    })
}

/// The style of the pictures: ink on a card.
fn config() -> Value {
    let (ink, grid) = (css(INK), css(GRID));
    json!({
        "background": css(CARD),
        "font": "sans-serif",
        "padding": 12,
        "view": {"stroke": null},
        "title": {"color": ink, "subtitleColor": ink, "anchor": "start", "fontSize": 14, "subtitleFontSize": 11},
        "axis": {"labelColor": ink, "titleColor": ink, "gridColor": grid, "domainColor": ink, "tickColor": ink,
            "labelFontSize": 12, "titleFontSize": 12},
        "legend": {"labelColor": ink, "titleColor": ink, "labelFontSize": 12},
    })
}
