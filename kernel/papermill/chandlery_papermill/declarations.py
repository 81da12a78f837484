"""The parameters that a cell declares, with their types: parses as much Rust as that needs."""

import re
import sys
from dataclasses import dataclass

TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<string>r(?P<hashes>\#*)".*?"(?P=hashes)|"(?:\\.|[^"\\])*")
    |(?P<char>'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\])')
    |(?P<lifetime>'\w+)
    |(?P<number>0[xob][\da-fA-F_]+(?:[iu]\w+)?|\d[\d_]*(?:\.\d[\d_]*|\.(?![.\w]))?(?:[eE][+-]?[\d_]+)?(?:[iuf]\w+)?)
    |(?P<word>(?:r\#)?\w+)
    |(?P<mark>::|->|=>|==|<<|.)""",
    re.VERBOSE | re.DOTALL,
)
OPEN, CLOSE = "([{", ")]}"
BITS = {"i8": 8, "i16": 16, "i32": 32, "i64": 64, "i128": 128, "isize": 64}
BITS |= {f"u{name[1:]}": bits for name, bits in BITS.items()}
FLOATS = {"f32": 3.4028235677973366e38, "f64": sys.float_info.max}
MAPS = ("HashMap", "BTreeMap", "IndexMap")
LISTS = ("VecDeque", "HashSet", "BTreeSet", "IndexSet", "BinaryHeap", "LinkedList")
OWNERS = {"Box": "std::boxed::Box", "Rc": "std::rc::Rc", "Arc": "std::sync::Arc"}
KEYWORDS = set(
    "as async await break const continue dyn else enum extern false fn for gen if impl in let loop match mod move mut pub "
    "ref return static struct trait true type unsafe use where while abstract become box do final macro override priv try "
    "typeof unsized virtual yield".split()
)


@dataclass(frozen=True)
class Type:
    """A type: its name without modules, `&`, `[]` or `()`; `integer` for whole numbers whose type is left open."""

    name: str
    args: tuple = ()
    # As it is written; None where it can be left out.
    text: str | None = None
    length: int | None = None


INTEGER, JSON, OPEN_TYPE = Type("integer"), Type("Value"), Type("_")
STR = Type("&", (Type("str"),), "&'static str")


@dataclass(frozen=True)
class Declared:
    """A `let` of the cell tagged `parameters`."""

    kind: Type | None
    mutable: bool
    raw: bool
    default: str
    note: str

    @property
    def shown(self):
        return (self.kind and (self.kind.text or described(self.kind))) or "None"


def declarations(source):
    """The parameters that a cell declares, by name."""
    source = "".join(source)
    tokens = [(m.lastgroup if m.lastgroup != "hashes" else "string", m[0], m.start(), m.end()) for m in TOKEN.finditer(source)]
    code = [token for token in tokens if token[0] != "space"]
    found, at, depth = {}, 0, 0
    while at < len(code):
        word = code[at][1]
        depth += (word in OPEN) - (word in CLOSE)
        at += 1
        if word != "let" or depth:
            continue
        mutable = at < len(code) and code[at][1] == "mut"
        name = code[at + mutable][1] if at + mutable < len(code) else ""
        equal = until(code, at + mutable, "=")
        end = until(code, equal, ";")
        if re.fullmatch(r"(?:r#)?\w+", name) and equal < end < len(code):
            between, value = code[at + mutable + 1 : equal], code[equal + 1 : end]
            if between and between[0][1] == ":" and len(between) > 1:
                kind = Reader(between[1:], source).type()
                kind = Type(kind.name, kind.args, source[between[1][2] : between[-1][3]], kind.length)
                # The value may determine what the type leaves open.
                told = Reader(value, source).value() if is_open(kind) else None
                kind = told if told and told.name == kind.name else kind
            else:
                kind = Reader(value, source).value() if value else None
            note = re.match(r"[ \t]*//[ \t]*([^\n]*)", source[code[end][3] :])
            default = source[value[0][2] : value[-1][3]] if value else ""
            plain = name.removeprefix("r#")
            found[plain] = Declared(kind, mutable, plain != name, default, note[1].strip() if note else "")
        at = end
    return found


def is_open(kind):
    return kind.name == "_" or any(is_open(arg) for arg in kind.args)


def until(code, at, mark):
    """The index of a mark outside of all brackets, or the end."""
    depth = 0
    while at < len(code):
        word = code[at][1]
        if word == mark and depth == 0:
            return at
        depth += (word in OPEN) - (word in CLOSE)
        at += 1
    return at


class Reader:
    """Reads types, and the types of values; `?` is the name of what it does not know."""

    def __init__(self, tokens, source):
        self.tokens, self.source, self.at = tokens, source, 0

    def peek(self):
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def next(self):
        token = self.tokens[self.at] if self.at < len(self.tokens) else ("end", "", 0, 0)
        self.at += 1
        return token

    def take(self, word):
        if self.peek() != word:
            return False
        self.at += 1
        return True

    def type(self):
        begin = self.at
        read = self.bare_type()
        last = self.tokens[min(self.at, len(self.tokens)) - 1]
        return Type(read.name, read.args, self.source[self.tokens[begin][2] : last[3]] if begin < len(self.tokens) else None, read.length)

    def bare_type(self):
        kind, word, _, _ = self.next()
        if word == "&":
            if self.at < len(self.tokens) and self.tokens[self.at][0] == "lifetime":
                self.at += 1
            self.take("mut")
            return Type("&", (self.type(),))
        if word == "(":
            return Type("()", self.listed(")", self.type))
        if word == "[":
            item, length = self.type(), None
            if self.take(";"):
                digits = self.next()[1].replace("_", "")
                length = int(digits) if digits.isdigit() else None
                self.at = until(self.tokens, self.at, "]")
            self.take("]")
            return Type("[]", (item,), length=length)
        if word == "::":
            return self.bare_type()
        if kind != "word" or word in ("dyn", "impl", "fn"):
            return Type("?")
        while True:
            args = ()
            if self.take("<"):
                args = self.listed(">", self.type)
            if not self.take("::"):
                return Type(word, args)
            if self.peek() != "<":
                word = self.next()[1]

    def listed(self, end, read):
        """The items in brackets, without lifetimes."""
        items = []
        while self.at < len(self.tokens) and not self.take(end):
            before = self.at
            if self.tokens[self.at][0] == "lifetime":
                self.at += 1
            else:
                items.append(read())
            if not self.take(",") and self.peek() != end:
                # Something unknown: skip to the next comma.
                self.at = max(before + 1, self.at)
                while self.at < len(self.tokens) and self.peek() not in (",", end):
                    self.at += 1
                self.take(",")
        return tuple(items)

    def value(self):
        """The type of an expression, if it is evident."""
        if all(kind == "number" or word in "+-*/%()|&<<>" for kind, word, _, _ in self.tokens):
            numbers = [number(word) for kind, word, _, _ in self.tokens if kind == "number"]
            return unified(numbers) if numbers and self.tokens[0][1] != "(" else self.single()
        return self.single()

    def single(self):
        kind, word, _, _ = self.next()
        if word == "-":
            return self.single()
        if kind == "number":
            return number(word)
        if kind == "char":
            return Type("char", text="char")
        if kind == "string":
            if self.take("."):
                return Type("String", text="String") if self.method() in ("to_string", "to_owned", "into") else None
            return STR
        if word in ("true", "false"):
            return Type("bool", text="bool")
        if word == "&":
            inner = self.single()
            return Type("&", (inner,)) if inner and inner.name == "[]" else None
        if word == "[":
            return Type("[]", (self.items("]"),))
        if word == "(":
            items = self.listed(")", self.single)
            # A value in parentheses is not a tuple.
            single = len(items) == 1 and self.tokens[self.at - 2][1] != ","
            return items[0] if single else None if None in items else Type("()", items)
        if word in ("vec", "format") and self.take("!"):
            bracket = self.next()[1]
            if word == "format":
                self.at = until(self.tokens, self.at, CLOSE[OPEN.index(bracket)]) + 1
                return Type("String", text="String")
            return vector(self.items(CLOSE[OPEN.index(bracket)]))
        return self.path(kind, word)

    def method(self):
        name = self.next()[1]
        if self.take("("):
            self.at = until(self.tokens, self.at, ")") + 1
        return name

    def items(self, end):
        """The type of the elements between brackets, also of `[element; count]`."""
        first = self.listed(end, self.element)
        return unified([item or Type("?") for item in first]) if first else OPEN_TYPE

    def element(self):
        item = self.single()
        if self.take(";"):
            self.at = until(self.tokens, self.at, "]")
        return item

    def path(self, kind, word):
        """`Some(1)`, `None`, `String::from("a")`, `Vec::<u8>::new()` and their like."""
        words, args = [word], ()
        while kind == "word" and self.take("::"):
            if self.take("<"):
                args = self.listed(">", self.type)
            else:
                words.append(self.next()[1])
        if words[-1] == "None":
            return Type("Option", args or (OPEN_TYPE,))
        if len(words) == 1:
            given = self.listed(")", self.single) if word == "Some" and self.take("(") else ()
            return Type("Option", (given[0] or OPEN_TYPE,)) if given else None
        name, maker = words[-2], words[-1]
        inside = self.listed(")", self.single) if self.take("(") else ()
        if name in ("String", "PathBuf"):
            return Type(name, text="String" if name == "String" else None)
        if name in OWNERS and maker == "new" and inside and inside[0]:
            return Type(name, (inside[0],))
        if name == "Vec" or name in LISTS or name in MAPS:
            if not args and inside and inside[0] and inside[0].name == "[]":
                item = inside[0].args[0]
                args = item.args if name in MAPS and item.name == "()" else (item,)
            wanted = 2 if name in MAPS else 1
            return Type(name, args if len(args) == wanted else (OPEN_TYPE,) * wanted)
        return None


def number(word):
    suffix = re.search(r"(?:[iu](?:8|16|32|64|128|size)|f32|f64)$", word)
    if suffix and not word.startswith(("0x", "0b", "0o")) or suffix and suffix[0][0] in "iu":
        return Type(suffix[0], text=suffix[0])
    if word.startswith(("0x", "0b", "0o")) or not re.search(r"[.eE]", word):
        return INTEGER
    return Type("f64", text="f64")


def vector(item):
    return Type("Vec", (item,), f"Vec<{item.text}>" if item.text else None)


def unified(kinds):
    """One type for all, or JSON's if there is none."""
    if not kinds:
        return OPEN_TYPE
    one = kinds[0]
    for other in kinds[1:]:
        one = both(one, other)
    return one


def both(one, other):
    if one == other or other.name == "_":
        return one
    if one.name == "_":
        return other
    names = {one.name, other.name}
    if "Option" in names:
        inside = [kind.args[0] if kind.name == "Option" else kind for kind in (one, other)]
        return JSON if (item := both(*inside)) == JSON else Type("Option", (item,))
    if names <= {"integer", "f64"}:
        return Type("f64", text=one.text or other.text)
    if "integer" in names and names & (BITS.keys() | FLOATS.keys()):
        return other if one.name == "integer" else one
    if one.name == other.name and one.args and len(one.args) == len(other.args):
        return Type(one.name, tuple(both(a, b) for a, b in zip(one.args, other.args)))
    return JSON


def described(kind):
    """A type for people."""
    inside = ", ".join(arg.text or described(arg) for arg in kind.args)
    if kind.name == "&":
        return f"&{inside}"
    if kind.name in ("[]", "()"):
        return f"{kind.name[0]}{inside}{kind.name[1]}"
    return f"{kind.name}<{inside}>" if inside else kind.name
