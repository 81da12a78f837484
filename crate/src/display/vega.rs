//! Charts that zoom and tell values under the pointer, as vega-lite 5: JupyterLab and VS Code draw it without an extension.

use serde_json::{Value, json};

use super::curve::{Series, finite};
use super::picture::{CARD, GRID, INK, LINES, css};

/// The newest version that JupyterLab 4 draws.
pub(super) const MIME: &str = "application/vnd.vegalite.v5+json";

const SCHEMA: &str = "https://vega.github.io/schema/vega-lite/v5.json";
const HINT: &str = "drag to move, Alt and wheel to zoom, double click to go back";

/// Lines over a common axis.
pub(super) fn lines(
    title: &str,
    axes: &(String, String),
    series: &[Series],
    (left, right): (f64, f64),
    (low, high): (f64, f64),
) -> Value {
    let values: Vec<Value> = series
        .iter()
        .flat_map(|series| finite(&series.points).map(|(x, y)| json!({"x": x, "y": y, "series": series.name})))
        .collect();
    let names: Vec<&str> = series.iter().map(|series| series.name.as_str()).collect();
    let colours: Vec<String> = (0..names.len()).map(|index| css(LINES[index % LINES.len()])).collect();
    let legend = if names.len() > 1 { json!({"title": null, "orient": "top-right"}) } else { Value::Null };
    // Axes without a name still need one in the tooltip.
    let or = |name: &str, other: &str| if name.is_empty() { other.to_owned() } else { name.to_owned() };
    json!({
        "$schema": SCHEMA,
        "title": {"text": title, "subtitle": HINT},
        "width": 540,
        "height": 240,
        "data": {"values": values},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": axes.0, "scale": {"domain": [left, right], "nice": false}},
            "y": {"field": "y", "type": "quantitative", "title": axes.1, "scale": {"domain": [low, high], "nice": false}},
            "color": {"field": "series", "type": "nominal", "scale": {"domain": names, "range": colours}, "legend": legend},
        },
        "layer": [
            {
                "mark": {"type": "line", "clip": true, "strokeWidth": 2},
                // The bare wheel scrolls the notebook.
                "params": [{"name": "zoom", "bind": "scales", "select": {"type": "interval", "zoom": "wheel![event.altKey]"}}],
            },
            {
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
            },
        ],
        "config": config(),
    })
}

/// Cells of a matrix, coloured by `strength` (0 to 1).
pub(super) fn cells(
    title: &str,
    axes: (&str, &str),
    size: (u32, u32),
    values: Vec<Value>,
    rows: &[String],
    columns: &[String],
) -> Value {
    json!({
        "$schema": SCHEMA,
        "title": {"text": title, "subtitle": "values under the pointer"},
        "width": size.0,
        "height": size.1,
        "data": {"values": values},
        "mark": {"type": "rect", "stroke": css(CARD), "strokeWidth": 0.5},
        "encoding": {
            "x": {"field": "column", "type": "ordinal", "title": axes.0, "sort": columns,
                "axis": {"labelAngle": 0, "labelOverlap": "greedy"}},
            "y": {"field": "row", "type": "ordinal", "title": axes.1, "sort": rows, "axis": {"labelOverlap": "greedy"}},
            "color": {"field": "strength", "type": "quantitative", "legend": null,
                "scale": {"domain": [0, 1], "range": [css(GRID), css(LINES[0])]}},
            "tooltip": [
                {"field": "column", "type": "nominal", "title": axes.0},
                {"field": "row", "type": "nominal", "title": axes.1},
                {"field": "value", "type": "quantitative", "format": ".3~g"},
            ],
        },
        "config": config(),
    })
}

/// The looks of the pictures: ink on a card.
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
