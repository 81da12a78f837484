//! How long the steps of a cell took.

use std::time::Duration;

use chandlery::display::{Html, MimeBundle};

/// The time that a cell spent in each step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine::direct) struct Spent {
    /// Parsing, and writing the source that is compiled.
    pub(in crate::engine::direct) split: Duration,
    pub(in crate::engine::direct) compile: Duration,
    pub(in crate::engine::direct) link: Duration,
    pub(in crate::engine::direct) load: Duration,
    pub(in crate::engine::direct) run: Duration,
}

impl Spent {
    /// Returns every step that was taken, for `%timing`; `None` if there was none.
    pub(super) fn steps(&self) -> Option<MimeBundle> {
        let Self { split, compile, link, load, run } = *self;
        let steps = [("split", split), ("compile", compile), ("link", link), ("load", load), ("run", run)];
        let taken = steps.into_iter().filter(|(_, time)| !time.is_zero());
        let taken: Vec<_> = taken.map(|(name, time)| format!("{name} {}", short(time))).collect();
        (!taken.is_empty()).then(|| line(&taken.join(" · ")))
    }

    /// Returns the times of compiling and running, for `%time`.
    pub(super) fn halves(&self) -> MimeBundle {
        let before = self.split + self.compile + self.link + self.load;
        line(&format!("compile {} · run {}", short(before), short(self.run)))
    }
}

fn line(text: &str) -> MimeBundle {
    let mut html = Html::new();
    html.raw("<div style=\"opacity:0.75;font-variant-numeric:tabular-nums\">").text(text).raw("</div>");
    MimeBundle::text(text).with_html(html.finish())
}

fn short(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        60.0.. => format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60),
        1.0.. => format!("{seconds:.2} s"),
        0.1.. => format!("{:.0} ms", seconds * 1e3),
        0.001.. => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{:.0} µs", seconds * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let times = [75_000_000, 1_500_000, 345_000, 34_500, 45].map(|micros| short(Duration::from_micros(micros)));
        assert_eq!(times, ["1 min 15 s", "1.50 s", "345 ms", "34.5 ms", "45 µs"]);
    }
}
