//! Renders a notebook as one self-contained page, light or dark like the reader's system.

use base64::Engine;
use pulldown_cmark::{Options, Parser};
use serde_json::Value;

use super::ansi;
use super::notebook::{Notebook, joined};
use chandlery::display::Html;

/// Returns the page of a notebook.
pub(super) fn page(notebook: &Notebook, title: &str) -> String {
    let mut html = Html::new();
    html.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
        .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>")
        .text(title)
        .raw("</title>\n<style>")
        .raw(include_str!("page.css"))
        .raw("</style>\n</head>\n<body>\n<main>\n");
    for index in 0..notebook.len() {
        match notebook.kind(index) {
            "markdown" => markdown(&mut html, &notebook.source(index)),
            "code" => code(&mut html, notebook, index),
            _ => {
                html.raw("<pre class=\"raw\">").text(notebook.source(index)).raw("</pre>\n");
            }
        }
    }
    html.raw("</main>\n</body>\n</html>\n");
    html.finish()
}

fn markdown(html: &mut Html, source: &str) {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_FOOTNOTES;
    let mut rendered = String::new();
    pulldown_cmark::html::push_html(&mut rendered, Parser::new_ext(source, options));
    html.raw("<section class=\"prose\">\n").raw(rendered).raw("</section>\n");
}

fn code(html: &mut Html, notebook: &Notebook, index: usize) {
    let source = notebook.source(index);
    if source.trim().is_empty() {
        return;
    }
    html.raw("<section class=\"cell\" id=\"").text(notebook.id(index).unwrap_or("")).raw("\">\n<div class=\"count\">");
    match notebook.execution_count(index) {
        Some(number) => html.text(format!("[{number}]")),
        None => html.text("[ ]"),
    };
    html.raw("</div>\n<pre class=\"source\"><code>").text(source.trim_end()).raw("</code></pre>\n");
    for value in notebook.outputs(index) {
        output(html, value);
    }
    html.raw("</section>\n");
}

fn output(html: &mut Html, output: &Value) {
    match output["output_type"].as_str() {
        Some("stream") => {
            let class = if output["name"] == "stderr" { "text stderr" } else { "text" };
            html.raw(format!("<pre class=\"{class}\">"));
            ansi::write_html(html, &joined(&output["text"]));
            html.raw("</pre>\n");
        }
        Some("error") => {
            let traceback = output["traceback"].as_array().map_or(&[][..], Vec::as_slice);
            let lines: Vec<&str> = traceback.iter().filter_map(Value::as_str).collect();
            html.raw("<pre class=\"text error\">");
            ansi::write_html(html, &lines.join("\n"));
            html.raw("</pre>\n");
        }
        _ => data(html, &output["data"]),
    }
}

/// Writes the richest form of an output that a page can contain.
fn data(html: &mut Html, data: &Value) {
    let form = |mime: &str| data.get(mime).map(joined);
    let image = |mime: &str, base64: &str| {
        format!("<img class=\"plot\" alt=\"\" src=\"data:{mime};base64,{}\">", base64.trim())
    };
    html.raw("<div class=\"output\">");
    if let Some(markup) = form("text/html") {
        html.raw(markup);
    } else if let Some(svg) = form("image/svg+xml") {
        // Not inline: as an image it cannot run scripts or clash with the page's ids.
        html.raw(image("image/svg+xml", &base64::engine::general_purpose::STANDARD.encode(svg)));
    } else if let Some((mime, picture)) = ["image/png", "image/jpeg"].iter().find_map(|&mime| Some((mime, form(mime)?)))
    {
        // Base64 is letters, digits and `+/=`; anything else must not reach the attribute.
        let base64: String = picture.chars().filter(|c| c.is_ascii_alphanumeric() || "+/=".contains(*c)).collect();
        html.raw(image(mime, &base64));
    } else if let Some(source) = form("text/markdown") {
        markdown(html, &source);
    } else {
        html.raw("<pre class=\"text\">");
        ansi::write_html(html, &form("text/plain").unwrap_or_default());
        html.raw("</pre>");
    }
    html.raw("</div>\n");
}
