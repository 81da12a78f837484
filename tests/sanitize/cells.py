"""Cells for a worker under AddressSanitizer: how values are taken out of the store, put back, moved, replaced and dropped.

Each is a cell's text and what must come of it: the text of its value, the name of its error, several of these where more than
one is right, or None for no value and no error.
"""

CELLS = [
    # Values in and out.
    ('let mut xs = vec![1u64, 2, 3]; let name = String::from("wax"); let pair = (1u8, 2.5f32); let unit = ();', None),
    ("xs.push(xs.len() as u64); (xs.iter().sum::<u64>(), name.len(), pair)", "(9, 3, (1, 2.5))"),
    ('xs.push(5); panic!("after a change")', "Panic"),
    ("xs.clone()", "[1, 2, 3, 3, 5]"),
    ('xs.clear(); "x".parse::<u8>()?;', "ParseIntError"),
    ("xs.len()", "0"),
    ("let xs = xs.into_iter().chain(0..1000).collect::<std::collections::VecDeque<u64>>();", None),
    ("xs.len()", "1000"),
    ("let name = name + \"!\"; name", '"wax!"'),
    ("drop(name);", None),
    ("name", "CompileError"),
    ('let mut name = String::from("again"); drop(name);', None),
    ("let k = 3; let add = move |x: u64| x + k; let boxed: Box<dyn Fn(u64) -> u64> = Box::new(add);", None),
    ("(add(4), boxed(5))", "(7, 8)"),
    ("let zeros = [[0u8; 1000]; 1000]; let copy = zeros;", None),
    ("copy.iter().flatten().count() + zeros.len()", "1001000"),
    ("#[repr(align(64))] #[derive(Debug, Clone)] struct Wide(u8); let wide = Wide(7); let empty: [Wide; 0] = [];", None),
    ("(&raw const wide as usize % 64, empty.len(), wide.clone())", "(0, 0, Wide(7))"),
    ("let shared = std::rc::Rc::new(std::cell::RefCell::new(vec![1])); let other = shared.clone();", None),
    ("other.borrow_mut().push(2); shared.borrow().len() + std::rc::Rc::strong_count(&shared)", "4"),
    ("let other = 1;", None),
    ("std::rc::Rc::strong_count(&shared)", "1"),
    # Drops.
    ('struct Loud(u8); impl Drop for Loud { fn drop(&mut self) { println!("dropped {}", self.0) } }\nlet loud = Loud(1);', None),
    ("let loud = Loud(2);", None),
    ("let loud = Some(loud); loud.as_ref().map(|loud| loud.0)", "Some(2)"),
    ("struct Bomb; impl Drop for Bomb { fn drop(&mut self) { panic!(\"in drop\") } }\nlet bomb = Bomb; let kept = vec![7u64];", None),
    ("let bomb = 1;", "Panic"),
    ("kept[0]", "7"),
    # Types that change under a value: refused, or as it was.
    ("struct P { a: u64 } let p = P { a: 11 };", None),
    ("struct P { pad: String, a: u64 }", None),
    ("p.a", ("11", "error")),
    ("const N: usize = 3; struct A([u64; N]); let a = A([7; 3]);", None),
    ("const N: usize = 400;", None),
    ("a.0.iter().sum::<u64>()", ("21", "error")),
    ("trait T { type Out; } struct S; impl T for S { type Out = u8; } struct H<X: T>(X::Out); let h: H<S> = H(7);", None),
    ("impl T for S { type Out = String; }", None),
    ("let text: &String = &h.0; text.len()", "error"),
    ("fn make() -> impl std::fmt::Debug { #[derive(Debug)] struct L(u8); L(1) }\nlet it = make();", None),
    ("fn make() -> impl std::fmt::Debug { #[derive(Debug)] struct L(String); L(String::from(\"x\")) }", None),
    ("format!(\"{it:?}\").len()", ("4", "error")),
    ("macro_rules! field { () => { u8 } } struct M { pad: field!(), a: u64 } let m = M { pad: 1, a: 5 };", None),
    ("macro_rules! field { () => { [u64; 64] } }", None),
    ("m.a", ("5", "error")),
    ("mod inner { pub struct Q { pub a: u64 } } let q = inner::Q { a: 3 };", None),
    ("mod inner { pub struct Q { pub pad: [String; 4], pub a: u64 } }", None),
    ("q.a", ("3", "error")),
    # Threads, futures and displays.
    ("let (send, receive) = std::sync::mpsc::channel::<Vec<u8>>(); let worker = std::thread::spawn(move || receive.iter().map(|v| v.len()).sum::<usize>());", None),
    ("send.send(vec![0; 100_000])?; drop(send); worker.join().unwrap()", "100000"),
    ("async fn later(text: String) -> usize { std::future::ready(()).await; text.len() } let pending = later(String::from(\"four\"));", None),
    ("pending.await", "4"),
    ("(0..1_000_000u32).collect::<Vec<_>>().len()", "1000000"),
    ("let tensor = chandlery::candle::Tensor::arange(0f32, 100., &chandlery::candle::Device::Cpu)?.reshape((10, 10))?;", None),
    ("tensor.sum_all()?.to_scalar::<f32>()?", "4950.0"),
    ('emit(&MimeBundle::text("shown")); std::thread::spawn(|| panic!("in a thread")).join().is_err()', "true"),
    ("%project list", "any"),
    ("1 + 1", "2"),
]

# One that must be caught: else nothing was watched.
FAULT = "let freed = { let xs = vec![1u8, 2, 3]; let at = xs.as_ptr(); drop(xs); unsafe { at.add(1).read_volatile() } };"
