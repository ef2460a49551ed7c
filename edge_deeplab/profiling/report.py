"""A profile as a whole, its JSON, and its tables.

Tables are built here and printed by the command line.

    report = ProfileReport(host=describe_host(), model=describe_model(path), engine=engine_name(), ...)
    write_json(Path("profile.json"), report.to_dict())
    for table in render_profile(report): console.print(table)
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_deeplab.errors import InputError, OutputError
from edge_deeplab.profiling.energy import EnergyReport
from edge_deeplab.profiling.engine import EngineProfile, ModelFacts
from edge_deeplab.profiling.host import Host
from edge_deeplab.profiling.latency import LatencyStats, PairStats
from edge_deeplab.profiling.operators import OperatorsReport
from edge_deeplab.profiling.peaks import MachinePeaks
from edge_deeplab.profiling.stages import StageProfile
from edge_deeplab.profiling.startup import StartupReport

if TYPE_CHECKING:
    from rich.table import Table

FORMAT = 2  # 1 had no operators, peaks, energy, vitals, samples and date
MIB = 1024 * 1024
BUSY_SPREAD = 0.2  # on an idle machine the middle half of inferences lies within a few percent of the median


@dataclass(frozen=True, kw_only=True)
class FrameProfile:
    """A whole frame, from picture in memory to picture in memory, in one thread of Python.

    Attributes:
        size_wh: of the frame, in pixels.
        threads: of the engine.
        opencv_threads: what may be used for all that is not the engine's.
        pixel_kernels: what the loops over pixels ran in, "compiled" or "OpenCV" (edge_deeplab.kernels).
        result: what was made of the frame, e.g. "portrait blur".
        shows: what the frames show.
        stages: the measurement.
    """

    size_wh: tuple[int, int]
    threads: int
    opencv_threads: int
    pixel_kernels: str
    result: str
    shows: str
    stages: StageProfile

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, those of the stages among them, ready for JSON."""
        return {
            "size_wh": list(self.size_wh),
            "threads": self.threads,
            "opencv_threads": self.opencv_threads,
            "pixel_kernels": self.pixel_kernels,
            "result": self.result,
            "shows": self.shows,
            **self.stages.to_dict(),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> FrameProfile:
        """The profile that to_dict wrote. Raises KeyError, TypeError or ValueError for anything else."""
        width, height = fields["size_wh"]
        plain = {name: fields[name] for name in ("threads", "opencv_threads", "result", "shows")}
        # Reports from before there were compiled ones do not say.
        plain["pixel_kernels"] = fields.get("pixel_kernels", "OpenCV")
        return cls(size_wh=(width, height), stages=StageProfile.from_dict(fields), **plain)


@dataclass(frozen=True, kw_only=True)
class ProfileReport:
    """Everything `edge-deeplab profile` measured, with what a reader needs to believe it.

    Attributes:
        engine: package and version of the interpreter.
        latency: of the model alone, by number of threads.
        model_start: start, load time and memory of a process that runs the model alone.
        frame, frame_start: of the whole program; None when it was not asked for or not possible.
        operators: time by operator; peaks: what the machine can do at best; energy: of one inference. Each None when
            it was not asked for or not possible.
        vitals: how the machine felt "before" and "after" (clocks, temperatures), as remote.vitals writes it.
        measured_at: date and time, ISO 8601 with its zone; None for one made before format 2.
        edge_deeplab: version of this package; None likewise.
        notes: what was not measured and why, and what makes the figures doubtful.
    """

    host: Host
    engine: tuple[str, str]
    model: ModelFacts
    latency: tuple[EngineProfile, ...]
    model_start: StartupReport | None = None
    frame: FrameProfile | None = None
    frame_start: StartupReport | None = None
    operators: OperatorsReport | None = None
    peaks: MachinePeaks | None = None
    energy: EnergyReport | None = None
    vitals: Mapping[str, Mapping[str, Any]] | None = None
    measured_at: str | None = None
    edge_deeplab: str | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, ready for JSON; from_dict reads them again."""
        return {
            "format": FORMAT,
            "measured_at": self.measured_at,
            "edge_deeplab": self.edge_deeplab,
            "host": self.host.to_dict(),
            "engine": {"package": self.engine[0], "version": self.engine[1]},
            "model": self.model.to_dict(),
            "latency": [profile.to_dict() for profile in self.latency],
            "model_start": self.model_start.to_dict() if self.model_start else None,
            "frame": self.frame.to_dict() if self.frame else None,
            "frame_start": self.frame_start.to_dict() if self.frame_start else None,
            "operators": self.operators.to_dict() if self.operators else None,
            "peaks": self.peaks.to_dict() if self.peaks else None,
            "energy": self.energy.to_dict() if self.energy else None,
            "vitals": {when: dict(look) for when, look in self.vitals.items()} if self.vitals else None,
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> ProfileReport:
        """The report that to_dict wrote, now or before format 2. Raises InputError for anything else."""
        try:
            if not 1 <= int(document["format"]) <= FORMAT:
                raise InputError("a profile of another format", came=document["format"], allowed=f"1 to {FORMAT}")
            parts: dict[str, Callable[[Any], Any]] = {
                "model_start": StartupReport.from_dict, "frame": FrameProfile.from_dict,
                "frame_start": StartupReport.from_dict, "operators": OperatorsReport.from_dict,
                "peaks": MachinePeaks.from_dict, "energy": EnergyReport.from_dict,
            }  # fmt: skip
            found = {name: read(part) for name, read in parts.items() if (part := document.get(name))}
            return cls(
                host=Host.from_dict(document["host"]),
                engine=(str(document["engine"]["package"]), str(document["engine"]["version"])),
                model=ModelFacts.from_dict(document["model"]),
                latency=tuple(EngineProfile.from_dict(row) for row in document["latency"]),
                vitals=document.get("vitals"),
                measured_at=document.get("measured_at"),
                edge_deeplab=document.get("edge_deeplab"),
                notes=tuple(document["notes"]),
                **found,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError("no profile", came=f"{type(error).__name__}: {error}") from error


def read_profile(path: Path) -> ProfileReport:
    """The report that `edge-deeplab profile --json FILE` wrote. Raises InputError naming the file for anything else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read", came=error.strerror) from error
    except ValueError as error:
        raise InputError(f"{path}: is no JSON", allowed="a file of edge-deeplab profile --json") from error
    try:
        return ProfileReport.from_dict(document)
    except InputError as error:
        raise InputError(
            f"{path}: {error.what}", came=error.came, allowed="a file of edge-deeplab profile --json"
        ) from error


def doubts(host: Host, latencies: Mapping[str, LatencyStats]) -> list[str]:
    """Reasons to distrust the figures, one sentence each; empty on a quiet machine."""
    found = []
    noisy = [name for name, stats in latencies.items() if stats.spread > BUSY_SPREAD]
    if noisy:
        found.append(
            f"The machine was busy: the middle half of calls spreads over {BUSY_SPREAD:.0%} for {', '.join(noisy)}."
        )
    if host.load_1min is not None and host.load_1min > 0.5 * host.cpus:
        found.append(f"Load {host.load_1min:g} on {host.cpus} processors before measuring began.")
    slow = set(host.governors) & {"powersave", "ondemand", "conservative"}
    if slow and host.machine != "x86_64":  # Intel's and AMD's own drivers call their usual mode powersave
        found.append(f"Frequency governor {', '.join(sorted(slow))}: clocks rise only under load.")
    return found


def write_json(path: Path, document: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Writes a report as JSON. Raises as write_text does."""
    write_text(path, to_json(document), overwrite=overwrite)


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Writes a file of which a reader never sees half.

    Raises: OutputError when the file exists and `overwrite` is False, or cannot be written.
    """
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already", next_step="choose another name, or pass --force")
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written", came=error.strerror) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(temporary).chmod(0o644)  # mkstemp makes files that no one else may read
        Path(temporary).replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise OutputError(f"{path}: cannot be written", came=error.strerror) from error


def to_json(document: Mapping[str, Any]) -> str:
    """Indented JSON with a line end."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def render_profile(report: ProfileReport) -> list[Table]:
    """The report as rich tables, in the order to print them."""
    tables = [_facts_table(report), _latency_table(report)]
    if report.frame:
        tables.append(_frame_table(report.frame))
    starts = {"model alone": report.model_start, "whole program": report.frame_start}
    if any(starts.values()):
        tables.append(_start_table({name: start for name, start in starts.items() if start}))
    return tables


def render_pairs(pairs: Mapping[str, PairStats], *, first: str, second: str, unit: str = "ms") -> Table:
    """A table of things measured in turns, one row a pair; `first` and `second` head the columns (median, p90)."""
    table = new_table(None, unit, f"{first} (p90)", f"{second} (p90)", "ratio", "95 %", "calls")
    for name, pair in pairs.items():
        table.add_row(
            name,
            *(f"{format_ms(stats.median_ms)} ({format_ms(stats.p90_ms)})" for stats in (pair.first, pair.second)),
            f"{pair.ratio:.2f}",
            f"{pair.ratio_low:.2f}..{pair.ratio_high:.2f}",
            str(pair.first.count),
        )
    return table


def host_line(host: Host) -> str:
    """The machine in one line, for under a table."""
    flags = ", ".join(host.int8_flags) or "none"
    return f"{host.cpu_name}, {host.usable_cpus} of {host.cpus} processors, int8 dot products: {flags}"


def _facts_table(report: ProfileReport) -> Table:
    table = new_table(f"Profile of {report.model.file}", "fact", "value", plain=True)
    for name, value in fact_rows(report).items():
        table.add_row(name, value)
    return table


def fact_rows(report: ProfileReport) -> dict[str, str]:
    """What was measured and on what, in words, by name."""
    host, model = report.host, report.model
    return {
        "model": f"{model.name or 'no manifest'}, {model.size_bytes / MIB:.2f} MiB, sha256 {model.sha256[:16]}",
        "input": "; ".join(_ends(end) for end in model.inputs),
        "output": "; ".join(_ends(end) for end in model.outputs),
        "multiply-adds": _multiply_adds(model),
        "engine": f"{report.engine[0]} {report.engine[1]}",
        "host": host_line(host),
        "instructions": ", ".join(host.flags) or "unknown",
        "governor": ", ".join(host.governors) or "not told by this machine",
        "system": f"{host.system}, Python {host.python}, "
        + ", ".join(f"{name} {version}" for name, version in host.packages.items()),
    }


def _latency_table(report: ProfileReport) -> Table:
    table = new_table(
        "One inference, ms", "threads", "median", "p90", "p99", "spread", "calls", "first", "warm-up", "load"
    )
    for profile in report.latency:
        stats = profile.latency
        warm = "-" if stats.warmup_median_ms is None else f"{format_ms(stats.warmup_median_ms)} x {stats.warmup_count}"
        table.add_row(
            str(profile.threads), *_quantiles(stats), f"{stats.spread:.0%}", str(stats.count),
            format_ms(stats.first_ms), warm, format_ms(profile.load_ms),
        )  # fmt: skip
    return table


def _frame_table(frame: FrameProfile) -> Table:
    width, height = frame.size_wh
    title = (
        f"One {width} x {height} frame of the {frame.shows}, {frame.result}, ms"
        f" (threads: engine {frame.threads}, OpenCV {frame.opencv_threads}; pixel kernels: {frame.pixel_kernels})"
    )
    table = new_table(title, "stage", "median", "p90", "p99", "share")
    for name, stats in frame.stages.stages.items():
        share = f"{frame.stages.shares[name]:.0%}"
        table.add_row(name, *_quantiles(stats), share)
    total = frame.stages.total
    table.add_section()
    rate = f"{frame.stages.frames_per_second:.0f} frames/s"
    table.add_row(f"frame ({total.count})", *_quantiles(total), rate)
    return table


def _start_table(starts: Mapping[str, StartupReport]) -> Table:
    runs = next(iter(starts.values())).runs
    table = new_table(f"Start of a process, median of {runs}", "step", "took ms", "reached at ms", "peak memory MiB")
    for name, start in starts.items():
        for step in start.steps:
            peak = "unknown" if step.peak_memory_bytes is None else f"{step.peak_memory_bytes / MIB:.0f}"
            label = f"{name}: {step.name}" + (" (start-up done)" if step.is_ready else "")
            table.add_row(label, format_ms(step.took_ms), format_ms(step.at_ms), peak)
        table.add_section()
    return table


def new_table(title: str | None, *columns: str, plain: bool = False) -> Table:
    """A table in the style of all: the first column to the left, figures to the right; `plain` has no heading."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=not plain)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if plain or index == 0 else "right", overflow="fold")
    return table


def _quantiles(stats: LatencyStats) -> tuple[str, str, str]:
    """Median, p90 and p99 in milliseconds, as they stand in every table."""
    return format_ms(stats.median_ms), format_ms(stats.p90_ms), format_ms(stats.p99_ms)


def _ends(end: tuple[str, tuple[int, ...], str]) -> str:
    name, shape, dtype = end
    return f"{' x '.join(str(side) for side in shape)} {dtype} ({name})"


def _multiply_adds(model: ModelFacts) -> str:
    if model.multiply_adds is None:
        return "unknown: this engine brings no graph reader"
    missing = f", without {', '.join(model.uncounted)}" if model.uncounted else ""
    return f"{model.multiply_adds / 1e6:.1f} M{missing}"


def format_ms(value_ms: float) -> str:
    """Three digits that mean something, whatever the size."""
    return f"{value_ms:.3f}" if value_ms < 1 else f"{value_ms:.2f}" if value_ms < 100 else f"{value_ms:.0f}"
