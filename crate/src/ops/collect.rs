//! Gradients of variables that are handed over while backward runs, instead of being kept until it ends.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::{Result, Tensor, TensorId};

thread_local! {
    static COLLECTED: RefCell<Option<Gradients>> = const { RefCell::new(None) };
}

/// Gradients by the variable's identity; uses of one variable are added up.
#[derive(Default)]
pub struct Gradients(HashMap<TensorId, Tensor>);

impl Gradients {
    /// Removes and returns the gradient of `variable`.
    pub fn remove(&mut self, variable: &Tensor) -> Option<Tensor> {
        self.0.remove(&variable.id())
    }

    /// Adds to the gradient of the variable with this identity.
    ///
    /// # Errors
    /// candle's error, if shapes or devices differ.
    pub fn add(&mut self, id: TensorId, gradient: Tensor) -> Result<()> {
        let sum = match self.0.remove(&id) {
            Some(before) => (before + gradient)?,
            None => gradient,
        };
        self.0.insert(id, sum);
        Ok(())
    }
}

/// Runs `work`, a backward pass on this thread, and returns its result with the gradients of the variables that the
/// operators of this module met in it. Those are then **not** in candle's `GradStore`, which would write zeros for each
/// and add them: three passes over every weight.
///
/// # Errors
/// The error of `work`.
pub fn collected<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Gradients)> {
    let outer = COLLECTED.with(|collected| collected.replace(Some(Gradients::default())));
    let result = work();
    let gradients = COLLECTED.with(|collected| collected.replace(outer));
    Ok((result?, gradients.unwrap_or_default()))
}

/// Gives `gradient` of `argument` to the running collection if the argument is a variable; otherwise returns it, for an
/// operation to return from its backward.
pub(super) fn accumulate_grad(argument: &Tensor, gradient: Tensor) -> Result<Option<Tensor>> {
    if !argument.is_variable() {
        return Ok(Some(gradient));
    }
    COLLECTED.with(|collected| match collected.borrow_mut().as_mut() {
        Some(gradients) => gradients.add(argument.id(), gradient).map(|()| None),
        None => Ok(Some(gradient)),
    })
}

/// Gives what a backward pass inside another one collected, and what candle's own operations left for variables there, to the
/// running collection.
///
/// # Errors
/// candle's error, and one if nothing is collected: candle's own store cannot take gradients from inside an operation.
pub(super) fn hand_over(gradients: Gradients, store: candle_core::backprop::GradStore) -> Result<()> {
    let taken = COLLECTED.with(|collected| match collected.borrow_mut().as_mut() {
        Some(outer) => gradients.0.into_iter().try_for_each(|(id, gradient)| outer.add(id, gradient)).map(|()| true),
        None => Ok(false),
    })?;
    match (taken, offer_all(store)?) {
        (true, None) => Ok(()),
        _ => candle_core::bail!("this backward pass must run in `collected`"),
    }
}

/// Adds the gradients that candle's own operations left for variables to the running collection.
pub(super) fn offer_all(store: candle_core::backprop::GradStore) -> Result<Option<candle_core::backprop::GradStore>> {
    COLLECTED.with(|collected| match collected.borrow_mut().as_mut() {
        Some(gradients) => {
            for &id in store.get_ids() {
                if let Some(gradient) = store.get_id(id) {
                    gradients.add(id, gradient.clone())?;
                }
            }
            Ok(None)
        }
        None => Ok(Some(store)),
    })
}
