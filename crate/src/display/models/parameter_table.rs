//! Parameter tables: folded over layers, with counts, bytes and shares.

use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, HashSet};

use candle_core::Tensor;
use polars::prelude::{Column, DataFrame, PolarsResult};
use serde_json::json;

use crate::checkpoint::GgufMetadata;
use crate::compare::{Inspection, QuantizedTensors};
use crate::display::numbers::{binary_bytes, shape, short_count, thousands};
use crate::display::table::{Align, Cell, Mark, TableView};
use crate::display::{Html, MimeBundle, View};
use crate::spec::{Granularity, Naming, ParamPath, TensorRow, TensorTable};

/// A line of the table: a tensor, or the tensors of a quantized weight together.
struct Entry<'a> {
    path: &'a ParamPath,
    shape: Vec<usize>,
    dtype: String,
    parameters: u64,
    bytes: u64,
    tied_to: Option<&'a ParamPath>,
}

impl<'a> Entry<'a> {
    fn tensor(row: &'a TensorRow) -> Self {
        Self {
            path: &row.path,
            shape: row.shape.clone(),
            dtype: row.dtype.torch_name().to_owned(),
            parameters: row.parameters(),
            bytes: row.bytes(),
            tied_to: row.tied_to.as_ref(),
        }
    }

    fn of(path: &'a ParamPath, tensor: &Tensor) -> Self {
        let count = tensor.elem_count() as u64;
        Self {
            path,
            shape: tensor.dims().to_vec(),
            dtype: tensor.dtype().as_str().to_owned(),
            parameters: count,
            bytes: count * tensor.dtype().size_in_bytes() as u64,
            tied_to: None,
        }
    }

    fn quantized(weight: &'a QuantizedTensors) -> Self {
        let granularity = match weight.scheme.granularity {
            Granularity::Group(size) => format!(" by {size}"),
            _ => String::new(),
        };
        Self {
            path: &weight.path,
            shape: weight.shape.to_vec(),
            dtype: format!("{}{granularity}", weight.scheme.weights.name()),
            parameters: weight.parameters(),
            bytes: weight.bytes,
            tied_to: None,
        }
    }
}

/// Rows that differ only in the layer's number, as one.
struct Fold<'a> {
    name: String,
    first: Entry<'a>,
    count: usize,
    parameters: u64,
    bytes: u64,
}

fn fold<'a>(entries: impl IntoIterator<Item = Entry<'a>>) -> Vec<Fold<'a>> {
    let mut folds: Vec<Fold<'_>> = Vec::new();
    let mut places: BTreeMap<(String, Vec<usize>, String), usize> = BTreeMap::new();
    for entry in entries {
        let (name, _) = entry.path.folded();
        let (parameters, bytes) = (entry.parameters, entry.bytes);
        let place = match places.entry((name.clone(), entry.shape.clone(), entry.dtype.clone())) {
            Occupied(known) => *known.get(),
            Vacant(free) => {
                folds.push(Fold { name, first: entry, count: 0, parameters: 0, bytes: 0 });
                *free.insert(folds.len() - 1)
            }
        };
        let fold = &mut folds[place];
        fold.count += 1;
        fold.parameters += parameters;
        fold.bytes += bytes;
    }
    folds
}

/// A table of entries with layers folded (`layers.*` ×32), and what tensors are tied to.
fn folded<'a>(title: &str, entries: impl IntoIterator<Item = Entry<'a>>, total: u64) -> (TableView, Vec<String>) {
    let columns = [
        ("tensor", Align::Left),
        ("×", Align::Right),
        ("shape", Align::Left),
        ("dtype", Align::Left),
        ("parameters", Align::Right),
        ("bytes", Align::Right),
        ("share", Align::Right),
    ];
    let mut view = TableView::new(title, &columns);
    let mut ties = Vec::new();
    for fold in fold(entries) {
        let share = fold.parameters as f64 / total.max(1) as f64;
        let (mark, parameters, bytes) = match &fold.first.tied_to {
            Some(target) => {
                ties.push(format!("{} is tied to {target}", fold.name));
                (Mark::Muted, "tied".into(), Cell::default())
            }
            None => (Mark::None, Cell::count(fold.parameters), Cell::bytes(fold.bytes)),
        };
        let times = if fold.count > 1 { format!("×{}", fold.count) } else { String::new() };
        view.row(
            mark,
            [
                fold.name.into(),
                times.into(),
                shape(&fold.first.shape).into(),
                fold.first.dtype.into(),
                parameters,
                bytes,
                Cell::share(share),
            ],
        );
    }
    (view, ties)
}

