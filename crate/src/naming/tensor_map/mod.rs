//! Which tensors of a model correspond to each other under the two namings, checked in both directions.

mod arrangement;
mod layout;

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::checkpoint::Piece;
use crate::naming::family::{Family, FamilyError, Spanned, size};
use crate::naming::remap::Renamed;
use crate::spec::{ModelConfig, ModelSpec, Naming, ParamPath, TensorRow, TensorTable};
use arrangement::{Arrangement, Layout, Stretch, rows_of};

/// Tensors that correspond: one to one, one to several (a split), or several to one (a join).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Link {
    /// Hugging Face's tensors.
    pub(super) hf: Vec<Part<Arrangement>>,
    /// The native tensors.
    pub(super) native: Vec<Part<TensorRow>>,
}

/// A tensor and the rows that it is of the whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part<T> {
    pub(super) name: ParamPath,
    pub(super) start: usize,
    pub(super) rows: usize,
    /// Rows per index of the tensor's first dimension: one, except where matrices are stacked.
    each: usize,
    pub(super) tensor: T,
}

/// The links between all stored tensors of a model. `unnamed` are native tensors that no rule names.
#[derive(Clone, Debug, Default)]
pub(super) struct TensorMap {
    pub(super) links: Vec<Link>,
    pub(super) unnamed: Vec<ParamPath>,
    /// (alias, target) by the names of each side.
    pub(super) tied: Vec<[(ParamPath, ParamPath); 2]>,
}

impl Link {
    /// Returns the names on one side.
    pub(super) fn names(&self, naming: Naming) -> Vec<&ParamPath> {
        match naming {
            Naming::HuggingFace => self.hf.iter().map(|part| &part.name).collect(),
            Naming::Native => self.native.iter().map(|part| &part.name).collect(),
        }
    }

    /// Returns the shape of a tensor of one side.
    pub(super) fn shape(&self, naming: Naming, index: usize) -> &[usize] {
        match naming {
            Naming::HuggingFace => &self.hf[index].tensor.shape,
            Naming::Native => &self.native[index].tensor.shape,
        }
    }

    /// Returns what is done to elements of tensor `index` of Hugging Face, beside being one of several parts.
    pub(super) fn words(&self, index: usize) -> Option<String> {
        self.hf[index].tensor.words()
    }

    /// Returns what is added to the elements on the way to the model.
    pub(super) fn added(&self) -> f64 {
        self.hf.first().map_or(0.0, |part| part.tensor.added)
    }

    /// Rows of Hugging Face's tensor that stay behind.
    pub(super) fn skipped_rows(&self) -> usize {
        self.hf.first().map_or(0, |part| part.tensor.skipped)
    }

    /// Returns what tensor `index` of side `to` is made of. `there` gives the source's tensors other names than the
    /// family's.
    pub(super) fn pieces(&self, to: Naming, index: usize, there: &dyn Fn(&ParamPath) -> ParamPath) -> Vec<Piece> {
        let plain = self.hf.iter().all(|part| part.tensor.is_plain());
        match to {
            Naming::Native => {
                let whole = &self.native[index];
                if self.added() != 0.0 {
                    return vec![Piece::Shifted { tensor: there(&self.hf[0].name), by: self.added(), rounded: None }];
                }
                let parts = self.hf.iter().map(|part| (part, there(&part.name)));
                let rows = |(part, name): (&Part<Arrangement>, ParamPath)| {
                    let stretch = overlap(part, whole);
                    rows_of(&name, (stretch.start, stretch.count), part.rows, part.each)
                };
                if let Some(pieces) = parts.clone().map(rows).collect::<Option<_>>().filter(|_| plain) {
                    return pieces;
                }
                let boxes = parts.flat_map(|(part, name)| part.tensor.boxes_from(&name, overlap(part, whole)));
                vec![Piece::Gathered { elements: whole.tensor.shape.iter().product(), boxes: boxes.collect() }]
            }
            Naming::HuggingFace => {
                let whole = &self.hf[index];
                if self.added() != 0.0 {
                    return vec![Piece::Shifted {
                        tensor: there(&self.native[0].name),
                        by: -self.added(),
                        rounded: None,
                    }];
                }
                let parts = self.native.iter().map(|part| (part, there(&part.name)));
                let rows = |(part, name): (&Part<TensorRow>, ParamPath)| {
                    let stretch = overlap(whole, part);
                    rows_of(&name, (stretch.other, stretch.count), part.rows, part.each)
                };
                if let Some(pieces) = parts.clone().map(rows).collect::<Option<_>>().filter(|_| plain) {
                    return pieces;
                }
                // Rows that nothing reaches are zeros.
                let boxes = parts.flat_map(|(part, name)| whole.tensor.boxes_to(&name, overlap(whole, part)));
                vec![Piece::Gathered { elements: whole.tensor.shape.iter().product(), boxes: boxes.collect() }]
            }
        }
    }
}

