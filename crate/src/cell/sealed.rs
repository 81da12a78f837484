//! A box whose drop code stays in the toolkit.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A boxed value that is dropped by code compiled where it was made.
///
/// A cell that holds a toolkit value compiles the code that drops it, field by field, down through foreign maps and
/// trees: 80 ms for a JSON object. Behind a `Sealed` that is one call. Use it for the big fields of types that cells
/// hold.
pub struct Sealed<T> {
    value: NonNull<T>,
    free: unsafe fn(NonNull<T>),
}

impl<T> Sealed<T> {
    /// Seals a value. Call it in the toolkit: the code that will drop it is compiled at this place.
    pub fn new(value: T) -> Self {
        let value = NonNull::from(Box::leak(Box::new(value)));
        Self { value, free: free::<T> }
    }
}

/// # Safety
/// `value` comes from `Box::leak` and is not used afterwards.
unsafe fn free<T>(value: NonNull<T>) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(value.as_ptr()) });
}

impl<T> Drop for Sealed<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer comes from `new`, and this is its last use.
        unsafe { (self.free)(self.value) }
    }
}

impl<T> Deref for Sealed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: it points to a live value until `drop`.
        unsafe { self.value.as_ref() }
    }
}

impl<T> DerefMut for Sealed<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `&mut self` makes it the only access.
        unsafe { self.value.as_mut() }
    }
}

impl<T: Clone> Clone for Sealed<T> {
    fn clone(&self) -> Self {
        Self::new((**self).clone())
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Sealed<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Default> Default for Sealed<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: serde::Serialize> serde::Serialize for Sealed<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Sealed<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::new)
    }
}

// SAFETY: it owns its value as a `Box` does.
unsafe impl<T: Send> Send for Sealed<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Sealed<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_once_and_compares() {
        let counted = std::sync::Arc::new(());
        let sealed = Sealed::new((std::sync::Arc::clone(&counted), 7));
        let copy = sealed.clone();
        assert_eq!(sealed, copy);
        assert_eq!(std::sync::Arc::strong_count(&counted), 3);
        drop((sealed, copy));
        assert_eq!(std::sync::Arc::strong_count(&counted), 1);
    }
}
