"""The first load of a model file, in a child process: some files abort the interpreter, and the process with it.

    ensure_loads(Path("foreign.tflite"))      # returns, or raises ModelError with one line

An int8 ADD whose input scale is far beyond its output's (2**19 times, measured on LiteRT 2.3) ends in SIGABRT inside
Prepare, without a Python exception; exploding activations of an untrained network make such files. So a file that is
not known good is loaded and run once by `python -m edge_deeplab.runtime.probe PATH` before this process touches it.
Files that passed are remembered by content, engine and kernels in the user's cache.

What only a first load needs is imported there: every program of the device side imports this module.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edge_deeplab.errors import EdgeDeepLabError, ModelError

TIMEOUT_S = 300.0  # a server model at 1025 x 1025 on the reference kernels takes a minute
_REMEMBERED = 1000  # entries kept in the cache file


def check_is_tflite(path: Path) -> None:
    """The cheap checks: the file is there and carries the FlatBuffer identifier TFL3.

    Raises: ModelError otherwise.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such model file") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read", came=error.strerror) from error
    if not head:
        raise ModelError(f"{path}: the file is empty")
    if head[4:8] != b"TFL3":
        raise ModelError(f"{path}: is no TFLite model", allowed="a .tflite file (FlatBuffer identifier TFL3)")


def ensure_loads(path: Path, *, kernels: str = "auto", timeout_s: float = TIMEOUT_S) -> None:
    """Makes sure that loading a model file neither fails nor ends the process.

    A bundled model and a file known good are taken as they are; anything else is loaded, and run once on zeros, in a
    child process, which costs about half a second the first time.

    Raises: ModelError when the file is missing, is no TFLite model, does not load, aborts the interpreter
        or takes longer than timeout_s.
    """
    check_is_tflite(path)
    if _is_bundled(path):
        return
    import hashlib

    from edge_deeplab.runtime.interpreter import engine_name  # it imports this module

    engine = " ".join(engine_name())  # before the child: a missing package is not the file's fault
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read", came=error.strerror) from error
    entry = f"{digest} {kernels} {engine}"
    known = _read_known_good()
    if entry in known:
        return
    _load_in_child(path, kernels, timeout_s)
    _write_known_good([*known, entry])


def _is_bundled(path: Path) -> bool:
    from edge_deeplab.runtime.bundled import assets_folder

    return path.resolve().parent == assets_folder().resolve()


def _load_in_child(path: Path, kernels: str, timeout_s: float) -> None:
    import signal
    import subprocess

    # The child looks for packages where this process does; -P keeps the working folder's own modules out.
    search = os.pathsep.join(str(Path(entry).resolve()) if entry else str(Path.cwd()) for entry in sys.path)
    command = [sys.executable, "-P", "-W", "ignore", "-m", "edge_deeplab.runtime.probe", str(path.resolve()), kernels]
    try:
        child = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": search},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{path}: does not load in time", came=f"no answer after {timeout_s:.0f} s") from error
    if child.returncode == 0:
        return
    said = [line for line in child.stderr.strip().splitlines() if not line.startswith(("INFO:", "WARNING:"))]
    last_line = said[-1] if said else None
    if child.returncode < 0:
        try:
            cause = signal.Signals(-child.returncode).name
        except ValueError:
            cause = f"signal {-child.returncode}"
        raise ModelError(
            f"{path}: the interpreter dies of this file ({cause})", came=last_line,
            next_step="a quantization scale is out of bounds or the file is damaged: convert the model again",
        )  # fmt: skip
    raise ModelError(f"{path}: does not load", came=child.stdout.strip() or last_line)


def known_good_file() -> Path:
    """Where the files that loaded are remembered: $XDG_CACHE_HOME/edge-deeplab/known_good.json."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "edge-deeplab" / "known_good.json"


def _read_known_good() -> list[str]:
    import json

    try:
        entries = json.loads(known_good_file().read_text())
    except (OSError, ValueError, RuntimeError):  # not there, damaged, or no home folder: then nothing is known
        return []
    return [entry for entry in entries if isinstance(entry, str)] if isinstance(entries, list) else []


def _write_known_good(entries: list[str]) -> None:
    """Best effort: where the cache cannot be written, the next load asks a child again."""
    import json
    import tempfile

    try:
        target = known_good_file()
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".known_good.")
        with os.fdopen(handle, "w") as stream:
            json.dump(entries[-_REMEMBERED:], stream, indent=0)
        Path(name).replace(target)
    except (OSError, RuntimeError):
        return


def main(arguments: list[str]) -> int:
    """The child: loads the model, runs it once on zeros. Prints the one line of what went wrong; returns 0 or 1."""
    import numpy as np

    from edge_deeplab.runtime.interpreter import Engine

    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an abort leaves no core file behind
    except (ImportError, ValueError, OSError):
        pass
    path, kernels = Path(arguments[0]), arguments[1] if len(arguments) > 1 else "auto"
    try:
        with Engine(path, kernels=kernels, is_known_good=True) as engine:
            if all(-1 not in info.signature[1:] for info in engine.inputs):
                engine.run(*(np.zeros(info.shape, info.dtype) for info in engine.inputs))
    except EdgeDeepLabError as error:
        print(error.came if isinstance(error, ModelError) and error.came is not None else error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
