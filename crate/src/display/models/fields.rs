//! The reference of the fields that parts declare.

use serde_json::{Value, json};

use crate::display::table::{Align, Mark, TableView};
use crate::display::{MimeBundle, View};
use crate::project::Project;
use crate::spec::parts::PartFields;
use crate::spec::{Architecture, Field, ModelConfig, UserPart};

impl View for PartFields {
    fn view(&self) -> MimeBundle {
        self.table().typed_bundle("fields")
    }
}

impl PartFields {
    fn table(&self) -> TableView {
        let columns = [
            ("field", Align::Left),
            ("type", Align::Left),
            ("default", Align::Left),
            ("by layer", Align::Left),
            ("about", Align::Left),
        ];
        let mut table = TableView::new(format!("{}: {}", self.name, self.about), &columns);
        for field in self.fields() {
            let by_layer = if field.is_by_layer() { "yes" } else { "" };
            let about = match field.condition() {
                Some(condition) => format!("{} (with {condition})", field.help()),
                None => field.help().to_owned(),
            };
            table.row(
                Mark::None,
                [
                    field.name.into(),
                    field.kind.to_string().into(),
                    field.default_in_words().into(),
                    by_layer.into(),
                    about.into(),
                ],
            );
        }
        table
    }

    /// The `--json` report.
    pub fn report(&self) -> Value {
        json!({ "part": self.name, "about": self.about, "fields": self.fields().map(Field::report).collect::<Vec<_>>() })
    }
}

impl View for UserPart {
    fn view(&self) -> MimeBundle {
        let columns = [("field", Align::Left), ("type", Align::Left), ("default", Align::Left), ("about", Align::Left)];
        let place = self.mixer_kind().field();
        let mut table = TableView::new(format!("{}: a part of your own ({place}: {0})", self.name()), &columns);
        for field in self.fields() {
            let kind = field.kind.to_string();
            table
                .row(Mark::None, [field.name.into(), kind.into(), field.default.to_string().into(), field.help.into()]);
        }
        if let Some((file, _)) = self.source() {
            table.note(format!("its source: {file}"));
        }
        table.typed_bundle("fields")
    }
}

impl UserPart {
    /// The `--json` report.
    pub fn report(&self) -> Value {
        let fields = self.fields().iter().map(|field| {
            let kind = field.kind.to_string();
            json!({ "name": field.name, "type": kind, "default": field.default, "help": field.help })
        });
        json!({ "part": self.name(), "about": format!("{}: {}", self.mixer_kind().field(), self.name()), "fields": fields.collect::<Vec<_>>() })
    }
}

impl View for Field {
    fn view(&self) -> MimeBundle {
        MimeBundle::text(self.explanation())
    }
}

impl Field {
    /// Explains the field, one fact a line.
    pub fn explanation(&self) -> String {
        let mut lines = vec![format!("{}: {}", self.name, self.help()), String::new()];
        lines.push(format!("type: {}", self.kind));
        lines.push(format!("default: {}", self.default_in_words()));
        lines.extend(self.condition().map(|condition| format!("has an effect with {condition}")));
        lines.extend(self.is_by_layer().then(|| "layers may differ in it (layers: [{count: 1, ...}])".to_owned()));
        if !self.aliases_of().is_empty() {
            lines.push(format!("also read: {}", self.aliases_of().join(", ")));
        }
        lines.push(match self.is_always_written() {
            true => "every config.json has it".to_owned(),
            false => "config.json has it where it is not the family's default".to_owned(),
        });
        lines.join("\n")
    }

    /// The default, and which families of the built-in projects have another one. The report has
    /// those of all families.
    fn default_in_words(&self) -> String {
        if let Some(words) = self.otherwise_words() {
            return words.to_owned();
        }
        if self.is_required() {
            return "required".to_owned();
        }
        let shown = |value: Option<Value>| match value {
            None => "null".to_owned(),
            Some(Value::String(word)) => word,
            Some(other) => other.to_string(),
        };
        let usual = shown(self.value(&ModelConfig::usual(Architecture::nameless())));
        let mut others: Vec<(String, Vec<&str>)> = Vec::new();
        let projects = Project::names();
        for family in Architecture::all().filter(|family| projects.iter().any(|name| name == family.name())) {
            let config = ModelConfig::usual(family);
            let value = self.value(&config).filter(|_| self.has_effect(&config));
            let value = if value.is_none() { usual.clone() } else { shown(value) };
            match others.iter_mut().find(|(known, _)| *known == value) {
                Some((_, families)) => families.push(family.name()),
                None if value != usual => others.push((value, vec![family.name()])),
                None => {}
            }
        }
        others.into_iter().fold(usual, |text, (value, families)| format!("{text}; {} {value}", families.join(", ")))
    }

    /// The `--json` report.
    pub fn report(&self) -> Value {
        let defaults: serde_json::Map<String, Value> = Architecture::all()
            .filter(|_| !self.is_required() && self.otherwise_words().is_none())
            .map(|family| (family.name().to_owned(), json!(self.value(&ModelConfig::usual(family)))))
            .collect();
        json!({
            "name": self.name,
            "type": self.kind.name(),
            "choices": self.kind.words(),
            "help": self.help(),
            "required": self.is_required(),
            "default": self.default_in_words(),
            "defaults": defaults,
            "by_layer": self.is_by_layer(),
            "needs": self.condition(),
            "aliases": self.aliases_of(),
            "always_written": self.is_always_written(),
        })
    }
}
