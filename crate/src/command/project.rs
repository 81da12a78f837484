//! `project list` and `project show`

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use super::{Failure, Outcome, given};
use crate::display::{Align, Mark, MimeBundle, TableView};
use crate::project::{Project, project};

pub(super) fn definition() -> Command {
    Command::new("project")
        .about("List the built-in model projects, or show one's rendered configuration")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("Projects and their configurations"))
        .subcommand(Command::new("show").about("The YAML that a configuration renders to (-p PROJECT -t CONFIG)"))
}

pub(super) fn run(matches: &ArgMatches) -> Result<Outcome, Failure> {
    match matches.subcommand() {
        Some(("show", inner)) => show(inner),
        _ => list(),
    }
}

fn list() -> Result<Outcome, Failure> {
    let mut view =
        TableView::new("Projects", &[("project", Align::Left), ("configurations", Align::Left), ("", Align::Left)]);
    let mut entries = Vec::new();
    for name in Project::names() {
        let project = project(&name)?;
        let configs = project.configs();
        entries.push(json!({ "name": name, "configs": configs, "default": project.default_config() }));
        view.row(Mark::None, [name.into(), configs.join(", ").into(), project.description().into()]);
    }
    Ok(Outcome { view: view.bundle(), json: Value::Array(entries), passed: true, value: None })
}

fn show(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let project = project(given::<String>(matches, "project-dir").as_deref().unwrap_or("llama"))?;
    let name = given::<String>(matches, "config-template").unwrap_or_else(|| project.default_config().to_owned());
    let yaml = project.config(&name)?.render_yaml()?;
    let json = json!({ "project": project.name(), "config": name, "yaml": yaml });
    Ok(Outcome { view: MimeBundle::text(yaml), json, passed: true, value: None })
}
