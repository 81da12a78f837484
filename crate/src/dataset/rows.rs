//! Makes a row's text from its columns: one column as it is, or a template of several.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior};
use polars::prelude::{Column, DataFrame};

use super::DatasetError;
use super::read::{named, unreadable};

/// What `text:` of a configuration asks for.
pub(super) struct TextColumns {
    columns: Vec<String>,
    /// `None` for one column as it is.
    template: Option<Environment<'static>>,
}

const TEMPLATE: &str = "text";

impl TextColumns {
    pub(super) fn new(text: &str, place: &str) -> Result<Self, DatasetError> {
        if !text.contains("{{") && !text.contains("{%") {
            return Ok(Self { columns: vec![text.to_owned()], template: None });
        }
        let fault = |reason: String| DatasetError::Declaration {
            reason: format!("the template of the text is wrong: {reason}"),
            place: place.to_owned(),
            advice: "write columns in double braces, such as {{ title }}: {{ body }}".to_owned(),
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(100_000));
        environment.add_template_owned(TEMPLATE, text.to_owned()).map_err(|error| fault(error.to_string()))?;
        let template = environment.get_template(TEMPLATE).map_err(|error| fault(error.to_string()))?;
        let mut columns: Vec<String> = template.undeclared_variables(false).into_iter().collect();
        columns.sort();
        if columns.is_empty() {
            return Err(fault("it names no column".to_owned()));
        }
        Ok(Self { columns, template: Some(environment) })
    }

    /// Returns the columns it reads.
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    pub(super) fn is_plain(&self) -> bool {
        self.template.is_none()
    }

    /// `row` and `text` of a frame with `row` and the columns, as text. Missing values are empty text in templates.
    pub(super) fn texts(&self, frame: DataFrame, place: &str) -> Result<DataFrame, DatasetError> {
        let fault = |error: polars::prelude::PolarsError| unreadable(place, &error);
        let row = frame.column("row").map_err(fault)?.clone();
        let mut columns = Vec::new();
        for column in &self.columns {
            columns.push(frame.column(&named(column)).map_err(fault)?.str().map_err(fault)?.clone());
        }
        let mut texts: Vec<String> = Vec::with_capacity(frame.height());
        for index in 0..frame.height() {
            let Some(environment) = &self.template else {
                texts.push(columns[0].get(index).unwrap_or_default().to_owned());
                continue;
            };
            let named = self.columns.iter().zip(&columns);
            let values: BTreeMap<String, String> =
                named.map(|(name, column)| (name.clone(), column.get(index).unwrap_or_default().to_owned())).collect();
            let template = environment.get_template(TEMPLATE);
            let text =
                template.and_then(|template| template.render(values)).map_err(|error| DatasetError::Content {
                    what: format!("the text cannot be rendered: {error}"),
                    place: format!("{place}, row {}", index + 1),
                    advice: "correct `text` in the configuration".to_owned(),
                })?;
            texts.push(text);
        }
        DataFrame::new_infer_height(vec![row, Column::new("text".into(), texts)]).map_err(fault)
    }
}
