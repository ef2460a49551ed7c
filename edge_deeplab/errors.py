"""The one tree of errors a user of edge-deeplab can meet.

    EdgeDeepLabError                exit code 1
    ├── UsageError                  exit code 2: an option or a value that is not allowed
    │   └── RecipeError                          a recipe file: unknown key, wrong type, value out of range
    ├── InputError                  a file that came in: missing, empty, truncated, of the wrong kind
    │   ├── DataError                            a data set: pairs that do not fit, labels out of range
    │   └── ModelError                           a model file: does not load, aborts the interpreter, lacks a fact
    ├── OutputError                 a place that cannot be written, or holds something already
    ├── DeviceError                 a camera, window, stream or remote device that is not there or went away
    ├── ConversionError             a network that cannot become what was asked for
    ├── MissingExtraError           a package is not installed; names the pip line
    └── GateError                   exit code 3: everything ran, a quality gate was missed

A message has four parts: what is wrong, what came, what is allowed, what to do next; it is one line.
"""

from __future__ import annotations

from collections.abc import Iterable


class EdgeDeepLabError(Exception):
    """Base of all errors meant for a user; `str(error)` is one line.

    Args:
        what: what is wrong, with the file or option it concerns.
        came: what was found instead.
        allowed: what would have been right.
        next_step: what to do now.
    """

    exit_code = 1

    def __init__(self, what: str, *, came: object = None, allowed: object = None, next_step: str | None = None) -> None:
        self.what, self.came, self.allowed, self.next_step = what, came, allowed, next_step
        parts = [what]
        if came is not None:
            parts.append(f"came {came}")
        if allowed is not None:
            parts.append(f"allowed: {allowed}")
        if next_step is not None:
            parts.append(next_step)
        super().__init__(" ".join("; ".join(parts).split()))


class UsageError(EdgeDeepLabError):
    """An option, argument or value that is not allowed."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe file with an unknown key, a wrong type or a value out of range."""


class InputError(EdgeDeepLabError):
    """A file that came in and cannot be used."""


class DataError(InputError):
    """A data set whose parts do not fit together."""


class ModelError(InputError):
    """A model file that does not load, or does not say what is needed to run it."""


class OutputError(EdgeDeepLabError):
    """A place that cannot be written, or that holds something already."""


class DeviceError(EdgeDeepLabError):
    """A camera, window, stream or remote device that is not there."""


class ConversionError(EdgeDeepLabError):
    """A network that cannot become what was asked for."""


class MissingExtraError(EdgeDeepLabError):
    """A package that an extra brings is not installed.

    Args:
        package: the import that failed.
        extra: the extra of edge-deeplab that brings it.
        purpose: what it is needed for.
    """

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package}, which is not installed",
            next_step=f"pip install 'edge-deeplab[{extra}]'",
        )


class GateError(EdgeDeepLabError):
    """Everything ran, and a quality gate was missed."""

    exit_code = 3


def nearest(name: str, valid: Iterable[str]) -> str:
    """The valid names as one string for a message, with the nearest one suggested.

    Returns: e.g. "blur, evaluate, train (did you mean train?)".
    """
    import difflib  # only a mistake needs it

    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1)
    return ", ".join(names) + (f" (did you mean {close[0]}?)" if close else "")
