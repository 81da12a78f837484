//! Names and their values, in scopes inside one another.

use std::cell::RefCell;
use std::rc::Rc;

use super::value::Value;

/// A scope: its own names, and the scope around it.
#[derive(Clone)]
pub(in crate::tokenizer::chat) struct Scope(Rc<Frame>);

struct Frame {
    names: RefCell<Vec<(String, Value)>>,
    around: Option<Scope>,
}

impl std::fmt::Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A macro is among the names that it can see.
        f.write_str("Scope")
    }
}

impl Scope {
    pub(super) fn new(names: Vec<(String, Value)>) -> Self {
        Self(Rc::new(Frame { names: RefCell::new(names), around: None }))
    }

    /// A scope inside this one.
    pub(super) fn inner(&self) -> Self {
        Self(Rc::new(Frame { names: RefCell::default(), around: Some(self.clone()) }))
    }

    /// Forgets the names of this scope.
    pub(super) fn clear(&self) {
        self.0.names.take();
    }

    pub(super) fn get(&self, name: &str) -> Option<Value> {
        let mut scope = Some(self);
        while let Some(frame) = scope {
            let names = frame.0.names.borrow();
            if let Some((_, value)) = names.iter().find(|(own, _)| own == name) {
                return Some(value.clone());
            }
            drop(names);
            scope = frame.0.around.as_ref();
        }
        None
    }

    /// Sets a name of this scope.
    pub(super) fn set(&self, name: &str, value: Value) {
        let mut names = self.0.names.borrow_mut();
        match names.iter_mut().find(|(own, _)| own == name) {
            Some((_, old)) => *old = value,
            None => names.push((name.to_owned(), value)),
        }
    }
}
