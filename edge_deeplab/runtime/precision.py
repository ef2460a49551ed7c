"""Which file of a bundled pair runs here: int8 or float16, whichever this processor runs faster.

    chosen = choose_precision("portrait", threads=2)
    chosen.path, str(chosen)      # .../portrait.tflite, "int8 (2.1 ms, float16 4.3 ms, timed now)"

A name means a pair, NAME.tflite and NAME.float16.tflite, and both give the same picture; a path means that one file.
int8 is the faster one where the processor has int8 dot products and the slower one elsewhere, so both are timed, once
for a processor, a pair and a number of threads; the answer is kept in the user's cache directory. Nothing that measures
accuracy chooses by speed: it asks for a precision, or names a file.

What only a pair needs is imported when there is one: a program that is given a file starts 10 ms earlier.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from edge_deeplab.errors import ModelError, UsageError
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.interpreter import Engine, engine_name

Precision = Literal["auto", "int8", "float16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
FLOAT16_SUFFIX = ".float16.tflite"

WARM_UP_RUNS = 2
# Medians of so many runs, in turn with the other file: enough to tell two files apart that differ by a tenth, and over
# in a fifth of a second where one takes 10 ms.
TIMED_RUNS = 9
CACHE_FILE = "precision.json"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A model file, and why it and not its twin.

    Attributes:
        path: the file.
        precision: "int8", "float16", or "" for a file that has no twin.
        took_ms: median latency of each precision; empty where nothing had to be timed.
        is_remembered: the latencies are of an earlier run.
    """

    path: Path
    precision: str = ""
    took_ms: dict[str, float] | None = None
    is_remembered: bool = False

    def __str__(self) -> str:
        if not self.took_ms:
            return self.precision
        others = ", ".join(f"{name} {ms:.1f} ms" for name, ms in self.took_ms.items() if name != self.precision)
        when = "as timed earlier" if self.is_remembered else "timed now"
        return f"{self.precision} ({self.took_ms[self.precision]:.1f} ms; {others}; {when})"


def choose_precision(
    model: str | Path, *, threads: int, precision: str = "auto", cache_folder: Path | None = None
) -> Chosen:
    """The file to run for a model argument.

    Args:
        model: a path, which is taken as it is, or the name of a bundled model.
        threads: that it will run on.
        precision: "auto" takes the faster file; "int8" or "float16" that one.
        cache_folder: where answers are kept; None is the user's own. A folder that cannot be written only costs the
            timing again.

    Raises: ModelError when there is no such model, or not in that precision; UsageError for a precision beside a path.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r}", allowed=", ".join(PRECISIONS))
    path = bundled_model(model)
    if Path(model).is_file() or path.name.endswith(FLOAT16_SUFFIX):
        if precision != "auto":
            raise UsageError(
                f"{model}: precision {precision} of a single file", allowed="a bundled name, which means two files",
                next_step="name the file of that precision",
            )  # fmt: skip
        return Chosen(path=path)
    twin = float16_twin(path)
    if precision == "int8" or not twin.is_file():
        if precision == "float16":
            raise ModelError(f"{model}: is not bundled as float16", next_step="edge-deeplab convert makes it")
        return Chosen(path=path, precision="int8")
    if precision == "float16":
        return Chosen(path=twin, precision="float16")
    folder = user_cache_folder() if cache_folder is None else cache_folder
    return _faster({"int8": path, "float16": twin}, threads, folder)


def float16_twin(path: Path) -> Path:
    """Where the float16 twin of an int8 file would lie."""
    return path.with_name(path.name.removesuffix(".tflite") + FLOAT16_SUFFIX)


def user_cache_folder() -> Path:
    """Where this user's programs keep what they can make again: XDG_CACHE_HOME, or each system's own place."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "edge-deeplab"


def _faster(files: dict[str, Path], threads: int, cache_folder: Path) -> Chosen:
    key = _key(files, threads)
    known = _read(cache_folder / CACHE_FILE)
    took_ms = known.get(key)
    is_remembered = took_ms is not None and set(took_ms) == set(files)
    if not is_remembered:
        took_ms = _time(files, threads)
        _write(cache_folder / CACHE_FILE, {**known, key: took_ms})
    assert took_ms is not None
    precision = min(took_ms, key=took_ms.__getitem__)
    return Chosen(path=files[precision], precision=precision, took_ms=took_ms, is_remembered=is_remembered)


def _time(files: dict[str, Path], threads: int) -> dict[str, float]:
    """Median milliseconds of one inference of each file, in turns so that both meet the same disturbances."""
    took_ms: dict[str, list[float]] = {name: [] for name in files}
    with contextlib.ExitStack() as opened:
        engines = {name: opened.enter_context(Engine(path, threads=threads)) for name, path in files.items()}
        inputs = {name: np.zeros(engine.inputs[0].shape, engine.inputs[0].dtype) for name, engine in engines.items()}
        for name, _ in itertools.product(files, range(WARM_UP_RUNS)):
            engines[name].invoke(inputs[name])
        for _, name in itertools.product(range(TIMED_RUNS), files):
            start_ns = time.perf_counter_ns()
            engines[name].invoke(inputs[name])
            took_ms[name].append((time.perf_counter_ns() - start_ns) / 1e6)
    return {name: round(float(np.median(runs)), 4) for name, runs in took_ms.items()}


def _key(files: dict[str, Path], threads: int) -> str:
    """Changes with whatever may change which file is faster."""
    import hashlib

    digest = hashlib.sha256()
    for path in files.values():
        digest.update(path.read_bytes())
    return f"{_processor()}; {' '.join(engine_name())}; {threads} threads; {digest.hexdigest()[:16]}"


@functools.cache
def _processor() -> str:
    """The processor by name and abilities: one image may run on machines that differ in instructions."""
    import hashlib
    import platform

    wanted = ("model name", "flags", "Features", "CPU part")
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    said = " ".join(facts.get(key, "") for key in wanted)
    name = facts.get("model name") or platform.processor() or platform.machine()
    return f"{name} {hashlib.sha256(said.encode()).hexdigest()[:8]}"


def _read(path: Path) -> dict[str, dict[str, float]]:
    """What was remembered; nothing where the file is missing or not ours."""
    import json

    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        key: took_ms for key, took_ms in found.items()
        if isinstance(took_ms, dict) and all(isinstance(ms, int | float) and ms > 0 for ms in took_ms.values())
    }  # fmt: skip


def _write(path: Path, known: dict[str, dict[str, float]]) -> None:
    """Replaces the file as a whole: another program may be reading it. A folder that cannot be written is no error."""
    import json
    import tempfile

    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(known, file, indent=2)
        Path(file.name).replace(path)
