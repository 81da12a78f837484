//! The view of a construction: configuration, tokenizer, what was loaded, parameters, and what the model will need.

use serde_json::Value;

use crate::construct::{Construction, Device, Estimate, LoadReport, present};
use crate::device::DeviceMemory;
use crate::display::models::parameter_table::with_typed_table;
use crate::display::numbers::{binary_bytes, thousands};
use crate::display::table::{Align, Cell, Mark, TableView};
use crate::display::{Html, MimeBundle, View};
use crate::spec::{Role, RoleGroup};

impl View for Construction {
    fn view(&self) -> MimeBundle {
        let sections = [configuration(self), tokenizer(self)];
        let mut shown: Vec<TableView> = self.load.iter().map(|load| load_table(load, self.initialized)).collect();
        shown.push(parameters(self));
        shown.push(needs(&self.estimate()));
        let text: Vec<String> = sections.iter().chain(&shown).map(TableView::text).collect();
        let mut html = Html::new();
        for section in &sections {
            // Folded, because most people look for the table of parameters.
            html.raw("<details>")
                .raw(format!("<summary>{}</summary>", summary(section)))
                .raw(section.html())
                .raw("</details>");
        }
        for table in &shown {
            html.raw(table.html());
        }
        with_typed_table(MimeBundle::text(text.join("\n\n")).with_html(html.finish()), &self.table)
            .with("application/vnd.chandlery.construction+json", self.report())
    }
}

fn summary(section: &TableView) -> String {
    let mut html = Html::new();
    html.text(section.title());
    html.finish()
}

/// config.json, key by key.
fn configuration(construction: &Construction) -> TableView {
    let mut view = TableView::new("Model configuration", &[("field", Align::Left), ("value", Align::Left)]);
    let json = construction.config.to_native_json(None);
    for (key, value) in json.as_object().into_iter().flatten() {
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        view.row(Mark::None, [key.clone().into(), value.into()]);
    }
    view
}

fn tokenizer(construction: &Construction) -> TableView {
    let tokenizer = &construction.tokenizer;
    let mut view = TableView::new("Model tokenizer", &[("property", Align::Left), ("value", Align::Left)]);
    let Ok(parsed) = tokenizer.tokenizer() else {
        view.note("no tokenizer");
        return view;
    };
    let size = parsed.get_vocab_size(true);
    view.row(Mark::None, ["vocabulary".into(), thousands(size as u64).into()]);
    for (role, name) in [("bos", "bos_token"), ("eos", "eos_token"), ("pad", "pad_token"), ("unk", "unk_token")] {
        if let Some(id) = tokenizer.role(name) {
            let token = parsed.id_to_token(id).unwrap_or_default();
            view.row(Mark::None, [role.into(), format!("{token} ({id})").into()]);
        }
    }
    let template = if tokenizer.has_chat_template() { "yes" } else { "no" };
    view.row(Mark::None, ["chat template".into(), template.into()]);
    view.row(Mark::None, ["files".into(), tokenizer.names().collect::<Vec<_>>().join(", ").into()]);
    let rows = construction.config.vocab_size;
    if rows > size {
        view.note(format!("{} rows of the embedding do not have a token", thousands((rows - size) as u64)));
    }
    if rows < size {
        let more = thousands((size - rows) as u64);
        view.note(format!(
            "! {more} tokens do not have a row in the embedding: raise vocab_size or use another tokenizer"
        ));
    }
    view
}

fn parameters(construction: &Construction) -> TableView {
    let place = match construction.device {
        Device::Meta => "on the meta device: nothing allocated".to_owned(),
        device => format!("on {device}"),
    };
    let title = format!("{} ({}), {place}", construction.title, construction.config.dtype);
    let mut table = construction.table.folded_view(&title);
    let (active, total) = (construction.estimate().active_parameters, construction.table.parameters());
    if construction.table.rows().iter().any(|row| row.role.is_some_and(Role::is_expert)) {
        let share = active as f64 / total.max(1) as f64 * 100.0;
        table.note(format!("a token uses {} parameters ({share:.1} %)", thousands(active)));
    }
    if construction.model.is_some() && !construction.initialized && construction.load.is_none() {
        table.note("! not initialized: every parameter is zero (--no-init-weights)");
    }
    if let Some(output) = &construction.output {
        let weights = match construction.weights.as_slice() {
            [] => "no weights written".to_owned(),
            files => files.join(", "),
        };
        table.note(format!("output: {} ({weights})", output.display()));
        crate::export::left_out(&construction.config).into_iter().for_each(|why| table.note(why));
    }
    let losses = construction.changes.losses_in_words();
    losses.into_iter().for_each(|losses| table.note(format!("! in the output folder it {losses}")));
    table
}

