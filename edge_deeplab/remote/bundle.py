"""What a device needs of this package, as one zip that its Python runs: found by following the imports.

    archive = make_bundle({"model.tflite": model.read_bytes(), "request.json": b"..."})

The device needs numpy and a LiteRT interpreter; nothing is installed there. The files given ride along and lie beside
the code when the bundle runs (see far_side.py).
"""

from __future__ import annotations

import ast
import importlib.util
import io
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

PACKAGE = "edge_deeplab"
ENTRY = "edge_deeplab.remote.far_side"
# What is started by name, so that no import leads there.
STARTED_BY_NAME = ("edge_deeplab.profiling.child", "edge_deeplab.runtime.probe")

# Unpacks itself into the folder it was started in: the processes that are measured then load ordinary files. In a
# Python too old for the package this still runs, and says so in one line.
_MAIN = f"""\
import os, sys, zipfile
if sys.version_info < (3, 11):
    sys.exit("needs Python 3.11 or later, this is " + sys.version.split()[0])
zipfile.ZipFile(sys.path[0]).extractall(".")
folder = os.getcwd()
os.environ["PYTHONPATH"] = folder + os.pathsep * bool(os.environ.get("PYTHONPATH")) + os.environ.get("PYTHONPATH", "")
os.environ["XDG_CACHE_HOME"] = folder
sys.path[0] = folder
from {ENTRY} import main
sys.exit(main())
"""


def make_bundle(files: Mapping[str, bytes]) -> bytes:
    """The zip: a __main__.py, our modules, and `files` by name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", _MAIN)
        for module, path in bundled_modules().items():
            name = module.replace(".", "/") + ("/__init__.py" if path.name == "__init__.py" else ".py")
            archive.write(path, name)
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


@cache
def bundled_modules() -> dict[str, Path]:
    """Every module of ours that the far side may import, lazily or not: its name and its file here."""
    found: dict[str, Path] = {}
    waiting = [ENTRY, *STARTED_BY_NAME]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:  # `from package.module import name`: looked for as a module of a module
            continue
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            continue  # what is compiled is for this machine; there its callers do without
        found[name] = Path(spec.origin)
        if name == PACKAGE:  # its one lazy import, upwards to edge_deeplab.photos, is for people
            continue
        waiting.append(name.rpartition(".")[0])
        waiting += _imports(ast.parse(found[name].read_text(encoding="utf-8")))
    return dict(sorted(found.items()))


def _imports(tree: ast.AST) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == PACKAGE]