/// Returns the rows that two parts of one whole share; the one lies within the other.
fn overlap<A, B>(here: &Part<A>, there: &Part<B>) -> Stretch {
    let start = here.start.max(there.start);
    Stretch { start: start - here.start, other: start - there.start, count: here.rows.min(there.rows) }
}

impl TensorMap {
    /// Of the model that `config` describes, in a family's names.
    ///
    /// # Errors
    /// [`FamilyError`] if a name does not come back, or an operation does not fit a tensor.
    pub(super) fn new(family: &Family, config: &ModelConfig) -> Result<Self, FamilyError> {
        Self::of_table(family, &ModelSpec::resolve(config).table(config.dtype), &config.to_all_fields())
    }

    fn of_table(family: &Family, table: &TensorTable, fields: &Map<String, Value>) -> Result<Self, FamilyError> {
        let (there, back) = (family.rules_to(Naming::Native), family.rules_to(Naming::HuggingFace));
        let mut found = Self::default();
        let mut done: HashMap<ParamPath, ParamPath> = HashMap::new();
        let mut ways: HashMap<ParamPath, Option<Renamed>> = HashMap::new();
        for row in table.rows() {
            let Some(renamed) = back.rename(&row.path) else {
                found.unnamed.push(row.path.clone());
                continue;
            };
            // A tensor that holds many others is looked up as often.
            let several = renamed.part.is_some();
            let way = |name: &ParamPath| match several {
                true => ways.entry(name.clone()).or_insert_with(|| there.rename(name)).clone(),
                false => there.rename(name),
            };
            let forth: Vec<Renamed> = renamed.to.iter().filter_map(way).collect();
            prove(row, &renamed, &forth)?;
            let first = &renamed.to[0];
            if let Some(target) = &row.tied_to {
                found.tied.push([
                    (first.clone(), family.name_on(Naming::HuggingFace, target)),
                    (row.path.clone(), target.clone()),
                ]);
                continue;
            }
            // A split tensor is met once for each of its parts.
            if let Some(other) = done.insert(first.clone(), forth[0].to[0].clone()) {
                if other != forth[0].to[0] || forth[0].to.len() == 1 {
                    return Err(crossing(&renamed.rule, &row.path, first, &other));
                }
                continue;
            }
            let parts = &forth[0].to;
            let natives: Vec<&TensorRow> = parts
                .iter()
                .map(|name| {
                    table.get(name).ok_or_else(|| FamilyError::Operation {
                        what: format!("`{first}` splits into `{name}`, which this model does not have"),
                        place: forth[0].rule.at(),
                        advice: "apply the rule only to tensors all of whose parts exist".to_owned(),
                    })
                })
                .collect::<Result<_, _>>()?;
            found.links.push(link(&renamed.to, &forth, &natives, fields)?);
        }
        Ok(found)
    }

    /// Of a model in native names on both sides.
    pub(super) fn native(config: &ModelConfig) -> Self {
        let mut found = Self::default();
        for row in ModelSpec::resolve(config).table(config.dtype).rows() {
            if let Some(target) = &row.tied_to {
                let pair = (row.path.clone(), target.clone());
                found.tied.push([pair.clone(), pair]);
                continue;
            }
            let rows = row.shape.first().copied().unwrap_or(1);
            let part = Part { name: row.path.clone(), start: 0, rows, each: 1, tensor: row.clone() };
            found.links.push(Link { hf: Vec::new(), native: vec![part] });
        }
        found
    }
}

/// Checks that every name comes back as it was.
fn prove(row: &TensorRow, renamed: &Renamed, forth: &[Renamed]) -> Result<(), FamilyError> {
    for (index, hf) in renamed.to.iter().enumerate() {
        let comes_back = forth.get(index).is_some_and(|forth| {
            let place = renamed.part.map_or(0, |(place, _)| place);
            let part = (renamed.to.len() > 1).then_some((index, renamed.to.len()));
            forth.to.get(place) == Some(&row.path) && forth.part == part
        });
        if !comes_back {
            let became = forth.get(index).map_or_else(
                || "nothing".to_owned(),
                |forth| forth.to.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
            );
            // The rule that maps elsewhere, or else the rule that mapped to this name.
            let rule = forth.get(index).map_or(&renamed.rule, |forth| &forth.rule);
            return Err(FamilyError::NotInvertible {
                pattern: rule.text.clone(),
                reason: format!("`{}` comes from `{hf}`, which becomes {became}", row.path),
                place: rule.at(),
                advice: "change the rule, or one before it, so that no two names become one".to_owned(),
            });
        }
    }
    Ok(())
}

