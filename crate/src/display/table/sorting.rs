//! Tables that readers can sort and filter where the page runs scripts. Elsewhere they are plain tables.

use super::{Mark, TableView};

/// Marks the tables that the script handles.
pub(super) const CLASS: &str = "chandlery-table";

/// The script is idempotent and handles every table of the page that it has not handled yet, because notebooks run it in
/// places that do not say which output it belongs to.
const SCRIPT: &str = concat!("<script>", include_str!("sorting.js"), "</script>");

impl TableView {
    /// A few rows are seen at a glance, and a sum stands below what it sums.
    pub(super) fn is_worth_sorting(&self) -> bool {
        self.rows.len() >= 8 && self.rows.iter().all(|row| row.mark != Mark::Strong)
    }
}

/// The fragment with the script once, if it has a table to sort.
pub(in super::super) fn with_sorting(html: String) -> String {
    if !html.contains(&format!("<table class=\"{CLASS}\"")) {
        return html;
    }
    html.replace(SCRIPT, "") + SCRIPT
}

#[cfg(test)]
mod tests {
    use super::super::super::MimeBundle;
    use super::super::{Align, Mark, TableView};
    use super::*;

    #[test]
    fn an_output_has_one_small_script_and_only_for_long_tables() {
        let table = |rows| {
            let mut table = TableView::new("", &[("n", Align::Right)]);
            (0..rows).for_each(|row| table.row(Mark::None, [row.to_string().into()]));
            table.bundle()
        };
        let scripts = |bundle: &MimeBundle| {
            bundle.get("text/html").and_then(|html| html.as_str()).unwrap_or_default().matches("<script>").count()
        };
        assert_eq!(scripts(&table(3)), 0);
        assert_eq!(scripts(&table(30)), 1);
        let mut with_sum = TableView::new("", &[("n", Align::Right)]);
        (0..30).for_each(|row| with_sum.row(Mark::None, [row.to_string().into()]));
        with_sum.row(Mark::Strong, ["435".into()]);
        assert_eq!(scripts(&with_sum.bundle()), 0);
        assert_eq!(scripts(&table(30).followed_by(&table(40)).with_note("both")), 1);
        assert!(SCRIPT.len() < 3000, "{}", SCRIPT.len());
        assert!(!SCRIPT[8..SCRIPT.len() - 9].contains('<'), "a script in a page cannot hold a tag");
    }
}
