//! Lists and maps whose ends can be shown without the rest.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::{self, Debug, Formatter};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::show::set_result;
use crate::display::sequence_bundle;

/// A list, set or map of the standard library. Cells do not use it by hand.
pub trait Sequence {
    /// How many values it has.
    fn count(&self) -> usize;

    /// Calls back with some of its values, by position, as a list or map.
    fn part(&self, range: Range<usize>, show: &mut dyn FnMut(&dyn Debug));
}

/// Not generic, so cells do not compile it.
pub(super) fn sequence(value: &dyn Sequence) {
    set_result(sequence_bundle(value.count(), &|range, show| value.part(range, show)));
}

impl<T: Debug> Sequence for [T] {
    fn count(&self) -> usize {
        self.len()
    }

    fn part(&self, range: Range<usize>, show: &mut dyn FnMut(&dyn Debug)) {
        show(&&self[range]);
    }
}

macro_rules! lists {
    ($([$($parameter:tt)*] $list:ty;)*) => {
        $(impl<$($parameter)*> Sequence for $list {
            fn count(&self) -> usize {
                self.len()
            }

            fn part(&self, range: Range<usize>, show: &mut dyn FnMut(&dyn Debug)) {
                show(&&self[range]);
            }
        })*
    };
}

lists! {
    [T: Debug] Vec<T>;
    [T: Debug, const N: usize] [T; N];
}

macro_rules! pointers {
    ($($pointer:ty)*) => {
        $(impl<S: Sequence + ?Sized> Sequence for $pointer {
            fn count(&self) -> usize {
                (**self).count()
            }

            fn part(&self, range: Range<usize>, show: &mut dyn FnMut(&dyn Debug)) {
                (**self).part(range, show);
            }
        })*
    };
}

pointers!(&S Box<S> Rc<S> Arc<S>);

/// Values as their list, set or map would write them.
struct Values<I>(I, bool);

impl<T: Debug, I: Iterator<Item = T> + Clone> Debug for Values<I> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.1 {
            true => f.debug_set().entries(self.0.clone()).finish(),
            false => f.debug_list().entries(self.0.clone()).finish(),
        }
    }
}

struct Entries<I>(I);

impl<K: Debug, V: Debug, I: Iterator<Item = (K, V)> + Clone> Debug for Entries<I> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.clone()).finish()
    }
}

macro_rules! iterated {
    ($([$($parameter:tt)*] $list:ty, $values:ident => $some:expr;)*) => {
        $(impl<$($parameter)*> Sequence for $list {
            fn count(&self) -> usize {
                self.len()
            }

            fn part(&self, range: Range<usize>, show: &mut dyn FnMut(&dyn Debug)) {
                let $values = self.iter().skip(range.start).take(range.len());
                show(&$some);
            }
        })*
    };
}

iterated! {
    [T: Debug] VecDeque<T>, values => Values(values, false);
    [T: Debug, H] HashSet<T, H>, values => Values(values, true);
    [T: Debug] BTreeSet<T>, values => Values(values, true);
    [K: Debug, V: Debug, H] HashMap<K, V, H>, values => Entries(values);
    [K: Debug, V: Debug] BTreeMap<K, V>, values => Entries(values);
}

#[cfg(test)]
#[expect(clippy::needless_borrow, reason = "the call as the kernel writes it, whatever the type")]
mod tests {
    use super::*;
    use crate::cell::show::*;

    fn shown() -> String {
        take_result().map(|bundle| bundle.plain().to_owned()).unwrap_or_default()
    }

    #[test]
    fn long_collections_show_their_count_and_their_ends() {
        const COUNT: u32 = 300_000;
        let check = |name: &str, last: &str| {
            let text = shown();
            assert!(text.lines().count() <= 10 && text.contains("300,000 "), "{name}: {text}");
            assert!(text.contains(last), "{name}: {text}");
        };
        let list: Vec<u32> = (0..COUNT).collect();
        (&&&&&Shown(&list)).show();
        check("Vec", "299999]");
        (&&&&&Shown(&list.as_slice())).show();
        check("slice", "299999]");
        (&&&&&Shown(&Rc::new(list.clone()))).show();
        check("Rc", "299999]");
        (&&&&&Shown(&list.iter().copied().collect::<VecDeque<u32>>())).show();
        check("VecDeque", "299999]");
        (&&&&&Shown(&list.iter().map(|n| n.to_string()).collect::<Vec<String>>())).show();
        check("strings", "\"299999\"]");
        (&&&&&Shown(&list.iter().copied().collect::<BTreeSet<u32>>())).show();
        check("BTreeSet", "299999}");
        (&&&&&Shown(&list.iter().copied().collect::<HashSet<u32>>())).show();
        check("HashSet", "}");
        (&&&&&Shown(&list.iter().map(|n| (*n, n * 2)).collect::<HashMap<u32, u32>>())).show();
        check("HashMap", "more rows");
        (&&&&&Shown(&list.iter().map(|n| (*n, n * 2)).collect::<BTreeMap<u32, u32>>())).show();
        check("BTreeMap", "299,999  599,998");
    }

    #[test]
    fn short_collections_are_shown_by_debug() {
        (&&&&&Shown(&VecDeque::from([1, 2]))).show();
        assert_eq!(shown(), "[1, 2]");
        (&&&&&Shown(&BTreeSet::from(["a"]))).show();
        assert_eq!(shown(), "{\"a\"}");
        (&&&&&Shown(&Vec::<u8>::new())).show();
        assert_eq!(shown(), "[]");
        (&&&&&Shown(&[0u8; 0])).show();
        assert_eq!(shown(), "[]");
    }
}
