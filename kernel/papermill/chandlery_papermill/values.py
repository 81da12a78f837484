"""Values of JSON and YAML as Rust."""

import datetime
import math
import re

from papermill.exceptions import PapermillException

from .declarations import (
    BITS,
    FLOATS,
    INTEGER,
    KEYWORDS,
    LISTS,
    MAPS,
    OPEN_TYPE,
    OWNERS,
    STR,
    Type,
    described,
    unified,
)


class NoSuchValue(Exception):
    """The value is not of the type; with the reason, if it is not obvious."""


def statement(name, declared, value):
    raw = declared.raw if declared else name in KEYWORDS
    if not re.fullmatch(r"[^\W\d]\w*", name) or name in ("_", "self", "Self", "super", "crate"):
        raise PapermillException(f"the parameter `{name}` is not a name in Rust: use letters, digits and `_`")
    kind = declared.kind if declared else None
    mutable = "mut " if declared and declared.mutable else ""
    if kind and not kind.text and is_special(kind):
        kind = Type(kind.name, kind.args, written(kind, value), kind.length)
    annotation = f": {kind.text}" if kind and kind.text else ""
    try:
        return f"let {mutable}{'r#' if raw else ''}{name}{annotation} = {expression(kind, value)};"
    except NoSuchValue as problem:
        what = (kind.text or described(kind)) if kind else "_"
        why = f": {problem}" if str(problem) else ""
        raise PapermillException(
            f"the notebook declares `{name}: {what}`, and {value!r} is not a value of that type{why}"
        ) from None


def is_special(kind):
    """Whether it contains numbers whose type must be given."""
    return kind.name in BITS or kind.name == "f32" or any(is_special(arg) for arg in kind.args)


def written(kind, value):
    """A type that was not written, as Rust has it."""
    if kind.name in ("integer", "_", "?"):
        return "_"
    args = [arg.text or written(arg, None) for arg in kind.args]
    if kind.name == "[]":
        return f"[{args[0]}; {len(value) if isinstance(value, (list, tuple)) else '_'}]"
    if kind.name == "()":
        return f"({', '.join(args)}{',' if len(args) == 1 else ''})"
    if kind.name == "&":
        return f"&'static {args[0]}"
    name = f"std::collections::{kind.name}" if kind.name in MAPS + LISTS else OWNERS.get(kind.name, kind.name)
    return f"{name}<{', '.join(args)}>" if args else name


def inferred(value):
    """The type that a value of JSON or YAML has by itself."""
    if value is None:
        return Type("Option", (OPEN_TYPE,))
    if isinstance(value, bool):
        return Type("bool")
    if isinstance(value, int):
        return INTEGER
    if isinstance(value, float):
        return Type("f64")
    if isinstance(value, (list, tuple)):
        return Type("Vec", (unified([inferred(item) for item in value]),))
    if isinstance(value, dict):
        sides = unified([inferred(key) for key in value]), unified([inferred(item) for item in value.values()])
        return Type("BTreeMap", sides)
    return STR


def expression(kind, value):
    """A value as Rust, of a type if one is known."""
    if kind is None or kind.name in ("_", "?") and kind.text in (None, "_"):
        kind = inferred(value)
    name, args = kind.name, kind.args
    item = args[0] if args else OPEN_TYPE
    if name == "Option":
        if value is None:
            return "None" if item.name != "_" or kind.text else "None::<()>"
        return f"Some({expression(item, value)})"
    if name == "bool" and isinstance(value, bool):
        return str(value).lower()
    if name in BITS or name in FLOATS or name == "integer":
        return numeral(name, value)
    if isinstance(value, (datetime.date, datetime.time)):
        value = value.isoformat()
    if isinstance(value, str):
        return worded(name, item, value)
    if name in ("String", "PathBuf", "char") or name == "&" and item.name == "str":
        raise NoSuchValue("papermill's `-r` gives a value as text")
    if name == "Value":
        return f"chandlery::serde_json::json!({json(value)})"
    if name in OWNERS:
        return f"{OWNERS[name]}::new({expression(item, value)})"
    if name == "&" and item.name == "[]":
        return f"&{expression(item, value)}"
    if name == "()":
        return tupled(args, value)
    if isinstance(value, (list, tuple)):
        return listed(kind, item, value)
    if isinstance(value, dict) and name in MAPS:
        return mapped(kind, value)
    known = name in ("bool", "Vec", "[]") or name in LISTS or name in MAPS
    raise NoSuchValue("" if known else "values of this type cannot be given")


