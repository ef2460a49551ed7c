"""A short soak of the real program, faults and all, and proof that its judge finds what it is there to find."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def soak() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))  # as for a program that is run from there
    spec = importlib.util.spec_from_file_location("soak", BENCHMARKS / "soak.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(BENCHMARKS))


def a_run(soak: ModuleType, **changes: np.ndarray) -> list:
    """200 samples of a run in which nothing grows but what `changes` says, with a jitter."""
    random, count = np.random.default_rng(0), 200
    series = {
        "memory_mib": 120 + random.normal(0, 0.3, count), "latency_ms": 12 + random.normal(0, 2, count),
        "threads": np.full(count, 4), "files": np.full(count, 10), **changes,
    }  # fmt: skip
    return [
        soak.Sample(frame=500 * index, **{name: values[index] for name, values in series.items()})
        for index in range(count)
    ]


def test_a_steady_run_passes_though_its_warm_up_grows(soak) -> None:
    warm_up = np.concatenate([np.linspace(60, 120, 30), np.full(170, 120.0)])
    assert soak.judge(a_run(soak, memory_mib=warm_up)).faults() == []
    jump = np.full(200, 12.0)
    jump[-25:-20] = 400  # a moment of load is no drift
    assert soak.judge(a_run(soak, latency_ms=jump)).faults() == []


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("memory_mib", np.linspace(120, 132, 200), "memory grew by"),
        ("latency_ms", np.linspace(12, 24, 200), "latency grew to"),
        ("files", np.linspace(10, 30, 200).round(), "more files are open"),
        ("threads", np.linspace(4, 9, 200).round(), "more threads run"),
    ],
)
def test_what_grows_is_found(soak, name, values, says) -> None:
    faults = soak.judge(a_run(soak, **{name: values})).faults()
    assert len(faults) == 1 and says in faults[0]


def test_a_short_run_is_refused(soak) -> None:
    with pytest.raises(soak.DeviceError, match="too short"):
        soak.judge(a_run(soak)[:6])


def test_the_program_stays_as_it_was_through_every_fault(tmp_path: Path, bright_model: Path) -> None:
    """The whole line in processes of their own. The limits are for a run in which much is still new."""
    frames, figures = 1500, tmp_path / "soak.json"
    command = [
        sys.executable, str(BENCHMARKS / "soak.py"), "--frames", str(frames), "--fps", "200", "--faults", "90",
        "--size", "160x96", "--model", str(bright_model), "--memory-mib", "16", "--latency-ratio", "4", "--gate",
        "--json", str(figures),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(figures.read_text())
    assert document["frames"] >= frames and document["faults"] == []
    assert any("no good picture" in note for note in document["notes"])
    assert "trying again" in done.stderr and "is back" in done.stderr
    assert "Traceback" not in done.stderr
