//! What a conversion will do, as a value: what becomes of each tensor, and everything that does not fit.

mod incomplete;

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::tensor_map::{Link, TensorMap};
use super::{Dropped, Family, FamilyError, aliases, dropped};
use crate::checkpoint::{Checkpoint, Piece, read_floats};
use crate::spec::{DType, ModelConfig, Naming, ParamPath, TensorRow};

pub(crate) use incomplete::closest;
pub use incomplete::{IncompleteError, TensorMisfit};

/// How one tensor gets from the source to the destination. A tensor that is split or joined has one step for each part.
#[derive(Clone, Debug, PartialEq)]
pub struct RemapStep {
    /// Its name in the source.
    pub from: ParamPath,
    /// Its name in the destination.
    pub to: ParamPath,
    /// (source, destination) pieces of the two names, from left to right.
    pub segments: Vec<(String, String)>,
    /// Dimensions in the source.
    pub from_shape: Vec<usize>,
    /// Dimensions in the destination.
    pub shape: Vec<usize>,
    /// What is done to the elements, in words, where they do not all move as they are.
    pub change: Option<String>,
    /// Element type in the source.
    pub from_dtype: DType,
    /// Element type in the destination.
    pub to_dtype: DType,
}

/// A tensor whose shape is not the one the configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Its name in the source.
    pub from: ParamPath,
    /// The configuration's shape.
    pub expected: Vec<usize>,
    /// The file's shape.
    pub found: Vec<usize>,
}

/// The whole remapping, in the order in which the source stores its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct RemapPlan {
    /// What will be written.
    pub steps: Vec<RemapStep>,
    /// Source-side names that the model needs and the source lacks.
    pub missing: Vec<ParamPath>,
    /// Source tensors that the model has no place for.
    pub unused: Vec<ParamPath>,
    /// Source tensors of another shape than the model's.
    pub mismatched: Vec<Mismatch>,
    /// Source tensors left out on purpose, with the reason.
    pub skipped: Vec<(ParamPath, &'static str)>,
    /// Source tensors that would be left out, and hold other numbers than the model computes.
    pub contradicting: Vec<(ParamPath, &'static str)>,
    /// The folder or file of the source.
    pub origin: String,
    /// What each destination tensor is made of.
    pieces: HashMap<ParamPath, Vec<Piece>>,
    /// Destination tensors that hold a constant.
    constants: Vec<TensorRow>,
    /// How each changed source tensor is rebuilt from those of the destination.
    back: HashMap<ParamPath, Vec<Piece>>,
}

/// The naming of the source, and that of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Direction {
    pub(crate) from: Naming,
    pub(crate) to: Naming,
}

impl RemapPlan {
    /// Plans what becomes of every tensor of `source`, whose names are those of `from`, on the other side. `config`
    /// describes the model; `dtype` casts, if given.
    ///
    /// # Errors
    /// [`FamilyError`] if the family's rules do not lead there and back for this model.
    pub fn new(
        source: &Checkpoint,
        from: Naming,
        config: &ModelConfig,
        family: &Family,
        dtype: Option<DType>,
    ) -> Result<Self, FamilyError> {
        let to = match from {
            Naming::HuggingFace => Naming::Native,
            Naming::Native => Naming::HuggingFace,
        };
        Self::between(source, Direction { from, to }, config, family, dtype)
    }

    /// As [`new`](Self::new), also from native names to native names.
    pub(crate) fn between(
        source: &Checkpoint,
        way: Direction,
        config: &ModelConfig,
        family: &Family,
        dtype: Option<DType>,
    ) -> Result<Self, FamilyError> {
        let family = &family.of_model(config)?;
        let map = match way {
            Direction { from: Naming::Native, to: Naming::Native } => TensorMap::native(config),
            _ => TensorMap::new(family, config)?,
        };
        Self::of_map(source, way, Some(config), family, &map, dtype)
    }

