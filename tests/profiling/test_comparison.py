"""Two models in turns: the arithmetic on made-up samples, the turns on a log, the verdict on real engines."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edge_deeplab.errors import ModelError, UsageError
from edge_deeplab.profiling.comparison import compare_models, from_rounds, take_turns
from edge_deeplab.profiling.latency import MeasureOptions
from edge_deeplab.runtime.synthetic_model import product_chain

ROUNDS, CALLS = 8, 12


def rounds_of(
    ratio: float, *, load_noise: float, call_noise: float, seed: int, hiccups: float = 0.0
) -> list[dict[str, Sequence[float]]]:
    """Samples of a machine on which a load of a file is off by `load_noise`, and a call by `call_noise`."""
    random = np.random.default_rng(seed)

    def one(base_ms: float) -> list[float]:
        loaded = base_ms * math.exp(random.normal(0, load_noise))
        calls = loaded * np.exp(random.normal(0, call_noise, CALLS))
        return list(calls + 20.0 * (random.random(CALLS) < hiccups))

    return [{"first": one(ratio * 4.0), "second": one(4.0), "first again": one(ratio * 4.0)} for _ in range(ROUNDS)]


def test_equal_models_are_called_equal_though_each_load_differs() -> None:
    """A load that is a percent off would be a sure difference to an interval over its calls. 0 to 2 of 200 may slip."""
    wrong = 0
    for seed in range(200):
        found = from_rounds(rounds_of(1.0, load_noise=0.01, call_noise=0.02, seed=seed), threads=1, kernels="auto")
        wrong += found.exceeds_noise
    assert wrong <= 2


def test_a_difference_of_a_few_percent_is_found_through_hiccups() -> None:
    found = [
        from_rounds(
            rounds_of(1.05, load_noise=0.005, call_noise=0.02, seed=seed, hiccups=0.1), threads=1, kernels="auto"
        )
        for seed in range(50)
    ]
    assert sum(one.exceeds_noise for one in found) >= 45
    assert np.mean([one.ratio for one in found]) == pytest.approx(1.05, abs=0.005)
    assert all("slower" in one.verdict for one in found if one.exceeds_noise)


def test_the_interval_holds_the_truth_95_times_in_100() -> None:
    hits = 0
    for seed in range(300):
        one = from_rounds(rounds_of(0.9, load_noise=0.02, call_noise=0.02, seed=seed), threads=1, kernels="auto")
        hits += one.low <= 0.9 <= one.high
    assert hits / 300 >= 0.92  # 95 % less two standard errors of 300 draws


def test_one_round_proves_nothing_and_is_refused() -> None:
    with pytest.raises(UsageError, match="2 or more"):
        compare_models(Path("a.tflite"), Path("b.tflite"), rounds=1)


def test_a_verdict_says_direction_size_and_noise() -> None:
    faster = from_rounds(rounds_of(0.8, load_noise=0.001, call_noise=0.001, seed=0), threads=1, kernels="auto")
    assert faster.verdict.startswith("The first is faster by 19.9%") and "noise" in faster.verdict
    same = from_rounds(rounds_of(1.0, load_noise=0.001, call_noise=0.001, seed=0), threads=1, kernels="auto")
    assert same.verdict.startswith("No difference beyond the noise")


def test_turns_are_fair() -> None:
    """None runs after itself, and each runs as often after either of the others."""
    log: list[str] = []
    samplers = {name: (lambda name=name: log.append(name) or 1.0) for name in "abc"}
    taken = take_turns(samplers, 12)
    assert {name: len(calls) for name, calls in taken.items()} == {"a": 12, "b": 12, "c": 12}
    follows = Counter(pairwise(log))
    assert all(before != after for before, after in follows)
    assert max(follows.values()) - min(follows.values()) <= 1 and len(follows) == 6


@pytest.fixture
def chains(tmp_path: Path) -> tuple[Path, Path]:
    """The same layers once and three times: about three times the work."""
    paths = []
    for layers in (1, 3):
        paths.append(tmp_path / f"chain{layers}.tflite")
        paths[-1].write_bytes(product_chain("float32", pixels=512, channels=128, layers=layers))
    return paths[0], paths[1]


def test_the_same_file_twice_is_no_difference_and_three_times_the_work_is_one(chains: tuple[Path, Path]) -> None:
    small, large = chains
    options = MeasureOptions(warmup=3, runs=64)
    assert not compare_models(small, small, options=options).exceeds_noise
    found = compare_models(large, small, options=options)
    assert found.exceeds_noise and found.ratio > 1.5
    assert found.first.count == found.second.count == 64
    assert json.loads(json.dumps(found.to_dict()))["exceeds_noise"] is True


def test_a_file_that_is_no_model_is_refused(chains: tuple[Path, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    with pytest.raises(ModelError, match="broken"):
        compare_models(chains[0], broken)
