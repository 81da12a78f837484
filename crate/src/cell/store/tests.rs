use super::*;
use std::sync::Arc;

#[test]
fn takes_and_puts_back() {
    let mut store = Store::new();
    store.keep("xs", vec![1]);
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
    store.keep("a", Arc::clone(&counted));
    let key = store.key::<Arc<()>>("a");
    drop(store.take(key));
    assert_eq!(store.finish(), Ending::Done);
    assert!(store.variables().is_empty());
    assert_eq!(Arc::strong_count(&counted), 1);
}

#[test]
fn another_type_is_refused_and_nothing_lost() {
    let mut store = Store::new();
    store.keep("a", 1_i32);
    let _ = store.key::<String>("a");
    assert!(store.refused());
    assert!(matches!(store.finish(), Ending::Refused { reasons } if reasons[0].contains("`i32`")));
    assert_eq!(store.variables().len(), 1);
}

#[test]
fn a_key_of_a_refused_type_takes_nothing() {
    let mut store = Store::new();
    store.keep("a", String::from("text"));
    let key = store.key::<[usize; 3]>("a");
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.take(key))).is_err());
    let (one, two) = (store.key::<String>("a"), store.key::<String>("a"));
    assert_eq!(store.take(one), "text");
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.take(two))).is_err());
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.put("a", 7_u8))).is_err());
    store.put("a", String::from("text"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.put("a", String::new()))).is_err());
    store.keep("a", 7_u8);
    assert_eq!(store.variables()[0].type_name, "u8");
}

#[test]
fn a_panicking_drop_is_an_error_and_keeps_the_rest() {
    struct Bad(#[expect(dead_code, reason = "memory that a leak would show")] String);
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("in drop")
        }
    }
    let mut store = Store::new();
    store.keep("kept", 5);
    store.keep("bad", Bad("x".repeat(100)));
    store.body(|| Ok(()));
    store.keep("bad", 1);
    let ending = store.finish();
    assert!(
        matches!(&ending, Ending::Panicked { message, .. } if message.contains("`bad`") && message.contains("in drop"))
    );
    assert_eq!(store.variables().len(), 2);
    store.keep("other", Bad(String::new()));
    store.clear();
    assert!(matches!(store.finish(), Ending::Panicked { .. }));
    assert!(store.variables().is_empty());
}

#[test]
fn variables_are_dropped_in_reverse_order_of_making() {
    struct Says(&'static str, std::rc::Rc<std::cell::RefCell<Vec<&'static str>>>);
    impl Drop for Says {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }
    let said = std::rc::Rc::default();
    let mut store = Store::new();
    for name in ["b", "a", "c"] {
        store.keep(name, Says(name, std::rc::Rc::clone(&said)));
    }
    store.clear();
    assert_eq!(*said.borrow(), ["c", "a", "b"]);
}

#[test]
fn a_statement_that_fails_ends_the_cell() {
    let mut store = Store::new();
    assert_eq!(store.stage(|| Ok(Passed(3))), Some(3));
    assert_eq!(store.stage::<u8, _>(|| Err("no".into())), None);
    assert!(matches!(store.finish(), Ending::Failed { diagnostic, .. } if diagnostic.what == "no"));
    assert_eq!(store.stage::<u8, _>(super::super::ended), None);
    assert_eq!(store.finish(), Ending::Done);
}

#[test]
fn a_vouched_variable_is_taken_by_name_and_layout() {
    mod old {
        #[expect(dead_code, reason = "the test reads it as a `String`")]
        pub(super) struct Same(pub(super) String);
    }
    let mut store = Store::new();
    store.insert("a", Box::new(old::Same("x".into())), type_name::<String>(), None);
    let _ = store.key::<String>("a");
    assert!(store.refused());
    store.finish();
    // SAFETY: the struct is a `String`.
    unsafe { store.vouch("a") };
    let key = store.key::<String>("a");
    assert_eq!(store.take(key), "x");
    store.put("a", String::from("y"));
    store.finish();
    let key = store.key::<String>("a");
    assert_eq!(store.take(key), "y");
}
