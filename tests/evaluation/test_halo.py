"""The halo and the rim: colours against the field's own test data, laws on composites that are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_deeplab.evaluation.halo import blend, delta_e_76, delta_e_2000, halo, halo_ring, lab, rim

SIZE_HW = (120, 160)  # a diagonal of 200 px: the ring is 6 px wide

# From the 34 pairs of Sharma et al. 2005, table 1: near gray, around half a turn of hue, in the blue, and large.
SHARMA = [
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0000),
    ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
    ((50.0, 2.4900, -0.0010), (50.0, -2.4900, 0.0009), 7.1792),
    ((50.0, 2.4900, -0.0010), (50.0, -2.4900, 0.0010), 7.1792),
    ((50.0, 2.4900, -0.0010), (50.0, -2.4900, 0.0011), 7.2195),
    ((50.0, -0.0010, 2.4900), (50.0, 0.0009, -2.4900), 4.8045),
    ((50.0, -0.0010, 2.4900), (50.0, 0.0011, -2.4900), 4.7461),
    ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((50.0, 2.5, 0.0), (58.0, 24.0, 15.0), 19.4535),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((63.0109, -31.0961, -5.8663), (62.8187, -29.7946, -4.0864), 1.2630),
    ((35.0831, -44.1164, 3.7933), (35.0232, -40.0716, 1.5901), 1.8645),
    ((6.7747, -0.2908, -2.4247), (5.8714, -0.0985, -2.2286), 0.6377),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("one", "other", "expected"), SHARMA)
def test_ciede2000_is_that_of_its_authors(one: tuple[float, ...], other: tuple[float, ...], expected: float) -> None:
    for first, second in ((one, other), (other, one)):  # it is symmetric
        assert delta_e_2000(np.array(first), np.array(second)) == pytest.approx(expected, abs=1e-4)


def test_lab_of_known_colours() -> None:
    bgr = np.array([[255, 255, 255], [0, 0, 0], [0, 0, 255], [255, 0, 0]], np.uint8)
    expected = [(100, 0, 0), (0, 0, 0), (53.24, 80.09, 67.20), (32.30, 79.20, -107.86)]
    np.testing.assert_allclose(lab(bgr), expected, atol=0.02)  # published to two digits


def test_colours_agree_with_scikit_image() -> None:
    color = pytest.importorskip("skimage.color")
    one, other = np.random.default_rng(0).integers(0, 256, (2, 500, 3)).astype(np.uint8)
    # its matrix and white are rounded at the sixth digit
    np.testing.assert_allclose(lab(one), color.rgb2lab(one[:, ::-1]), atol=2e-3)
    np.testing.assert_allclose(delta_e_2000(lab(one), lab(other)), color.deltaE_ciede2000(lab(one), lab(other)))
    np.testing.assert_allclose(delta_e_76(lab(one), lab(other)), color.deltaE_cie76(lab(one), lab(other)))


def person(radius_px: float = 30.0, softness_px: float = 6.0) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    return np.clip((radius_px - np.hypot(rows - 60, columns - 80)) / softness_px + 0.5, 0, 1).astype(np.float32)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A red person and the blurred clean background."""
    background = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3)).astype(np.uint8)
    return np.full((*SIZE_HW, 3), (30, 30, 220), np.uint8), cv2.GaussianBlur(background, (0, 0), 9)


def test_the_ring_is_three_per_cent_wide_and_holds_nothing_of_the_person() -> None:
    alpha = person()
    ring = halo_ring(alpha)
    assert not (alpha[ring] > 0).any()
    rows, columns = np.nonzero(ring)
    radii = np.hypot(rows - 60, columns - 80)
    # alpha is 0 from 33 px on; the last pixel of the person may lie 1 px inside of that
    assert radii.min() >= 33 and 38 < radii.max() <= 39
    assert halo_ring(np.zeros(SIZE_HW)).sum() == halo_ring(np.ones(SIZE_HW)).sum() == 0


def test_a_perfect_composite_has_neither_halo_nor_rim() -> None:
    foreground, clean = scene()
    perfect = blend(person(), foreground, clean)
    for found in (halo(perfect, clean, person()), rim(perfect, perfect, person())):
        assert found is not None and (found.mean, found.mean_2000) == (0, 0)


def test_a_known_difference_in_the_ring_is_the_score() -> None:
    clean = np.full((*SIZE_HW, 3), 128, np.uint8)
    shone = np.full((*SIZE_HW, 3), (128, 128, 140), np.uint8)
    found = halo(shone, clean, person())
    assert found is not None
    assert found.mean == pytest.approx(float(np.linalg.norm(lab(shone[0, 0]) - lab(clean[0, 0]))))
    far = clean.copy()
    far[:10, :10] = 255  # outside the ring nothing counts
    assert halo(far, clean, person()).mean == 0  # type: ignore[union-attr]


def test_more_of_the_persons_colour_is_a_larger_halo() -> None:
    foreground, clean = scene()
    series = []
    for share in (0.0, 0.05, 0.2, 0.5):
        glow = np.maximum(person(), share * person(radius_px=42))
        series.append(halo(blend(glow, foreground, clean), clean, person()))
    for name in ("mean", "mean_2000"):
        values = [getattr(found, name) for found in series]
        assert values == sorted(values) and values[0] == 0 < values[1]


def test_a_matte_cut_too_close_has_no_halo_but_a_rim() -> None:
    foreground, clean = scene()
    perfect, choked = (blend(person(radius), foreground, clean) for radius in (30, 26))
    found_halo, found_rim = halo(choked, clean, person()), rim(choked, perfect, person())
    assert found_halo is not None and found_halo.mean == 0
    assert found_rim is not None and found_rim.mean > 10


def test_nobody_has_no_score() -> None:
    _, clean = scene()
    nobody = np.zeros(SIZE_HW, np.float32)
    assert halo(clean, clean, nobody) is None
    assert rim(clean, clean, nobody) is None


def test_sizes_that_differ_are_refused() -> None:
    _, clean = scene()
    with pytest.raises(ValueError, match="differ in size"):
        halo(clean[:-1], clean, person())
