"""Which of two models is faster, and whether the difference is more than noise.

    found = compare_models(Path("new.tflite"), Path("old.tflite"))
    found.ratio, found.low, found.high, found.verdict

Three engines take turns: the first file, the second, and the first once more. What the first differs from itself in
this very run is the noise, and a difference counts only where its interval lies outside of that. All are loaded anew in
every round, because where weights and maps happen to lie in memory makes one load of a file a percent or two faster
than the next: an interval over the calls of one load would call that a difference.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.errors import UsageError
from edge_deeplab.profiling.engine import ModelFacts, random_inputs
from edge_deeplab.profiling.host import Host
from edge_deeplab.profiling.latency import LatencyStats, MeasureOptions, Sampler, timed
from edge_deeplab.runtime.interpreter import Engine
from edge_deeplab.runtime.probe import ensure_loads

ROUNDS = 8
WARMUP = 3  # calls after each load
# Student's t for 95 %, two-sided, by degrees of freedom (ROUNDS - 1 = 7 by default).
_STUDENT_T = (
    12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
)  # fmt: skip
_FIRST, _SECOND, _AGAIN = "first", "second", "first again"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models in turns.

    Attributes:
        first, second: each one's own statistics, all rounds together.
        ratio: time of the first over time of the second; below 1 the first is faster.
        low, high: its 95 % interval over the rounds, each of which loads the files anew.
        noise_low, noise_high: the same interval of the first against itself.
        rounds, threads, kernels: how it was measured.
    """

    first: LatencyStats
    second: LatencyStats
    ratio: float
    low: float
    high: float
    noise_low: float
    noise_high: float
    rounds: int
    threads: int
    kernels: str

    @property
    def noise(self) -> float:
        """How far from 1 a ratio may be by chance, as a factor of 1 or more."""
        return max(self.noise_high, 1 / self.noise_low, 1.0)

    @property
    def exceeds_noise(self) -> bool:
        """Whether the whole interval lies outside of what the first differs from itself."""
        return self.low > self.noise or self.high < 1 / self.noise

    @property
    def verdict(self) -> str:
        """One sentence for a person."""
        if not self.exceeds_noise:
            return (
                f"No difference beyond the noise: the first takes {self.ratio:.3f} of the second's time "
                f"({self.low:.3f} to {self.high:.3f}), and itself differs by up to {self.noise - 1:.1%}."
            )
        which = "slower" if self.ratio > 1 else "faster"
        bounds = sorted((abs(self.low - 1), abs(self.high - 1)))
        return (
            f"The first is {which} by {abs(self.ratio - 1):.1%} ({bounds[0]:.1%} to {bounds[1]:.1%}), "
            f"beyond the noise of {self.noise - 1:.1%}."
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, and the verdict, ready for JSON."""
        return dataclasses.asdict(self) | {"exceeds_noise": self.exceeds_noise, "verdict": self.verdict}


@dataclass(frozen=True, kw_only=True)
class ComparisonReport:
    """A comparison with what a reader needs to believe it.

    Attributes:
        engine: package and version of the interpreter.
        models: the first and the second.
        notes: what makes the figures doubtful.
    """

    host: Host
    engine: tuple[str, str]
    models: tuple[ModelFacts, ModelFacts]
    comparison: Comparison
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        return {
            "host": self.host.to_dict(),
            "engine": {"package": self.engine[0], "version": self.engine[1]},
            "models": [model.to_dict() for model in self.models],
            "comparison": self.comparison.to_dict(),
            "notes": list(self.notes),
        }


def compare_models(
    first: Path,
    second: Path,
    *,
    threads: int = 1,
    kernels: str = "auto",
    options: MeasureOptions | None = None,
    rounds: int = ROUNDS,
) -> Comparison:
    """Measures two model files in turns; they may be the same file. Raises ModelError when one does not load.

    options: `runs` counted calls of each file in all rounds together, `warmup` before the first round's.
    """
    if rounds < 2:
        raise UsageError("rounds of a comparison", came=rounds, allowed="2 or more: one shows no noise")
    for path in (first, second):
        ensure_loads(path, kernels=kernels)
    chosen = options or MeasureOptions()
    per_round = max(-(-chosen.runs // rounds), 2)
    samples: list[Mapping[str, Sequence[float]]] = []
    for turn in range(rounds):
        with ExitStack() as stack:
            # who is loaded first changes too: it decides where in memory each of them lies
            files = {_FIRST: first, _SECOND: second, _AGAIN: first}
            order = rotated(list(files), turn)
            engines = {
                name: stack.enter_context(Engine(files[name], threads=threads, kernels=kernels, is_known_good=True))
                for name in order
            }
            samplers = {name: _sampler(engines[name]) for name in files}
            take_turns(samplers, chosen.warmup if turn == 0 else min(WARMUP, chosen.warmup))
            samples.append(take_turns(samplers, per_round))
    return from_rounds(samples, threads=threads, kernels=kernels)


def _sampler(engine: Engine) -> Sampler:
    inputs = random_inputs(engine.inputs)
    return timed(lambda: engine.run(*inputs))


def take_turns(samplers: Mapping[str, Sampler], turns: int) -> dict[str, list[float]]:
    """Calls three samplers `turns` times each, so that none runs after itself and each as often after either other."""
    taken: dict[str, list[float]] = {name: [] for name in samplers}
    names = list(samplers)
    orders = [rotated(names, by) for by in range(len(names))] + [rotated(names[::-1], by) for by in range(len(names))]
    for turn in range(turns):
        for name in orders[turn % len(orders)]:
            taken[name].append(samplers[name]())
    return taken


def rotated(names: Sequence[str], by: int) -> list[str]:
    """The names from position `by` on, then those before it."""
    by %= len(names)
    return [*names[by:], *names[:by]]


def from_rounds(samples: Sequence[Mapping[str, Sequence[float]]], *, threads: int, kernels: str) -> Comparison:
    """The comparison that the milliseconds of each round give: of "first", "second" and "first again"."""
    low, ratio, high = _interval([_log_ratio(one[_FIRST], one[_SECOND]) for one in samples])
    noise_low, _, noise_high = _interval([_log_ratio(one[_FIRST], one[_AGAIN]) for one in samples])
    return Comparison(
        first=LatencyStats.from_samples([value for one in samples for value in one[_FIRST]]),
        second=LatencyStats.from_samples([value for one in samples for value in one[_SECOND]]),
        ratio=ratio,
        low=low,
        high=high,
        noise_low=noise_low,
        noise_high=noise_high,
        rounds=len(samples),
        threads=threads,
        kernels=kernels,
    )


def _log_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios of calls of one turn, which share the machine's mood; as a logarithm."""
    return float(np.median(np.log(np.maximum(ours, 1e-9)) - np.log(np.maximum(theirs, 1e-9))))


def _interval(logs: Sequence[float]) -> tuple[float, float, float]:
    """Low, middle and high of the mean over rounds, by Student's t."""
    middle = float(np.mean(logs))
    t = _STUDENT_T[min(len(logs) - 2, len(_STUDENT_T) - 1)]
    reach = t * float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
    return math.exp(middle - reach), math.exp(middle), math.exp(middle + reach)
