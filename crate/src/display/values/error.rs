//! Errors as values: what went wrong first, then where and what to do, then the causes.

use std::error::Error;
use std::fmt::Display;

use crate::diagnostic::Diagnostic;
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
    rendered("Err: ", &Diagnostic::of(error), &[], type_name)
}

/// An error by itself, with the errors that caused it.
pub(crate) fn error_bundle(error: &dyn Error, type_name: &str) -> MimeBundle {
    let diagnostic = Diagnostic::of(&error);
    let message = diagnostic.to_string();
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
    rendered("", &diagnostic, &causes, type_name)
}

fn rendered(before: &str, diagnostic: &Diagnostic, causes: &[String], type_name: &str) -> MimeBundle {
    let name = crate::display::short_type_name(type_name);
    let message = diagnostic.to_string();
    let mut text = format!("{before}{message}");
    causes.iter().for_each(|cause| text.push_str(&format!("\ncaused by: {cause}")));
    let mut report = diagnostic.report(&name);
    report["kind"] = "error".into();
    report["type"] = name.as_str().into();
    report["message"] = message.into();
    report["causes"] = causes.into();
    MimeBundle::text(text)
        .with_html(html(diagnostic, causes, &name))
        .with("application/vnd.chandlery.error+json", report)
}

fn html(diagnostic: &Diagnostic, causes: &[String], type_name: &str) -> String {
    let Diagnostic { what, details, origin, advice } = diagnostic;
    let mut html = Html::new();
    html.raw(
        "<div style=\"margin:0.3em 0;padding:0.3em 0.7em;border-left:4px solid rgb(218,54,51);\
         background-color:rgba(248,81,73,0.12);overflow-x:auto\"><div><b>! ",
    );
    let mut lines = what.lines();
    html.text(lines.next().unwrap_or_default()).raw("</b></div>");
    let mut line = |title: &str, text: &str| {
        html.raw("<div style=\"white-space:pre-wrap\">").raw(title).text(text).raw("</div>");
    };
    lines.filter(|text| !text.trim().is_empty()).for_each(|text| line("", text));
    details.iter().for_each(|detail| line("&nbsp;&nbsp;", detail));
    origin.iter().for_each(|origin| line("&nbsp;&nbsp;<b>where:</b> ", origin));
    advice.iter().for_each(|advice| line("&nbsp;&nbsp;<b>do:</b> ", advice));
    causes.iter().for_each(|cause| line("<b>caused by:</b> ", cause));
    html.raw("<div style=\"opacity:0.75\"><code style=\"background-color:transparent\">")
        .text(type_name)
        .raw("</code></div></div>");
    html.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Diagnose;

    #[derive(Debug, thiserror::Error)]
    #[error("{}", self.diagnostic())]
    struct NotFound(#[source] std::io::Error);

    impl Diagnose for NotFound {
        fn diagnostic(&self) -> Diagnostic {
            Diagnostic::new("no weights <found>").at("/models/x").advise("copy the folder again")
        }
    }

    #[test]
    fn an_error_says_what_where_what_to_do_and_why() {
        let bundle = error_bundle(&NotFound(std::io::Error::other("disk on fire")), std::any::type_name::<NotFound>());
        assert_eq!(
            bundle.plain(),
            "no weights <found>\n  where: /models/x\n  do: copy the folder again\ncaused by: disk on fire"
        );
        let html = bundle.get("text/html").and_then(|html| html.as_str()).unwrap();
        assert!(html.contains("<b>! no weights &lt;found&gt;</b>") && html.contains("<b>do:</b> copy"), "{html}");
        let typed = bundle.get("application/vnd.chandlery.error+json").unwrap();
        assert_eq!((&typed["kind"], &typed["type"]), (&"error".into(), &"NotFound".into()));
        assert_eq!((&typed["what"], &typed["origin"]), (&"no weights <found>".into(), &"/models/x".into()));
        assert_eq!(typed["advice"], "copy the folder again");
    }

    #[test]
    fn results_show_what_they_hold() {
        let ok: Result<MimeBundle, String> = Ok(MimeBundle::text("inside"));
        assert_eq!(ok.view().plain(), "inside");
        let failed: Result<MimeBundle, String> = Err("no such file".to_owned());
        assert_eq!(failed.view().plain(), "Err: no such file");
        let failed: Result<MimeBundle, NotFound> = Err(NotFound(std::io::Error::other("disk on fire")));
        let typed = failed.view().get("application/vnd.chandlery.error+json").unwrap().clone();
        assert_eq!((&typed["what"], &typed["origin"]), (&"no weights <found>".into(), &"/models/x".into()));
    }

    #[test]
    fn lines_of_foreign_text_stay_lines() {
        let failed: Result<MimeBundle, &str> = Err("first\n  where: not a place");
        let bundle = failed.view();
        let html = bundle.get("text/html").and_then(|html| html.as_str()).unwrap();
        assert!(html.contains("<b>! first</b>") && html.contains(">  where: not a place</div>"), "{html}");
        assert_eq!(bundle.get("application/vnd.chandlery.error+json").unwrap()["origin"], serde_json::Value::Null);
    }
}
