"""Where a model's time goes, operator by operator.

    report = profile_operators(path, threads=1)
    report.rows[3].time_ms, report.rows[3].gops, report.method, report.sum_share

Three ways lead there, best first; `method` says which one was taken:

profiler        LiteRT's own profiler, in a child process (runtime/native_profiler.py). Exact, to the microsecond.
benchmark_model the native tool of that name that the user gives (benchmark_model.py). Exact, on the tool's engine.
alone           an estimate for engines without a profiler (tflite-runtime): each operator cut out as a model of its own
                with its true shapes and constants, all timed in turns with the whole, less what a call costs. What the
                engine fuses across operators is lost, and each finds its input in the cache, as it mostly does in the
                whole. Differences of successive prefixes, the obvious other way, were measured too, on the bundled
                model (84 operators, 3.7 ms): against the profiler they were off by 22 % of the whole, summed over
                operators; this way by 3 % (benchmarks/profile_agreement.py).
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_deeplab.errors import UsageError
from edge_deeplab.profiling.alignment import align
from edge_deeplab.profiling.engine import random_inputs
from edge_deeplab.profiling.latency import NS_PER_MS, MeasureOptions, Sampler, collect
from edge_deeplab.runtime.cutting import ModelCutter
from edge_deeplab.runtime.delegates import partitions_of
from edge_deeplab.runtime.flatbuffer import OperatorRecord, TensorRecord, TfliteFile
from edge_deeplab.runtime.interpreter import Engine
from edge_deeplab.runtime.native_profiler import NativeProfilerError, ReportedTimes
from edge_deeplab.runtime.native_profiler import profile_operators as ask_native_profiler
from edge_deeplab.runtime.synthetic_model import product_chain

METHODS = ("auto", "profiler", "alone")
US_PER_MS = 1000.0


@dataclass(frozen=True, kw_only=True)
class OperatorRow:
    """One operator.

    Attributes:
        index: its number in the file; None for what the engine put in by itself (copies, conversions).
        name: the schema's, e.g. CONV_2D; the engine's for one that it put in.
        layer: the name of its first output.
        kernel: what the engine ran for it, None where the method does not tell.
        output_shape: of its first output.
        computes: "int8" or "float32", the arithmetic of its products; None for an operator without any.
        macs: multiply-adds.
        moved_bytes: of its inputs, constants and outputs, each once.
        time_ms: of one inference; 0 for one that the engine folded into another or did while loading.
        share: of the sum of all rows, 0..1.
    """

    index: int | None
    name: str
    layer: str
    kernel: str | None
    output_shape: tuple[int, ...]
    computes: str | None
    macs: int
    moved_bytes: int
    time_ms: float
    share: float

    @property
    def gops(self) -> float | None:
        """Achieved 10**9 operations a second, a multiply-add counted as two; None without multiply-adds or time."""
        return 2 * self.macs / self.time_ms / 1e6 if self.macs and self.time_ms > 0 else None

    @property
    def gigabytes_per_s(self) -> float | None:
        """Bytes moved a second, in 10**9; None without time."""
        return self.moved_bytes / self.time_ms / 1e6 if self.time_ms > 0 else None

    @property
    def intensity(self) -> float:
        """Operations for each byte moved, the x axis of a roofline."""
        return 2 * self.macs / self.moved_bytes if self.moved_bytes else 0.0


@dataclass(frozen=True, kw_only=True)
class OperatorsReport:
    """All operators of one model, in file order.

    Attributes:
        method: one of "profiler", "benchmark_model", "alone"; see the module.
        threads: of the engine.
        rows: the operators.
        sum_share: the operators' sum over the whole in the same calls; 1 would be everything explained.
        whole_ms: the whole model: its operators' sum, the middle of many calls, over sum_share. Of a machine that other
            programs use this says what the model takes without them, as the operators' times do.
        note: why a better method was not taken, None when the best was.
    """

    method: str
    threads: int
    rows: tuple[OperatorRow, ...]
    whole_ms: float
    sum_share: float
    note: str | None = None

    @property
    def is_estimate(self) -> bool:
        """Whether the times are inferred rather than measured inside of the whole."""
        return self.method == "alone"

    def by_kind(self) -> dict[str, tuple[int, float, float]]:
        """(count, milliseconds, share) of each kind of operator, the slowest first."""
        kinds: dict[str, tuple[int, float, float]] = {}
        for row in self.rows:
            count, time_ms, share = kinds.get(row.name, (0, 0.0, 0.0))
            kinds[row.name] = count + 1, time_ms + row.time_ms, share + row.share
        return dict(sorted(kinds.items(), key=lambda item: -item[1][1]))

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON; from_dict reads them again."""
        fields = dataclasses.asdict(self)
        derived = [
            {"gops": row.gops, "gigabytes_per_s": row.gigabytes_per_s, "intensity": row.intensity} for row in self.rows
        ]
        fields["rows"] = [row | more for row, more in zip(fields["rows"], derived)]
        return fields | {"is_estimate": self.is_estimate}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> OperatorsReport:
        """The report that to_dict wrote. Raises KeyError or TypeError for anything else."""
        names = [field.name for field in dataclasses.fields(OperatorRow)]
        rows = [{name: row[name] for name in names} for row in fields["rows"]]
        return cls(
            rows=tuple(OperatorRow(**{**row, "output_shape": tuple(row["output_shape"])}) for row in rows),
            **{name: fields[name] for name in ("method", "threads", "whole_ms", "sum_share", "note")},
        )


