"""Cells for the soak that change what earlier values are made of, and cells that fail half-way. The driver knows each value.

A variable whose type did not change reads as it was made. One whose type changed is refused, with a message that names it and
the cell that changed it, or reads as it was made; never as something else. What a failed cell completed is kept.
"""

import collections
import re

# How a family of types is defined in one of its layouts, redefined from another one, made and read.
Layout = collections.namedtuple("Layout", "define redefine make read")


def _layouts(define, redefine, layouts, make, read):
    """Layouts by what stands for `{x}` in the texts; `{n}` and `{value}` are filled in later."""
    return [
        Layout(*(text.replace("{x}", x).replace("{init}", init) for text in (define, redefine, make, read)))
        for x, init in layouts
    ]


FIELDS = [("u8", "7"), ("String", 'String::from("pad")'), ("[u64; 9]", "[1; 9]")]
SIZES = [("3", ""), ("400", ""), ("1", "")]

FAMILIES = {
    "struct": _layouts("struct St{n} { pad: {x}, a: u64 }", "struct St{n} { pad: {x}, a: u64 }", FIELDS, "St{n} { pad: {init}, a: {value} }", "{v}.a"),
    "enum": _layouts(
        "enum En{n} { Pad({x}), A(u64) }",
        "enum En{n} { Pad({x}), A(u64) }",
        FIELDS,
        "if {value} == 0u64 { En{n}::Pad({init}) } else { En{n}::A({value}) }",
        "match &{v} { En{n}::A(a) => *a, En{n}::Pad(_) => 0 }",
    ),
    "const": _layouts(
        "const CO{n}: usize = {x};\nstruct Co{n} { pad: [u64; CO{n}], a: u64 }",
        "const CO{n}: usize = {x};",
        SIZES,
        "Co{n} { pad: [1; CO{n}], a: {value} }",
        "{v}.a",
    ),
    "associated const": _layouts(
        "struct Ac{n}; impl Ac{n} { const N: usize = {x}; }\nstruct Hc{n}([u64; Ac{n}::N], u64);",
        "impl Ac{n} { const N: usize = {x}; }",
        SIZES,
        "Hc{n}([1; Ac{n}::N], {value})",
        "{v}.1",
    ),
    "associated type": _layouts(
        "trait Tt{n} { type Out; } struct At{n}; impl Tt{n} for At{n} { type Out = {x}; }\nstruct Ht{n}<T: Tt{n}>(T::Out, u64);",
        "impl Tt{n} for At{n} { type Out = {x}; }",
        FIELDS,
        "Ht{n}::<At{n}>({init}, {value})",
        "{v}.1",
    ),
    "module": _layouts(
        "mod mo{n} { pub struct P { pub pad: {x}, pub a: u64 } }",
        "mod mo{n} { pub struct P { pub pad: {x}, pub a: u64 } }",
        FIELDS,
        "mo{n}::P { pad: {init}, a: {value} }",
        "{v}.a",
    ),
    "opaque": _layouts(
        "fn op{n}(a: u64) -> impl Fn() -> u64 { let pad: {x} = {init}; move || { let _ = &pad; a } }",
        "fn op{n}(a: u64) -> impl Fn() -> u64 { let pad: {x} = {init}; move || { let _ = &pad; a } }",
        FIELDS,
        "op{n}({value})",
        "{v}()",
    ),
    "async": _layouts(
        "async fn la{n}(a: u64) -> u64 { let pad: {x} = {init}; std::future::ready(()).await; let _ = &pad; a }",
        "async fn la{n}(a: u64) -> u64 { let pad: {x} = {init}; std::future::ready(()).await; let _ = &pad; a }",
        FIELDS,
        "la{n}({value})",
        "{v}.await",
    ),
    "macro": _layouts(
        "macro_rules! ma{n} { () => { {x} } }\nstruct Ma{n} { pad: ma{n}!(), a: u64 }",
        "macro_rules! ma{n} { () => { {x} } }",
        FIELDS,
        "Ma{n} { pad: {init}, a: {value} }",
        "{v}.a",
    ),
    "alias": _layouts(
        "type Al{n} = {x};\nstruct Ha{n} { pad: Al{n}, a: u64 }", "type Al{n} = {x};", FIELDS, "Ha{n} { pad: {init}, a: {value} }", "{v}.a"
    ),
    "trait object": _layouts(
        "trait Ob{n} { {x} fn say(&self) -> u64; } struct Do{n}(u64); impl Ob{n} for Do{n} { fn say(&self) -> u64 { self.0 } }",
        "trait Ob{n} { {x} fn say(&self) -> u64; }",
        [("", ""), ("fn extra(&self) -> u64 { 1 }", ""), ("fn other(&self) -> u64 { 2 } fn more(&self) -> u64 { 3 }", "")],
        "{ let it: Box<dyn Ob{n}> = Box::new(Do{n}({value})); it }",
        "{v}.say()",
    ),
}
# Reading it consumes it.
ONCE = {"async"}


