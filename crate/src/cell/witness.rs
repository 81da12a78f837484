//! Types that only the compiler knows, carried from the statements that made a variable to where a later cell takes it.

use std::marker::PhantomData;

use super::CellError;

/// A value of any type, for code that is checked and never run.
///
/// The kernel infers the type of a variable it cannot name by type-checking the statements that made it, inside a
/// closure that is never called; the variables that those statements used come from here.
///
/// # Panics
/// Always, when called.
pub fn any<T>() -> T {
    unreachable!("a closure that only exists to be type-checked was called")
}

/// The type `T`, without a value of it.
pub struct Like<T>(PhantomData<fn() -> T>);

/// The type that a closure would return. The closure is never called.
pub fn like<T, F: FnOnce() -> Result<T, CellError>>(_: F) -> Like<T> {
    Like(PhantomData)
}

/// The type that an asynchronous block would return. It is never polled.
pub fn like_later<T, F: FnOnce() -> W, W: Future<Output = Result<T, CellError>>>(_: F) -> Like<T> {
    Like(PhantomData)
}

/// Stands for what a cell would store, in code that is checked and never run.
///
/// # Panics
/// Always, when called.
pub fn stored<T: 'static>(_: Option<T>) -> T {
    any()
}

impl<A, B> Like<(A, B)> {
    /// The types of the two parts.
    pub fn split(self) -> (Like<A>, Like<B>) {
        (Like(PhantomData), Like(PhantomData))
    }
}

impl<T> Like<T> {
    /// A type that is not inferred yet.
    pub fn open() -> Self {
        Like(PhantomData)
    }

    /// Makes it the type of a value.
    pub fn settle(&self, _: &T) {}

    /// Makes it the type that an asynchronous block would return. It is never polled.
    pub fn settle_later<F: FnOnce() -> W, W: Future<Output = Result<T, CellError>>>(&self, _: F) {}

    /// A value of the type, for code that is checked and never run.
    ///
    /// # Panics
    /// Always, when called.
    pub fn any(&self) -> T {
        any()
    }

    /// The type's name, as [`std::any::type_name`] gives it.
    pub fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }
}
