"""The child's side of a start-up measurement: when each step was reached, and the memory held.

Standard library alone, so that importing it costs the measured program nothing. The parent's side is startup.py.

    milestones = Milestones()
    milestones.reach("imports")
    milestones.reach("first inference", is_ready=True)
    milestones.write(sys.stdout)
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

STARTED = "interpreter"


class Milestones:
    """Steps of a program's start, stamped with the monotonic clock that all processes of a machine share."""

    def __init__(self) -> None:
        self._reached: list[dict[str, Any]] = []
        self.reach(STARTED)

    def reach(self, name: str, *, is_ready: bool = False) -> None:
        """Stamps the step `name`, to be called when it is done; `is_ready` marks the end of the start-up."""
        now_ns = time.monotonic_ns()
        memory = {"peak_memory_bytes": peak_memory_bytes(), "held_memory_bytes": held_memory_bytes()}
        self._reached.append({"name": name, "monotonic_ns": now_ns, **memory, "is_ready": is_ready})

    def write(self, stream: TextIO) -> None:
        """Writes all steps as one line of JSON; it has to be the last line of the stream."""
        stream.write(json.dumps(self._reached) + "\n")
        stream.flush()


def peak_memory_bytes() -> int | None:
    """The largest resident memory of this process so far, None where the system does not tell.

    Linux: VmHWM, which begins anew with each program; getrusage's ru_maxrss does not: a child inherits the
    parent's peak through fork and exec, so a small program started by a large one would look large.
    """
    if sys.platform == "linux":
        return _proc_status_bytes("VmHWM")
    try:
        import resource
    except ImportError:  # Windows has none
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def held_memory_bytes() -> int | None:
    """The resident memory of this process now, None where the system does not tell (all but Linux)."""
    return _proc_status_bytes("VmRSS") if sys.platform == "linux" else None


def _proc_status_bytes(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None
