"""What the machine can do at best, measured: the roof over every operator.

    peaks = measure_peaks(threads=1)
    peaks.int8_gops, peaks.memory_gb_s
    peaks.roof_gops("int8", intensity=4.0)

The peaks of arithmetic come from chains of large matrix products through the same engine, kernels and threads as the
model: what this engine reaches here, not what a data sheet promises. Bandwidth is that of copying, each byte counted
once read and once written. The roofline: Williams, Waterman, Patterson, "Roofline", CACM 52 (2009) 4.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.profiling.engine import random_inputs
from edge_deeplab.profiling.latency import MeasureOptions, collect, timed
from edge_deeplab.runtime.interpreter import Engine
from edge_deeplab.runtime.synthetic_model import product_chain

# Multiply-adds enough to drown the call's own cost, operands small enough to stay in the second-level cache.
PIXELS, LAYERS = 1024, 2
CHANNELS = (128, 256, 512)  # the best of these: which one wins differs with register and cache sizes
MEMORY_BYTES = 128 * 1024 * 1024  # beyond the last-level cache of most machines
CACHE_BYTES = 128 * 1024  # for each thread, within the second-level cache
OPTIONS = MeasureOptions(warmup=2, runs=20, max_duration_s=1.5, min_runs=5)


@dataclass(frozen=True, kw_only=True)
class MachinePeaks:
    """The best of several tries.

    Attributes:
        threads, kernels: of the engine, and as many threads copying.
        int8_gops, float32_gops: 10**9 operations a second, a multiply-add counted as two.
        memory_gb_s: 10**9 bytes a second, read and written, of arrays that no cache holds.
        cache_gb_s: the same within the second-level cache, where a small model's maps live.
    """

    threads: int
    kernels: str
    int8_gops: float
    float32_gops: float
    memory_gb_s: float
    cache_gb_s: float

    def peak_gops(self, computes: str) -> float:
        """The peak of "int8" or "float32" arithmetic. Raises KeyError for another."""
        return {"int8": self.int8_gops, "float32": self.float32_gops}[computes]

    def roof_gops(self, computes: str, *, intensity: float) -> float:
        """The most that an operator of `intensity` operations a byte can reach while its maps come from the cache."""
        return min(self.peak_gops(computes), intensity * self.cache_gb_s)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> MachinePeaks:
        """The peaks that to_dict wrote. Raises KeyError for anything else."""
        return cls(**{field.name: fields[field.name] for field in dataclasses.fields(cls)})


def measure_peaks(*, threads: int = 1, kernels: str = "auto", options: MeasureOptions = OPTIONS) -> MachinePeaks:
    """Measures the machine, in a few seconds. Raises MissingExtraError where the engine brings no schema."""
    return MachinePeaks(
        threads=threads,
        kernels=kernels,
        int8_gops=_products_gops("int8", threads, kernels, options),
        float32_gops=_products_gops("float32", threads, kernels, options),
        memory_gb_s=_copy_gb_s(MEMORY_BYTES // 2, threads, options),
        cache_gb_s=_copy_gb_s(CACHE_BYTES // 2 * threads, threads, options, repeats=50),
    )


def _products_gops(dtype: str, threads: int, kernels: str, options: MeasureOptions) -> float:
    best = 0.0
    for channels in CHANNELS:
        operations = 2 * LAYERS * PIXELS * channels**2
        with tempfile.TemporaryDirectory(prefix="edge-deeplab-") as folder:
            model = Path(folder) / f"{dtype}.tflite"
            model.write_bytes(product_chain(dtype, pixels=PIXELS, channels=channels, layers=LAYERS))
            with Engine(model, threads=threads, kernels=kernels, is_known_good=True) as engine:
                inputs = random_inputs(engine.inputs)
                _, counted = collect({"products": timed(lambda: engine.invoke(*inputs))}, options=options)  # noqa: B023
        best = max(best, operations / min(counted["products"]) / 1e6)
    return best


def _copy_gb_s(size_bytes: int, threads: int, options: MeasureOptions, *, repeats: int = 1) -> float:
    """Copies `size_bytes` in as many parts as threads, `repeats` times a call; numpy copies without Python's lock."""
    share = size_bytes // threads
    pairs = [(np.zeros(share, np.uint8), np.ones(share, np.uint8)) for _ in range(threads)]

    def copy(pair: tuple[np.ndarray, np.ndarray]) -> None:
        for _ in range(repeats):
            np.copyto(*pair)

    if threads == 1:
        _, counted = collect({"copy": timed(lambda: copy(pairs[0]))}, options=options)
    else:
        with ThreadPoolExecutor(threads) as pool:
            _, counted = collect({"copy": timed(lambda: list(pool.map(copy, pairs)))}, options=options)
    return 2 * share * threads * repeats / min(counted["copy"]) / 1e6
