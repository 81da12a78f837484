//! The loss over the steps of a run, as a chart that grows while the run goes on.

use crate::display::{Curve, MimeBundle, View};

/// Losses by step.
#[derive(Clone, Debug)]
pub struct LossCurve {
    title: String,
    planned: usize,
    ends: Option<((usize, f32), (usize, f32))>,
    curve: Curve,
}

impl LossCurve {
    /// A curve that will have `planned` steps.
    pub fn new(title: impl Into<String>, planned: usize) -> Self {
        let title = title.into();
        let curve = Curve::new(format!("{title}: loss (nats per token)")).axes("step", "loss");
        Self { title, planned, ends: None, curve: curve.span(1.0, planned.max(2) as f64) }
    }

    /// Adds a step's loss, in nats per token.
    pub fn push(&mut self, step: usize, loss: f32) {
        self.curve.push("loss", step as f64, f64::from(loss));
        self.ends = Some((self.ends.map_or((step, loss), |ends| ends.0), (step, loss)));
    }

    /// The picture so far. A loss that is not finite is left out of the line and named in the text.
    pub fn picture(&self) -> MimeBundle {
        self.curve.picture().with("text/plain", self.summary())
    }

    fn summary(&self) -> String {
        match self.ends {
            Some((first, last)) => {
                format!("{}: loss {:.4} → {:.4} in {} of {} steps", self.title, first.1, last.1, last.0, self.planned)
            }
            None => format!("{}: no steps yet", self.title),
        }
    }
}

impl View for LossCurve {
    fn view(&self) -> MimeBundle {
        self.curve.view().with("text/plain", self.summary())
    }
}
