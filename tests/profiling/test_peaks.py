from __future__ import annotations

import json
from pathlib import Path

from edge_deeplab.profiling.latency import MeasureOptions
from edge_deeplab.profiling.peaks import MachinePeaks, measure_peaks

QUICK = MeasureOptions(warmup=1, runs=3, min_runs=1)
PEAKS = MachinePeaks(
    threads=1, kernels="auto", int8_gops=400.0, float32_gops=100.0, memory_gb_s=20.0, cache_gb_s=80.0
)  # fmt: skip


def test_the_roof_is_the_lower_of_arithmetic_and_bandwidth() -> None:
    assert PEAKS.roof_gops("int8", intensity=1.0) == 80.0
    assert PEAKS.roof_gops("int8", intensity=5.0) == PEAKS.roof_gops("int8", intensity=50.0) == 400.0
    assert PEAKS.roof_gops("float32", intensity=5.0) == 100.0


def test_peaks_survive_json() -> None:
    assert MachinePeaks.from_dict(json.loads(json.dumps(PEAKS.to_dict()))) == PEAKS


def test_a_machine_is_measured_through_its_engine() -> None:
    peaks = measure_peaks(threads=1, options=QUICK)
    assert peaks.int8_gops > 1 and peaks.float32_gops > 1 and peaks.memory_gb_s > 0.1
    assert peaks.cache_gb_s > peaks.memory_gb_s / 2  # a cache is not slower than memory; half of it for a busy machine


def test_kernels_without_simd_reach_less(tmp_path: Path) -> None:
    """The peak is the engine's: LiteRT's plain kernels do not reach what XNNPACK does."""
    assert measure_peaks(kernels="builtin", options=QUICK).int8_gops < measure_peaks(options=QUICK).int8_gops
