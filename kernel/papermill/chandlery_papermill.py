"""Writes papermill's parameters as Rust, with the types of the notebook's cell tagged `parameters`.

Once this package is installed, `papermill in.ipynb out.ipynb -p steps 20` needs no further option.
"""

import math
import re

from papermill.engines import NBClientEngine as Engine  # noqa: F401  (what the entry point names)
from papermill.exceptions import PapermillException
from papermill.models import Parameter
from papermill.translators import Translator, papermill_translators

LET = re.compile(r"^\s*let\s+(?:mut\s+)?(\w+)\s*(?::\s*([^=]+?))?\s*=\s*(.*?);\s*(?://\s*(.*))?$")
WHOLE = re.compile(r"[iu](?:8|16|32|64|128|size)")


class RustTranslator(Translator):
    """papermill asks for the declared parameters before it writes the given ones; their types are kept in between."""

    declared: dict = {}

    @classmethod
    def inspect(cls, parameters_cell):
        found = [match.groups() for line in parameters_cell["source"].splitlines() if (match := LET.match(line))]
        cls.declared = {name: kind or kind_of(value) for name, kind, value, _ in found}
        return [
            Parameter(name=name, inferred_type_name=cls.declared[name] or "None", default=value, help=note or "")
            for name, _, value, note in found
        ]

    @classmethod
    def codify(cls, parameters, comment="Parameters"):
        lines = [cls.comment(comment)]
        for name, value in parameters.items():
            kind = cls.declared.get(name)
            lines.append(f"let {name}{f': {kind}' if kind else ''} = {literal(name, kind, value)};")
        return "\n".join(lines) + "\n"

    @classmethod
    def comment(cls, cmt_str):
        return f"// {cmt_str}".strip()


def kind_of(value):
    """The type of a literal, where it says one."""
    if re.search(r"^String::from\(|\"\.(?:to_string|to_owned|into)\(\)$", value):
        return "String"
    if value.startswith('"'):
        return "&'static str"
    if value in ("true", "false"):
        return "bool"
    if suffix := re.search(rf"^-?[\d_.]+_?({WHOLE.pattern}|f32|f64)$", value):
        return suffix[1]
    return "f64" if re.search(r"^-?\d[\d_]*(\.|[eE])", value) else None


def literal(name, kind, value):
    """A value as a literal of the declared type; of the type it seems to have where none is declared."""
    option = re.fullmatch(r"(?:std::option::|core::option::)?Option\s*<(.*)>", kind or "")
    if value is None and (option or not kind):
        return "None"
    if option:
        return f"Some({literal(name, option[1].strip(), value)})"
    vector = re.fullmatch(r"(?:std::vec::)?Vec\s*<(.*)>", kind or "")
    if isinstance(value, list) and (vector or not kind):
        return "vec![" + ", ".join(literal(name, vector and vector[1].strip(), item) for item in value) + "]"
    if isinstance(value, bool) and kind in ("bool", None):
        return str(value).lower()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if kind in ("f32", "f64") or (kind is None and isinstance(value, float)):
            return fraction(kind or "f64", float(value))
        if isinstance(value, int) and (kind is None or WHOLE.fullmatch(kind)):
            # Without a type a whole number is an `i32`.
            return str(value) if kind or -(2**31) <= value < 2**31 else f"{value}_i64"
    if kind in ("String", "&str", "&'static str", None) and isinstance(value, str):
        return f"String::from({text(value)})" if kind == "String" else text(value)
    raise PapermillException(f"the notebook declares `{name}: {kind or '_'}`, and {value!r} is no such value")


def fraction(kind, value):
    if math.isnan(value):
        return f"{kind}::NAN"
    if math.isinf(value):
        return f"{kind}::{'NEG_' if value < 0 else ''}INFINITY"
    return repr(value)


def text(value):
    named = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(named.get(c) or (c if c.isprintable() else f"\\u{{{ord(c):x}}}") for c in value) + '"'


papermill_translators.register("rust", RustTranslator)
