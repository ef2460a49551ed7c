"""Profiling real model files with the real interpreter."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_deeplab.errors import ModelError, UsageError
from edge_deeplab.profiling.engine import compare_engines, describe_model, profile_engine, random_inputs
from edge_deeplab.profiling.latency import MeasureOptions
from edge_deeplab.profiling.startup import measure_startup
from edge_deeplab.runtime.interpreter import Engine

QUICK = MeasureOptions(warmup=1, runs=3, min_runs=1)


@pytest.fixture(scope="module")
def voc_int8(shared: Path) -> Path:
    return shared / "models" / "deeplabv3_mnv2_dm05_pascal_quant.tflite"


@pytest.fixture(scope="module")
def voc_float(shared: Path) -> Path:
    return shared / "models" / "deeplabv3_257_mv_gpu.tflite"


def test_a_model_is_described_by_hash_size_and_ends(voc_int8: Path) -> None:
    facts = describe_model(voc_int8)
    assert facts.sha256 == hashlib.sha256(voc_int8.read_bytes()).hexdigest()
    assert facts.size_bytes == voc_int8.stat().st_size
    assert [end[1:] for end in facts.inputs] == [((1, 513, 513, 3), "uint8")]
    assert facts.name is None  # it carries no manifest
    assert facts.multiply_adds and facts.multiply_adds > 1e8


def test_a_model_is_measured_on_each_number_of_threads(voc_float: Path) -> None:
    profiles = [profile_engine(voc_float, threads=threads, options=QUICK) for threads in (1, 2)]
    assert [profile.threads for profile in profiles] == [1, 2]
    for profile in profiles:
        assert profile.latency.count == 3
        assert profile.latency.warmup_count == 1
        assert profile.load_ms > 0


def test_more_work_takes_longer_when_measured_in_turns(voc_float: Path, voc_int8: Path) -> None:
    """At 513 x 513 the same network costs four times the 257 x 257 one's multiply-adds; int8 saves less than that."""
    pair = compare_engines(voc_int8, voc_float, options=QUICK)
    assert pair.ratio > 1.0


def test_random_inputs_fit_the_model_and_are_the_same_each_time(voc_int8: Path, voc_float: Path) -> None:
    for path in (voc_int8, voc_float):
        with Engine(path) as engine:
            first, again = random_inputs(engine.inputs), random_inputs(engine.inputs)
            assert all(np.array_equal(one, other) for one, other in zip(first, again))
            assert [array.dtype for array in first] == [info.dtype for info in engine.inputs]
            engine.run(*first)


def test_a_model_alone_starts_in_steps(voc_float: Path) -> None:
    report = measure_startup([sys.executable, "-m", "edge_deeplab.profiling.child", str(voc_float)], runs=1)
    names = [step.name for step in report.steps]
    assert names == ["interpreter", "imports", "load", "first inference", "steady inferences"]
    assert report.peak_memory_bytes is None or report.peak_memory_bytes > voc_float.stat().st_size


@pytest.mark.parametrize("content", [None, b"", b"no model at all"])
def test_a_file_that_is_no_model_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.tflite") as caught:
        describe_model(path)
    assert "\n" not in str(caught.value)


def test_no_threads_are_refused(voc_float: Path) -> None:
    with pytest.raises(UsageError):
        profile_engine(voc_float, threads=0, options=QUICK)