def profile_operators(
    path: Path,
    *,
    threads: int = 1,
    kernels: str = "auto",
    method: str = "auto",
    options: MeasureOptions | None = None,
) -> OperatorsReport:
    """Times every operator of a model that loads.

    method: "profiler" or "alone" (see the module), or "auto": the profiler where the engine has one.
    Raises: NativeProfilerError when the profiler was asked for and cannot be had; ModelError when the graph cannot be
        read or, for "alone", not be cut; MissingExtraError where the engine brings no reader for graphs.
    """
    if method not in METHODS:
        raise UsageError("unknown way to time operators", came=method, allowed=", ".join(METHODS))
    chosen = options or MeasureOptions()
    graph = TfliteFile.read(path)
    note = None
    if method != "alone":
        try:
            times = ask_native_profiler(path, threads=threads, kernels=kernels, warmup=chosen.warmup, runs=chosen.runs)
            return from_reported(graph, times, threads=threads, partitions=partitions_of(path))
        except NativeProfilerError as error:
            if method == "profiler":
                raise
            note = f"The operators' times are an estimate: {error}."
    return _time_alone(path, graph, threads=threads, kernels=kernels, options=chosen, note=note)


def from_reported(
    graph: TfliteFile, times: ReportedTimes, *, threads: int, partitions: Sequence[Sequence[int]] = ()
) -> OperatorsReport:
    """Gives the times that an engine reported to the operators of the file; `partitions` as assign has them."""
    elapsed_ms = [middle_mean(column) / US_PER_MS for column in times.elapsed_us.T]
    sum_share = float(np.median(times.elapsed_us.sum(axis=1) / times.whole_us))
    reported = [
        TimedKernel(item.name, item.node, item.partition, time_ms) for item, time_ms in zip(times.operators, elapsed_ms)
    ]
    rows = assign(graph, reported, partitions)
    return OperatorsReport(
        method="profiler",
        threads=threads,
        rows=rows,
        whole_ms=sum(elapsed_ms) / sum_share,
        sum_share=sum_share,
    )


class TimedKernel(NamedTuple):
    """A line of an engine's report.

    Attributes:
        name: the engine's.
        node: index in the file, None inside of a delegate.
        partition: of the delegate, from 0 in the order they run; None outside, or where the report does not tell.
        time_ms: of one inference.
    """

    name: str
    node: int | None
    partition: int | None
    time_ms: float


def assign(
    graph: TfliteFile, reported: Sequence[TimedKernel], partitions: Sequence[Sequence[int]] = ()
) -> tuple[OperatorRow, ...]:
    """The file's operators with the times of an engine's report, in file order; what the engine put in comes last.

    reported: in the order of execution.
    partitions: the operators of each of the delegate's partitions. Where they are as many as were reported, each is
        aligned by itself: partitions may run in another order than the file's, their operators do not.
    """
    times_ms = {operator.index: 0.0 for operator in graph.operators}
    times_ms |= {kernel.node: kernel.time_ms for kernel in reported if kernel.node is not None}
    inside = [kernel for kernel in reported if kernel.node is None]
    seen = {kernel.partition for kernel in inside}
    if seen == set(range(len(partitions))):
        groups = [
            (list(numbers), [kernel for kernel in inside if kernel.partition == partition])
            for partition, numbers in enumerate(partitions)
        ]
    else:
        outside = {kernel.node for kernel in reported}
        groups = [([operator.index for operator in graph.operators if operator.index not in outside], inside)]
    names: dict[int, str] = {}
    put_in: list[tuple[str, float]] = []
    for numbers, kernels in groups:
        places = align([graph.operators[number].name for number in numbers], [kernel.name for kernel in kernels])
        for kernel, place in zip(kernels, places):
            if place is None:
                put_in.append((kernel.name, kernel.time_ms))
            else:
                times_ms[numbers[place]], names[numbers[place]] = kernel.time_ms, kernel.name
    return _rows(graph, times_ms, names, put_in)


