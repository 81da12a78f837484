//! Cells that front ends ask for, run by a session.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jupyter_protocol::{ExecuteReply, ExecutionCount, ExpressionResult, Payload, ReplyError, ReplyStatus};

use super::content;
use crate::engine::{Interrupter, Outcome};
use crate::server::{CellHandler, ExecuteRequest, FrontEnd};
use crate::session::{CellRequest, Execution, Front, Publication, Session};

/// Runs cells in a session.
pub(super) struct Cells(pub(super) Session);

/// The values of a request's `user_expressions`, by their names.
type Values = HashMap<String, ExpressionResult>;

impl Cells {
    /// Evaluates expressions in the order of their names; after an interrupt the rest is not run.
    fn evaluate(&mut self, expressions: &HashMap<String, String>) -> Values {
        let expressions: BTreeMap<_, _> = expressions.iter().collect();
        let mut interrupted = None;
        let mut values = Values::new();
        for (name, code) in expressions {
            let value = interrupted.clone().map_or_else(|| self.0.evaluate(code), Err);
            interrupted = value.as_ref().err().filter(|outcome| outcome.is_interrupt()).cloned();
            values.insert(name.clone(), content::expression(value));
        }
        values
    }
}

impl CellHandler for Cells {
    fn execute(&mut self, request: &ExecuteRequest, front: &mut dyn FrontEnd) -> ExecuteReply {
        let cell =
            CellRequest { code: request.code.clone(), silent: request.silent, store_history: request.store_history };
        let Execution { number, outcome, page } = self.0.execute(&cell, &mut Shown(front));
        let (status, error, values) = match outcome {
            Outcome::Ok => (ReplyStatus::Ok, None, self.evaluate(&request.user_expressions)),
            Outcome::Error { name, value, traceback, .. } => {
                let error = ReplyError { ename: name, evalue: value, traceback };
                (ReplyStatus::Error, Some(Box::new(error)), Values::new())
            }
        };
        ExecuteReply {
            status,
            execution_count: ExecutionCount::new(number as usize),
            payload: page.iter().map(|page| Payload::Page { data: content::media(page), start: 0 }).collect(),
            user_expressions: Some(values),
            error,
        }
    }

    fn between(&mut self, front: &mut dyn FrontEnd) {
        self.0.between(&mut Shown(front));
    }

    fn interrupter(&self) -> Interrupter {
        self.0.interrupter()
    }

    fn end(&mut self, limit: Duration, front: Option<&mut dyn FrontEnd>) {
        match front {
            Some(front) => {
                self.0.end(limit, &mut Shown(front));
            }
            None => self.0.shutdown(),
        }
    }
}

/// The front of one request, which publishes what the session shows.
struct Shown<'a>(&'a mut dyn FrontEnd);

impl Front for Shown<'_> {
    fn publish(&mut self, publication: Publication) {
        let metadata = content::metadata(&publication);
        self.0.publish(content::publication(publication), metadata);
    }

    fn input(&mut self, prompt: &str, password: bool) -> Option<String> {
        self.0.input(prompt, password)
    }
}
