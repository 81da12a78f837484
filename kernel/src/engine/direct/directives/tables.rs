//! The table of `%help`.

use chandlery::command;
use chandlery::display::{Align, Mark, MimeBundle, TableView};

use super::list;

/// Returns the table of every directive and verb, one per row.
pub(super) fn help() -> MimeBundle {
    let mut table = TableView::new(
        "Lines that start with % (or :) before a cell's Rust code run without compiling",
        &[("directive", Align::Left), ("what it does", Align::Left)],
    );
    for entry in list::ENTRIES {
        let also = entry.also.iter().map(|name| format!("%{name}")).collect::<Vec<_>>().join(", ");
        let what = if also.is_empty() { entry.what.to_owned() } else { format!("{}; also {also}", entry.what) };
        table.row(Mark::None, [entry.usage.into(), what.into()]);
    }
    table.row(
        Mark::None,
        ["?NAME".into(), "Show what is known about a name, or about a directive: ?%convert, or %convert?".into()],
    );
    for verb in command::definitions() {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        table.row(Mark::None, [format!("%{} …", verb.get_name()).into(), about.into()]);
    }
    table.note("%VERB --help explains a verb; --as NAME keeps its result as a variable. All other lines are Rust.");
    let needless: Vec<String> = list::NEEDLESS.iter().map(|(name, _)| format!(":{name}")).collect();
    table.note(format!("Commands of evcxr that are accepted without an effect: {}", needless.join(", ")));
    table.bundle()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_directive_verb_and_other_name() {
        let text = help().plain().to_owned();
        let named = |name: &str| {
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            text.split(|c: char| !(is_name(c) || "%:".contains(c)))
                .any(|word| word.trim_start_matches(['%', ':']) == name && word != name)
        };
        let also = list::ENTRIES.iter().flat_map(|entry| entry.also.iter().copied());
        let needless = list::NEEDLESS.iter().map(|(name, _)| *name);
        for name in list::names().chain(also).chain(needless) {
            assert!(named(name), "{name} is missing in {text}");
        }
    }
}
