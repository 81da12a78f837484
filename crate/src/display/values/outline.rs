//! Values that are too large to be written out are shown by their ends and their count, in about ten lines.

use std::fmt::Debug;
use std::ops::Range;

use crate::display::MimeBundle;
use crate::display::numbers::thousands;
use crate::display::values::debug::{cut, debug_bundle, rows, written_out};
use crate::display::values::fold::{Ends, Fold, Group};

/// The most values that are written out.
const VALUES: usize = 1000;
/// Lines that a list may take where all of it is written out.
const LINES: usize = 40;
/// Lines of each end, and rows of each end of a table.
pub(in crate::display) const ENDS: usize = 4;
const ROWS: usize = 3;
/// Values of each end that are read if they are short.
const SHORT: usize = 140;
/// Characters of a line.
const LINE: usize = 100;

/// Calls back with some of the values of a list or map, by their positions, as a list or map of its own.
pub(crate) type Part<'a> = &'a dyn Fn(Range<usize>, &mut dyn FnMut(&dyn Debug));

/// A list or map, of which only the ends are written if there are many values or the values are long.
pub(crate) fn sequence_bundle(count: usize, part: Part<'_>) -> MimeBundle {
    let mut whole = None;
    if count <= VALUES {
        part(0..count, &mut |all| whole = written_out(&format_args!("{all:?}"), &format_args!("{all:#?}")));
    }
    let whole = match whole {
        Some(whole) if whole.typed().is_some() || whole.plain().lines().count() <= LINES => return whole,
        whole => whole,
    };
    let ends = |most: usize| ends(count, most.min(count / 2), part);
    let group = match count > 2 * ENDS {
        true => ends(ENDS).and_then(|few| if few.ends.are_short() { ends(SHORT) } else { Some(few) }),
        false => {
            let mut group = None;
            part(0..count, &mut |all| group = Fold::group(all));
            group
        }
    };
    if let Some(bundle) = group.map(|group| outline(&group)).or(whole) {
        return bundle;
    }
    let mut bundle = MimeBundle::text("");
    part(0..count, &mut |all| bundle = debug_bundle(&format_args!("{all:?}"), &format_args!("{all:#?}")));
    bundle
}

/// The first and the last `most` of `count` values.
fn ends(count: usize, most: usize, part: Part<'_>) -> Option<Group> {
    let (mut head, mut tail) = (None, None);
    part(0..most, &mut |values| head = Fold::group(values));
    part(count - most..count, &mut |values| tail = Fold::group(values));
    let (mut group, tail): (Group, Group) = (head?, tail?);
    group.ends.tail.extend(tail.ends.head.into_iter().chain(tail.ends.tail));
    (group.ends.count, group.ends.unfinished) = (count, false);
    Some(group)
}

/// Text: its ends and its length, if it is long.
pub(crate) fn text_bundle(text: &str) -> MimeBundle {
    let (first, last) = (4 * LINE, LINE);
    if text.len() <= first + last + LINE {
        return MimeBundle::text(format!("{text:?}"));
    }
    let head = format!("{:?}", &text[..text.floor_char_boundary(first)]);
    let tail = format!("{:?}", &text[text.ceil_char_boundary(text.len() - last)..]);
    let (head, tail) = (head.strip_suffix('"').unwrap_or(&head), tail.strip_prefix('"').unwrap_or(&tail));
    let (lines, count) = (text.lines().count() as u64, thousands(text.chars().count() as u64));
    let lines = if lines > 1 { format!(" in {} lines", thousands(lines)) } else { String::new() };
    MimeBundle::text(format!("{head}…\n…{tail}\n{count} characters{lines}"))
}

/// The ends of a value.
pub(in crate::display) fn outline(group: &Group) -> MimeBundle {
    if group.is_struct {
        return MimeBundle::text(fields(group));
    }
    table(group).unwrap_or_else(|| MimeBundle::text(list(group)))
}

