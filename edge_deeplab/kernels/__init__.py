"""The live path's loops in C, for where a compiler was there at installation. Whoever calls has the same in OpenCV.

    if (native := kernels.native()) is not None:
        native.blend(...)

The module is optional: without a compiler, on another processor or in another Python it does not load, and all goes
on in OpenCV, a few times as slow and within two levels of 255 the same. Nothing but loops over pixels lives here: what
is computed, and why so, is said where it is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np

# Rows or columns up to which C counts with its own integers; arrays.c has the same.
LONGEST_SIDE = 1 << 16

try:
    from edge_deeplab.kernels import _native
except ImportError:
    _loaded: ModuleType | None = None
else:
    _loaded = _native


class _Switch:
    """Whether the module is used where it is loaded; one for the process, as a module is."""

    is_on = True


def native() -> ModuleType | None:
    """The module with the loops in C (_native.pyi says what it holds); None where they do not run."""
    return _loaded if _Switch.is_on else None


def compiled() -> bool:
    """Whether the loops in C run."""
    return native() is not None


def in_words() -> str:
    """For a report: "compiled" or "OpenCV"."""
    return "compiled" if compiled() else "OpenCV"


def has_rows(*arrays: np.ndarray) -> bool:
    """Whether the loops in C take these arrays: each one's rows in memory without gaps, though they may lie apart."""
    for array in arrays:
        step = array.itemsize
        for size, stride in zip(array.shape[:0:-1], array.strides[:0:-1]):
            if stride != step:
                return False
            step *= size
        if max(array.shape) > LONGEST_SIDE:
            return False
    return True


@contextmanager
def opencv_only() -> Iterator[None]:
    """Within it nothing runs in C, in any thread: for tests and measurements of the other way."""
    before, _Switch.is_on = _Switch.is_on, False
    try:
        yield
    finally:
        _Switch.is_on = before