    /// Plans what becomes of every tensor of `source` by the family's rules alone: nothing says which tensors the model
    /// needs. `fields` are those of its config.json.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn by_layout(
        source: &Checkpoint,
        from: Naming,
        fields: &Map<String, Value>,
        family: &Family,
        dtype: Option<DType>,
    ) -> Result<Self, FamilyError> {
        let to = match from {
            Naming::HuggingFace => Naming::Native,
            Naming::Native => Naming::HuggingFace,
        };
        let family = &family.of_fields(fields)?;
        let map = TensorMap::of_layout(family, source.table(), from, fields)?;
        Self::of_map(source, Direction { from, to }, None, family, &map, dtype)
    }

    /// Plans by what corresponds to what. `config` describes the model, where that is known.
    fn of_map(
        source: &Checkpoint,
        way: Direction,
        config: Option<&ModelConfig>,
        family: &Family,
        map: &TensorMap,
        dtype: Option<DType>,
    ) -> Result<Self, FamilyError> {
        let mut plan = Self {
            steps: Vec::new(),
            missing: Vec::new(),
            unused: Vec::new(),
            mismatched: Vec::new(),
            skipped: Vec::new(),
            contradicting: Vec::new(),
            origin: source.path().display().to_string(),
            pieces: HashMap::new(),
            constants: Vec::new(),
            back: HashMap::new(),
        };
        let constants = config.map_or(Ok(Vec::new()), |config| family.constants(config))?;
        let constants: HashMap<ParamPath, f32> = constants.into_iter().collect();
        let mut expected: HashMap<&ParamPath, usize> = HashMap::new();
        for (index, link) in map.links.iter().enumerate() {
            expected.extend(link.names(way.from).into_iter().map(|name| (name, index)));
        }
        let tied: HashMap<&ParamPath, &ParamPath> = map
            .tied
            .iter()
            .map(|sides| &sides[if way.from == Naming::HuggingFace { 0 } else { 1 }])
            .map(|(alias, target)| (alias, target))
            .collect();
        // The family's names of the tensors that are there; files of others may spell them otherwise.
        let known = |name: &ParamPath| expected.contains_key(name) || tied.contains_key(name);
        let mut places: HashMap<ParamPath, ParamPath> = HashMap::new();
        let mut order = Vec::new();
        let mut aliases = Vec::new();
        for name in source.stored_order() {
            let ours = match way.from {
                _ if !known(&name) => {
                    let alias = match way.from {
                        Naming::Native => config.and_then(|_| aliases::native(&name)),
                        Naming::HuggingFace => family.canonical_name(&name),
                    };
                    alias.filter(known).filter(|ours| source.table().get(ours).is_none())
                }
                _ => Some(name.clone()).filter(known),
            };
            match ours {
                Some(ours) if tied.contains_key(&ours) => aliases.push((ours, name)),
                Some(ours) if !places.contains_key(&ours) => {
                    order.push(expected[&ours]);
                    places.insert(ours, name);
                }
                _ if way.from == Naming::HuggingFace && constants.contains_key(&name) => {
                    match holds_constant(source, &name, constants[&name]) {
                        true => plan.skipped.push((name, "a constant that the model knows")),
                        false => plan.contradicting.push((name, "another number than the model's constant")),
                    }
                }
                _ if way.from == Naming::HuggingFace && family.skips(&name) => {
                    match config.map(|config| dropped(source, &name, config)) {
                        None => plan.skipped.push((name, "the rules skip it")),
                        Some(Ok(Dropped::Named(why))) => plan.skipped.push((name, why)),
                        Some(Ok(Dropped::Contradicts(what))) => plan.contradicting.push((name, what)),
                        Some(Err(_)) => plan.contradicting.push((name, "values that cannot be read")),
                    }
                }
                _ => match config.and_then(|config| aliases::buffer(&name, config)) {
                    Some(why) => plan.skipped.push((name, why)),
                    None => plan.unused.push(name),
                },
            }
        }
        for (ours, name) in aliases {
            let target = tied[&ours];
            if let (false, Some(index)) = (places.contains_key(target), expected.get(target)) {
                // Some files of tied models hold the head alone.
                order.push(*index);
                places.insert(target.clone(), name);
            } else {
                plan.skipped.push((name, "tied: it is the embedding, which is stored once"));
            }
        }
        plan.missing.extend(map.unnamed.iter().filter(|_| way.from == Naming::HuggingFace).cloned());
        let mut done = HashSet::new();
        for index in order.into_iter().chain(0..map.links.len()) {
            if done.insert(index) {
                plan.add(&map.links[index], source, &places, way, family, dtype);
            }
        }
        if let (Naming::Native, Naming::HuggingFace, Some(config)) = (way.from, way.to, config) {
            let dtype = dtype.unwrap_or(config.dtype);
            for (name, value) in constants {
                plan.constants.push(TensorRow::stored(name.clone(), Vec::new(), dtype));
                plan.pieces.insert(name, vec![Piece::Values(vec![value])]);
            }
            plan.constants.sort_by(|a, b| a.path.cmp(&b.path));
        }
        plan.missing.sort();
        Ok(plan)
    }

    /// Adds the steps of one link, if its tensors are all there and fit.
    fn add(
        &mut self,
        link: &Link,
        source: &Checkpoint,
        places: &HashMap<ParamPath, ParamPath>,
        way: Direction,
        family: &Family,
        dtype: Option<DType>,
    ) {
        let mut found = Vec::new();
        let names = link.names(way.from);
        for (index, ours) in names.iter().enumerate() {
            let row = places.get(*ours).and_then(|name| source.table().get(name));
            match row {
                None => self.missing.push((*ours).clone()),
                Some(row) if row.shape != link.shape(way.from, index) => self.mismatched.push(Mismatch {
                    from: row.path.clone(),
                    expected: link.shape(way.from, index).to_vec(),
                    found: row.shape.clone(),
                }),
                Some(row) => found.push(row),
            }
        }
        if found.len() < names.len() {
            return;
        }
        let in_file = |ours: &ParamPath| places.get(ours).cloned().unwrap_or_else(|| ours.clone());
        let targets = link.names(way.to);
        for (index, to) in targets.iter().enumerate() {
            let (mut pieces, changed) = match way {
                Direction { from: Naming::Native, to: Naming::Native } => (vec![Piece::Tensor(in_file(to))], false),
                _ => {
                    let changed = names.len() + targets.len() > 2 || link.words(0).is_some();
                    (link.pieces(way.to, index, &in_file), changed)
                }
            };
            let first = found[0].dtype;
            // A sum keeps all bits of what it was made of in the widest type; a cast is one of what is added to.
            let shifted = link.added() != 0.0 && first.is_float();
            let to_dtype = match way.to {
                Naming::Native if shifted => DType::F64,
                Naming::HuggingFace if shifted => dtype.unwrap_or(link.native[0].tensor.dtype),
                _ => dtype.filter(|_| first.is_float()).unwrap_or(first),
            };
            if let ([Piece::Shifted { rounded, .. }], Naming::Native) = (pieces.as_mut_slice(), way.to) {
                *rounded = dtype;
            }
            let comes_back = !shifted || dtype.is_none_or(|dtype| dtype == first);
            for (at, row) in found.iter().enumerate() {
                self.steps.push(RemapStep {
                    from: row.path.clone(),
                    to: (*to).clone(),
                    segments: segments((names[at], &row.path), (to, index), way, family),
                    from_shape: row.shape.clone(),
                    shape: link.shape(way.to, index).to_vec(),
                    change: changed.then(|| words(link, way, at, index)),
                    from_dtype: row.dtype,
                    to_dtype,
                });
            }
            self.pieces.insert((*to).clone(), pieces);
            if link.skipped_rows() > 0 && way.from == Naming::HuggingFace {
                self.skipped
                    .push((found[0].path.clone(), "its first rows, which no token reads; the way back writes zeros"));
            } else if changed && link.skipped_rows() == 0 && comes_back {
                for (at, row) in found.iter().enumerate() {
                    self.back.insert(row.path.clone(), link.pieces(way.from, at, &Clone::clone));
                }
            }
        }
    }

    /// Returns true if every tensor of the model has its source and nothing is left over.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty() && self.mismatched.is_empty() && self.contradicting.is_empty()
    }

    /// Returns the rows to write, under their new names.
    pub fn rows(&self) -> impl Iterator<Item = TensorRow> {
        let mut seen = HashSet::new();
        let first = self.steps.iter().filter(move |step| seen.insert(&step.to));
        let moved = first.map(|step| TensorRow::stored(step.to.clone(), step.shape.clone(), step.to_dtype));
        moved.chain(self.constants.iter().cloned())
    }

    /// Says that a tensor will have `rows` rows, of which `written` are not the source's.
    pub(crate) fn grow(&mut self, to: &ParamPath, rows: usize, written: usize) {
        for step in self.steps.iter_mut().filter(|step| step.to == *to) {
            let added = rows - step.shape.first().copied().unwrap_or(0).min(rows);
            let rewritten = written.saturating_sub(added);
            if let Some(dim) = step.shape.first_mut() {
                *dim = rows;
            }
            step.change = Some(match (added, rewritten) {
                (added, 0) => format!("rows added: {added}"),
                (0, rewritten) => format!("rows rewritten: {rewritten}"),
                (added, rewritten) => format!("rows added: {added}, rewritten: {rewritten}"),
            });
        }
    }

    /// Returns how many tensors will be written.
    pub fn tensors(&self) -> usize {
        self.pieces.len()
    }

    /// For each new name, what to read.
    pub fn pieces(&self) -> HashMap<ParamPath, Vec<Piece>> {
        self.pieces.clone()
    }

    /// Returns what to read from the destination to rebuild each source tensor that changed, which proves that nothing
    /// was lost.
    pub fn pieces_back(&self) -> &HashMap<ParamPath, Vec<Piece>> {
        &self.back
    }
}

