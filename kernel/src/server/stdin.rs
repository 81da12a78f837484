//! Asking the user: `input_request` on the stdin socket, from the thread that runs cells.

use std::sync::mpsc;

use jupyter_protocol::{InputReply, InputRequest, ReplyStatus};
use jupyter_zmq_client::KernelStdinConnection;
use tokio::sync::mpsc as queues;
use tokio::task::JoinSet;

use super::replay::Replays;
use super::signature::SigningKey;
use super::wire::{self, Outgoing, Received};
use crate::log::log;

/// How a question ends.
enum InputAnswer {
    Line(String),
    Cancelled,
}

/// Asks questions; owned by the thread that runs cells.
pub(super) struct Asker {
    questions: queues::UnboundedSender<Outgoing>,
    answers: mpsc::Receiver<InputAnswer>,
}

/// Ends a question from outside, when the user interrupts the cell.
#[derive(Clone)]
pub(super) struct Canceler(mpsc::Sender<InputAnswer>);

impl Asker {
    /// Starts the tasks that own the socket.
    pub(super) fn start(
        connection: KernelStdinConnection,
        key: SigningKey,
        replays: Replays,
        tasks: &mut JoinSet<()>,
    ) -> (Self, Canceler) {
        let (questions, mut asked) = queues::unbounded_channel::<Outgoing>();
        let (answer, answers) = mpsc::channel();
        let (mut send, mut receive) = connection.split();

        let unreachable = answer.clone();
        tasks.spawn(async move {
            while let Some(question) = asked.recv().await {
                // A front end without a stdin socket cannot be asked.
                if wire::send(&mut send, &key, question).await.is_err() {
                    let _ = unreachable.send(InputAnswer::Cancelled);
                }
            }
        });

        let canceler = Canceler(answer.clone());
        tasks.spawn(async move {
            loop {
                let message = match wire::receive(&mut receive, &replays).await {
                    Ok(received) => received,
                    Err(error) if wire::is_fatal(&error) => return,
                    Err(error) => {
                        log(format_args!("a message on stdin is dropped: {error}"));
                        continue;
                    }
                };
                if message.header.msg_type != "input_reply" {
                    continue;
                }
                let answered = match wire::request::<InputReply>(message.content()) {
                    Ok(InputReply { value, status: ReplyStatus::Ok, .. }) => InputAnswer::Line(value),
                    _ => InputAnswer::Cancelled,
                };
                let _ = answer.send(answered);
            }
        });
        (Self { questions, answers }, canceler)
    }

    /// Asks the front end that sent `parent` and waits; `None` when it refuses or the cell is interrupted.
    pub(super) fn ask(&self, parent: &Received, prompt: &str, password: bool) -> Option<String> {
        // An interrupt of an earlier cell, or a late answer to it, is not an answer to this question.
        while self.answers.try_recv().is_ok() {}
        let question = InputRequest { prompt: prompt.to_owned(), password };
        self.questions.send(wire::child(question, parent)).ok()?;
        match self.answers.recv() {
            Ok(InputAnswer::Line(line)) => Some(line),
            Ok(InputAnswer::Cancelled) | Err(_) => None,
        }
    }
}

impl Canceler {
    /// Ends the question that is open, if any.
    pub(super) fn cancel(&self) {
        let _ = self.0.send(InputAnswer::Cancelled);
    }
}
