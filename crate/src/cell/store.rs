//! The variables of a notebook, kept between cells.

use std::alloc::Layout;
use std::any::{Any, TypeId, type_name};
use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::ending::{Ending, catch};
use super::{CellError, Like, short_type_name};

/// What the kernel knows about a stored variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its type as [`std::any::type_name`] gives it.
    pub type_name: String,
    /// The path by which a cell can name its type, where that is known.
    pub type_path: Option<String>,
    /// A few words on its value.
    pub summary: String,
}

/// Proof that the variable of this name has type `T`, or that the cell was refused.
pub struct Key<T>(&'static str, PhantomData<T>);

/// The variables, by name.
///
/// A cell takes out what it mentions and puts it back afterwards. The allocation stays in its slot meanwhile, so
/// neither step compiles code to allocate or drop the variable.
#[derive(Default)]
pub struct Store {
    slots: BTreeMap<String, Slot>,
    refusals: Vec<String>,
    ending: Option<Ending>,
}

struct Slot {
    value: *mut dyn Any,
    /// The value was taken out; what `value` points to is memory without a value.
    open: bool,
    type_name: String,
    type_path: Option<String>,
}

impl Slot {
    fn new(value: Box<dyn Any>, type_name: String, type_path: Option<String>) -> Self {
        Self { value: Box::into_raw(value), open: false, type_name, type_path }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.open {
            // SAFETY: it comes from `Box::into_raw`, holds a value, and is dropped once.
            drop(unsafe { Box::from_raw(self.value) });
            return;
        }
        // SAFETY: only the layout of the type is read, through the vtable.
        let layout = unsafe { Layout::for_value(&*self.value) };
        if layout.size() > 0 {
            // SAFETY: `Box` allocated it with this layout, and the value in it was moved out.
            unsafe { std::alloc::dealloc(self.value.cast(), layout) }
        }
    }
}

impl Store {
    /// A store without variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks that a variable has the type the cell was compiled for.
    pub fn key<T: 'static>(&mut self, name: &'static str) -> Key<T> {
        self.check(name, TypeId::of::<T>(), type_name::<T>());
        Key(name, PhantomData)
    }

    /// The same, with a type that only the compiler knows.
    pub fn key_of<T: 'static>(&mut self, name: &'static str, _: &Like<T>) -> Key<T> {
        self.key(name)
    }

    /// Whether a check failed; the cell then returns without taking anything.
    pub fn refused(&self) -> bool {
        !self.refusals.is_empty()
    }

    /// Takes a variable out.
    pub fn take<T>(&mut self, key: Key<T>) -> T {
        // SAFETY: `key` checked that the slot holds a `T`, and the cell returns if any check failed.
        unsafe { self.open(key.0).cast::<T>().read() }
    }

    /// Puts back a variable that was taken.
    pub fn put<T>(&mut self, name: &'static str, value: T) {
        // SAFETY: the kernel pairs it with the `take` of the same name and type.
        unsafe { self.close(name).cast::<T>().write(value) }
    }

    /// Stores a variable the cell made, if it got that far.
    pub fn keep<T: 'static>(&mut self, name: &'static str, value: Option<T>) {
        if let Some(value) = value {
            self.insert(name, Box::new(value), type_name::<T>(), None);
        }
    }

    /// Runs the user's text.
    pub fn body<F: FnOnce() -> Result<(), CellError>>(&mut self, body: F) {
        let mut body = Some(body);
        self.run(&mut || match body.take() {
            Some(body) => body(),
            None => Ok(()),
        });
    }

    /// Runs a body that needs no variables, as magics do.
    pub fn run(&mut self, body: &mut dyn FnMut() -> Result<(), CellError>) {
        self.ending = Some(catch(body));
    }

    /// How the last cell ended. Forgets the variables that it moved away.
    pub fn finish(&mut self) -> Ending {
        self.slots.retain(|_, slot| !slot.open);
        let reasons = std::mem::take(&mut self.refusals);
        if !reasons.is_empty() {
            return Ending::Refused { reasons };
        }
        self.ending.take().unwrap_or(Ending::Done)
    }

    /// Stores a boxed value; `type_path` is how a cell names its type.
    pub fn insert(&mut self, name: &str, value: Box<dyn Any>, type_name: &str, type_path: Option<&str>) {
        let slot = Slot::new(value, type_name.to_owned(), type_path.map(str::to_owned));
        self.slots.insert(name.to_owned(), slot);
    }

    /// Notes a variable that a cell would make, with its type and without a value; for cells that are only checked.
    pub fn declare(&mut self, name: &str, type_name: &str, type_path: Option<&str>) {
        self.insert(name, Box::new(()), type_name, type_path);
    }

    /// Drops a variable.
    pub fn remove(&mut self, name: &str) {
        self.slots.remove(name);
    }

    /// Drops every variable.
    pub fn clear(&mut self) {
        self.slots.clear();
    }

    /// A few words on what is in a variable.
    pub fn summary(&self, name: &str) -> Option<String> {
        let slot = self.slots.get(name).filter(|slot| !slot.open)?;
        // SAFETY: the slot holds a value, and nothing takes it out while the store is borrowed.
        Some(super::summary::summary(unsafe { &*slot.value }))
    }

    /// The variables, by name.
    pub fn variables(&self) -> Vec<Variable> {
        let variable = |(name, slot): (&String, &Slot)| Variable {
            name: name.clone(),
            type_name: slot.type_name.clone(),
            type_path: slot.type_path.clone(),
            summary: self.summary(name).unwrap_or_default(),
        };
        self.slots.iter().map(variable).collect()
    }

    fn check(&mut self, name: &str, expected: TypeId, type_name: &str) {
        match self.slots.get(name) {
            None => self.refusals.push(format!("`{name}` is not stored any more; run the cell that makes it again")),
            // SAFETY: only the type's identity is read, through the vtable.
            Some(slot) if unsafe { (*slot.value).type_id() } != expected => {
                let found = short_type_name(&slot.type_name);
                let expected = short_type_name(type_name);
                self.refusals.push(format!(
                    "`{name}` was stored as `{found}` and this cell sees another type `{expected}`, because what the type is \
                     made of was defined anew; run the cell that makes `{name}` again"
                ));
            }
            Some(_) => {}
        }
    }

    fn open(&mut self, name: &str) -> *mut u8 {
        let slot = self.slots.get_mut(name).expect("`key` found this variable");
        assert!(!std::mem::replace(&mut slot.open, true), "`{name}` is taken once per cell");
        slot.value.cast()
    }

    fn close(&mut self, name: &str) -> *mut u8 {
        let slot = self.slots.get_mut(name).expect("`take` found this variable");
        assert!(std::mem::replace(&mut slot.open, false), "`{name}` is put back once per cell");
        slot.value.cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn takes_and_puts_back() {
        let mut store = Store::new();
        store.keep("xs", Some(vec![1]));
        let key = store.key::<Vec<i32>>("xs");
        let mut xs = store.take(key);
        store.body(|| {
            xs.push(2);
            panic!("boom");
        });
        store.put("xs", xs);
        assert!(matches!(store.finish(), Ending::Panicked { message, .. } if message == "boom"));
        let key = store.key::<Vec<i32>>("xs");
        assert_eq!(store.take(key), [1, 2]);
    }

    #[test]
    fn a_moved_variable_is_gone_and_dropped_once() {
        let counted = Arc::new(());
        let mut store = Store::new();
        store.keep("a", Some(Arc::clone(&counted)));
        let key = store.key::<Arc<()>>("a");
        drop(store.take(key));
        assert_eq!(store.finish(), Ending::Done);
        assert!(store.variables().is_empty());
        assert_eq!(Arc::strong_count(&counted), 1);
    }

    #[test]
    fn another_type_is_refused_and_nothing_lost() {
        let mut store = Store::new();
        store.keep("a", Some(1_i32));
        let _ = store.key::<String>("a");
        assert!(store.refused());
        assert!(matches!(store.finish(), Ending::Refused { reasons } if reasons[0].contains("`i32`")));
        assert_eq!(store.variables().len(), 1);
    }
}
