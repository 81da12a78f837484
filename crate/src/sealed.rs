//! A box whose drop code stays in the toolkit.

use std::ops::{Deref, DerefMut};

/// A boxed value that is dropped by code compiled where it was made.
///
/// A cell that holds a toolkit value compiles the code that drops it, field by field, down through foreign maps and
/// trees: 80 ms for a JSON object. Behind a `Sealed` that is one call through a table. Use it for the large fields of
/// types that cells hold, and call [`Sealed::new`] in the toolkit, where the drop code is compiled.
pub struct Sealed<T>(Box<dyn Hold<T>>);

trait Hold<T>: Send + Sync {
    fn get(&self) -> &T;
    fn get_mut(&mut self) -> &mut T;
}

impl<T: Send + Sync> Hold<T> for T {
    fn get(&self) -> &T {
        self
    }

    fn get_mut(&mut self) -> &mut T {
        self
    }
}

impl<T: Send + Sync + 'static> Sealed<T> {
    /// Seals a value.
    pub fn new(value: T) -> Self {
        Self(Box::new(value))
    }
}

impl<T> Deref for Sealed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        (*self.0).get()
    }
}

impl<T> DerefMut for Sealed<T> {
    fn deref_mut(&mut self) -> &mut T {
        (*self.0).get_mut()
    }
}

impl<T: Clone + Send + Sync + 'static> Clone for Sealed<T> {
    fn clone(&self) -> Self {
        Self::new((**self).clone())
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: std::fmt::Display> std::fmt::Display for Sealed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: std::error::Error> std::error::Error for Sealed<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        (**self).source()
    }
}

impl<T: PartialEq> PartialEq for Sealed<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Default + Send + Sync + 'static> Default for Sealed<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: serde::Serialize> serde::Serialize for Sealed<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: serde::Deserialize<'de> + Send + Sync + 'static> serde::Deserialize<'de> for Sealed<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::new)
    }
}

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
