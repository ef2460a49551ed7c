"""A profile held against an earlier one: did it become slower, and may the two be compared at all.

    earlier = read_profile(Path("profile.json"))
    check_comparable(earlier, host=describe_host(), model=facts, kernels="auto", threads=(1,))
    history = History.of(now, earlier, source="profile.json", max_ratio=1.1)
    history.check()     # raises GateError past the budget

Figures of another processor, of other kernels or of another input size say nothing about what changed, so such a pair
is refused. Another model file, engine or load of the machine is what one wants to see, so it is allowed, and said.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_deeplab.errors import GateError, InputError
from edge_deeplab.profiling.engine import ModelFacts
from edge_deeplab.profiling.host import Host
from edge_deeplab.profiling.report import ProfileReport

MAX_RATIO = 1.1  # three times the few percent by which quiet machines differ from day to day
MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class HistoryRow:
    """One figure, then and now.

    Attributes:
        name: what it is, with its unit.
        before, now: the figures, smaller is better.
        is_held: whether it counts against a budget. Start-up does not: it hangs on the state of disks and caches.
    """

    name: str
    before: float
    now: float
    is_held: bool

    @property
    def ratio(self) -> float:
        """Now over before; above 1 it became worse."""
        return self.now / self.before if self.before > 0 else float("inf")

    def exceeds(self, max_ratio: float) -> bool:
        """Whether it counts and became worse than allowed."""
        return self.is_held and self.ratio > max_ratio

    def to_dict(self) -> dict[str, Any]:
        """The fields by name and the ratio, ready for JSON."""
        return dataclasses.asdict(self) | {"ratio": self.ratio}


def check_comparable(
    earlier: ProfileReport, *, host: Host, model: ModelFacts, kernels: str, threads: Sequence[int]
) -> None:
    """Raises InputError, before anything is measured, when figures of now would say nothing beside those of then."""
    there = earlier.host
    pairs = {
        "the processor": (there.cpu_name, host.cpu_name),
        "the instruction set": (there.machine, host.machine),
        "its instructions": (", ".join(there.flags), ", ".join(host.flags)),
        "the model's input": (_ends(earlier.model), _ends(model)),
        "the kernels": (", ".join(sorted({row.kernels for row in earlier.latency})), kernels),
    }
    for what, (then, now) in pairs.items():
        if then != now:
            raise InputError(
                f"not comparable with the earlier profile: {what} differs", came=f"{now or 'none'} now",
                allowed=f"{then or 'none'} as then", next_step="measure both on one machine, or use --compare",
            )  # fmt: skip
    known = [row.threads for row in earlier.latency]
    if not set(known) & set(threads):
        raise InputError(
            "not comparable with the earlier profile: no number of threads is in both",
            came=", ".join(map(str, threads)), allowed=", ".join(map(str, known)),
        )  # fmt: skip


def compare_with(now: ProfileReport, earlier: ProfileReport) -> list[HistoryRow]:
    """Every figure that both profiles have, in the order of a profile's tables."""
    rows = []
    before = {row.threads: row.latency for row in earlier.latency}
    for row in now.latency:
        if row.threads in before:
            name = f"inference, {row.threads} thread(s), median ms"
            rows.append(_row(name, before[row.threads].median_ms, row.latency.median_ms, is_held=True))
    if now.frame and earlier.frame and now.frame.size_wh == earlier.frame.size_wh:
        then_ms, now_ms = (frame.stages.total.median_ms for frame in (earlier.frame, now.frame))
        rows.append(_row("whole frame, median ms", then_ms, now_ms, is_held=True))
    starts = {
        "model alone": (earlier.model_start, now.model_start), "program": (earlier.frame_start, now.frame_start)
    }  # fmt: skip
    for name, (then, this) in starts.items():
        if then and this:
            rows.append(_row(f"start, {name}, ms", then.ready_ms, this.ready_ms, is_held=False))
            if then.peak_memory_bytes and this.peak_memory_bytes:
                sizes = (then.peak_memory_bytes / MIB, this.peak_memory_bytes / MIB)
                rows.append(_row(f"peak memory, {name}, MiB", *sizes, is_held=True))
    if earlier.energy and now.energy and earlier.energy.source == now.energy.source:
        energies = (earlier.energy.gross_mj, now.energy.gross_mj)
        rows.append(_row("energy of an inference, mJ", *energies, is_held=False))
    sizes = (earlier.model.size_bytes / MIB, now.model.size_bytes / MIB)
    rows.append(_row("file, MiB", *sizes, is_held=False))
    return rows


def what_changed(now: ProfileReport, earlier: ProfileReport) -> list[str]:
    """What else differs between the two, one sentence each: the causes one would look for."""
    said = []
    if now.model.sha256 != earlier.model.sha256:
        said.append(f"Another model file than then: sha256 {now.model.sha256[:16]}, then {earlier.model.sha256[:16]}.")
    if now.engine != earlier.engine:
        said.append(f"Another engine than then: {' '.join(now.engine)}, then {' '.join(earlier.engine)}.")
    if now.host.system != earlier.host.system:
        said.append(f"Another system than then: {now.host.system}, then {earlier.host.system}.")
    if now.host.usable_cpus != earlier.host.usable_cpus:
        said.append(f"{now.host.usable_cpus} processors may be used, then {earlier.host.usable_cpus}.")
    if now.frame and earlier.frame and now.frame.size_wh != earlier.frame.size_wh:
        said.append("The whole frames are not compared: their sizes differ.")
    return said


@dataclass(frozen=True, kw_only=True)
class History:
    """A profile beside an earlier one.

    Attributes:
        source: the file of the earlier one; measured_at: when that was made, None where it does not say.
        max_ratio: how many times the earlier figure is allowed.
        rows: the figures; changes: what else is different.
    """

    source: str
    measured_at: str | None
    max_ratio: float
    rows: tuple[HistoryRow, ...]
    changes: tuple[str, ...]

    @classmethod
    def of(cls, now: ProfileReport, earlier: ProfileReport, *, source: str, max_ratio: float) -> History:
        """Holds a profile against an earlier one that check_comparable has let through."""
        return cls(
            source=source,
            measured_at=earlier.measured_at,
            max_ratio=max_ratio,
            rows=tuple(compare_with(now, earlier)),
            changes=tuple(what_changed(now, earlier)),
        )

    @property
    def title(self) -> str:
        """Against what, in a few words."""
        return f"{self.source}, {self.measured_at}" if self.measured_at else self.source

    def check(self) -> None:
        """Raises GateError naming the figures that are over the budget."""
        over = [f"{row.name} {row.ratio:.2f} times as much" for row in self.rows if row.exceeds(self.max_ratio)]
        if over:
            raise GateError(
                f"worse than {self.source}", came=", ".join(over), allowed=f"{self.max_ratio:g} times",
                next_step="measure again on a quiet machine, or see --compare",
            )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return dataclasses.asdict(self) | {"rows": [row.to_dict() for row in self.rows]}


def _row(name: str, before: float, now: float, *, is_held: bool) -> HistoryRow:
    return HistoryRow(name=name, before=before, now=now, is_held=is_held)


def _ends(model: ModelFacts) -> str:
    return "; ".join(f"{' x '.join(map(str, shape))} {dtype}" for _, shape, dtype in model.inputs)
