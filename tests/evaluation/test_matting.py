"""The four matting errors: answers worked out by hand, an independent slow reference, laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from edge_deeplab.evaluation.matting import connectivity_error, gradient_error, matting_errors, mse, sad


def disc(radius_px: float, *, softness_px: float = 4.0, across: float = 0.0) -> np.ndarray:
    rows, columns = np.mgrid[:60, :80]
    return np.clip((radius_px - np.hypot(rows - 30, columns - 40 - across)) / softness_px + 0.5, 0, 1)


def slow_gradient(alpha: np.ndarray, truth: np.ndarray) -> float:
    """The error by loops over the full two-dimensional filter, as the papers' code builds it."""
    sigma, epsilon = 1.4, 1e-2
    half = int(np.ceil(sigma * np.sqrt(-2 * np.log(np.sqrt(2 * np.pi) * sigma * epsilon))))
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    for i in range(-half, half + 1):
        for j in range(-half, half + 1):
            bell = math.exp(-(i**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
            slope = -j * math.exp(-(j**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi)) / sigma**2
            kernel[i + half, j + half] = bell * slope
    kernel /= math.sqrt((kernel**2).sum())

    def magnitude(matte: np.ndarray) -> np.ndarray:
        across = ndimage.convolve(matte, kernel, mode="nearest")
        down = ndimage.convolve(matte, kernel.T, mode="nearest")
        return np.sqrt(across**2 + down**2)

    return float(((magnitude(alpha) - magnitude(truth)) ** 2).sum()) / 1000


def slow_connectivity(alpha: np.ndarray, truth: np.ndarray) -> float:
    """The error pixel by pixel, with scipy's labels and the definition read word for word."""
    thresholds = [step / 10 for step in range(11)]
    omegas = []
    for threshold in thresholds:
        regions, count = ndimage.label((alpha >= threshold) & (truth >= threshold))
        sizes = [int((regions == number).sum()) for number in range(1, count + 1)]
        omegas.append(regions == 1 + int(np.argmax(sizes)) if sizes else np.zeros(alpha.shape, bool))
    total = 0.0
    for pixel in np.ndindex(*alpha.shape):
        level = 1.0
        for before, omega in zip(thresholds, omegas[1:], strict=False):
            if not omega[pixel]:
                level = before
                break
        d_alpha, d_truth = alpha[pixel] - level, truth[pixel] - level
        phi_alpha = 1 - d_alpha * (d_alpha >= 0.15)
        phi_truth = 1 - d_truth * (d_truth >= 0.15)
        total += abs(phi_alpha - phi_truth)
    return total / 1000


def test_a_perfect_matte_has_no_error() -> None:
    errors = matting_errors(disc(20), disc(20))
    assert (errors.sad, errors.mse, errors.gradient, errors.connectivity) == (0, 0, 0, 0)


def test_sums_and_means_by_hand() -> None:
    alpha, truth = np.array([[0.0, 0.5, 1.0]]), np.array([[0.25, 0.5, 0.0]])
    assert sad(alpha, truth) == pytest.approx(1.25 / 1000)
    assert mse(alpha, truth) == pytest.approx((0.0625 + 1) / 3)
    where = np.array([[True, True, False]])
    assert sad(alpha, truth, where=where) == pytest.approx(0.25 / 1000)
    assert mse(alpha, truth, where=where) == pytest.approx(0.0625 / 2)
    assert mse(alpha, truth, where=np.zeros((1, 3), bool)) == 0


def test_gradient_of_a_ramp_by_hand() -> None:
    """Far from the border a ramp of slope s has the magnitude s * sum(-x * f(x)), f the filter."""
    at = np.arange(-4, 5)
    bell = np.exp(-(at**2) / (2 * 1.4**2))
    response = np.sum(at * at * bell) * np.sum(bell) / (np.linalg.norm(at * bell) * np.linalg.norm(bell))
    ramp = np.tile(np.linspace(0, 1, 101), (21, 1))  # slope 0.01
    where = np.zeros(ramp.shape, bool)
    where[:, 10:91] = True
    expected = where.sum() * (0.01 * response) ** 2 / 1000
    assert gradient_error(ramp, np.zeros_like(ramp), where=where) == pytest.approx(expected)


def test_an_island_is_not_connected_by_hand() -> None:
    """Person in columns 0..3; a hole of the matte cuts column 3 off from it: level 0, so d is alpha itself."""
    truth = np.array([[1.0, 1.0, 1.0, 1.0]])
    alpha = np.array([[1.0, 1.0, 0.0, 1.0]])
    # column 2: level 0, phi 1 - 0 against 1 - 1; column 3: level 0 for both mattes, phi 0 and 0
    assert connectivity_error(alpha, truth) == pytest.approx(1 / 1000)
    # a faint hole of 0.6: up to there the row hangs together, so column 2 lacks 0.4 and column 3 nothing
    assert connectivity_error(np.array([[1.0, 1.0, 0.6, 1.0]]), truth) == pytest.approx(0.4 / 1000)
    # 0.9: 0.1 is below the tolerance of 0.15
    assert connectivity_error(np.array([[1.0, 1.0, 0.9, 1.0]]), truth) == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_gradient_and_connectivity_agree_with_a_slow_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # smooth fields in steps of 8 bits, stretched so that flat parts, islands and ties occur
    alpha, truth = (
        np.rint(np.clip(ndimage.gaussian_filter(rng.normal(size=(13, 17)), 1.5) * 4 + 0.5, 0, 1) * 255) / 255
        for _ in range(2)
    )
    assert gradient_error(alpha, truth) == pytest.approx(slow_gradient(alpha, truth), rel=1e-9, abs=1e-12)
    found, expected = connectivity_error(alpha, truth), slow_connectivity(alpha, truth)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_matte_further_off_is_worse() -> None:
    truth = disc(20)
    for figure in (sad, mse, gradient_error, connectivity_error):
        series = [figure(disc(20, across=shift), truth) for shift in (0, 0.5, 1, 2, 4, 8)]
        assert series == sorted(series) and series[0] == 0 < series[2] < series[-1], figure


def test_float32_and_float64_agree() -> None:
    # in steps of 8 bits, as mattes are stored: else a pixel can lie on a threshold in one precision alone
    alpha, truth = (np.rint(255 * matte) / 255 for matte in (disc(19, softness_px=9, across=1.3), disc(20)))
    single, double = matting_errors(alpha.astype(np.float32), truth.astype(np.float32)), matting_errors(alpha, truth)
    for name in ("sad", "mse", "gradient", "connectivity"):
        assert getattr(single, name) == pytest.approx(getattr(double, name), rel=1e-4)


def test_mirror_and_transpose_change_nothing() -> None:
    alpha, truth = disc(18, across=2), disc(20)
    for turn in (np.fliplr, np.flipud, np.transpose):
        turned = matting_errors(turn(alpha), turn(truth))
        assert turned.gradient == pytest.approx(gradient_error(alpha, truth))
        assert turned.connectivity == pytest.approx(connectivity_error(alpha, truth))


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        sad(np.zeros((3, 4)), np.zeros((4, 3)))
