"""Finding a Python on a device that can run a model: 3.11 or later, with numpy and a LiteRT interpreter.

    python = find_python(shell)
    python.path, python.engine

Only looks; what is missing is said as the line to type there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from edge_deeplab.errors import DeviceError
from edge_deeplab.remote.shell import CALL_TIMEOUT_S, Shell

LEAST = (3, 11)
# After what the person's PATH calls Python, environments where people keep such a package. $HOME is set by every login.
CANDIDATES = (
    "python3", "python", "python3.13", "python3.12", "python3.11",
    "$HOME/.venv/bin/python", "$HOME/venv/bin/python", "$HOME/env/bin/python", "$HOME/edge-deeplab/.venv/bin/python",
    "/opt/venv/bin/python",
)  # fmt: skip

# Runs in any Python since 2.7. One line: some login shells take no line end inside quotes.
_ASK = (
    "import sys,json;exec({!r});"
    "print(json.dumps([list(sys.version_info[:3]),v('ai-edge-litert'),v('tflite-runtime'),v('numpy')]))"
).format(
    "def v(n):\n try:\n  from importlib.metadata import version\n  return version(n)\n except Exception:\n  return None"
)
# $1 the question, then the candidates. A word of ours may begin with $HOME; a word of the person's is taken as it is.
_LOOK = (
    'ask=$1; shift; for p in "$@"; do case $p in "\\$HOME/"*) p=$HOME/${p#??????};; "~/"*) p=$HOME/${p#??};; esac; '
    'f=$(command -v -- "$p") || continue; case $f in /*) ;; *) f=$PWD/$f;; esac; '
    'a=$("$f" -c "$ask" 2>/dev/null) && printf "%s\\t%s\\n" "$f" "$a"; done; :'
)


@dataclass(frozen=True)
class FarPython:
    """A Python on a device.

    Attributes:
        path: of the program, there.
        version: e.g. "3.11.2".
        engine: package and version of the interpreter it has.
    """

    path: str
    version: str
    engine: tuple[str, str]


@dataclass(frozen=True)
class _Found:
    path: str
    version: tuple[int, ...]
    litert: str | None
    tflite: str | None
    numpy: str | None

    @property
    def missing(self) -> list[str]:
        engine = [] if self.litert or self.tflite else ["ai-edge-litert"]
        return engine + ([] if self.numpy else ["numpy"])


def find_python(shell: Shell, named: str | None = None) -> FarPython:
    """The first Python there that will do, or the one that was named.

    Raises: DeviceError saying what was found and the line to type there; what shell.run raises.
    """
    candidates = (named,) if named else CANDIDATES
    answer = shell.run(_LOOK, _ASK, *candidates, timeout_s=2 * CALL_TIMEOUT_S)
    found = [item for line in answer.text.splitlines() if (item := _parse(line))]
    for item in found:
        if item.version >= LEAST and not item.missing:
            engine = ("ai-edge-litert", item.litert) if item.litert else ("tflite-runtime", item.tflite or "")
            return FarPython(item.path, ".".join(map(str, item.version)), engine)
    _refuse(shell.address, named, found)
    raise AssertionError("unreachable")


def _parse(line: str) -> _Found | None:
    path, tab, answer = line.rpartition("\t")
    try:
        version, litert, tflite, numpy = json.loads(answer)
        return _Found(path, tuple(int(part) for part in version), litert, tflite, numpy) if tab else None
    except (ValueError, TypeError):  # a program of that name which is no Python
        return None


def _refuse(address: str, named: str | None, found: list[_Found]) -> None:
    least = ".".join(map(str, LEAST))
    if not found:
        raise DeviceError(
            f"{address}: --python {named}: is no Python there" if named else f"{address}: no Python was found there",
            allowed=f"Python {least} or later",
            next_step="name one there with --python PATH" if named else "install one there, or name it: --python PATH",
        )
    best = max(found, key=lambda item: (item.version >= LEAST, -len(item.missing), item.version))
    about = f"Python {'.'.join(map(str, best.version))} at {best.path}"
    if best.version < LEAST:
        raise DeviceError(f"{address}: Python is too old there", came=about, allowed=f"Python {least} or later",
                          next_step="name another with --python PATH")  # fmt: skip
    packages = " ".join(best.missing)
    raise DeviceError(
        f"{address}: {about} has no {' and no '.join(best.missing)}",
        next_step="nothing is installed from here; type there: "
        f"{best.path} -m venv ~/.venv && ~/.venv/bin/pip install {packages}",
    )
