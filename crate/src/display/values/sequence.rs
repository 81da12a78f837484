//! Lists of values: one below the other.

use crate::display::numbers::thousands;
use crate::display::{MimeBundle, View};

/// Values shown of a list.
const SHOWN: usize = 10;

fn list<T: View>(values: &[T]) -> MimeBundle {
    stacked(values.iter().take(SHOWN).map(View::view), values.len())
}

fn stacked(views: impl Iterator<Item = MimeBundle>, total: usize) -> MimeBundle {
    let views: Vec<MimeBundle> = views.collect();
    if let [only] = views.as_slice() {
        return only.clone();
    }
    let text: Vec<&str> = views.iter().map(MimeBundle::plain).collect();
    let html: String = views.iter().map(MimeBundle::markup).collect();
    let typed: Vec<&serde_json::Value> = views.iter().filter_map(MimeBundle::typed).collect();
    let whole = match text.is_empty() {
        true => MimeBundle::text("[]"),
        false => MimeBundle::text(text.join("\n\n")).with_html(html),
    };
    let whole = whole.with(
        "application/vnd.chandlery.list+json",
        serde_json::json!({"kind": "list", "length": total, "values": typed}),
    );
    match total - views.len() {
        0 => whole,
        hidden => whole.with_note(&format!("… {} more of {}", thousands(hidden as u64), thousands(total as u64))),
    }
}

impl<T: View> View for Vec<T> {
    fn view(&self) -> MimeBundle {
        list(self)
    }
}

impl<T: View> View for [T] {
    fn view(&self) -> MimeBundle {
        list(self)
    }
}

impl<T: View, const N: usize> View for [T; N] {
    fn view(&self) -> MimeBundle {
        list(self)
    }
}

impl<A: View, B: View> View for (A, B) {
    fn view(&self) -> MimeBundle {
        stacked([self.0.view(), self.1.view()].into_iter(), 2)
    }
}

impl<A: View, B: View, C: View> View for (A, B, C) {
    fn view(&self) -> MimeBundle {
        stacked([self.0.view(), self.1.view(), self.2.view()].into_iter(), 3)
    }
}

impl<T: View + ?Sized> View for Box<T> {
    fn view(&self) -> MimeBundle {
        (**self).view()
    }
}

impl<T: View + ?Sized> View for std::sync::Arc<T> {
    fn view(&self) -> MimeBundle {
        (**self).view()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_tuples_show_each_value_and_count_the_rest() {
        let twelve: Vec<MimeBundle> =
            (0..12).map(|n| MimeBundle::text(n.to_string()).with_html(format!("<i>{n}</i>"))).collect();
        let bundle = twelve.view();
        assert!(
            bundle.plain().starts_with("0\n\n1\n\n") && bundle.plain().ends_with("9\n… 2 more of 12"),
            "{}",
            bundle.plain()
        );
        assert_eq!(bundle.get("text/html").and_then(|html| html.as_str()).unwrap().matches("<i>").count(), 10);
        assert_eq!((MimeBundle::text("a"), MimeBundle::text("b")).view().plain(), "a\n\nb");
        assert_eq!(Vec::<MimeBundle>::new().view().plain(), "[]");
    }
}
