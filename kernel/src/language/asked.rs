//! The questions to the language process, and its answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::messages::{LanguageReply, Question};

/// How many answers are remembered: front ends ask for completions and documentation in turn.
const REMEMBERED: usize = 8;

/// The content of a question: code, cursor, whether to inspect.
type QuestionKey = (String, usize, bool);

/// The state of a question.
pub(super) enum Asked {
    /// It was answered before.
    Known(LanguageReply),
    /// The answer will be sent on this channel.
    Waits(Receiver<LanguageReply>),
}

/// A question that the process has not answered.
struct OpenQuestion {
    key: QuestionKey,
    waiting: Vec<Sender<LanguageReply>>,
}

#[derive(Default)]
pub(super) struct Questions {
    count: u64,
    open: BTreeMap<u64, OpenQuestion>,
    /// The last answers. An answer may arrive too late for its question, and serves the same question later.
    answered: VecDeque<(QuestionKey, LanguageReply)>,
    /// When the process last sent something, or was given something to do.
    since: Option<Instant>,
}

impl Questions {
    /// Adds a question. Also returns what to send, if it was not sent before.
    pub(super) fn ask(&mut self, code: &str, cursor: usize, inspect: bool) -> (Asked, Option<Question>) {
        let same = |key: &QuestionKey| key.1 == cursor && key.2 == inspect && key.0 == code;
        if let Some((_, answer)) = self.answered.iter().find(|(key, _)| same(key)) {
            return (Asked::Known(answer.clone()), None);
        }
        let (sender, answer) = channel();
        if let Some(open) = self.open.values_mut().find(|open| same(&open.key)) {
            open.waiting.push(sender);
            return (Asked::Waits(answer), None);
        }
        self.count += 1;
        if self.open.is_empty() {
            self.since = Some(Instant::now());
        }
        self.open.insert(self.count, OpenQuestion { key: (code.to_owned(), cursor, inspect), waiting: vec![sender] });
        let question = Question { id: self.count, code: code.to_owned(), cursor, inspect };
        (Asked::Waits(answer), Some(question))
    }

    /// Takes the answer to the question `id`. Answers come in the order of their questions, so earlier ones will not be answered.
    pub(super) fn answered(&mut self, id: u64, answer: LanguageReply) {
        let later = self.open.split_off(&(id + 1));
        let answered = std::mem::replace(&mut self.open, later).remove(&id);
        self.since = Some(Instant::now());
        let Some(OpenQuestion { key, waiting }) = answered else { return };
        for waiting in waiting {
            // A question that waited too long is gone.
            let _ = waiting.send(answer.clone());
        }
        if !matches!(answer, LanguageReply::Nothing { .. }) {
            self.answered.truncate(REMEMBERED - 1);
            self.answered.push_front((key, answer));
        }
    }

    /// Forgets all questions, because the process is gone.
    pub(super) fn abandon(&mut self) {
        self.open.clear();
    }

    /// Returns how long an answer has been due while the process was silent.
    pub(super) fn owed(&self) -> Option<Duration> {
        self.since.filter(|_| !self.open.is_empty()).map(|since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspection(id: u64) -> LanguageReply {
        LanguageReply::Inspection { id, html: format!("answer {id}") }
    }

    #[test]
    fn a_question_is_sent_once_and_its_answer_serves_all_who_ask() {
        let mut questions = Questions::default();
        let (Asked::Waits(first), Some(sent)) = questions.ask("x.", 2, false) else { panic!("it is new") };
        let (Asked::Waits(second), None) = questions.ask("x.", 2, false) else { panic!("it was sent") };
        // Another cursor, and another kind, are other questions.
        assert!(questions.ask("x.", 1, false).1.is_some() && questions.ask("x.", 2, true).1.is_some());
        questions.answered(sent.id, inspection(sent.id));
        assert_eq!((first.try_recv(), second.try_recv()), (Ok(inspection(1)), Ok(inspection(1))));
        assert!(matches!(questions.ask("x.", 2, false), (Asked::Known(answer), None) if answer == inspection(1)));
    }

    #[test]
    fn what_is_never_answered_is_forgotten_when_later_answers_come() {
        let mut questions = Questions::default();
        let (Asked::Waits(lost), _) = questions.ask("a", 1, false) else { panic!("it is new") };
        assert!(questions.owed().is_some());
        for number in 2..=40 {
            let code = "b".repeat(number);
            questions.ask(&code, 1, false);
            questions.answered(number as u64, inspection(number as u64));
        }
        assert!(questions.open.is_empty() && questions.owed().is_none());
        assert_eq!(questions.answered.len(), REMEMBERED);
        assert!(lost.recv().is_err(), "nobody waits for it");
        // `Unknown` is not remembered, because it is also the answer to a skipped question.
        questions.ask("c", 1, false);
        questions.answered(41, LanguageReply::Nothing { id: 41 });
        assert!(questions.ask("c", 1, false).1.is_some());
    }
}
