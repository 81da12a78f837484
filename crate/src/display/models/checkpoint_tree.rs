//! A checkpoint as the tree of modules that its tensors' names describe, with the sum of each.

use serde_json::json;

use crate::compare::Inspection;
use crate::display::numbers::{binary_bytes, shape, thousands};
use crate::display::table::{Align, Cell, Mark, TableView};
use crate::display::{Html, MimeBundle, View};
use crate::sealed::Sealed;
use crate::spec::{TensorRow, TensorTable};

/// Modules and their tensors. Identical layers are one branch.
///
/// ```
/// use chandlery::spec::{DType, TensorRow, TensorTable};
/// let row = |name: &str| TensorRow::stored(name.into(), vec![2, 3], DType::F32);
/// let table = TensorTable::from_rows(vec![row("layers.0.w"), row("layers.1.w"), row("head.w")]);
/// assert!(table.tree().text().contains("─ layers.*.w ×2"));
/// ```
#[derive(Clone, Debug)]
pub struct CheckpointTree {
    title: String,
    root: Sealed<Branch>,
    depth: usize,
}

#[derive(Clone, Debug, Default)]
struct Branch {
    name: String,
    branches: Vec<Branch>,
    tensors: u64,
    parameters: u64,
    bytes: u64,
    /// Which numbers it stands for, where its name is `*`.
    numbers: std::collections::BTreeSet<usize>,
    /// Shape and type of a tensor.
    leaf: Option<(Vec<usize>, String)>,
    tied: bool,
}

impl Branch {
    fn grow(&mut self, segments: &[&str], row: &TensorRow) {
        self.tensors += 1;
        self.parameters += row.parameters();
        self.bytes += row.bytes();
        let Some((first, rest)) = segments.split_first() else {
            self.leaf.get_or_insert_with(|| (row.shape.clone(), row.dtype.to_string()));
            self.tied |= row.tied_to.is_some();
            return;
        };
        let number: Option<usize> = first.parse().ok();
        let first = if number.is_some() { "*" } else { first };
        // A tensor of another shape is a separate branch, so that folding does not hide it.
        let same = |branch: &Branch| {
            branch.name == first
                && branch.leaf.as_ref().is_none_or(|(shape, _)| !rest.is_empty() || *shape == row.shape)
        };
        let place = self.branches.iter().position(same).unwrap_or_else(|| {
            self.branches.push(Branch { name: first.to_owned(), ..Branch::default() });
            self.branches.len() - 1
        });
        self.branches[place].numbers.extend(number);
        self.branches[place].grow(rest, row);
    }

    /// A chain of modules that hold nothing but the next one becomes one name.
    fn joined(mut self) -> Self {
        while self.leaf.is_none() && self.branches.len() == 1 && !self.name.is_empty() {
            // Two counts would not be one.
            if !self.numbers.is_empty() && !self.branches[0].numbers.is_empty() {
                break;
            }
            let mut only = self.branches.remove(0);
            only.name = format!("{}.{}", self.name, only.name);
            only.numbers.append(&mut self.numbers);
            self = only;
        }
        self.branches = std::mem::take(&mut self.branches).into_iter().map(Branch::joined).collect();
        self
    }

    fn rows(&self, before: &str, depth: usize, total: u64, table: &mut TableView) {
        for (index, branch) in self.branches.iter().enumerate() {
            let last = index + 1 == self.branches.len();
            let times = if branch.numbers.len() > 1 { format!(" ×{}", branch.numbers.len()) } else { String::new() };
            let name = format!("{before}{}{}{times}", if last { "└─ " } else { "├─ " }, branch.name);
            let (dims, dtype) = match &branch.leaf {
                Some((dims, dtype)) => (shape(dims), dtype.clone()),
                None => Default::default(),
            };
            let share = branch.parameters as f64 / total.max(1) as f64;
            let (mark, parameters, bytes) = match branch.tied && branch.parameters == 0 {
                true => (Mark::Muted, "tied".into(), Cell::default()),
                false => (Mark::None, Cell::count(branch.parameters), Cell::bytes(branch.bytes)),
            };
            // HTML removes leading spaces, except for non-breaking ones.
            let mut markup = Html::new();
            markup.text(name.replace(' ', "\u{a0}"));
            let cells =
                [Cell::rich(name, markup), Cell::count(branch.tensors), dims.into(), dtype.into(), parameters, bytes];
            table.row(mark, cells.into_iter().chain([Cell::share(share)]));
            if depth > 1 {
                branch.rows(&format!("{before}{}", if last { "   " } else { "│  " }), depth - 1, total, table);
            }
        }
    }
}

