//! An ordered table of named tensors with shapes: the type that specs and checkpoints share.

use std::collections::{BTreeMap, HashMap};

use super::{DType, Init, ParamPath, Role};
use crate::sealed::Sealed;

/// One tensor of a model or a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorRow {
    /// Its full name.
    pub path: ParamPath,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
    /// How a new model draws it; unknown for tensors that come from files.
    pub init: Option<Init>,
    /// The tensor whose storage this one shares; such a row adds no parameters and no bytes.
    pub tied_to: Option<ParamPath>,
    /// Whether training changes it; true for tensors that come from files.
    pub trainable: bool,
    /// What it is for; unknown for tensors that come from files.
    pub role: Option<Role>,
}

impl TensorRow {
    /// Returns a tensor as files hold it: trained, not tied, with an unknown initialization.
    pub fn stored(path: ParamPath, shape: Vec<usize>, dtype: DType) -> Self {
        Self { path, shape, dtype, init: None, tied_to: None, trainable: true, role: None }
    }

    /// Returns the number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&dim| dim as u64).product()
    }

    /// Elements that this row adds to the model: none if tied.
    pub fn parameters(&self) -> u64 {
        if self.tied_to.is_some() { 0 } else { self.elements() }
    }

    /// Returns the bytes of storage that this row adds: none if tied.
    pub fn bytes(&self) -> u64 {
        let (elements, bytes) = self.dtype.unit();
        self.parameters() / elements as u64 * bytes as u64
    }
}

/// An ordered list of tensors with unique names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorTable(Sealed<IndexedRows>);

#[derive(Clone, Debug, Default, PartialEq)]
struct IndexedRows {
    rows: Vec<TensorRow>,
    index: HashMap<ParamPath, usize>,
}

/// How two tables differ, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableDiff {
    /// Names that only the first table has.
    pub removed: Vec<ParamPath>,
    /// Names that only the second table has.
    pub added: Vec<ParamPath>,
    /// Names in both with another shape or element type.
    pub changed: Vec<ParamPath>,
}

impl TableDiff {
    /// Returns whether both tables hold the same names, shapes and types.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty() && self.changed.is_empty()
    }
}

impl TensorTable {
    /// A table of these rows in this order; of rows with equal names the last one stays.
    pub fn from_rows(rows: Vec<TensorRow>) -> Self {
        let mut table = IndexedRows { rows: Vec::with_capacity(rows.len()), index: HashMap::with_capacity(rows.len()) };
        for row in rows {
            match table.index.get(&row.path) {
                Some(&at) => table.rows[at] = row,
                None => {
                    table.index.insert(row.path.clone(), table.rows.len());
                    table.rows.push(row);
                }
            }
        }
        Self(Sealed::new(table))
    }

    /// The same rows in natural order of their names.
    pub fn sorted(mut self) -> Self {
        self.0.rows.sort_by(|a, b| a.path.cmp(&b.path));
        Self::from_rows(std::mem::take(&mut self.0.rows))
    }

    /// Returns the rows.
    pub fn rows(&self) -> &[TensorRow] {
        &self.0.rows
    }

    /// Returns the row of this name.
    pub fn get(&self, path: &ParamPath) -> Option<&TensorRow> {
        self.0.index.get(path).map(|&at| &self.0.rows[at])
    }

    /// Returns the rows of this role, in order.
    pub fn of_role(&self, role: Role) -> impl Iterator<Item = &TensorRow> {
        self.0.rows.iter().filter(move |row| row.role == Some(role))
    }

    /// Returns the number of names, tied ones included.
    pub fn len(&self) -> usize {
        self.0.rows.len()
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.0.rows.is_empty()
    }

    /// Returns the parameters, tied tensors counted once.
    pub fn parameters(&self) -> u64 {
        self.0.rows.iter().map(TensorRow::parameters).sum()
    }

    /// Returns the parameters that training changes, tied tensors counted once.
    pub fn trainable(&self) -> u64 {
        self.0.rows.iter().filter(|row| row.trainable).map(TensorRow::parameters).sum()
    }

    /// Returns the bytes of storage, tied tensors counted once.
    pub fn bytes(&self) -> u64 {
        self.0.rows.iter().map(TensorRow::bytes).sum()
    }

    /// Returns the bytes of storage by element type.
    pub fn bytes_by_dtype(&self) -> BTreeMap<DType, u64> {
        let mut bytes = BTreeMap::new();
        for row in &self.0.rows {
            if row.tied_to.is_none() {
                *bytes.entry(row.dtype).or_default() += row.bytes();
            }
        }
        bytes
    }

    /// IndexedRows that have storage of their own: what a checkpoint stores.
    pub fn stored(&self) -> impl Iterator<Item = &TensorRow> {
        self.0.rows.iter().filter(|row| row.tied_to.is_none())
    }

    /// Compares names, shapes and element types.
    pub fn diff(&self, other: &Self) -> TableDiff {
        let mut diff = TableDiff::default();
        for row in &self.0.rows {
            match other.get(&row.path) {
                None => diff.removed.push(row.path.clone()),
                Some(found) if found.shape != row.shape || found.dtype != row.dtype => {
                    diff.changed.push(row.path.clone());
                }
                Some(_) => {}
            }
        }
        diff.added =
            other.0.rows.iter().filter(|row| self.get(&row.path).is_none()).map(|row| row.path.clone()).collect();
        diff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, shape: &[usize], tied_to: Option<&str>) -> TensorRow {
        TensorRow {
            path: name.into(),
            shape: shape.to_vec(),
            dtype: DType::BF16,
            init: None,
            tied_to: tied_to.map(ParamPath::from),
            trainable: true,
            role: None,
        }
    }

    #[test]
    fn tied_tensors_count_once() {
        let table = TensorTable::from_rows(vec![row("e", &[10, 4], None), row("h", &[10, 4], Some("e"))]);
        assert_eq!((table.parameters(), table.bytes(), table.len()), (40, 80, 2));
        assert_eq!(table.bytes_by_dtype(), BTreeMap::from([(DType::BF16, 80)]));
    }

    #[test]
    fn diff_names_what_changed() {
        let left = TensorTable::from_rows(vec![row("a", &[1], None), row("b", &[2], None)]);
        let right = TensorTable::from_rows(vec![row("b", &[3], None), row("c", &[2], None)]);
        let diff = left.diff(&right);
        assert_eq!((diff.removed, diff.changed, diff.added), (vec!["a".into()], vec!["b".into()], vec!["c".into()]));
    }
}
