//! Errors as values: what went wrong first, then where and what to do, then the causes.

use std::error::Error;
use std::fmt::Display;

use serde_json::json;

use crate::display::{Html, MimeBundle, View};

/// A value that is present shows itself; otherwise the error says why it is missing.
impl<T: View, E: Display> View for Result<T, E> {
    fn view(&self) -> MimeBundle {
        match self {
            Ok(value) => value.view(),
            Err(error) => failed_bundle(error, std::any::type_name::<E>()),
        }
    }
}

/// The error of a `Result`.
pub(crate) fn failed_bundle(error: &dyn Display, type_name: &str) -> MimeBundle {
    rendered("Err: ", &error.to_string(), &[], type_name)
}

/// An error by itself, with the errors that caused it.
pub(crate) fn error_bundle(error: &dyn Error, type_name: &str) -> MimeBundle {
    let message = error.to_string();
    let mut causes: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next.filter(|_| causes.len() < 20) {
        let text = cause.to_string();
        // Many errors repeat the message of their cause.
        if !message.contains(&text) && causes.last() != Some(&text) {
            causes.push(text);
        }
        next = cause.source();
    }
    rendered("", &message, &causes, type_name)
}

fn rendered(before: &str, message: &str, causes: &[String], type_name: &str) -> MimeBundle {
    let name = crate::display::short_type_name(type_name);
    let (what, rest) = message.split_once('\n').unwrap_or((message, ""));
    let mut text = format!("{before}{message}");
    causes.iter().for_each(|cause| text.push_str(&format!("\ncaused by: {cause}")));
    let mut html = Html::new();
    html.raw(
        "<div style=\"margin:0.3em 0;padding:0.3em 0.7em;border-left:4px solid rgb(218,54,51);\
         background-color:rgba(248,81,73,0.12);overflow-x:auto\"><div><b>! ",
    );
    html.text(what).raw("</b></div>");
    for line in rest.lines().filter(|line| !line.trim().is_empty()) {
        html.raw("<div style=\"white-space:pre-wrap\">");
        match ["where", "do"]
            .iter()
            .find_map(|key| Some((*key, line.trim_start().strip_prefix(key)?.strip_prefix(':')?)))
        {
            Some((key, words)) => html.raw("&nbsp;&nbsp;<b>").text(key).raw(":</b>").text(words),
            None => html.text(line),
        };
        html.raw("</div>");
    }
    for cause in causes {
        html.raw("<div style=\"white-space:pre-wrap\"><b>caused by:</b> ").text(cause).raw("</div>");
    }
    html.raw("<div style=\"opacity:0.75\"><code style=\"background-color:transparent\">")
        .text(&name)
        .raw("</code></div></div>");
    let typed = json!({"kind": "error", "type": name, "message": message, "causes": causes});
    MimeBundle::text(text).with_html(html.finish()).with("application/vnd.chandlery.error+json", typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no weights <found>\n  where: /models/x\n  do: copy the folder again")]
    struct NotFound(#[source] std::io::Error);

    #[test]
    fn an_error_says_what_where_what_to_do_and_why() {
        let bundle = error_bundle(&NotFound(std::io::Error::other("disk on fire")), std::any::type_name::<NotFound>());
        assert_eq!(
            bundle.plain(),
            "no weights <found>\n  where: /models/x\n  do: copy the folder again\ncaused by: disk on fire"
        );
        let html = bundle.get("text/html").and_then(|html| html.as_str()).unwrap();
        assert!(html.contains("<b>! no weights &lt;found&gt;</b>") && html.contains("<b>do:</b> copy"), "{html}");
        assert_eq!(bundle.get("application/vnd.chandlery.error+json").unwrap()["type"], "NotFound");
    }

    #[test]
    fn results_show_what_they_hold() {
        let ok: Result<MimeBundle, String> = Ok(MimeBundle::text("inside"));
        assert_eq!(ok.view().plain(), "inside");
        let failed: Result<MimeBundle, String> = Err("no such file".to_owned());
        assert_eq!(failed.view().plain(), "Err: no such file");
    }
}