/// `1,235,814,400 parameters (1.24 B) in 147 tensors, 2.30 GiB bfloat16`.
fn sum_of(table: &TensorTable, total: u64) -> String {
    let by_dtype: Vec<String> =
        table.bytes_by_dtype().iter().map(|(dtype, bytes)| format!("{} {dtype}", binary_bytes(*bytes))).collect();
    let short = if total < 1_000_000 { String::new() } else { format!(" ({})", short_count(total)) };
    format!(
        "{} parameters{short} in {} tensors, {}",
        thousands(total),
        thousands(table.stored().count() as u64),
        if by_dtype.is_empty() { "0 B".to_owned() } else { by_dtype.join(" + ") },
    )
}

impl TensorTable {
    /// The table as a polars frame: `name`, `shape`, `dtype`, `parameters`, `bytes`, `init`, `tied_to`; a tied row has
    /// neither parameters nor bytes of its own.
    ///
    /// # Errors
    /// polars' own, which cannot occur for columns of equal length.
    ///
    /// ```
    /// use chandlery::spec::{DType, TensorRow, TensorTable};
    /// let row = TensorRow::stored("w".into(), vec![2, 3], DType::F32);
    /// let frame = TensorTable::from_rows(vec![row]).frame()?;
    /// assert_eq!(frame.shape(), (1, 7));
    /// # Ok::<(), chandlery::polars::error::PolarsError>(())
    /// ```
    pub fn frame(&self) -> PolarsResult<DataFrame> {
        let text = |value: &dyn Fn(&TensorRow) -> String| self.rows().iter().map(value).collect::<Vec<_>>();
        let optional = |value: &dyn Fn(&TensorRow) -> Option<String>| self.rows().iter().map(value).collect::<Vec<_>>();
        let number = |value: fn(&TensorRow) -> u64| self.rows().iter().map(value).collect::<Vec<_>>();
        DataFrame::new(
            self.len(),
            vec![
                Column::new("name".into(), text(&|row| row.path.to_string())),
                Column::new("shape".into(), text(&|row| shape(&row.shape))),
                Column::new("dtype".into(), text(&|row| row.dtype.to_string())),
                Column::new("parameters".into(), number(TensorRow::parameters)),
                Column::new("bytes".into(), number(TensorRow::bytes)),
                Column::new("init".into(), optional(&|row| row.init.map(|init| init.to_string()))),
                Column::new("tied_to".into(), optional(&|row| row.tied_to.as_ref().map(ToString::to_string))),
            ],
        )
    }

    /// The table with layers folded (`layers.*` ×32).
    pub(crate) fn folded_view(&self, title: &str) -> TableView {
        let total = self.parameters();
        let (mut view, ties) = folded(title, self.rows().iter().map(Entry::tensor), total);
        view.note(sum_of(self, total));
        ties.into_iter().for_each(|tie| view.note(tie));
        view
    }
}

/// Tensors by name, in any order: natural order, layers folded.
pub(in crate::display) fn tensors_table(tensors: &[(&String, &Tensor)]) -> TableView {
    let mut paths: Vec<(ParamPath, &Tensor)> =
        tensors.iter().map(|(name, tensor)| (ParamPath::from(name.as_str()), *tensor)).collect();
    paths.sort_by(|a, b| a.0.cmp(&b.0));
    let entries = || paths.iter().map(|(path, tensor)| Entry::of(path, tensor));
    let (parameters, bytes) = entries().fold((0, 0), |sum, entry| (sum.0 + entry.parameters, sum.1 + entry.bytes));
    let title = format!(
        "{} tensors: {} numbers, {}",
        thousands(paths.len() as u64),
        thousands(parameters),
        binary_bytes(bytes)
    );
    folded(&title, entries(), parameters).0
}

/// The table with layers folded, and as typed JSON.
fn table_bundle(table: &TensorTable, title: &str) -> MimeBundle {
    with_typed_table(table.folded_view(title).bundle(), table)
}

/// The tree of modules below the table, folded: the same numbers in another order. Text is for one of them.
fn with_tree(bundle: MimeBundle, table: &TensorTable) -> MimeBundle {
    let mut html = Html::new();
    html.raw(bundle.markup())
        .raw("<details><summary>modules</summary>")
        .raw(table.tree().view().markup())
        .raw("</details>");
    bundle.with_html(html.finish())
}