fn load_table(load: &LoadReport, initialized: bool) -> TableView {
    let renamed = load.loaded.iter().filter(|one| one.from != one.path).count();
    let nested = load.nested_in.as_ref().map_or_else(String::new, |name| format!(", under `{name}`"));
    let title = format!(
        "Loaded {} of {} parameters from {}{nested}",
        load.loaded.len(),
        load.loaded.len() + load.missing.len() + load.mismatched.len(),
        load.path.display()
    );
    let columns = [("tensor", Align::Left), ("what", Align::Left), ("", Align::Left)];
    let mut view = TableView::new(title, &columns).limit(30);
    let kept = if initialized { "keeps its initial value" } else { "stays zero" };
    for missing in &load.missing {
        let hint = missing.did_you_mean.as_ref().map_or_else(String::new, |name| format!("did you mean {name}?"));
        view.row(Mark::Bad, [missing.path.as_str().into(), format!("missing, {kept}").into(), hint.into()]);
    }
    for name in &load.unused {
        view.row(Mark::Bad, [name.as_str().into(), "unused".into(), "the model does not have this parameter".into()]);
    }
    for one in &load.mismatched {
        view.row(Mark::Bad, [one.path.as_str().into(), "mismatched".into(), one.reason().into()]);
    }
    for (name, why) in &load.skipped {
        view.row(Mark::Muted, [name.as_str().into(), "skipped".into(), (*why).into()]);
    }
    if load.choice.path != load.path {
        view.note(format!("weights: {}", load.choice.in_words()));
    }
    load.choice.warnings().into_iter().for_each(|warning| view.note(format!("! {warning}")));
    if renamed > 0 {
        view.note(format!("{renamed} of them have another name there"));
    }
    if load.is_complete() {
        view.note("every parameter was found, and every tensor was used");
    }
    view
}

/// The load report, above the report of what was done with the weights.
pub(crate) fn below_load(load: &LoadReport, initialized: bool, view: MimeBundle) -> MimeBundle {
    let table = load_table(load, initialized);
    let text = format!("{}\n\n{}", table.text(), view.plain());
    let mut html = Html::new();
    html.raw(table.html());
    html.raw(view.get("text/html").and_then(Value::as_str).unwrap_or_default());
    let html = html.finish();
    view.with("text/plain", text).with_html(html)
}

impl View for LoadReport {
    fn view(&self) -> MimeBundle {
        load_table(self, true).bundle().with("application/vnd.chandlery.load+json", self.report())
    }
}

/// Memory and work, for the batch that the estimate is about.
fn needs(estimate: &Estimate) -> TableView {
    let title = format!(
        "Estimate for a batch of {} × {} tokens",
        estimate.batch_size,
        thousands(estimate.sequence_length as u64)
    );
    let devices = present();
    let mut columns = vec![
        ("".to_owned(), Align::Left),
        ("parameters".to_owned(), Align::Right),
        ("memory".to_owned(), Align::Right),
        ("share".to_owned(), Align::Right),
    ];
    columns.extend(devices.iter().map(|(device, _)| (format!("on {device}"), Align::Left)));
    let columns: Vec<(&str, Align)> = columns.iter().map(|(name, align)| (name.as_str(), *align)).collect();
    let mut view = TableView::new(title, &columns);
    for group in &estimate.groups {
        let share = group.bytes as f64 / estimate.weights.max(1) as f64;
        let cells = [group.name.into(), Cell::count(group.parameters), Cell::bytes(group.bytes), Cell::share(share)];
        view.row(Mark::None, cells);
    }
    let total = estimate.groups.iter().map(|group| group.parameters).sum();
    view.row(Mark::Strong, ["weights".into(), Cell::count(total), Cell::bytes(estimate.weights)]);
    if estimate.groups.iter().any(|group| group.name == RoleGroup::Experts.name()) {
        view.row(Mark::None, ["for each token".into(), Cell::count(estimate.active_parameters)]);
    }
    for (what, bytes) in [
        ("gradients", estimate.gradients),
        ("AdamW's state (SGD has none)", estimate.adamw),
        ("activations", estimate.activations),
        ("activations, gradient checkpointing", estimate.checkpointed_activations),
    ] {
        view.row(Mark::None, [what.into(), Cell::default(), Cell::bytes(bytes)]);
    }
    for (purpose, bytes) in estimate.purposes() {
        let mut cells = vec![purpose.into(), Cell::default(), Cell::bytes(bytes), Cell::default()];
        cells.extend(devices.iter().map(|(_, memory)| Cell::from(verdict(bytes, *memory))));
        view.row(Mark::Strong, cells);
    }
    for (device, memory) in &devices {
        view.note(format!("{device}: {} of {} are free", binary_bytes(memory.free), binary_bytes(memory.total)));
    }
    let (one, all) = estimate.eager_attention;
    view.note(format!("eager attention keeps {} more, {} of it in one layer", binary_bytes(all), binary_bytes(one)));
    view.note(format!(
        "{} per token forward, {} in training",
        operations(estimate.forward_flops_per_token),
        operations(estimate.training_flops_per_token)
    ));
    view.note(format!(
        "KV cache {} per token, {} for the context of {} tokens",
        binary_bytes(estimate.kv_cache_per_token),
        binary_bytes(estimate.kv_cache_full_context),
        thousands(estimate.context as u64)
    ));
    view
}

/// Whether this many bytes fit into memory, in words, because color alone would not do.
fn verdict(bytes: u64, memory: DeviceMemory) -> String {
    match bytes {
        _ if bytes <= memory.free => "fits".to_owned(),
        _ if bytes <= memory.total => "fits if memory is freed".to_owned(),
        _ => format!("lacks {}", binary_bytes(bytes - memory.total)),
    }
}

impl View for Estimate {
    fn view(&self) -> MimeBundle {
        needs(self).bundle().with("application/vnd.chandlery.estimate+json", self.report())
    }
}

/// `2_500_000_000` → `2.50 GFLOP`.
fn operations(count: u64) -> String {
    const UNITS: [&str; 5] = ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} FLOP") } else { format!("{value:.2} {}", UNITS[unit]) }
}
