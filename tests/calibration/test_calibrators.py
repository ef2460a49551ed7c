from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.calibration.calibrators import LEVELS, NAMES, Calibrator, choose_range, divergence, squared_error
from edge_deeplab.calibration.observers import Histogram, extremes
from edge_deeplab.errors import UsageError

RNG = np.random.default_rng(0)
TENSORS: dict[str, np.ndarray] = {
    "signed": RNG.normal(0.2, 1.0, 40_000),
    "rectified": np.maximum(RNG.normal(0.0, 1.0, 40_000), 0.0),
    "outliers": np.concatenate([RNG.normal(0, 1, 40_000), [80.0, -35.0]]),
    "rectified outlier": np.append(np.maximum(RNG.normal(0, 1, 40_000), 0.0), 100.0),
    "negative": -np.abs(RNG.normal(0.0, 2.0, 10_000)),
    "long tail": RNG.laplace(0.0, 0.3, 40_000) * RNG.choice([1.0, 10.0], 40_000, p=[0.98, 0.02]),
}


def histogram_of(values: np.ndarray, bins: int = 2048) -> Histogram:
    low, high = extremes([values])
    return Histogram.of([values], low=low, high=high, bins=bins)


def quantized(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """TFLite's int8: the zero point rounded to a level, 256 levels, values clipped."""
    step = (high - low) / (LEVELS - 1)
    zero_point = round(-low / step)
    return (np.clip(np.rint(values / step) + zero_point, 0, LEVELS - 1) - zero_point) * step


@pytest.mark.parametrize("tensor", TENSORS)
@pytest.mark.parametrize("name", NAMES)
def test_every_range_holds_zero_and_stays_within_what_was_seen(tensor: str, name: str) -> None:
    histogram = histogram_of(TENSORS[tensor])
    low, high = choose_range(histogram, Calibrator(name))
    assert histogram.low <= low <= 0.0 <= high <= histogram.high
    assert high > low


@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_that_is_always_zero_keeps_its_empty_range(name: str) -> None:
    assert choose_range(histogram_of(np.zeros(10)), Calibrator(name)) == (0.0, 0.0)


def test_min_max_is_the_extremes() -> None:
    values = TENSORS["outliers"]
    assert choose_range(histogram_of(values), Calibrator("min-max")) == (values.min(), values.max())


@pytest.mark.parametrize("tensor", ["signed", "long tail", "negative"])
@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_percentile_leaves_out_its_share_at_each_end(tensor: str, percentile: float) -> None:
    values = TENSORS[tensor]
    histogram = histogram_of(values)
    low, high = choose_range(histogram, Calibrator("percentile", percentile))
    share = 1 - percentile / 100

    def in_bin_of(end: float) -> float:
        return float((np.abs(values - end) <= histogram.width).mean()) + 1 / values.size

    assert (values < low).mean() == pytest.approx(share, abs=in_bin_of(low))
    if tensor == "negative":
        assert high == 0.0  # the range must hold zero, though every value lies below it
    else:
        assert (values > high).mean() == pytest.approx(share, abs=in_bin_of(high))


def test_percentile_counts_the_zeros_behind_a_relu() -> None:
    values = TENSORS["rectified"]
    histogram = histogram_of(values)
    low, high = choose_range(histogram, Calibrator("percentile", 99.0))
    assert low == 0.0
    assert high == pytest.approx(np.percentile(values, 99.0), abs=2 * histogram.width)


@pytest.mark.parametrize("tensor", TENSORS)
def test_squared_error_is_that_of_the_values_rounded_one_by_one(tensor: str) -> None:
    values = TENSORS[tensor]
    histogram = histogram_of(values)
    for share in (1.0, 0.4, 0.1):
        low, high = histogram.low * share, histogram.high * share
        direct = float(((values - quantized(values, low, high)) ** 2).sum())
        # both know a value to one bin; where the step is as fine as a bin, rounding is known to half of it
        assert squared_error(histogram, low, high) == pytest.approx(direct, rel=0.05)


@pytest.mark.parametrize("tensor", TENSORS)
def test_mse_is_as_good_as_a_search_over_all_pairs_of_ends(tensor: str) -> None:
    values = TENSORS[tensor]
    low, high = choose_range(histogram_of(values), Calibrator("mse"))
    found = float(((values - quantized(values, low, high)) ** 2).mean())
    shares = np.linspace(0.04, 1.0, 25)
    least = min(
        float(((values - quantized(values, values.min() * a, max(values.max(), 0.0) * b)) ** 2).mean())
        for a in (shares if values.min() < 0 else [0.0])
        for b in (shares if values.max() > 0 else [0.0])
    )
    assert found <= 1.05 * least


def test_entropy_finds_the_window_that_a_direct_search_finds() -> None:
    values = TENSORS["rectified outlier"]
    histogram = histogram_of(values)

    def direct(stop: int) -> float:
        """Migacz's pseudo-code, bin by bin."""
        reference = histogram.counts[:stop].astype(float)
        reference[-1] += histogram.counts[stop:].sum()
        window, candidate = histogram.counts[:stop], np.zeros(stop)
        for level in range(LEVELS):
            members = [index for index in range(stop) if index * LEVELS // stop == level]
            filled = [index for index in members if window[index]]
            for index in filled:
                candidate[index] = sum(window[member] for member in members) / len(filled)
        p, q = reference / reference.sum(), candidate / candidate.sum()
        return smoothed_divergence(p, q)

    for stop in (256, 500, 1024, 2048):
        assert divergence(histogram, 0, stop) == pytest.approx(direct(stop), rel=1e-9)


def smoothed_divergence(p: np.ndarray, q: np.ndarray) -> float:
    parts = []
    for share in (p, q):
        empty = share == 0
        share = np.where(empty, 1e-4, np.maximum(share - 1e-4 * empty.sum() / (~empty).sum(), 1e-7))
        parts.append(share / share.sum())
    return float(sum(a * np.log(a / b) for a, b in zip(*parts)))


@pytest.mark.parametrize("name", ["percentile", "entropy"])  # mse cuts it where that is the lesser error: above
@pytest.mark.parametrize("tensor", ["outliers", "rectified outlier"])
def test_a_lone_outlier_is_cut_off(name: str, tensor: str) -> None:
    low, high = choose_range(histogram_of(TENSORS[tensor]), Calibrator(name))
    assert high < 40.0
    if tensor == "outliers":
        assert low > -20.0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 250.0])
@pytest.mark.parametrize("name", NAMES)
def test_ranges_scale_with_the_values(name: str, scale: float) -> None:
    once = choose_range(histogram_of(TENSORS["long tail"]), Calibrator(name))
    scaled = choose_range(histogram_of(TENSORS["long tail"] * scale), Calibrator(name))
    assert scaled == pytest.approx(tuple(end * scale for end in once), rel=0.02)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=60), st.sampled_from(NAMES))
def test_any_values_give_a_finite_range(values: list[float], name: str) -> None:
    low, high = choose_range(histogram_of(np.array(values, np.float64)), Calibrator(name))
    assert np.isfinite([low, high]).all()
    assert low <= 0.0 <= high


@pytest.mark.parametrize("text", ["mse", "min-max", "entropy", "percentile:99.5"])
def test_a_name_reads_back_as_written(text: str) -> None:
    assert str(Calibrator.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mes", "did you mean mse"),
        ("mse:3", "takes no number"),
        ("percentile:often", "is no number"),
        ("percentile:30", "above 50"),
    ],
)
def test_a_wrong_name_is_refused(text: str, said: str) -> None:
    parse: Callable[[str], Calibrator] = Calibrator.parse
    with pytest.raises(UsageError, match=said):
        parse(text)
