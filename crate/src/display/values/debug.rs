//! Values without a view: their `{:?}` as a table if it consists of records, else as text that is cut.

use std::fmt::{self, Display, Write};

use crate::display::numbers::{real, thousands};
use crate::display::table::{Align, Cell, Mark, TableView};
use crate::display::values::debug_text::{Item, items};
use crate::display::values::fold::Fold;
use crate::display::values::outline::{ENDS, outline};
use crate::display::{Html, MimeBundle};

/// Text up to this length is one line.
const LINE: usize = 100;
/// No more than this is written of a value.
const MOST: usize = 1 << 20;
/// Lines of a long text that are shown from its beginning and its end, and lines that HTML unfolds.
const FIRST: usize = 30;
const LAST: usize = 10;
const UNFOLDED: usize = 500;

/// A value by its `{:?}` and its `{:#?}`.
pub(crate) fn debug_bundle(compact: &dyn Display, pretty: &dyn Display) -> MimeBundle {
    written_out(compact, pretty).unwrap_or_else(|| match Fold::of(compact) {
        (_, Some(group)) if group.open != '(' => outline(&group),
        (line, _) => MimeBundle::text(line),
    })
}

/// The whole value, with the middle of a long text left out; `None` for one that is too large to be written.
pub(in crate::display) fn written_out(compact: &dyn Display, pretty: &dyn Display) -> Option<MimeBundle> {
    let short = Limited::write(compact, MOST);
    if short.cut {
        // Text with a layout of its own keeps it.
        return short.text.contains('\n').then(|| lines(&short.text, true, (FIRST, LAST)));
    }
    if let Some(table) = rows(&short.text, 0) {
        return Some(table.typed_bundle("values"));
    }
    if short.text.len() <= LINE {
        return Some(MimeBundle::text(short.text));
    }
    if let Some(numbers) = numbers(&short.text) {
        return Some(lines(&numbers, false, (ENDS, ENDS + 1)));
    }
    let long = Limited::write(pretty, MOST);
    (!long.cut).then(|| lines(&long.text, false, (FIRST, LAST)))
}

/// A list of records, of tuples, or a map of simple values: a table, if it has a few rows at least. `count` is how many
/// values there are, if more than in the text.
pub(in crate::display) fn rows(text: &str, count: usize) -> Option<TableView> {
    let found = items(text)?;
    let heads: Vec<String> = match found.first()? {
        Item::Record(fields) => fields.iter().map(|(name, _)| (*name).to_owned()).collect(),
        Item::Tuple(values) => (0..values.len()).map(|index| index.to_string()).collect(),
        Item::Pair(..) => vec!["key".to_owned(), "value".to_owned()],
        Item::Simple(_) => return None,
    };
    if found.len() < 2 || heads.len() > 40 {
        return None;
    }
    let mut cells: Vec<Vec<&str>> = Vec::with_capacity(found.len());
    for item in &found {
        cells.push(match item {
            Item::Record(fields) if fields.iter().map(|(name, _)| *name).eq(heads.iter().map(String::as_str)) => {
                fields.iter().map(|(_, value)| *value).collect()
            }
            Item::Tuple(values) if values.len() == heads.len() && heads[0] == "0" => values.clone(),
            Item::Pair(key, value) if heads[0] == "key" => vec![key, value],
            _ => return None,
        });
    }
    let is_number = |column: usize| cells.iter().all(|row| row[column].parse::<f64>().is_ok());
    let aligns: Vec<Align> =
        (0..heads.len()).map(|column| if is_number(column) { Align::Right } else { Align::Left }).collect();
    let columns: Vec<(&str, Align)> = heads.iter().map(String::as_str).zip(aligns.iter().copied()).collect();
    let count = thousands(count.max(found.len()) as u64);
    let mut table = TableView::new(format!("{count} values"), &columns).limit(40);
    for row in cells {
        table.row(Mark::None, row.into_iter().zip(&aligns).map(|(text, align)| cell(text, *align)));
    }
    Some(table)
}

fn cell(text: &str, align: Align) -> Cell {
    match (align, text.parse::<i128>(), text.parse::<f64>()) {
        (Align::Right, Ok(number), _) => Cell::integer(number),
        (Align::Right, _, Ok(number)) if number.is_finite() => {
            let short = real(number);
            Cell::from(if text.len() <= short.len() { text.to_owned() } else { short }).valued(number)
        }
        _ => {
            let bare =
                text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|bare| !bare.contains('\\'));
            let text = bare.unwrap_or(text);
            match text.char_indices().nth(80) {
                Some((end, _)) => Cell::from(format!("{}…", &text[..end])),
                None => text.into(),
            }
        }
    }
}