class Item:
    """One family under one number: its definitions, and a variable of its type."""

    def __init__(self, family, number):
        self.family = family
        self.number = number
        self.layout = None
        self.value = None
        self.changed_in = None

    @property
    def name(self):
        return f"{self.family.replace(' ', '_')}_{self.number}"

    def fill(self, text):
        return text.replace("{n}", str(self.number)).replace("{value}", str(self.value)).replace("{v}", self.name)

    @property
    def texts(self):
        return FAMILIES[self.family][self.layout]


class Values:
    """The values that the driver knows, and the cells that work on them."""

    def __init__(self, soak, broken):
        self.soak = soak
        self.broken = broken
        self.items = {}
        self.plain = {}
        self.refused = 0
        self.reread = 0

    def forget(self, definitions=False):
        """The variables are gone; with a new kernel, so are their types."""
        self.plain.clear()
        if definitions:
            self.items.clear()
        for item in self.items.values():
            item.value = item.changed_in = None

    def run(self, code):
        return self.soak.life.finish(self.soak.life.execute(code, code[:80]))

    def choose(self, options):
        return self.soak.random.choice(options)

    def number(self):
        return self.soak.random.randrange(1, 10**6)

    # Redefinitions.

    def redefine(self):
        """Defines and makes, reads, or redefines and reads what was redefined, whatever comes next for an item drawn at random."""
        if self.items and self.soak.random.random() < 0.6:
            item = self.choose(list(self.items.values()))
        else:
            key = (self.choose(list(FAMILIES)), self.soak.random.randrange(3))
            item = self.items.setdefault(key, Item(*key))
        if item.layout is None:
            item.layout = self.soak.random.randrange(3)
            self.soak.ok(item.fill(item.texts.define))
        if item.value is None or item.changed_in is not None:
            item.value, item.changed_in = self.number(), None
            self.soak.ok(f"let {item.name} = {item.fill(item.texts.make)};")
            self.read(item)
        elif self.soak.random.random() < 0.3:
            self.read(item)
        else:
            item.layout = (item.layout + self.soak.random.randrange(1, 3)) % 3
            done = self.soak.ok(item.fill(item.texts.redefine))
            item.changed_in = done.replies[0]["content"]["execution_count"]
            self.read_changed(item)

    def read(self, item):
        self.soak.value(item.fill(item.texts.read), str(item.value))
        if item.family in ONCE:
            item.value = None

    def read_changed(self, item):
        """Either refused with a message that names it and the cell that changed its type, or right."""
        code = item.fill(item.texts.read)
        done = self.run(code)
        if done.status == "ok":
            shown = [result["data"].get("text/plain") for result in done.of_type("execute_result")]
            if shown != [str(item.value)]:
                raise self.broken(f"`{code}` read another type: {shown}, not {item.value}; redefined in cell {item.changed_in}")
            self.reread += 1
        else:
            said = message(done)
            if done.error in ("WorkerDied", "Panic"):
                raise self.broken(f"`{code}` ended with {said}")
            if item.name not in said or not re.search(rf"\bcell {item.changed_in}\b", said):
                raise self.broken(f"`{code}`: {item.name} changed in cell {item.changed_in}, and the message is {said}")
            self.refused += 1
        if item.family in ONCE and done.status == "ok":
            item.value = item.changed_in = None

    # Cells that fail.

    def fail_half_way(self):
        """Completed statements are kept after a panic or `?`; nothing of a cell that does not compile is kept."""
        first, second = f"half_{self.soak.random.randrange(10)}", f"rest_{self.soak.random.randrange(10)}"
        before = dict(self.plain)
        a, b = self.number(), self.number()
        how, error = self.choose(
            [('panic!("half-way");', "Panic"), ('"x".parse::<u8>()?;', "ParseIntError"), ('let wrong: u32 = "text";', "CompileError")]
        )
        self.soak.fails(f"let {first} = vec![{a}u64];\n{how}\nlet {second} = vec![{b}u64];", error)
        if error != "CompileError":
            self.plain[first] = a
        for name in (first, second):
            if name in self.plain:
                self.soak.value(f"{name}[0]", str(self.plain[name]))
            elif name in before:
                raise self.broken(f"{name} was forgotten by the driver")
            else:
                self.soak.fails(f"{name}[0]")

    def drop_with_panic(self):
        """An overwritten value that panics while it is dropped: the cell fails, and nothing is lost."""
        name, value = f"bomb_{self.number()}", self.number()
        self.soak.ok(f"struct Bomb(bool); impl Drop for Bomb {{ fn drop(&mut self) {{ if self.0 {{ panic!(\"dropped\") }} }} }}\nlet {name} = Bomb(true);")
        done = self.run(f"let {name} = {value}u64;")
        if done.status != "error" or "dropped" not in message(done) or done.error == "WorkerDied":
            raise self.broken(f"a panic in drop ended with {done.status}: {message(done) if done.status == 'error' else ''}")
        self.read_all()
        # The new value replaced the old one, or neither is there.
        read = self.run(name)
        shown = [result["data"].get("text/plain") for result in read.of_type("execute_result")]
        if read.status == "ok" and shown != [str(value)]:
            raise self.broken(f"{name} is {shown} after its old value panicked, not {value}")

    def move_and_assign(self):
        """A moved variable is reported as moved, and takes a new value in a later cell."""
        name = f"moved_{self.soak.random.randrange(10)}"
        a, b = self.number(), self.number()
        self.soak.ok(f"let mut {name} = vec![{a}u64; 2];")
        self.soak.ok(f"drop({name});")
        done = self.run(f"{name}.len()")
        if done.status != "error" or name not in message(done):
            raise self.broken(f"{name} was moved, and reading it ended with {done.status}")
        self.soak.ok(f"{name} = vec![{b}u64; 2];")
        self.plain[name] = b
        self.soak.value(f"{name}[0]", str(b))

    def shadow(self):
        """A name bound to a value that cannot be kept no longer has its old value."""
        name, value = f"shadowed_{self.soak.random.randrange(10)}", self.number()
        self.soak.ok(f"let {name} = vec![{value}u64];")
        done = self.run(f'let text = String::from("abc");\nlet {name} = &text[..1];')
        read = self.run(f"{name}.to_vec()")
        if read.status == "ok":
            raise self.broken(f"{name} was shadowed (the cell ended with {done.status}) and reads {read.of_type('execute_result')}")
        self.plain.pop(name, None)

    def change(self):
        """A mutable variable is changed in place, even by a cell that panics afterwards."""
        name, value = f"half_{self.soak.random.randrange(10)}", self.number()
        self.soak.ok(f"let mut {name} = vec![0u64];")
        if self.soak.random.random() < 0.5:
            self.soak.ok(f"{name}[0] = {value};")
        else:
            self.soak.fails(f'{name}[0] = {value}; panic!("changed")', "Panic")
        self.plain[name] = value
        self.soak.value(f"{name}[0]", str(value))

    # All values.

    def readable(self):
        """Expressions and their expected values."""
        items = (item for item in self.items.values() if item.value is not None and item.changed_in is None and item.family not in ONCE)
        known = [(item.fill(item.texts.read), item.value) for item in items]
        return known + [(f"{name}[0]", value) for name, value in self.plain.items()]

    def read_all(self):
        known = self.readable()
        if known:
            codes = ", ".join(code for code, _ in known)
            line = f"[{codes}].iter().map(|value: &u64| value.to_string()).collect::<Vec<_>>().join(\" \")"
            self.soak.value(line, '"' + " ".join(str(value) for _, value in known) + '"')

    def after_force(self):
        """All are there, or all are gone and reported as gone."""
        known = self.readable()
        states = {self.run(code).status for code, _ in known[:3]}
        if states == {"ok"}:
            self.read_all()
        elif len(states) > 1:
            raise self.broken(f"some variables are lost, others are not: {known[:3]}")
        else:
            self.forget()


def message(request):
    content = request.replies[0]["content"]
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join([content.get("evalue", ""), *content.get("traceback", [])]))
