//! The families that conversion knows, and the fields of one.

use serde_json::{Value, json};

use crate::display::table::{Align, Mark, TableView};
use crate::display::{MimeBundle, View};
use crate::naming::{Families, Family, FieldTreatment};

impl View for Families {
    fn view(&self) -> MimeBundle {
        let columns = [
            ("model_type", Align::Left),
            ("class", Align::Left),
            ("fields", Align::Right),
            ("logits", Align::Left),
            ("GGUF", Align::Left),
            ("from", Align::Left),
        ];
        let mut table = TableView::new("Families", &columns);
        for family in self.iter() {
            let judged = if family.has_reference() { "judged" } else { "not judged" };
            table.row(
                Mark::None,
                [
                    family.model_type().into(),
                    family.class().unwrap_or_default().into(),
                    family.fields().len().to_string().into(),
                    judged.into(),
                    family.gguf_name().unwrap_or_default().into(),
                    family.origin().into(),
                ],
            );
        }
        table.note("`chandlery families MODEL_TYPE` lists the fields of a family's config.json");
        table.typed_bundle("families")
    }
}

impl Families {
    /// The `--json` report.
    pub fn report(&self) -> Value {
        json!({ "families": self.iter().map(Family::report).collect::<Vec<_>>() })
    }
}

impl View for Family {
    fn view(&self) -> MimeBundle {
        let columns =
            [("field", Align::Left), ("treatment", Align::Left), ("native", Align::Left), ("default", Align::Left)];
        let class = self.class().map_or_else(String::new, |class| format!(": {class}"));
        let mut table = TableView::new(format!("{}{class}", self.model_type()), &columns);
        for field in self.fields() {
            let mark = match field.treatment {
                FieldTreatment::Mapped => Mark::None,
                FieldTreatment::Must(_) => Mark::Changed,
                FieldTreatment::Read | FieldTreatment::Harmless => Mark::Muted,
            };
            let name = std::iter::once(&field.name).chain(&field.aliases).cloned().collect::<Vec<_>>().join(", ");
            let default = field.default.unwrap_or_default();
            let treatment = field.treatment.to_string();
            table.row(mark, [name.into(), treatment.into(), field.native.join(", ").into(), default.into()]);
        }
        if !self.has_reference() {
            table.note("no reference of its own: the logits of its models are not judged");
        }
        table.note(format!("described in {}", self.origin()));
        table.typed_bundle("family")
    }
}

impl Family {
    /// The `--json` report.
    pub fn report(&self) -> Value {
        json!({
            "model_type": self.model_type(),
            "class": self.class(),
            "architecture": self.architecture().name(),
            "judged": self.has_reference(),
            "gguf": self.gguf_name(),
            "origin": self.origin(),
            "fields": self.fields().iter().map(|field| field.report()).collect::<Vec<_>>(),
        })
    }
}