/// A long list of short values, as many to a line as fit.
fn numbers(text: &str) -> Option<String> {
    let found = items(text)?;
    let mut lines = vec![String::from("[")];
    for item in &found {
        let Item::Simple(value) = item else { return None };
        if value.len() > 24 {
            return None;
        }
        let last = lines.last_mut()?;
        if last.len() + value.len() + 2 > LINE {
            lines.push(format!(" {value},"));
        } else {
            *last += if last.len() > 1 { " " } else { "" };
            *last += value;
            last.push(',');
        }
    }
    let last = lines.last_mut()?;
    last.pop();
    last.push(']');
    lines.push(format!("{} values", thousands(found.len() as u64)));
    Some(lines.join("\n"))
}

/// A line of text, cut if it is long.
pub(in crate::display) fn cut(line: &str) -> String {
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Text whose middle is left out if it has many lines; HTML unfolds it. `ends` are the lines
/// before and after it.
fn lines(text: &str, unfinished: bool, ends: (usize, usize)) -> MimeBundle {
    let lines: Vec<&str> = text.lines().collect();
    let end = if unfinished { "\n… and more: the value is too large to be written out" } else { "" };
    let short = |lines: &[&str]| lines.iter().map(|line| cut(line)).collect::<Vec<_>>().join("\n");
    if lines.len() <= FIRST + LAST + 1 {
        return MimeBundle::text(short(&lines) + end);
    }
    let (first, rest) = lines.split_at(ends.0);
    let (hidden, last) = rest.split_at(rest.len() - ends.1);
    let words = format!("… {} more lines", thousands(hidden.len() as u64));
    let mut html = Html::new();
    let pre = "<pre style=\"margin:0;overflow-x:auto\">";
    html.raw(pre).text(short(first)).raw("</pre><details><summary style=\"opacity:0.75\">").text(&words);
    html.raw("</summary>").raw(pre).text(short(&hidden[..hidden.len().min(UNFOLDED)])).raw("</pre>");
    if hidden.len() > UNFOLDED {
        html.text(format!("… and {} that are not on this page", thousands((hidden.len() - UNFOLDED) as u64)));
    }
    html.raw("</details>").raw(pre).text(short(last) + end).raw("</pre>");
    MimeBundle::text(format!("{}\n{words}\n{}{end}", short(first), short(last))).with_html(html.finish())
}

/// What a value writes, up to a number of bytes.
pub(crate) fn beginning(value: &dyn Display, bytes: usize) -> String {
    Limited::write(value, bytes).text
}

/// Text up to a number of bytes. Writing more fails, so a huge value costs no more than what is written.
struct Limited {
    text: String,
    left: usize,
    cut: bool,
}

impl Limited {
    fn write(value: &dyn Display, most: usize) -> Self {
        let mut limited = Self { text: String::new(), left: most, cut: false };
        let _ = write!(limited, "{value}");
        limited
    }
}

impl Write for Limited {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() > self.left {
            self.text.push_str(&text[..text.floor_char_boundary(self.left)]);
            (self.left, self.cut) = (0, true);
            return Err(fmt::Error);
        }
        self.left -= text.len();
        self.text.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Clone)]
    #[expect(dead_code, reason = "read by Debug")]
    struct Run {
        name: &'static str,
        rate: f64,
        steps: u32,
        tags: Vec<u8>,
    }

    fn shown(value: impl fmt::Debug) -> String {
        debug_bundle(&format_args!("{value:?}"), &format_args!("{value:#?}")).plain().to_owned()
    }

    #[test]
    fn lists_of_records_tuples_and_maps_are_tables() {
        let run = Run { name: "a, b", rate: 1e-4, steps: 12_000, tags: vec![1, 2] };
        assert_eq!(
            shown(vec![run.clone(), run]),
            "2 values\nname    rate   steps  tags\n────  ──────  ──────  ──────\n\
             a, b  0.0001  12,000  [1, 2]\na, b  0.0001  12,000  [1, 2]"
        );
        assert!(shown(vec![("x", 1), ("y", -2)]).ends_with("x   1\ny  -2"));
        assert!(shown(BTreeMap::from([("x", 1.5), ("y", 2.0)])).contains("key  value"));
    }

    #[test]
    fn values_that_are_not_tables_are_text() {
        assert_eq!(shown(vec![1, 2]), "[1, 2]");
        assert_eq!(shown(vec![Some((1, 2)), None]), "[Some((1, 2)), None]");
        assert_eq!(shown(Vec::<(u8, u8)>::new()), "[]");
        assert!(shown((0..300).collect::<Vec<u32>>()).ends_with("298, 299]\n300 values"));
    }

    #[test]
    fn long_text_is_cut_in_the_middle_and_endless_text_ends() {
        let nested: Vec<Option<Vec<u32>>> = vec![Some((0..20).collect()); 50];
        let text = shown(nested);
        assert!(text.contains("more lines") && text.lines().count() == FIRST + LAST + 1, "{text}");
        let text = shown(vec![vec!["x".repeat(1000)]; 3000]);
        assert!(text.lines().count() <= 10 && text.ends_with("3,000 values"), "{text}");
        let own = fmt::from_fn(|f| (0..300_000).try_for_each(|n| writeln!(f, "row {n}")));
        assert!(shown(own).ends_with("too large to be written out"));
    }
}