impl TensorTable {
    /// Returns the modules that the names describe, with the sum of each.
    pub fn tree(&self) -> CheckpointTree {
        let mut root = Branch::default();
        for row in self.rows() {
            root.grow(&row.path.segments().collect::<Vec<_>>(), row);
        }
        let title = format!(
            "{} parameters in {} tensors, {}",
            thousands(self.parameters()),
            thousands(self.stored().count() as u64),
            binary_bytes(self.bytes())
        );
        CheckpointTree { title, root: Sealed::new(root.joined()), depth: usize::MAX }
    }
}

impl Inspection {
    /// Returns the modules that the names describe; see [`TensorTable::tree`].
    pub fn tree(&self) -> CheckpointTree {
        let tree = self.table.tree();
        CheckpointTree { title: format!("{}: {}", self.path.display(), tree.title), ..tree }
    }
}

impl CheckpointTree {
    /// Leaves out modules below this depth; the sums still count them.
    pub fn depth(mut self, levels: usize) -> Self {
        self.depth = levels.max(1);
        self
    }

    /// The tree as text.
    pub fn text(&self) -> String {
        self.table().text()
    }

    fn table(&self) -> TableView {
        let columns = [
            ("module", Align::Left),
            ("tensors", Align::Right),
            ("shape", Align::Left),
            ("dtype", Align::Left),
            ("parameters", Align::Right),
            ("bytes", Align::Right),
            ("share", Align::Right),
        ];
        let mut table = TableView::new(&self.title, &columns);
        self.root.rows("", self.depth, self.root.parameters, &mut table);
        table
    }
}

impl View for CheckpointTree {
    fn view(&self) -> MimeBundle {
        let table = self.table();
        let mut typed = table.typed("checkpoint_tree");
        typed["parameters"] = json!(self.root.parameters);
        typed["bytes"] = json!(self.root.bytes);
        // Not sortable: out of order, the lines of a tree would mean nothing.
        let html = table.html().replacen(" class=\"chandlery-table\"", "", 1);
        MimeBundle::text(table.text()).with_html(html).with("application/vnd.chandlery.table+json", typed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::DType;

    fn table() -> TensorTable {
        let row = |name: &str, shape: &[usize]| TensorRow::stored(name.into(), shape.to_vec(), DType::BF16);
        let mut rows = vec![row("model.embed.weight", &[100, 8])];
        for layer in 0..12 {
            rows.push(row(&format!("model.layers.{layer}.attn.q.weight"), &[8, 8]));
            rows.push(row(&format!("model.layers.{layer}.norm.weight"), &[8]));
        }
        TensorTable::from_rows(rows)
    }

    #[test]
    fn layers_are_one_branch_and_sums_are_whole_at_every_depth() {
        let text = table().tree().text();
        let names: Vec<&str> = text.lines().skip(3).map(|line| line.split("  ").next().unwrap_or_default()).collect();
        assert_eq!(names[0], "└─ model", "{text}");
        for line in ["├─ embed.weight", "└─ layers.* ×12", "├─ attn.q.weight", "└─ norm.weight"] {
            assert!(text.contains(line), "{line}:\n{text}");
        }
        let layers = text.lines().find(|line| line.contains("layers")).unwrap_or_default();
        assert_eq!(
            layers.split_whitespace().collect::<Vec<_>>(),
            ["└─", "layers.*", "×12", "24", "864", "1.69", "KiB", "51.9%"]
        );
        let flat = table().tree().depth(2).text();
        assert!(flat.contains("layers.* ×12") && !flat.contains("attn"), "{flat}");
    }
}
