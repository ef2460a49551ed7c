"""Cutting people out: the Laplacian by its definition, mattes and colours of a known blend, what is refused."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from edge_deeplab.data.cutouts import MattingLaplacian, cut_out, foreground_colours, solve_matte, unknown_band

SIZE_HW = (240, 180)


def smooth(seed: int, base_rgb: tuple[int, int, int], spread: float = 25.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(*SIZE_HW, 3))
    noise = cv2.GaussianBlur(noise, (0, 0), 6)
    return np.clip(np.array(base_rgb) + spread * noise / noise.std(), 0, 255).astype(np.float32)


def person_alpha(softness_px: float = 2.0) -> np.ndarray:
    """A head on shoulders that goes on below."""
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    head = 39 - np.hypot(rows - 75, columns - 90)
    body = np.minimum(63 - np.abs(columns - 90), rows - 105)
    return np.clip(np.maximum(head, body) / softness_px + 0.5, 0, 1).astype(np.float32)


def picture(front: np.ndarray, behind: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    weight = alpha[..., np.newaxis]
    return np.rint(weight * front + (1 - weight) * behind).astype(np.uint8)


FRONT, BEHIND = smooth(0, (200, 120, 90)), smooth(1, (60, 110, 160))


def test_the_laplacian_is_that_of_levin_et_al() -> None:
    """Equation 12 of the paper, written out as a dense matrix over windows that lie within a tiny picture."""
    rng = np.random.default_rng(0)
    height, width, epsilon = 6, 7, 1e-3
    image = rng.random((height, width, 3))
    dense = np.zeros((height * width,) * 2)
    numbers = np.arange(height * width).reshape(height, width)
    for row, column in itertools.product(range(height), range(width)):
        window = (slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2))
        at, colours = numbers[window].ravel(), image[window].reshape(-1, 3)
        count, centred = len(at), colours - colours.mean(0)
        inner = np.linalg.inv(np.cov(colours.T, bias=True) + epsilon / count * np.eye(3))
        dense[np.ix_(at, at)] += np.eye(count) - (1 + centred @ inner @ centred.T) / count
    laplacian = MattingLaplacian(image, epsilon=epsilon)
    matte = rng.random((height, width))
    np.testing.assert_allclose(laplacian.apply(matte).ravel(), dense @ matte.ravel(), atol=1e-10)


def test_a_matte_linear_in_the_colours_costs_nothing() -> None:
    image = np.random.default_rng(0).random((20, 24, 3))
    matte = 0.2 + image @ np.array([0.5, -0.3, 0.1])
    assert np.abs(MattingLaplacian(image, epsilon=1e-9).apply(matte)).max() < 1e-4


def test_a_soft_edge_is_found_again_from_a_hard_mask() -> None:
    truth = person_alpha()
    mask = truth > 0.5
    found = solve_matte(picture(FRONT, BEHIND, truth), mask, unknown_band(mask))
    band = unknown_band(mask)
    wrong_mask, wrong_found = (np.abs(matte - truth)[band].mean() for matte in (mask, found))
    assert wrong_found < wrong_mask / 2
    np.testing.assert_array_equal(found[~band], mask[~band])


def test_the_band_follows_the_edge_and_not_the_border() -> None:
    mask = person_alpha() > 0.5
    band = unknown_band(mask)
    assert not band[-1, 90] and band[-1, 27]  # inside the body at the lower border, and at its side
    assert unknown_band(np.zeros(SIZE_HW, bool)).sum() == 0


def test_the_colours_of_the_edge_lose_the_background() -> None:
    truth = person_alpha()
    given = picture(FRONT, BEHIND, truth)
    edge = (truth > 0.2) & (truth < 0.9)
    wrong_given, wrong_found = (
        np.abs(colours.astype(float) - FRONT)[edge].mean() for colours in (given, foreground_colours(given, truth))
    )
    assert wrong_found < wrong_given / 2


def test_a_cutout_blended_over_its_background_is_the_picture() -> None:
    truth = person_alpha()
    given = picture(FRONT, BEHIND, truth)
    cutout = cut_out("one", given, truth > 0.5)
    assert cutout is not None and cutout.is_bust and cutout.name == "one"
    top, left = (int(np.flatnonzero((truth > 0.5).any(axis=axis))[0]) for axis in (1, 0))
    height, width = cutout.alpha.shape
    # a soft edge begins up to half its width before the mask does
    found = min(
        float(np.abs(cutout.alpha - truth[t : t + height, x : x + width]).mean())
        for t in range(max(0, top - 6), top + 1)
        for x in range(max(0, left - 6), left + 1)
        if truth[t : t + height, x : x + width].shape == (height, width)
    )
    assert found < 0.01


def test_what_is_not_fit_is_left_out() -> None:
    truth = person_alpha()
    given, mask = picture(FRONT, BEHIND, truth), truth > 0.5
    at_top = np.roll(mask, -90, axis=0)
    wide = mask.copy()
    wide[100:] = True  # touches the sides from row 100 on
    two = mask.copy()
    two[4:20, 2:30] = True
    for name, wrong in {
        "cut at the top": at_top,
        "cut at the sides": wide,
        "two pieces": two,
        "none": mask & False,
    }.items():
        assert cut_out(name, given, wrong) is None, name


def test_a_mask_beside_the_edge_is_left_out() -> None:
    """Matting follows the picture; a mask eight pixels off disagrees with it."""
    truth = person_alpha(2.0)
    given = picture(FRONT, BEHIND, truth)
    assert cut_out("right", given, truth > 0.5) is not None
    assert cut_out("off", given, np.roll(truth > 0.5, 8, axis=1)) is None


def test_a_cutout_is_the_same_every_time() -> None:
    truth = person_alpha()
    one, other = (cut_out("one", picture(FRONT, BEHIND, truth), truth > 0.5) for _ in range(2))
    assert one is not None and other is not None
    np.testing.assert_array_equal(one.alpha, other.alpha)
    np.testing.assert_array_equal(one.colours, other.colours)


def test_people_of_our_pictures_are_cut_out(shared) -> None:  # type: ignore[no-untyped-def]
    from edge_deeplab.data.pairs import PairsFolder

    pair = next(one for one in PairsFolder(shared / "data/portraits/val").pairs if one.name == "eg1800_02235")
    image, labels = pair.read()
    cutout = cut_out(pair.name, image, labels == 1)
    assert cutout is not None
    soft = (cutout.alpha > 0.02) & (cutout.alpha < 0.98)
    assert 0.005 < soft.mean() < 0.15


@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_person(seed: int) -> None:
    given = np.random.default_rng(seed).integers(0, 256, (*SIZE_HW, 3)).astype(np.uint8)
    mask = np.zeros(SIZE_HW, bool)
    mask[60:, 40:130] = True
    found = cut_out("noise", given, mask)
    assert found is None or 0 <= found.alpha.min() <= found.alpha.max() <= 1
