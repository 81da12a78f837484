//! `project list`, `project show`, `project fields` and `project new`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::arguments::{chosen, with_note};
use super::shared::ConfigArgs;
use super::verbs::{Context, Run};
use super::{Failure, Outcome, values};
use crate::diagnostic::Diagnose;
use crate::display::{Align, Mark, MimeBundle, TableView, View};
use crate::project::{Project, new_project, project};
use crate::spec::UserPart;
use crate::spec::parts::{self, PARTS};

/// `chandlery project`.
#[derive(Debug, Args)]
pub(super) struct ProjectArgs {
    #[command(subcommand)]
    pub(super) action: ProjectAction,
}

/// The subcommands of `project`.
#[derive(Debug, Subcommand)]
pub(super) enum ProjectAction {
    /// Built-in projects, and those below the current folder
    List,
    /// The YAML that a configuration renders to (-p PROJECT -t CONFIG), and where each value comes from
    Show(ConfigArgs),
    /// The fields that a definition may write: type, default, what each is for
    Fields {
        /// One part, or one field (default: all parts)
        #[arg(value_name = "PART", value_parser = subject)]
        part: Option<String>,
    },
    /// Copy a definition into a new folder, to edit it there
    New {
        /// The folder to make
        #[arg(value_name = "DIR", value_parser = values::path)]
        folder: PathBuf,
        /// The project to copy: a name or a path
        #[arg(long, value_name = "PROJECT", default_value = "llama")]
        from: String,
    },
}

impl Run for ProjectArgs {
    fn result_type(&self) -> Option<&'static str> {
        matches!(self.action, ProjectAction::Show(_)).then_some("chandlery::project::Trace")
    }

    fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match &self.action {
            ProjectAction::List => list(),
            ProjectAction::Show(config) => self.show(config, context),
            ProjectAction::Fields { part } => Ok(fields(part.as_deref())),
            ProjectAction::New { folder, from } => new(folder, from),
        }
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
            Err(error) => broken.push((place, error.diagnostic())),
        }
    }
    for (place, error) in broken {
        view.row(Mark::Bad, [place.as_str().into(), "".into(), error.what.as_str().into()]);
        entries.push(json!({ "name": Value::Null, "path": place, "error": error.to_string() }));
    }
    view.note("-p takes a name or a path of the first column, -t a configuration");
    Ok(Outcome::new(view.bundle(), Value::Array(entries)))
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

fn fields(name: Option<&str>) -> Outcome {
    if let Some(field) = name.filter(|name| parts::part(name).is_none()).and_then(parts::field) {
        return Outcome::new(field.view(), field.report());
    }
    if let Some(part) = name.and_then(UserPart::find) {
        return Outcome::new(part.view(), part.report());
    }
    let shown: Vec<_> = PARTS.iter().filter(|part| name.is_none_or(|name| name == part.name)).collect();
    // Those of the project that was named.
    let own = if name.is_none() { UserPart::all() } else { Vec::new() };
    let views = shown.iter().map(|part| part.view()).chain(own.iter().map(|part| part.view()));
    let view = views.reduce(|all, next| all.followed_by(&next)).unwrap_or_else(|| MimeBundle::text(""));
    let json = shown.iter().map(|part| part.report()).chain(own.iter().map(|part| part.report())).collect();
    Outcome::new(view, json)
}

impl ProjectArgs {
    fn show(&self, config: &ConfigArgs, context: &Context) -> Result<Outcome, Failure> {
        let config = chosen(config, context)?;
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
        Ok(Outcome::new(trace.view(), json).keeping(self, trace))
    }
}

fn new(folder: &Path, from: &str) -> Result<Outcome, Failure> {
    let from = project(from)?;
    let files = new_project(folder, &from)?;
    let text = format!(
        "{} is a copy of project {}: {}\nshow it with `chandlery -p {} project show`",
        folder.display(),
        from.name(),
        files.join(", "),
        folder.display()
    );
    let json = json!({ "path": folder, "from": from.name(), "files": files });
    Ok(with_note(Outcome::new(MimeBundle::text(text), json), &from))
}
