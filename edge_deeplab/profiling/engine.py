"""Measuring a model file by itself: what it is, how long it loads, how long one inference takes.

Frames, stages and start-up are other files' subjects.

    facts = describe_model(path)
    for threads in (1, 2):
        profile_engine(path, threads=threads).latency.median_ms
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.errors import MissingExtraError, ModelError
from edge_deeplab.manifest import read_manifest
from edge_deeplab.profiling.latency import (
    NS_PER_MS,
    LatencyStats,
    MeasureOptions,
    PairStats,
    collect,
    measure_pair,
    timed,
)
from edge_deeplab.runtime.flatbuffer import TfliteFile
from edge_deeplab.runtime.interpreter import Engine, TensorInfo, ensure_loads

SEED = 20  # of the random pixels; latency does not depend on them


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What was measured: without it a latency is worthless.

    Attributes:
        file: name of the file, without its folder.
        name: what its manifest calls it, None without a manifest.
        sha256, size_bytes: of the file.
        inputs, outputs: (name, shape, dtype) of each tensor at the ends.
        multiply_adds: of the convolutions and matrix products of one inference; None where the installed engine
            brings no reader for graphs (tflite-runtime).
        uncounted: custom operators, whose cost multiply_adds leaves out.
    """

    file: str
    name: str | None
    sha256: str
    size_bytes: int
    inputs: tuple[tuple[str, tuple[int, ...], str], ...]
    outputs: tuple[tuple[str, tuple[int, ...], str], ...]
    multiply_adds: int | None
    uncounted: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ModelFacts:
        """The facts that to_dict wrote. Raises KeyError, TypeError or ValueError for anything else."""
        known = {field.name: fields[field.name] for field in dataclasses.fields(cls)}
        for side in ("inputs", "outputs"):
            known[side] = tuple((name, tuple(shape), dtype) for name, shape, dtype in fields[side])
        return cls(**{**known, "uncounted": tuple(fields["uncounted"])})


@dataclass(frozen=True, kw_only=True)
class EngineProfile:
    """One model on a number of threads.

    Attributes:
        threads: of the engine.
        kernels: as asked of the engine: auto, xnnpack, builtin or reference.
        load_ms: making the interpreter, in a process whose engine package and file cache are warm.
        latency: of one inference, input tensor set and output tensor read; its first_ms packs the weights.
        samples_ms: every counted inference in the order they ran, for a picture of their distribution.
    """

    threads: int
    kernels: str
    load_ms: float
    latency: LatencyStats
    samples_ms: Sequence[float] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON; samples to the nanosecond."""
        return dataclasses.asdict(self) | {"samples_ms": [round(sample, 6) for sample in self.samples_ms]}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> EngineProfile:
        """The profile that to_dict wrote. Raises KeyError or TypeError for anything else."""
        return cls(
            threads=fields["threads"],
            kernels=fields["kernels"],
            load_ms=fields["load_ms"],
            latency=LatencyStats(**fields["latency"]),
            samples_ms=tuple(fields.get("samples_ms", ())),
        )


def describe_model(path: Path) -> ModelFacts:
    """Reads the facts of a .tflite file. Raises ModelError when it is not one, or does not load."""
    manifest = read_manifest(path)
    ensure_loads(path)
    try:
        graph = TfliteFile.read(path)
    except MissingExtraError:
        graph = None
    with Engine(path, is_known_good=True) as engine:
        inputs, outputs = _ends(engine.inputs), _ends(engine.outputs)
    operators = graph.operators if graph else ()
    content = path.read_bytes()
    return ModelFacts(
        file=path.name,
        name=manifest.name if manifest else None,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        inputs=inputs,
        outputs=outputs,
        multiply_adds=graph.macs if graph else None,
        uncounted=tuple(sorted({item.name for item in operators if item.name.startswith("CUSTOM:")})),
    )


def _ends(tensors: Sequence[TensorInfo]) -> tuple[tuple[str, tuple[int, ...], str], ...]:
    return tuple((item.name, tuple(int(side) for side in item.shape), str(np.dtype(item.dtype))) for item in tensors)


def random_inputs(inputs: Sequence[TensorInfo]) -> list[np.ndarray]:
    """Arrays a model can be run on: every value of an integer type alike, 0..1 for float types.

    Raises: ModelError naming an input of a type that is no picture's.
    """
    generator = np.random.default_rng(SEED)
    arrays = []
    for tensor in inputs:
        dtype = np.dtype(tensor.dtype)
        if dtype.kind in "iu":
            span = np.iinfo(dtype)
            arrays.append(generator.integers(span.min, span.max, tensor.shape, dtype, endpoint=True))
        elif dtype.kind == "f":
            arrays.append(generator.random(tuple(tensor.shape), np.float32).astype(dtype))
        else:
            raise ModelError(f"the input {tensor.name} cannot be measured", came=dtype, allowed="integers or floats")
    return arrays


def profile_engine(
    path: Path, *, threads: int = 1, kernels: str = "auto", options: MeasureOptions | None = None
) -> EngineProfile:
    """Loads and measures a model on `threads` threads. Raises ModelError when it does not load."""
    ensure_loads(path, kernels=kernels)
    start = time.perf_counter_ns()
    with Engine(path, threads=threads, kernels=kernels, is_known_good=True) as engine:
        load_ms = (time.perf_counter_ns() - start) / NS_PER_MS
        inputs = random_inputs(engine.inputs)
        call = timed(lambda: engine.run(*inputs))
        warmup, counted = collect({"run": call}, options=options or MeasureOptions())
    return EngineProfile(
        threads=threads,
        kernels=kernels,
        load_ms=load_ms,
        latency=LatencyStats.from_samples(counted["run"], warmup["run"]),
        samples_ms=tuple(counted["run"]),
    )


def compare_engines(
    first: Path, second: Path, *, threads: int = 1, kernels: str = "auto", options: MeasureOptions | None = None
) -> PairStats:
    """Measures two models in turns, both loaded at once. Raises ModelError when one does not load."""
    for path in (first, second):
        ensure_loads(path, kernels=kernels)
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(Engine(path, threads=threads, kernels=kernels, is_known_good=True))
            for path in (first, second)
        )
        one_inputs, other_inputs = random_inputs(one.inputs), random_inputs(other.inputs)
        return measure_pair(lambda: one.run(*one_inputs), lambda: other.run(*other_inputs), options=options)