/// Returns whether a tensor holds a number, as far as its element type can.
fn holds_constant(source: &Checkpoint, name: &ParamPath, value: f32) -> bool {
    let near = |found: f32| (found - value).abs() <= 0.01 * value.abs();
    let Ok(data) = source.read(name) else { return false };
    let mut found = vec![f32::NAN; data.shape.iter().product()];
    read_floats(&data.bytes, data.dtype, &mut found).is_some() && found.len() == 1 && near(found[0])
}

/// Returns the pieces of a step's two names: `from` by the family's rules and in the file, `to` with its place among
/// several.
fn segments(
    (from, in_file): (&ParamPath, &ParamPath),
    (to, index): (&ParamPath, usize),
    way: Direction,
    family: &Family,
) -> Vec<(String, String)> {
    let renamed = match way {
        Direction { from: Naming::Native, to: Naming::Native } => None,
        Direction { to, .. } => family.rules_to(to).rename(from).and_then(|renamed| {
            let several = renamed.to.len() > 1;
            renamed.segments.into_iter().nth(if several { index } else { 0 })
        }),
    };
    match renamed {
        Some(segments) if from == in_file => segments,
        // Spelled otherwise in the file: its name and the new one, whole.
        _ => vec![(in_file.to_string(), to.to_string())],
    }
}

/// Returns what is done to a step's elements.
fn words(link: &Link, way: Direction, at: usize, index: usize) -> String {
    let (hf, native) = match way.to {
        Naming::Native => (&link.hf[at], &link.native[index]),
        Naming::HuggingFace => (&link.hf[index], &link.native[at]),
    };
    let mut words: Vec<String> = hf.tensor.words().into_iter().collect();
    // Rows of whichever of the two is the larger one.
    let part = match (link.hf.len(), link.native.len()) {
        (1, 1) => None,
        (1, _) => Some((native.start, native.rows, hf.rows, way.to == Naming::Native)),
        _ => Some((hf.start, hf.rows, native.rows, way.to == Naming::HuggingFace)),
    };
    words.extend(part.map(|(start, rows, whole, split)| {
        let preposition = if split { "of" } else { "of the new" };
        format!("rows {start} to {} {preposition} {whole}", start + rows - 1)
    }));
    words.join(", ")
}
