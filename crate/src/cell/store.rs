//! The variables of a notebook, kept between cells.

mod slot;

use std::alloc::Layout;
use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;

pub use slot::Variable;
use slot::{Kind, Rest, Slot, allocate};

use super::ending::{Ending, catch};
use super::{CellError, Like, short_type_name};

/// The result of [`Store::key`]: whether the variable of this name has type `T`.
pub struct Key<T>(Option<&'static str>, PhantomData<T>);

/// What a completed statement of a cell returns. It is a separate type, so that a `return` inside of a macro
/// cannot be mistaken for it.
pub struct Passed<T>(pub T);

/// The variables, by name.
///
/// A cell takes out what it mentions and puts it back afterwards. The allocation stays in its slot meanwhile, so
/// neither step compiles code to allocate or drop the variable.
///
/// Every cell compiles the generic functions that it calls, with what they call. So these only move values; the work is
/// done by functions of the library that know a type as a `Kind`.
#[derive(Default)]
pub struct Store {
    slots: BTreeMap<String, Slot>,
    refusals: Vec<String>,
    /// The cell would store a type that only its own body can name.
    holds_closures: bool,
    ending: Option<Ending>,
    /// Panics in the `drop` of variables, which are errors of the cell that dropped them.
    failed_drops: Vec<Ending>,
    serial: u64,
}

impl Store {
    /// A store without variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a cell's generated code. A panic outside of the user's statements, as in the drop of a local variable at the
    /// cell's end, is an error of the cell.
    pub fn enter(&mut self, cell: fn(&mut Store)) {
        let ended = catch(&mut || {
            cell(self);
            Ok(())
        });
        if ended != Ending::Done && self.ending.as_ref().is_none_or(|ending| *ending == Ending::Done) {
            self.ending = Some(ended);
        }
    }

    /// Lets the next cell take a variable as a type of the same name and layout whose identity is another one.
    ///
    /// # Safety
    /// The type of that name means the same in the next cell as in the one that stored the variable: every definition it
    /// is made of is the same.
    pub unsafe fn vouch(&mut self, name: &str) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.vouched = true;
        }
    }

    /// Checks that a variable has the type the cell was compiled for.
    pub fn key<T: 'static>(&mut self, name: &'static str) -> Key<T> {
        Key(self.check(name, &Kind::of::<T>()), PhantomData)
    }

    fn check(&mut self, name: &'static str, kind: &Kind) -> Option<&'static str> {
        let fits = self.slots.get(name).is_some_and(|slot| !slot.open && slot.is(kind));
        if !fits {
            self.refuse(name, kind.name);
        }
        fits.then_some(name)
    }

    /// Does what [`Store::key`] does, with a type that only the compiler knows.
    pub fn key_of<T: 'static>(&mut self, name: &'static str, _: &Like<T>) -> Key<T> {
        self.key(name)
    }

    /// Checks that a variable of type `i32` is a number that another type has, too.
    pub fn fits<T: TryFrom<i32>>(&mut self, name: &'static str) {
        if let Some(value) = self.integer(name)
            && T::try_from(value).is_err()
        {
            self.refuse_number(name, value, type_name::<T>());
        }
    }

    fn integer(&self, name: &str) -> Option<i32> {
        let slot = self.slots.get(name).filter(|slot| !slot.open && slot.rest.is_none())?;
        // SAFETY: the slot holds a value, and nothing takes it out while the store is borrowed.
        unsafe { &*slot.value }.downcast_ref().copied()
    }

    fn refuse_number(&mut self, name: &str, value: i32, wanted: &str) {
        let why = format!(
            "`{name}` is {value}, and this cell uses it as a `{wanted}`, which cannot hold that: convert it there, or give \
             `{name}` another value"
        );
        self.refusals.push(why);
    }

    /// Notes the type of a variable that the cell will make. The cell is refused if only its own body can name it.
    pub fn makes<T>(&mut self, kind: &Like<T>, entry: &str) {
        self.holds_closures |= kind.type_name().contains(entry);
    }

    /// Whether a check failed; the cell then returns without taking anything.
    pub fn refused(&self) -> bool {
        !self.refusals.is_empty() || self.holds_closures
    }

    /// Takes a variable out.
    ///
    /// # Panics
    /// If the check of its type failed, or if it was taken already.
    pub fn take<T: 'static>(&mut self, key: Key<T>) -> T {
        let memory = self.open(key.0, &Kind::of::<T>(), false) as *mut T;
        // SAFETY: a `T` is there, and the slot is open from now on, so nothing reads or drops it again.
        unsafe { memory.read() }
    }

    /// Takes out a variable from which fields were moved away.
    ///
    /// # Safety
    /// Those fields are forgotten before anything else is done with the value.
    ///
    /// # Panics
    /// As [`Store::take`], and if all of it is there.
    pub unsafe fn take_rest<T: 'static>(&mut self, key: Key<T>) -> T {
        let memory = self.open(key.0, &Kind::of::<T>(), true) as *mut T;
        // SAFETY: the memory holds a `T`, of which the caller uses what is there.
        unsafe { memory.read() }
    }

    /// Returns the memory of a value, which the caller now owns.
    fn open(&mut self, name: Option<&str>, kind: &Kind, rest: bool) -> *mut () {
        let fits = |slot: &&mut Slot| !slot.open && slot.is(kind) && slot.rest.is_some() == rest;
        let slot = name.and_then(|name| self.slots.get_mut(name)).filter(fits);
        let slot = slot.expect("a variable is taken once, as the type it has");
        slot.open = true;
        slot.rest = None;
        slot.value.cast()
    }

    /// Puts back a variable that was taken.
    ///
    /// # Panics
    /// If no variable of this name and type was taken.
    pub fn put<T: 'static>(&mut self, name: &'static str, value: T) {
        let value = ManuallyDrop::new(value);
        let memory = self.close(name, &Kind::of::<T>()) as *mut ManuallyDrop<T>;
        // SAFETY: the memory is that of a `T`, and no value is in it.
        unsafe { memory.write(value) }
    }

    /// Puts back a variable from which fields were moved away; `drop` forgets those and drops the others.
    ///
    /// # Panics
    /// As [`Store::put`].
    pub fn put_rest<T: 'static>(
        &mut self,
        name: &'static str,
        value: T,
        moved: &'static [&'static str],
        drop: impl Fn(T) + 'static,
    ) {
        self.put(name, value);
        self.set_rest(name, moved, drop);
    }

    /// Stores a variable that the cell made, and from which fields were moved away.
    pub fn keep_rest<T: 'static>(
        &mut self,
        name: &'static str,
        value: T,
        moved: &'static [&'static str],
        drop: impl Fn(T) + 'static,
    ) {
        self.keep(name, value);
        self.set_rest(name, moved, drop);
    }

    fn set_rest<T: 'static>(&mut self, name: &str, moved: &'static [&'static str], drop: impl Fn(T) + 'static) {
        if let Some(slot) = self.slots.get_mut(name) {
            // SAFETY: it is called once, with the memory of the slot, in which a `T` is.
            let drop = Box::new(move |memory: *mut ()| drop(unsafe { memory.cast::<T>().read() }));
            slot.rest = Some(Rest { moved, drop });
        }
    }

    /// Returns memory into which the caller must write a value of this type next.
    fn close(&mut self, name: &str, kind: &Kind) -> *mut () {
        let slot = self.slots.get_mut(name).filter(|slot| slot.open && slot.is(kind));
        let slot = slot.expect("a variable is put back as the type it was taken as");
        slot.open = false;
        slot.type_id = kind.id;
        slot.value.cast()
    }

    /// Stores a variable that the cell made.
    pub fn keep<T: 'static>(&mut self, name: &'static str, value: T) {
        let memory = allocate(const { Layout::new::<T>() }) as *mut T;
        // SAFETY: the memory is as `Box` allocates it for a `T`, which makes it one.
        unsafe {
            memory.write(value);
            self.own(name, memory, Kind::of::<T>().name, None);
        }
    }

    /// Stores a variable that the cell made, if it got that far.
    pub fn keep_made<T: 'static>(&mut self, name: &'static str, value: Option<T>) {
        if let Some(value) = value {
            self.keep(name, value);
        }
    }

    /// Forgets a variable whose name the cell gave to a value that cannot be kept.
    pub fn shadow(&mut self, name: &str) {
        self.remove(name);
    }

    /// Runs all of the user's text. Returns whether it ran to its end.
    pub fn body<F: FnOnce() -> Result<(), CellError>>(&mut self, body: F) -> bool {
        let mut body = Some(body);
        self.run(&mut || match body.take() {
            Some(body) => body(),
            None => Ok(()),
        })
    }

    /// Runs one statement of the user's text. Returns `None` if the cell ends with it.
    pub fn stage<T, F: FnOnce() -> Result<Passed<T>, CellError>>(&mut self, statement: F) -> Option<T> {
        // The value that would be dropped here is always empty; without `ManuallyDrop` the code to drop it would be
        // compiled.
        let (mut statement, mut value) = (Some(statement), ManuallyDrop::new(None));
        self.run(&mut || match statement.take() {
            Some(statement) => match statement() {
                Ok(Passed(passed)) => {
                    value = ManuallyDrop::new(Some(passed));
                    Ok(())
                }
                Err(error) => Err(error),
            },
            None => Ok(()),
        });
        ManuallyDrop::into_inner(value)
    }

    /// Runs a body that needs no variables, as magics do. Returns whether it ran to its end.
    pub fn run(&mut self, body: &mut dyn FnMut() -> Result<(), CellError>) -> bool {
        self.ending = Some(catch(body));
        self.ending == Some(Ending::Done)
    }

    /// How the last cell ended. Forgets the variables that it moved away.
    pub fn finish(&mut self) -> Ending {
        self.slots.retain(|_, slot| !slot.open);
        self.slots.values_mut().for_each(|slot| slot.vouched = false);
        let reasons = std::mem::take(&mut self.refusals);
        let ending = self.ending.take().unwrap_or(Ending::Done);
        let failed_drops = std::mem::take(&mut self.failed_drops);
        if std::mem::take(&mut self.holds_closures) && reasons.is_empty() {
            return Ending::HoldsClosures;
        }
        if !reasons.is_empty() {
            return Ending::Refused { reasons };
        }
        match ending {
            Ending::Done => failed_drops.into_iter().next().unwrap_or(Ending::Done),
            failed => failed,
        }
    }

    /// Stores a boxed value; `type_path` is how a cell names its type.
    pub fn insert(&mut self, name: &str, value: Box<dyn Any>, type_name: &str, type_path: Option<&str>) {
        // SAFETY: it comes from a box.
        unsafe { self.own(name, Box::into_raw(value), type_name, type_path) }
    }

    /// Stores a value.
    ///
    /// # Safety
    /// [`Box::from_raw`] makes a box of `value`, and nothing else does.
    unsafe fn own(&mut self, name: &str, value: *mut dyn Any, type_name: &str, type_path: Option<&str>) {
        self.serial += 1;
        let slot = Slot {
            // SAFETY: a value is there.
            type_id: unsafe { (*value).type_id() },
            value,
            open: false,
            vouched: false,
            type_name: type_name.to_owned(),
            type_path: type_path.map(str::to_owned),
            serial: self.serial,
            rest: None,
        };
        if let Some(former) = self.slots.insert(name.to_owned(), slot) {
            self.drop_value(name, former);
        }
    }

    /// Notes a variable that a cell would make, with its type and without a value; for cells that are only checked.
    pub fn declare(&mut self, name: &str, type_name: &str, type_path: Option<&str>) {
        self.insert(name, Box::new(()), type_name, type_path);
    }

    /// Drops a variable.
    pub fn remove(&mut self, name: &str) {
        if let Some(slot) = self.slots.remove(name) {
            self.drop_value(name, slot);
        }
    }

    /// Drops every variable, the last one made first, as a program does at its end.
    pub fn clear(&mut self) {
        let mut slots: Vec<(String, Slot)> = std::mem::take(&mut self.slots).into_iter().collect();
        slots.sort_by_key(|(_, slot)| std::cmp::Reverse(slot.serial));
        for (name, slot) in slots {
            self.drop_value(&name, slot);
        }
    }

    /// Drops a value of the user's type, whose `drop` may panic.
    fn drop_value(&mut self, name: &str, slot: Slot) {
        let mut slot = Some(slot);
        let ended = catch(&mut || {
            drop(slot.take());
            Ok(())
        });
        if let Ending::Panicked { message, place } = ended {
            let message = format!("dropping the value of `{name}` panicked: {message}");
            self.failed_drops.push(Ending::Panicked { message, place });
        }
    }

    /// A short summary of a variable's value.
    pub fn summary(&self, name: &str) -> Option<String> {
        let slot = self.slots.get(name).filter(|slot| !slot.open)?;
        if let Some(rest) = &slot.rest {
            return Some(format!("moved away: {}", rest.moved.join(", ")));
        }
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
            serial: slot.serial,
            moved: slot.rest.iter().flat_map(|rest| rest.moved).map(|field| (*field).to_owned()).collect(),
        };
        self.slots.iter().map(variable).collect()
    }

    fn refuse(&mut self, name: &str, expected: &str) {
        self.refusals.push(match self.slots.get(name).filter(|slot| !slot.open) {
            None => format!("`{name}` is no longer stored; run the cell that makes it again"),
            Some(slot) => {
                let found = short_type_name(&slot.type_name);
                let expected = short_type_name(expected);
                format!(
                    "`{name}` was stored as `{found}` and this cell sees another type `{expected}`, because what the type is \
                     made of was redefined; run the cell that makes `{name}` again"
                )
            }
        });
    }
}

#[cfg(test)]
mod tests;