def numeral(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NoSuchValue()
    if name in FLOATS:
        return fraction(name, value)
    if isinstance(value, float):
        raise NoSuchValue()
    if name == "integer":
        # Without a type an integer is an `i32`.
        name, suffix = next(((name, f"_{name}") for name in ("i32", "i64", "i128", "u128") if fits(name, value)), ("i128", ""))
        suffix = "" if name == "i32" else suffix
    else:
        suffix = ""
    if not fits(name, value):
        raise NoSuchValue("it is out of range")
    return f"{value}{suffix}"


def fits(name, value):
    low, high = (0, 2 ** BITS[name]) if name[0] == "u" else (-(2 ** (BITS[name] - 1)), 2 ** (BITS[name] - 1))
    return low <= value < high


def fraction(name, value):
    try:
        value = float(value)
    except OverflowError:
        raise NoSuchValue("it is out of range") from None
    if math.isnan(value):
        return f"{name}::NAN"
    if math.isinf(value):
        return f"{name}::{'NEG_' if value < 0 else ''}INFINITY"
    if abs(value) >= FLOATS[name] and name != "f64":
        raise NoSuchValue("it is out of range")
    return repr(value)


def worded(name, item, value):
    if name == "String":
        return f"String::from({text(value)})"
    if name == "&" and item.name == "str":
        return text(value)
    if name == "PathBuf":
        return f"std::path::PathBuf::from({text(value)})"
    if name == "Cow":
        return f"std::borrow::Cow::Borrowed({text(value)})"
    if name in OWNERS and item.name == "str":
        return f"{OWNERS[name]}::from({text(value)})"
    if name in OWNERS:
        return f"{OWNERS[name]}::new({worded(item.name, item.args[0] if item.args else OPEN_TYPE, value)})"
    if name == "char" and len(value) == 1:
        return "'" + ("\\'" if value == "'" else '"' if value == '"' else text(value)[1:-1]) + "'"
    if name == "Value":
        return f"chandlery::serde_json::json!({text(value)})"
    raise NoSuchValue()


def listed(kind, item, value):
    items = ", ".join(expression(item, element) for element in value)
    if kind.name == "Vec":
        return f"vec![{items}]" if value or item.name != "_" or kind.text else "Vec::<()>::new()"
    if kind.name == "[]":
        if kind.length is not None and kind.length != len(value):
            raise NoSuchValue(f"it has {len(value)} elements")
        return f"[{items}]"
    if kind.name in LISTS:
        return f"<{kind.text or f'std::collections::{kind.name}<_>'}>::from_iter([{items}])"
    raise NoSuchValue()


def tupled(args, value):
    if value is None and not args:
        return "()"
    if not isinstance(value, (list, tuple)) or len(value) != len(args):
        raise NoSuchValue()
    items = [expression(kind, element) for kind, element in zip(args, value)]
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def mapped(kind, value):
    key, item = kind.args if len(kind.args) >= 2 else (OPEN_TYPE, OPEN_TYPE)
    if not value and not kind.text and key.name == "_":
        return f"std::collections::{kind.name}::<(), ()>::new()"
    pairs = ", ".join(f"({expression(key, name)}, {expression(item, element)})" for name, element in value.items())
    return f"<{kind.text or f'std::collections::{kind.name}<_, _>'}>::from_iter([{pairs}])"


def json(value):
    """A value inside `json!`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise NoSuchValue("JSON does not have numbers of this size")
        return str(value) if -(2**31) <= value < 2**31 else f"{value}_{'i64' if value < 2**63 else 'u64'}"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NoSuchValue("JSON does not have such a number")
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(json(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{text(str(name))}: {json(item)}" for name, item in value.items()) + "}"
    return text(value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else str(value))


def text(value):
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise NoSuchValue("it contains half of a character")
    named = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(named.get(c) or (c if c.isprintable() else f"\\u{{{ord(c):x}}}") for c in value) + '"'
