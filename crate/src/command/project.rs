//! `project list`, `project show`, `project fields` and `project new`

use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

use super::arguments::{Named, chosen, with_note};
use super::{Failure, KeptValue, Outcome, given, option, path};
use crate::display::{Align, Mark, MimeBundle, TableView, View};
use crate::project::{Project, new_project, project};
use crate::spec::UserPart;
use crate::spec::parts::{self, PARTS};

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
            Command::new("fields")
                .about("The fields that a definition may write: type, default, what each is for")
                .arg(Arg::new("PART").help("One part, or one field (default: all parts)").value_parser(subject)),
        )
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
        Some(("fields", inner)) => Ok(fields(inner)),
        _ => list(),
    }
}

fn list() -> Result<Outcome, Failure> {
    let columns = [("project", Align::Left), ("configurations", Align::Left), ("about", Align::Left)];
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

/// A part or a field that exists.
fn subject(word: &str) -> Result<String, String> {
    let name = word.replace('-', "_");
    if parts::part(&name).is_some() || parts::field(&name).is_some() || UserPart::find(&name).is_some() {
        return Ok(name);
    }
    let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
    let known = names.iter().copied().chain(parts::fields().map(|field| field.name));
    let close = known.map(|known| (strsim::jaro_winkler(&name, known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    let meant = close.filter(|(likeness, _)| *likeness > 0.85).map(|(_, known)| format!("; did you mean `{known}`?"));
    Err(format!("it is neither a part ({}) nor a field{}", names.join(", "), meant.unwrap_or_default()))
}

fn fields(matches: &ArgMatches) -> Outcome {
    let name = given::<String>(matches, "PART");
    let name = name.as_deref();
    if let Some(field) = name.filter(|name| parts::part(name).is_none()).and_then(parts::field) {
        return Outcome { view: field.view(), json: field.report(), passed: true, value: None };
    }
    if let Some(part) = name.and_then(UserPart::find) {
        return Outcome { view: part.view(), json: part.report(), passed: true, value: None };
    }
    let shown: Vec<_> = PARTS.iter().filter(|part| name.is_none_or(|name| name == part.name)).collect();
    // Those of the project that was named.
    let own = if name.is_none() { UserPart::all() } else { Vec::new() };
    let views = shown.iter().map(|part| part.view()).chain(own.iter().map(|part| part.view()));
    let view = views.reduce(|all, next| all.followed_by(&next)).unwrap_or_else(|| MimeBundle::text(""));
    let json = shown.iter().map(|part| part.report()).chain(own.iter().map(|part| part.report())).collect();
    Outcome { view, json, passed: true, value: None }
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
    let value = Some(KeptValue { value: Box::new(trace), type_path: KEEPS });
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
