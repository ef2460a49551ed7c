from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_deeplab.calibration.descriptors import NEAR_DUPLICATE, Look


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return pytest.importorskip("skimage.data").astronaut()


def test_a_grey_picture_is_described_by_hand() -> None:
    look = Look.of(np.full((90, 120, 3), 51, np.uint8))
    assert look.brightness == pytest.approx(0.2, abs=1e-3)
    assert look.rgb == pytest.approx((0.2, 0.2, 0.2), abs=1e-4)
    assert look.contrast == pytest.approx(0, abs=1e-6)
    assert look.saturation == look.edge_energy == 0.0


def test_two_halves_have_the_contrast_and_edge_of_one_step() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 255
    look = Look.of(image)
    assert look.brightness == pytest.approx(0.5)
    assert look.contrast == pytest.approx(0.5)
    # the step of 1 is spread over two of 64 columns, half a unit of slope in each
    assert look.edge_energy == pytest.approx(1 / 64)


def test_copies_are_near_and_other_pictures_far(photo: np.ndarray) -> None:
    look = Look.of(photo)
    _, stored = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])
    jpeg = cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1].copy()
    smaller = cv2.resize(photo, (300, 300), interpolation=cv2.INTER_AREA)
    assert look.distance(Look.of(jpeg)) < NEAR_DUPLICATE
    assert look.distance(Look.of(smaller)) < NEAR_DUPLICATE
    assert look.distance(Look.of(photo[:, ::-1].copy())) > 5 * NEAR_DUPLICATE
    assert look.distance(Look.of(photo // 2)) > 5 * NEAR_DUPLICATE
    assert look.distance(Look.of(photo[..., ::-1].copy())) > 5 * NEAR_DUPLICATE
    assert look.distance(Look.of(255 - photo)) > 10 * NEAR_DUPLICATE