/// Adds every row as typed JSON, up to 2,000, for programs that compare numbers.
pub(in crate::display) fn with_typed_table(bundle: MimeBundle, table: &TensorTable) -> MimeBundle {
    let row = |row: &TensorRow| {
        json!({
            "name": row.path,
            "shape": row.shape,
            "dtype": row.dtype.torch_name(),
            "parameters": row.parameters(),
            "bytes": row.bytes(),
        })
    };
    let typed = json!({
        "kind": "tensor_table",
        "parameters": table.parameters(),
        "bytes": table.bytes(),
        "tensors": table.len(),
        "rows": table.rows().iter().take(2000).map(row).collect::<Vec<_>>(),
    });
    bundle.with("application/vnd.chandlery.table+json", typed)
}

/// Keys and values as lines, the longest left out.
fn metadata_notes(metadata: &GgufMetadata) -> Vec<String> {
    let short = metadata.iter().filter(|(key, _)| *key != "general.architecture" && !key.ends_with("chat_template"));
    let mut notes: Vec<String> =
        short.take(40).map(|(key, value)| format!("{key}: {}", GgufMetadata::shown(value))).collect();
    if metadata.get("tokenizer.chat_template").is_some() {
        notes.push("tokenizer.chat_template is there".to_owned());
    }
    notes
}

impl View for Inspection {
    fn view(&self) -> MimeBundle {
        let table = self.table_view();
        // A GGUF file is alone in its folder.
        let named = self.choice.path != self.path && self.gguf.is_none();
        let weights = named.then(|| format!("weights: {}", self.choice.in_words()));
        let warnings = self.choice.warnings().into_iter().map(|warning| format!("! {warning}"));
        weights.into_iter().chain(warnings).fold(table, |view, note| view.with_note(&note))
    }
}

impl Inspection {
    fn table_view(&self) -> MimeBundle {
        let files = if self.shards == 1 { "one file".to_owned() } else { format!("{} files", self.shards) };
        let what = match &self.config {
            Some((config, Naming::HuggingFace)) => format!("{} with Hugging Face names", config.architecture.name()),
            Some((config, Naming::Native)) => format!("{} with native names", config.architecture.name()),
            None => "tensors".to_owned(),
        };
        if let Some(metadata) = &self.gguf {
            let architecture = metadata.text("general.architecture").unwrap_or("unknown");
            let mut view = self.table.folded_view(&format!("{}: GGUF, {architecture}", self.path.display()));
            metadata_notes(metadata).into_iter().for_each(|note| view.note(note));
            return with_typed_table(with_tree(view.bundle(), &self.table), &self.table);
        }
        let title = format!("{}: {what}, {files}", self.path.display());
        if self.quantized.is_empty() {
            return with_typed_table(with_tree(self.table.folded_view(&title).bundle(), &self.table), &self.table);
        }
        with_typed_table(with_tree(self.quantized_view(&title).bundle(), &self.table), &self.table)
    }

    /// The table with a line for each quantized weight instead of the tensors that it is stored as.
    fn quantized_view(&self, title: &str) -> TableView {
        let parts: HashSet<&ParamPath> = self.quantized.iter().flat_map(|weight| &weight.parts).collect();
        let others = self.table.rows().iter().filter(|row| !parts.contains(&row.path));
        let mut entries: Vec<Entry<'_>> =
            others.map(Entry::tensor).chain(self.quantized.iter().map(Entry::quantized)).collect();
        entries.sort_by(|a, b| a.path.cmp(b.path));
        let (mut view, ties) = folded(title, entries, self.parameters());
        view.note(sum_of(&self.table, self.parameters()));
        let (bytes, parameters) = self
            .quantized
            .iter()
            .fold((0, 0), |(bytes, parameters), weight| (bytes + weight.bytes, parameters + weight.parameters()));
        let mut schemes: Vec<String> = self.quantized.iter().map(|weight| weight.scheme.to_string()).collect();
        schemes.sort_unstable();
        schemes.dedup();
        view.note(format!(
            "{} weights are quantized, {:.2} bits a parameter: {}",
            thousands(self.quantized.len() as u64),
            bytes as f64 * 8.0 / parameters.max(1) as f64,
            schemes.join("; "),
        ));
        let recipe = self.config.as_ref().and_then(|(config, _)| config.quantization.as_ref()?.recipe.clone());
        recipe.into_iter().for_each(|recipe| view.note(format!("recipe {recipe}")));
        ties.into_iter().for_each(|tie| view.note(tie));
        view
    }
}

impl View for TensorTable {
    fn view(&self) -> MimeBundle {
        table_bundle(self, "Parameters")
    }
}