/// Records, tuples and entries as rows.
fn table(group: &Group) -> Option<MimeBundle> {
    let ends = &group.ends;
    if ends.unfinished || ends.head.len() < ROWS || ends.tail.len() < ROWS || !group.before.is_empty() {
        return None;
    }
    let last = ends.tail.iter().skip(ends.tail.len() - ROWS);
    let all: Vec<&str> = ends.head.iter().take(ROWS).chain(last).map(String::as_str).collect();
    let mut table = rows(&format!("{}{}{}", group.open, all.join(", "), group.close()), ends.count)?.limit(2 * ROWS);
    table.leave_out(ends.count - 2 * ROWS);
    Some(table.typed_bundle("values"))
}

/// `Name {`, a field a line, `}`.
fn fields(group: &Group) -> String {
    let ends = &group.ends;
    let all: Vec<&String> = ends.head.iter().chain(&ends.tail).collect();
    let line = |field: &&String| format!("    {},", cut(field));
    let mut lines = vec![format!("{}{}", group.before, group.open)];
    if ends.unfinished {
        lines.extend(all.iter().take(2 * ENDS - 1).map(line));
        lines.push(format!("    … ({})", ends.words(group.items())));
    } else if all.len() == ends.count && all.len() <= 2 * ENDS {
        lines.extend(all.iter().map(line));
    } else {
        lines.extend(all.iter().take(ENDS).map(line));
        lines.push(format!("    … {} more fields", thousands((ends.count - 2 * ENDS + 1) as u64)));
        lines.extend(all.iter().skip(all.len() + 1 - ENDS).map(line));
    }
    lines.push(group.close().to_string());
    lines.join("\n")
}

/// `[`, the first lines, how many values are between, the last lines, `]`, and the count.
fn list(group: &Group) -> String {
    let ends = &group.ends;
    let width = if ends.are_short() { LINE } else { 0 };
    let mut first = packed(ends.head.iter().map(String::as_str), width);
    let mut last = packed(ends.tail.iter().map(String::as_str), width);
    if ends.tail.is_empty() && first.len() > 2 * ENDS {
        last = first.split_off(first.len() - ENDS);
    }
    if ends.unfinished || !last.is_empty() {
        first.truncate(ENDS);
        last.drain(..last.len().saturating_sub(ENDS));
    }
    let said: usize = first.iter().chain(&last).map(|(_, count)| count).sum();
    let open = |(at, (line, _)): (usize, &(String, usize))| match at {
        0 => format!("{}{}{}", group.before, group.open, cut(line)),
        _ => format!(" {}", cut(line)),
    };
    let mut text = first.iter().enumerate().map(open).collect::<Vec<_>>().join(",\n");
    if ends.unfinished {
        return format!("{text},\n…\n{}", ends.words(group.items()));
    }
    if !last.is_empty() {
        let rest: Vec<String> = last.iter().map(|(line, _)| format!(" {}", cut(line))).collect();
        text += &format!(",\n… {} more\n{}", thousands((ends.count - said) as u64), rest.join(",\n"));
    }
    format!("{text}{}\n{}", group.close(), ends.words(group.items()))
}

/// Items joined to lines, as many as fit, and how many those are.
fn packed<'a>(items: impl Iterator<Item = &'a str>, width: usize) -> Vec<(String, usize)> {
    let mut lines: Vec<(String, usize)> = Vec::new();
    for item in items {
        match lines.last_mut().filter(|(line, _)| line.len() + item.len() + 4 <= width) {
            Some((line, count)) => {
                line.push_str(", ");
                line.push_str(item);
                *count += 1;
            }
            None => lines.push((item.to_owned(), 1)),
        }
    }
    lines
}

