//! [`DirectEngine`] behind the seam to front ends.

use std::sync::Arc;
use std::time::Duration;

use super::run::process::Worker;
use super::{DirectEngine, NoCompiler};
use crate::engine::{Assist, Cell, Engine, Interrupter, Outcome, Output};

impl Engine for DirectEngine {
    fn arm(&mut self) {
        self.busy.announce();
    }

    fn execute(&mut self, cell: &Cell, output: &mut dyn Output) -> Outcome {
        self.busy.begin();
        let outcome = self.cell(cell, output);
        self.busy.end();
        let variables = self.variables.iter().map(|(name, known)| (name, known.type_name.as_str()));
        self.names.set(variables, self.items.names(), self.scope());
        self.names.set_worker(self.process());
        outcome
    }

    fn between(&mut self, output: &mut dyn Output) {
        self.drain_background_output(output);
    }

    fn check(&mut self, cell: &Cell, may_fail: bool, output: &mut dyn Output) -> Outcome {
        self.busy.begin();
        let outcome = self.check_cell(cell, may_fail, output);
        self.busy.end();
        outcome
    }

    fn interrupter(&self) -> Interrupter {
        let busy = Arc::clone(&self.busy);
        Arc::new(move || busy.interrupt())
    }

    fn assist(&self) -> Arc<dyn Assist> {
        Arc::clone(&self.names) as Arc<dyn Assist>
    }

    fn process(&self) -> Option<u32> {
        self.worker.as_ref().map(Worker::id)
    }

    fn end(&mut self, limit: Duration, output: &mut dyn Output) -> Outcome {
        let outcome = self.drop_variables(limit, output);
        self.shutdown();
        outcome
    }

    fn shutdown(&mut self) {
        if let Some(language) = self.names.language() {
            language.stop();
        }
        self.worker = None;
        self.compiler = Err(NoCompiler::ShutDown);
    }
}
