//! Tables for notebooks. Colors are inline and translucent, text inherits the page's color; where a page strips all
//! styles, `align`, `<b>`, the letters of marked rows and `<details>` still say the same.

use super::super::Html;
use super::super::numbers::thousands;
use super::sorting::CLASS;
use super::{Align, Mark, Row, TableView};

const PADDING: &str = "padding:0.15em 0.6em";

/// The line below the heads.
const RULE: &str = "border-bottom:1px solid rgba(128,128,128,0.6)";

/// Prose longer than this wraps; names and paths never do.
const PROSE: usize = 64;

/// Hidden rows beyond these are not part of the page.
const MOST_ROWS: usize = 1000;

impl TableView {
    /// The table as a fragment that scrolls by itself where the page is narrow.
    pub fn html(&self) -> String {
        let mut html = Html::new();
        html.raw("<div style=\"margin:0.3em 0;max-width:100%;overflow-x:auto\">");
        if !self.title.is_empty() {
            html.raw("<div style=\"margin-bottom:0.3em\"><b>").text(&self.title).raw("</b></div>");
        }
        if !self.rows.is_empty() {
            self.table(&mut html);
        }
        for note in &self.notes {
            html.raw("<div style=\"opacity:0.75;margin-top:0.2em\">").text(note).raw("</div>");
        }
        html.raw("</div>");
        html.finish()
    }

    fn table(&self, html: &mut Html) {
        let class = if self.is_worth_sorting() { format!(" class=\"{CLASS}\"") } else { String::new() };
        open(html, &class);
        html.raw("<thead><tr>");
        if self.is_marked() {
            html.raw(format!("<th style=\"{PADDING};{RULE}\"></th>"));
        }
        for (head, _) in self.columns.iter().zip(self.shown()).filter(|(_, shown)| *shown) {
            let align = head.align.name();
            html.raw(format!(
                "<th align=\"{align}\" style=\"text-align:{align};{PADDING};white-space:nowrap;{RULE}\">"
            ));
            html.text(&head.name);
            if !head.below.is_empty() {
                html.raw("<br><small style=\"font-weight:normal;font-size:inherit;opacity:0.75\">")
                    .text(&head.below)
                    .raw("</small>");
            }
            html.raw("</th>");
        }
        html.raw("</tr></thead><tbody>");
        let (first, hidden, last) = self.cut();
        first.iter().for_each(|row| self.row_markup(row, html));
        self.unfolding(hidden, html);
        last.iter().for_each(|row| self.row_markup(row, html));
        html.raw("</tbody></table>");
    }

    fn row_markup(&self, row: &Row, html: &mut Html) {
        match row.mark.style() {
            "" => html.raw("<tr>"),
            style => html.raw(format!("<tr style=\"{style}\">")),
        };
        if self.is_marked() {
            html.raw(format!("<td align=\"center\" style=\"text-align:center;{PADDING}\">"));
            html.text(row.mark.letter().trim()).raw("</td>");
        }
        let cells = row.cells.iter().zip(&self.columns).zip(self.shown());
        for ((cell, head), _) in cells.filter(|(_, shown)| *shown) {
            let align = head.align.name();
            // Text that sorts by itself does not need a second number.
            let order = cell.value.as_ref().filter(|value| value.is_number() && value.to_string() != cell.text);
            let order = order.map_or_else(String::new, |value| format!(" data-v=\"{value}\""));
            let prose = head.align == Align::Left && cell.html.is_none() && cell.text.chars().count() > PROSE;
            // The attribute is for pages that strip styles.
            let (bare, wrap) = if prose && cell.text.contains(' ') {
                ("", "min-width:24em")
            } else {
                (" nowrap", "white-space:nowrap")
            };
            html.raw(format!("<td align=\"{align}\"{bare}{order} style=\"text-align:{align};{PADDING};{wrap}\">"));
            let strong = row.mark == Mark::Strong && !cell.text.is_empty();
            html.raw(if strong { "<b>" } else { "" });
            match &cell.html {
                Some(markup) => html.raw(markup),
                None => html.text(&cell.text),
            };
            html.raw(if strong { "</b></td>" } else { "</td>" });
        }
        html.raw("</tr>");
    }

    /// The rows that the cut hides, behind a line that counts them.
    fn unfolding(&self, hidden: &[Row], html: &mut Html) {
        let Some(words) = self.hidden_words() else { return };
        let width = self.shown().filter(|shown| *shown).count() + usize::from(self.is_marked());
        let kept = &hidden[..hidden.len().min(MOST_ROWS)];
        let absent = match self.hidden() - kept.len() {
            0 => String::new(),
            count => thousands(count as u64),
        };
        let data = if absent.is_empty() { String::new() } else { format!(" data-absent=\"{absent}\"") };
        html.raw(format!("<tr><td colspan=\"{width}\"{data} align=\"left\" style=\"text-align:left;{PADDING}\">"));
        if hidden.is_empty() {
            html.text(words).raw("</td></tr>");
            return;
        }
        html.raw("<details><summary style=\"opacity:0.75\">").text(words).raw("</summary>");
        open(html, "");
        html.raw("<tbody>");
        kept.iter().for_each(|row| self.row_markup(row, html));
        html.raw("</tbody></table>");
        if !absent.is_empty() {
            html.text(format!("… and {absent} that are not on this page"));
        }
        html.raw("</details></td></tr>");
    }
}

fn open(html: &mut Html, class: &str) {
    html.raw(format!("<table{class} style=\"border-collapse:collapse;font-variant-numeric:tabular-nums;margin:0\">"));
}

#[cfg(test)]
mod tests {
    use super::super::{Align, Cell, Mark, TableView};

    #[test]
    fn names_cannot_inject_markup() {
        let mut table = TableView::new("<t>", &[("<c>", Align::Left)]);
        table.row(Mark::None, ["<script>alert(1)</script>".into()]);
        table.note("<n>");
        let html = table.html();
        assert!(!html.contains("<script") && !html.contains("<t>") && !html.contains("<c>") && !html.contains("<n>"));
    }

    #[test]
    fn a_page_without_styles_still_aligns_marks_and_unfolds() {
        let mut table = TableView::new("T", &[("name", Align::Left), ("size", Align::Right)]).limit(2);
        for index in 0..9u64 {
            table.row(if index == 0 { Mark::Removed } else { Mark::Strong }, ["a".into(), Cell::bytes(index * 1024)]);
        }
        let styles = regex::Regex::new(" (style|class|data-v)=\"[^\"]*\"").unwrap();
        let html = styles.replace_all(&table.html(), "").into_owned();
        assert!(html.contains("<td align=\"center\">-</td>"), "{html}");
        assert!(html.contains("<td align=\"right\" nowrap><b>8.00 KiB</b></td>"), "{html}");
        assert!(html.contains("<summary>… 7 more rows</summary>"), "{html}");
    }
}
