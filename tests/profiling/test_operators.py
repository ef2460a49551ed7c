"""Times by operator on the real engine, by both of its ways, against each other and against the whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from handmade_tflite import bright_segmenter

from edge_deeplab.errors import UsageError
from edge_deeplab.profiling.latency import MeasureOptions
from edge_deeplab.profiling.operators import OperatorsReport, TimedKernel, assign, middle_mean, profile_operators
from edge_deeplab.runtime import native_profiler
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.flatbuffer import TfliteFile
from edge_deeplab.runtime.native_profiler import NativeProfilerError

QUICK = MeasureOptions(warmup=2, runs=10, min_runs=1)


@pytest.fixture(scope="module")
def both() -> dict[str, OperatorsReport]:
    path, options = bundled_model("portrait"), MeasureOptions(warmup=2, runs=30)
    return {method: profile_operators(path, method=method, options=options) for method in ("profiler", "alone")}


def test_each_way_gives_every_operator_of_the_file(both: dict[str, OperatorsReport]) -> None:
    graph = TfliteFile.read(bundled_model("portrait"))
    for method, report in both.items():
        assert (report.method, report.is_estimate) == (method, method == "alone")
        assert [(row.index, row.name, row.macs) for row in report.rows] == [
            (operator.index, operator.name, operator.macs) for operator in graph.operators
        ]
        assert sum(row.share for row in report.rows) == pytest.approx(1.0)
        assert sum(row.macs for row in report.rows) == graph.macs


def test_the_two_ways_agree_about_where_the_time_goes(both: dict[str, OperatorsReport]) -> None:
    """Shares, not milliseconds: a busy machine slows all alike.

    The ways differ by 0.03 to 0.07 summed over all operators, on a quiet machine and on one with four times as much
    to do as it has processors; shares dealt out at random differ by more than 1.
    """
    shares = [np.array([row.share for row in report.rows]) for report in both.values()]
    assert np.abs(shares[0] - shares[1]).sum() < 0.4
    assert np.corrcoef(*shares)[0, 1] > 0.8


def test_parts_and_whole_are_held_against_each_other(both: dict[str, OperatorsReport]) -> None:
    assert 0.5 < both["profiler"].sum_share <= 1.0  # inside of one run the parts cannot exceed the whole
    assert 0.3 < both["alone"].sum_share < 3.0
    assert all(report.whole_ms > 0 for report in both.values())


def test_achieved_rates_follow_from_time_and_cost(both: dict[str, OperatorsReport]) -> None:
    row = max(both["profiler"].rows, key=lambda row: row.macs)
    assert row.gops == pytest.approx(2 * row.macs / (row.time_ms * 1e-3) / 1e9)
    assert row.computes == "int8"
    # 31.46 M multiply-adds on 64 x 64 x 120 -> 64 maps, int8, weights and int32 bias
    assert row.moved_bytes == 64 * 64 * (120 + 64) + 120 * 64 + 4 * 64 or row.output_shape != (1, 64, 64, 64)
    without = next(row for row in both["profiler"].rows if row.name == "ADD")
    assert without.gops is None and without.computes is None and without.intensity == 0.0


def test_a_report_survives_json(both: dict[str, OperatorsReport]) -> None:
    for report in both.values():
        assert OperatorsReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_kinds_are_summed_the_slowest_first(both: dict[str, OperatorsReport]) -> None:
    kinds = both["profiler"].by_kind()
    assert sum(count for count, _, _ in kinds.values()) == 84
    times = [time_ms for _, time_ms, _ in kinds.values()]
    assert times == sorted(times, reverse=True)


def test_without_the_profiler_the_estimate_is_taken_and_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "small.tflite"
    path.write_bytes(bright_segmenter(io="uint8").to_bytes())
    monkeypatch.setattr(native_profiler, "LIBRARY_NAMES", ())
    report = profile_operators(path, options=QUICK)
    assert report.method == "alone" and report.note is not None and "estimate" in report.note
    with pytest.raises(NativeProfilerError):
        profile_operators(path, method="profiler", options=QUICK)


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(UsageError, match="profiler"):
        profile_operators(bundled_model("portrait"), method="guess")


def test_what_the_engine_put_in_is_a_row_of_its_own() -> None:
    graph = TfliteFile.from_bytes(bright_segmenter(io="uint8").to_bytes())  # QUANTIZE, CONV_2D, QUANTIZE
    reported = [
        TimedKernel("QUANTIZE", 0, None, 1.0),
        TimedKernel("Transpose (ND)", None, 0, 0.5),
        TimedKernel("Convolution IGEMM", None, 0, 2.0),
    ]
    rows = assign(graph, reported)
    assert [(row.index, row.time_ms) for row in rows] == [(0, 1.0), (1, 2.0), (2, 0.0), (None, 0.5)]
    assert rows[1].kernel == "Convolution IGEMM"
    assert sum(row.share for row in rows) == pytest.approx(1.0)


def test_partitions_that_run_in_another_order_than_the_files_keep_their_own() -> None:
    """The last operator is in the first partition, which runs before the middle one."""
    graph = TfliteFile.from_bytes(bright_segmenter(io="uint8").to_bytes())  # QUANTIZE, CONV_2D, QUANTIZE
    reported = [
        TimedKernel("Convert (NC)", None, 0, 1.0),
        TimedKernel("Convert (NC)", None, 0, 3.0),
        TimedKernel("Convolution IGEMM", None, 1, 2.0),
    ]
    times = [row.time_ms for row in assign(graph, reported, [(0, 2), (1,)])]
    assert times == [1.0, 2.0, 3.0]
    assert [row.time_ms for row in assign(graph, reported, [(0, 1, 2)])] != times  # not what the report says: one list


def test_the_middle_mean_is_deaf_to_hiccups_and_finer_than_a_step() -> None:
    assert middle_mean([1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 1000.0, 5000.0]) == 2.0
    assert middle_mean([3, 4] * 50) == 3.5
    assert middle_mean([7.0]) == 7.0