impl Ends {
    fn are_short(&self) -> bool {
        self.head.iter().chain(&self.tail).all(|item| item.len() <= 24)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn shown<T: Debug>(values: &[T]) -> String {
        sequence_bundle(values.len(), &|range, show| show(&&values[range])).plain().to_owned()
    }

    fn written(value: &dyn Debug) -> String {
        debug_bundle(&format_args!("{value:?}"), &format_args!("{value:#?}")).plain().to_owned()
    }

    #[test]
    fn a_long_list_shows_its_count_and_both_ends_in_ten_lines() {
        let text = shown(&(0..1_000_000).collect::<Vec<u32>>());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 10, "{text}");
        assert!(lines[0].starts_with("[0, 1, 2, 3,") && lines[8].ends_with(" 999998, 999999]"), "{text}");
        assert_eq!(lines[9], "1,000,000 values");
        let first: usize = lines[..4].iter().map(|line| line.matches(',').count()).sum();
        let last: usize = lines[5..9].iter().map(|line| line.matches(',').count()).sum::<usize>() + 1;
        assert_eq!(lines[4], format!("… {} more", thousands((1_000_000 - first - last) as u64)), "{text}");
        // The same where the type hides that it is a list.
        assert_eq!(written(&(0..1_000_000).collect::<Vec<u32>>()), text);
    }

    #[test]
    fn only_the_ends_of_a_long_list_are_written() {
        #[derive(Clone)]
        struct Counted<'a>(&'a std::cell::Cell<usize>);
        impl Debug for Counted<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.set(self.0.get() + 1);
                f.write_str("x")
            }
        }
        let written = std::cell::Cell::new(0);
        assert!(shown(&vec![Counted(&written); 1_000_000]).ends_with("1,000,000 values"));
        assert!(written.get() < 1000, "{}", written.get());
    }

    #[test]
    fn lists_of_long_values_show_the_ends_of_each() {
        let text = shown(&vec![(0..1000).collect::<Vec<u32>>(); 5000]);
        assert_eq!(text.lines().count(), 10, "{text}");
        assert!(text.starts_with("[[0, 1, 2, …, 998, 999] (1,000 values),\n [0,"), "{text}");
        assert!(text.contains("\n… 4,992 more\n") && text.ends_with("999] (1,000 values)]\n5,000 values"), "{text}");
        let text = shown(&vec!["x".repeat(500_000); 3]);
        assert!(text.len() < 1000 && text.contains("(500,000 characters)"), "{text}");
    }

    #[test]
    fn records_and_entries_are_rows() {
        let text = shown(&(0..100_000).map(|n| (n, 2 * n)).collect::<Vec<(u32, u32)>>());
        assert_eq!(text.lines().count(), 10, "{text}");
        assert!(text.starts_with("100,000 values\n") && text.contains("… 99,994 more rows"), "{text}");
        assert!(text.ends_with("99,999  199,998"), "{text}");
        let map: BTreeMap<String, u32> = (0..100_000).map(|n| (format!("key {n}"), n)).collect();
        let text = written(&map);
        assert!(text.starts_with("100,000 values\n") && text.contains("key 0"), "{text}");
    }

    #[test]
    fn a_struct_of_large_values_shows_its_fields() {
        #[derive(Debug)]
        #[expect(dead_code, reason = "read by Debug")]
        struct Run {
            name: &'static str,
            losses: Vec<f64>,
            text: String,
        }
        let text = written(&Run { name: "a", losses: vec![0.25; 500_000], text: "y".repeat(1_000_000) });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[1], lines.len()), ("Run {", "    name: \"a\",", 5), "{text}");
        assert_eq!(lines[2], "    losses: [0.25, 0.25, 0.25, …, 0.25, 0.25] (500,000 values),");
        assert!(lines[3].ends_with("y…\" (1,000,000 characters),"), "{text}");
    }

    #[test]
    fn long_text_shows_its_ends_and_its_length() {
        assert_eq!(text_bundle("a\"b").plain(), "\"a\\\"b\"");
        let text = text_bundle(&"é\n".repeat(500_000)).plain().to_owned();
        assert!(
            text.starts_with("\"é\\né\\n") && text.ends_with("é\\n\"\n1,000,000 characters in 500,000 lines"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3);
    }
}
