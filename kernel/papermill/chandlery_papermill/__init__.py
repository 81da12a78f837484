"""Writes papermill's parameters as Rust, with the types of the notebook's cell tagged `parameters`.

Once this package is installed, `papermill in.ipynb out.ipynb -p steps 20` needs no further option.
"""

import sys
import threading

from papermill.engines import NBClientEngine as Engine  # noqa: F401  (what the entry point names)
from papermill.models import Parameter
from papermill.translators import Translator, papermill_translators

from .declarations import declarations
from .values import statement


class RustTranslator(Translator):
    """papermill hands over values without the notebook that declares their types."""

    _inspected = threading.local()

    @classmethod
    def inspect(cls, parameters_cell):
        found = declarations(parameters_cell["source"])
        cls._inspected.declarations = found
        return [
            Parameter(name=name, inferred_type_name=it.shown, default=it.default, help=it.note)
            for name, it in found.items()
        ]

    @classmethod
    def codify(cls, parameters, comment="Parameters"):
        declared = declared_by_the_notebook()
        if declared is None:
            declared = getattr(cls._inspected, "declarations", {})
        lines = [cls.comment(comment)]
        for name, value in parameters.items():
            lines.append(statement(name, declared.get(name), value))
        return "\n".join(lines) + "\n"

    @classmethod
    def comment(cls, cmt_str):
        return f"// {cmt_str}".strip()


def declared_by_the_notebook():
    """What the notebook declares that papermill is working on, further up; None where it works on none."""
    frame = sys._getframe(1)
    while frame:
        if frame.f_code.co_name == "parameterize_notebook" and "nb" in frame.f_locals:
            cells = frame.f_locals["nb"].cells
            tagged = [cell for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
            return declarations(tagged[0]["source"]) if tagged else {}
        frame = frame.f_back
    return None


papermill_translators.register("rust", RustTranslator)