fn crossing(rule: &Spanned, path: &ParamPath, hf: &ParamPath, other: &ParamPath) -> FamilyError {
    FamilyError::NotInvertible {
        pattern: rule.text.clone(),
        reason: format!("`{path}` and `{other}` both come from `{hf}`"),
        place: rule.at(),
        advice: "change the rules so that no two names become one".to_owned(),
    }
}

fn link(
    names: &[ParamPath],
    forth: &[Renamed],
    natives: &[&TensorRow],
    fields: &Map<String, Value>,
) -> Result<Link, FamilyError> {
    let (first, rule) = (&names[0], &forth[0].rule);
    let fault = |what: String, at: &Spanned, advice: &str| FamilyError::Operation {
        what,
        place: at.at(),
        advice: advice.to_owned(),
    };
    let sizes: Vec<usize> = forth[0]
        .sizes
        .iter()
        .map(|text| {
            let advice = "write sizes out of native fields of the configuration";
            size(&text.text, fields)
                .map_err(|reason| fault(format!("`{first}` cannot be split: {reason}"), text, advice))
        })
        .collect::<Result<_, _>>()?;
    let stacked = forth[0].stacked;
    let native_stack = stacked.filter(|stacked| stacked.native).map(|stacked| stacked.count);
    let hf_stack = stacked.filter(|stacked| !stacked.native).map(|stacked| stacked.count);
    let dimensions = 1 + usize::from(native_stack.is_some());
    let row = natives[0].shape.get(dimensions..).unwrap_or_default();
    if let Some(other) = natives.iter().find(|other| other.shape.get(dimensions..).unwrap_or_default() != row) {
        let what = format!(
            "`{first}` splits into `{}` {:?} and `{}` {:?}",
            natives[0].path, natives[0].shape, other.path, other.shape
        );
        return Err(fault(what, rule, "give the parts of one tensor rows of equal width"));
    }
    if let Some(count) = native_stack.filter(|count| natives[0].shape.len() < 2 || natives[0].shape[0] != *count) {
        let what = format!("`{}` is {:?}, which is not {count} stacked matrices", natives[0].path, natives[0].shape);
        return Err(fault(what, rule, "correct the number of tensors that are stacked"));
    }
    let mut whole = 0;
    let mut native = Vec::new();
    for one in natives {
        let rows: usize = one.shape.iter().take(dimensions).product();
        let each = native_stack.map_or(1, |count| rows / count);
        native.push(Part { name: one.path.clone(), start: whole, rows, each, tensor: (*one).clone() });
        whole += rows;
    }
    // Each of the tensors that are stacked has the same parts.
    let sizes = sizes.repeat(stacked.map_or(1, |stacked| stacked.count));
    let have: Vec<usize> = native.iter().map(|part| part.rows).collect();
    let parts: Vec<usize> = if names.len() == 1 {
        if !sizes.is_empty() && sizes != have {
            let what = format!("`{first}` splits into {sizes:?} rows, but the model's tensors have {have:?}");
            return Err(fault(what, &forth[0].sizes[0], "correct the sizes, or leave them out: the model knows them"));
        }
        vec![whole]
    } else if sizes.is_empty() {
        if !whole.is_multiple_of(names.len()) {
            let what = format!("`{}` has {whole} rows, which are not {} equal parts", natives[0].path, names.len());
            return Err(fault(what, rule, "give the rows of each part: `sizes: [ … ]`"));
        }
        vec![whole / names.len(); names.len()]
    } else {
        if sizes.iter().sum::<usize>() != whole {
            let what = format!("`{}` has {whole} rows, the parts {sizes:?}", natives[0].path);
            return Err(fault(what, &forth[0].sizes[0], "correct the sizes: their sum is the number of rows"));
        }
        sizes
    };
    let inside = &have[..have.len() / hf_stack.unwrap_or(1).max(1)];
    let mut start = 0;
    let mut hf = Vec::new();
    for ((name, renamed), rows) in names.iter().zip(forth).zip(parts) {
        let layout = Layout { rows, row, stacked: hf_stack, parts: inside };
        let mut tensor = Arrangement::new(&layout, &renamed.changes, fields, &renamed.rule, name)?;
        if let ([_], [native]) = (names, natives)
            && native.shape.is_empty()
        {
            // A single number has no dimensions.
            tensor.shape.clear();
        }
        let each = hf_stack.map_or(1, |count| rows / count);
        hf.push(Part { name: name.clone(), start, rows, each, tensor });
        start += rows;
    }
    Ok(Link { hf, native })
}

#[cfg(test)]
mod tests;