def _rows(
    graph: TfliteFile,
    times_ms: Mapping[int, float],
    kernels: Mapping[int, str] | None = None,
    put_in: Sequence[tuple[str, float]] = (),
) -> tuple[OperatorRow, ...]:
    total_ms = sum(times_ms.values()) + sum(time_ms for _, time_ms in put_in)
    rows = [
        OperatorRow(
            index=operator.index,
            name=operator.name,
            layer=operator.layer,
            kernel=(kernels or {}).get(operator.index),
            output_shape=operator.outputs[0].shape if operator.outputs else (),
            computes=_computes(operator),
            macs=operator.macs,
            moved_bytes=_moved_bytes(operator),
            time_ms=times_ms[operator.index],
            share=times_ms[operator.index] / total_ms if total_ms > 0 else 0.0,
        )
        for operator in graph.operators
    ]
    rows += [
        OperatorRow(
            index=None, name=name, layer="", kernel=name, output_shape=(), computes=None, macs=0, moved_bytes=0,
            time_ms=time_ms, share=time_ms / total_ms if total_ms > 0 else 0.0,
        )
        for name, time_ms in put_in
    ]  # fmt: skip
    return tuple(rows)


def _computes(operator: OperatorRecord) -> str | None:
    """The arithmetic of an operator's products. Float inputs with int8 weights are quantized on the way: int8."""
    if not operator.macs:
        return None
    kinds = {tensor.dtype for tensor in operator.inputs[:2] if tensor is not None}
    return "int8" if kinds & {"int8", "uint8", "int4"} else "float32"


def _moved_bytes(operator: OperatorRecord) -> int:
    tensors = {tensor.index: tensor for tensor in (*operator.inputs, *operator.outputs) if tensor is not None}
    return sum(_size_bytes(tensor) for tensor in tensors.values())


def _size_bytes(tensor: TensorRecord) -> int:
    if tensor.dtype == "int4":
        return -(-math.prod(tensor.shape) // 2)
    try:
        return math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
    except TypeError:  # strings, resources and variants have no size
        return 0


def _time_alone(
    path: Path, graph: TfliteFile, *, threads: int, kernels: str, options: MeasureOptions, note: str | None
) -> OperatorsReport:
    cutter = ModelCutter(path.read_bytes(), source=str(path))
    with tempfile.TemporaryDirectory(prefix="edge-deeplab-") as folder, ExitStack() as stack:

        def sampler(model: Path) -> Sampler:
            """Times the second of two calls: the first brings constants and inputs into the cache, as in the whole."""
            engine = stack.enter_context(Engine(model, threads=threads, kernels=kernels, is_known_good=True))
            inputs = random_inputs(engine.inputs)

            def sample() -> float:
                engine.invoke(*inputs)
                start = time.perf_counter_ns()
                engine.invoke(*inputs)
                return (time.perf_counter_ns() - start) / NS_PER_MS

            return sample

        def written(name: str, data: bytes) -> Sampler:
            piece = Path(folder) / f"{name}.tflite"
            piece.write_bytes(data)
            return sampler(piece)

        samplers = {
            "whole": sampler(path),
            "call": written("call", product_chain("float32", pixels=1, channels=1, layers=1)),
        } | {str(index): written(str(index), cutter.operators(index, index)) for index in cutter.running}
        _, counted = collect(samplers, options=options)
    whole, call = counted.pop("whole"), counted.pop("call")
    call_ms = middle_mean(call)  # one multiply-add: what is left is the cost of calling
    times_ms = {operator.index: 0.0 for operator in graph.operators}
    times_ms |= {int(index): max(middle_mean(samples) - call_ms, 0.0) for index, samples in counted.items()}
    # of sums, not of medians: another program's time slice hits the long whole more often than a short operator
    spent_ms = sum(sum(samples) for samples in counted.values()) - call_ms * len(whole) * len(counted)
    sum_share = max(spent_ms, 0.0) / max(sum(whole) - call_ms * len(whole), 1e-9)
    return OperatorsReport(
        method="alone",
        threads=threads,
        rows=_rows(graph, times_ms),
        whole_ms=sum(times_ms.values()) / sum_share if sum_share > 0 else 0.0,
        sum_share=sum_share,
        note=note,
    )


def middle_mean(values: Sequence[float] | np.ndarray) -> float:
    """The mean of the middle half: as deaf to hiccups as the median, and finer than a clock's step."""
    ordered = np.sort(np.asarray(values, np.float64))
    cut = ordered.size // 4
    return float(ordered[cut : ordered.size - cut].mean())
