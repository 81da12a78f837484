//! `project list`, `project show` and `project new`

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use super::arguments::{Named, chosen, with_note};
use super::{Failure, Kept, Outcome, given, option, path};
use crate::display::{Align, Mark, MimeBundle, TableView, View};
use crate::project::{Project, new_project, project};

const KEEPS: &str = "chandlery::project::Trace";

/// The type of its result.
pub(super) fn keeps(matches: &ArgMatches) -> Option<&'static str> {
    (matches.subcommand_name() == Some("show")).then_some(KEEPS)
}

pub(super) fn definition(named: Option<&Named>) -> Command {
    let show = Command::new("show")
        .about("The YAML that a configuration renders to (-p PROJECT -t CONFIG), and where each value comes from");
    let show = match named {
        Some(named) => named.add_flags(show),
        None => show,
    };
    Command::new("project")
        .about("List model projects, show a rendered configuration, or start a project from a copy")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("Built-in projects, and those below the current folder"))
        .subcommand(show)
        .subcommand(
            Command::new("new")
                .about("Copy a definition into a new folder, to edit it there")
                .arg(path("DIR", "The folder to make"))
                .arg(option("from", "PROJECT", "The project to copy: a name or a path (default: llama)")),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Result<Outcome, Failure> {
    match matches.subcommand() {
        Some(("show", inner)) => show(inner),
        Some(("new", inner)) => new(inner),
        _ => list(),
    }
}

fn list() -> Result<Outcome, Failure> {
    let columns = [("project", Align::Left), ("configurations", Align::Left), ("", Align::Left)];
    let mut view = TableView::new("Projects", &columns);
    let mut entries = Vec::new();
    let mut add = |name: String, project: &Project| {
        let configs = project.configs();
        entries.push(json!({
            "name": project.name(),
            "description": project.description(),
            "configs": configs,
            "default": project.default_config(),
            "path": project.folder(),
        }));
        view.row(Mark::None, [name.into(), configs.join(", ").into(), project.description().into()]);
    };
    for name in Project::names() {
        add(name.clone(), &project(&name)?);
    }
    let mut broken = Vec::new();
    for found in Project::below(Path::new(".")) {
        let place = found.folder.strip_prefix(".").unwrap_or(&found.folder).display().to_string();
        let place = if place.is_empty() { ".".to_owned() } else { place };
        match &found.project {
            Ok(project) => add(place, project),
            Err(error) => broken.push((place, error.to_string())),
        }
    }
    for (place, error) in broken {
        let what = error.lines().next().unwrap_or_default();
        view.row(Mark::Bad, [place.as_str().into(), "".into(), what.into()]);
        entries.push(json!({ "name": Value::Null, "path": place, "error": error }));
    }
    view.note("-p takes a name or a path of the first column, -t a configuration");
    Ok(Outcome { view: view.bundle(), json: Value::Array(entries), passed: true, value: None })
}

fn show(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let config = chosen(matches)?;
    let trace = config.trace()?;
    let values: Vec<Value> = trace
        .values
        .iter()
        .map(|traced| {
            let place = traced.origin.place();
            json!({
                "key": traced.key,
                "value": traced.value,
                "origin": {
                    "kind": traced.origin.kind(),
                    "text": traced.origin.to_string(),
                    "file": place.map(|place| &place.file),
                    "line": place.map(|place| place.line),
                },
            })
        })
        .collect();
    let json = json!({
        "note": trace.note,
        "project": config.project().name(),
        "path": config.project().folder(),
        "config": config.name(),
        "yaml": trace.yaml,
        "values": values,
    });
    let view = trace.view();
    let value = Some(Kept { value: Box::new(trace), type_path: KEEPS });
    Ok(Outcome { view, json, passed: true, value })
}

fn new(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let folder = given::<PathBuf>(matches, "DIR").unwrap_or_default();
    let from = project(given::<String>(matches, "from").as_deref().unwrap_or("llama"))?;
    let files = new_project(&folder, &from)?;
    let text = format!(
        "{} is a copy of project {}: {}\nshow it with `chandlery -p {} project show`",
        folder.display(),
        from.name(),
        files.join(", "),
        folder.display()
    );
    let json = json!({ "path": folder, "from": from.name(), "files": files });
    Ok(with_note(Outcome { view: MimeBundle::text(text), json, passed: true, value: None }, &from))
}
