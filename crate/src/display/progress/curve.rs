//! A loss curve that grows while a run goes on.

use crate::display::{LossCurve, Updating, View};
use crate::progress::CurveReporter;

pub(super) struct LiveCurve {
    curve: LossCurve,
    display: Updating,
}

impl LiveCurve {
    pub(super) fn new(title: &str, steps: usize) -> Self {
        Self { curve: LossCurve::new(title, steps), display: Updating::new() }
    }
}

impl CurveReporter for LiveCurve {
    fn push(&mut self, step: usize, loss: f32) {
        self.curve.push(step, loss);
        let curve = &self.curve;
        self.display.update(|| curve.picture());
    }

    fn finish(self: Box<Self>) {
        self.display.finish(&self.curve.view());
    }
}
