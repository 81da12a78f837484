"""Writes the texts that the built-in vocabularies are trained on, from the CPython that runs this: use 3.11.7.

topics.txt      the language reference as `help()` shows it (pydoc_data/topics.py)
docstrings.txt  the docstrings of the standard library's modules, longer than 80 characters
"""

import ast
from pathlib import Path

import pydoc_data.topics

HERE = Path(__file__).parent
LIBRARY = Path(pydoc_data.topics.__file__).parents[1]

# Programs, generated files and tests; then the modules that CPython's "Licenses and Acknowledgements for Incorporated
# Software" lists, which are not under the PSF licence.
LEFT_OUT = ["site-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "encodings", "pydoc_data", "ensurepip"]
LEFT_OUT += ["distutils", "asynchat.py", "asyncore.py", "cookies.py", "trace.py", "uu.py", "xmlrpc"]


def docstrings():
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = path.relative_to(LIBRARY).parts
        if any(part in LEFT_OUT or part.startswith("_sysconfigdata") for part in parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node)
                if text and len(text) > 80:
                    yield text


(HERE / "topics.txt").write_text("\n".join(pydoc_data.topics.topics.values()), encoding="utf-8")
(HERE / "docstrings.txt").write_text("\n".join(docstrings()), encoding="utf-8")
