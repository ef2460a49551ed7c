"""Start-up time and peak memory of a program, watched from outside: each run is a process of its own.

Load time and memory measured inside a long-lived process are wrong: files lie in its caches, libraries are loaded,
and its peak memory belongs to something else.

    report = measure_startup([sys.executable, "-m", "edge_deeplab.profiling.child", "model.tflite"], runs=5)
    report.ready_ms, report.peak_memory_bytes
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_deeplab.errors import EdgeDeepLabError
from edge_deeplab.profiling.latency import NS_PER_MS


@dataclass(frozen=True, kw_only=True)
class StartupStep:
    """One step of a start.

    Attributes:
        name: what was done.
        took_ms: median over the runs, from the step before to this one.
        at_ms: median over the runs, from the start of the process to this one.
        peak_memory_bytes: the most memory held until then, largest of the runs; None where unknown.
        is_ready: whether the program has started with this step; later ones are its steady work.
        held_memory_bytes: what it held at that moment, median of the runs; None where unknown.
    """

    name: str
    took_ms: float
    at_ms: float
    peak_memory_bytes: int | None
    is_ready: bool
    held_memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class StartupReport:
    """All steps of a start, medians over `runs` processes."""

    steps: tuple[StartupStep, ...]
    runs: int

    @property
    def ready_ms(self) -> float:
        """Start-up time: from the start of the process to the step that is_ready, or the last where none is."""
        return next((step for step in self.steps if step.is_ready), self.steps[-1]).at_ms

    @property
    def peak_memory_bytes(self) -> int | None:
        """The most memory the process held, None where the system does not tell."""
        return self.steps[-1].peak_memory_bytes

    @property
    def steady_memory_bytes(self) -> int | None:
        """What the process holds at its steady work, None where the system does not tell."""
        return self.steps[-1].held_memory_bytes

    def step(self, name: str) -> StartupStep:
        """The step of that name. Raises KeyError."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {
            "runs": self.runs,
            "ready_ms": self.ready_ms,
            "peak_memory_bytes": self.peak_memory_bytes,
            "steady_memory_bytes": self.steady_memory_bytes,
            "steps": [dict(vars(step)) for step in self.steps],
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> StartupReport:
        """The report that to_dict wrote. Raises KeyError or TypeError for anything else."""
        return cls(steps=tuple(StartupStep(**step) for step in fields["steps"]), runs=fields["runs"])


def measure_startup(argv: Sequence[str], *, runs: int = 5, timeout_s: float = 120.0) -> StartupReport:
    """Starts a program `runs` times and reads the milestones it prints as its last line (see milestones.py).

    The first start warms the file cache and is not counted, unless it is the only one.

    Raises: EdgeDeepLabError when the program fails, is killed, hangs, or prints no milestones.
    """
    starts = [_one_start(argv, timeout_s) for _ in range(runs + 1 if runs > 1 else 1)]
    counted = starts[1:] or starts
    names = [step["name"] for step in counted[0]]
    steps = []
    for index, name in enumerate(names):
        at_ms = [start[index]["at_ms"] for start in counted]
        before_ms = [start[index - 1]["at_ms"] if index else 0.0 for start in counted]
        peaks = [start[index]["peak_memory_bytes"] for start in counted]
        held = [start[index]["held_memory_bytes"] for start in counted]
        steps.append(
            StartupStep(
                name=name,
                took_ms=statistics.median(now - before for now, before in zip(at_ms, before_ms)),
                at_ms=statistics.median(at_ms),
                peak_memory_bytes=None if None in peaks else max(peaks),
                is_ready=counted[0][index]["is_ready"],
                held_memory_bytes=None if None in held else int(statistics.median(held)),
            )
        )
    return StartupReport(steps=tuple(steps), runs=len(counted))


def _one_start(argv: Sequence[str], timeout_s: float) -> list[dict[str, Any]]:
    spawned_ns = time.monotonic_ns()
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise EdgeDeepLabError(
            "a program measured at its start hung", came=f"{timeout_s:g} s without an end"
        ) from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EdgeDeepLabError("a program measured at its start failed", came=f"exit {done.returncode}: {last}")
    try:
        steps: list[dict[str, Any]] = json.loads(done.stdout.strip().splitlines()[-1])
        return [
            {
                "name": step["name"],
                "at_ms": (step["monotonic_ns"] - spawned_ns) / NS_PER_MS,
                "peak_memory_bytes": step["peak_memory_bytes"],
                "held_memory_bytes": step["held_memory_bytes"],
                "is_ready": step["is_ready"],
            }
            for step in steps
        ]
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise EdgeDeepLabError("a program measured at its start printed no milestones") from error
