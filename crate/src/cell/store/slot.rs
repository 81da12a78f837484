//! The memory of one variable, and what the kernel knows about it.

use std::alloc::Layout;
use std::any::{Any, TypeId, type_name};

use serde::{Deserialize, Serialize};

/// What the kernel knows about a stored variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its type as [`std::any::type_name`] gives it.
    pub type_name: String,
    /// The path by which a cell can name its type, if it is known.
    pub type_path: Option<String>,
    /// A short summary of its value.
    pub summary: String,
    /// Identifies the value: no other stored value has this number.
    pub serial: u64,
    /// Fields that were moved away from it.
    pub moved: Vec<String>,
}

/// The memory of one variable.
pub(super) struct Slot {
    pub(super) value: *mut dyn Any,
    /// The value was taken out; what `value` points to is memory without a value.
    pub(super) open: bool,
    /// The type of the value. Another one than the box was made for only after [`Store::vouch`](super::Store::vouch).
    pub(super) type_id: TypeId,
    /// The kernel says that a type of the same name is the same type, though the compiler gave it another identity.
    pub(super) vouched: bool,
    pub(super) type_name: String,
    pub(super) type_path: Option<String>,
    pub(super) serial: u64,
    /// Fields of the value were moved away.
    pub(super) rest: Option<Rest>,
}

/// The rest of a value after some of its fields were moved away.
pub(super) struct Rest {
    pub(super) moved: &'static [&'static str],
    /// Drops the other fields of the value in this memory.
    pub(super) drop: Box<dyn Fn(*mut ())>,
}

/// A type, as far as the store compares it.
pub(super) struct Kind {
    pub(super) id: TypeId,
    pub(super) name: &'static str,
    pub(super) layout: Layout,
}

impl Kind {
    pub(super) fn of<T: 'static>() -> Self {
        Self { id: const { TypeId::of::<T>() }, name: type_name::<T>(), layout: const { Layout::new::<T>() } }
    }
}

impl Slot {
    /// Whether the memory may be read and written as a type.
    pub(super) fn is(&self, kind: &Kind) -> bool {
        // SAFETY: only the layout of the type is read, through the vtable.
        let layout = unsafe { Layout::for_value(&*self.value) };
        self.type_id == kind.id || (self.vouched && self.type_name == kind.name && layout == kind.layout)
    }
}

/// Memory as `Box` allocates it.
pub(super) fn allocate(layout: Layout) -> *mut () {
    if layout.size() == 0 {
        return std::ptr::without_provenance_mut(layout.align());
    }
    // SAFETY: the layout has a size.
    let memory = unsafe { std::alloc::alloc(layout) };
    if memory.is_null() {
        std::alloc::handle_alloc_error(layout);
    }
    memory.cast()
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(rest) = self.rest.take() {
            // From here on the contents have an owner, even if a `drop` panics.
            self.open = true;
            (rest.drop)(self.value.cast());
        }
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
