//! The end of a notebook: its variables are dropped, like those of a program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::engine::direct::DirectEngine;
use crate::engine::direct::explain::outcome::error;
use crate::engine::{Outcome, Output};
use crate::worker::frame::WorkerRequest;

impl DirectEngine {
    /// Asks the worker to drop all variables and exit. A worker that takes longer than the limit is killed.
    pub(crate) fn drop_variables(&mut self, limit: Duration, output: &mut dyn Output) -> Outcome {
        if self.worker.is_none() || limit.is_zero() {
            return Outcome::Ok;
        }
        let names: Vec<String> = self.variables.iter().map(|(name, _)| format!("`{name}`")).collect();
        let (number, busy, late) = (self.sources.last(), Arc::clone(&self.busy), AtomicBool::new(false));
        self.busy.announce();
        let outcome = std::thread::scope(|scope| {
            let (done, finished) = mpsc::channel::<()>();
            let late = &late;
            scope.spawn(move || {
                if finished.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                    late.store(true, Ordering::SeqCst);
                    busy.interrupt();
                    busy.interrupt(); // by force
                }
            });
            let outcome = self.request(&WorkerRequest::End, None, (number, 0), output);
            drop(done);
            outcome
        });
        self.busy.end();
        if let Some(worker) = &mut self.worker {
            worker.finish(output);
        }
        if outcome == Outcome::Ok || !late.into_inner() {
            return outcome;
        }
        let value = format!(
            "dropping the variables took longer than {} s, so the worker was ended; what they would have written may be \
             missing: {}",
            limit.as_secs_f64(),
            names.join(", ")
        );
        error("DropTimeout", &value, Vec::new())
    }
}
