"""`edge_deeplab.segment` in one line: every way to give a picture, one answer; and what importing the package costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import edge_deeplab
from edge_deeplab.errors import InputError, ModelError
from edge_deeplab.runtime.segmenter import Segmenter


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    import skimage.data

    return np.asarray(skimage.data.astronaut())[:, ::2].copy()  # (512, 256, 3): sides that differ


@pytest.fixture(scope="module")
def result(astronaut: np.ndarray) -> edge_deeplab.photos.Segmentation:
    return edge_deeplab.segment(astronaut)


def test_maps_have_the_pictures_size_and_agree_with_one_another(astronaut, result) -> None:  # type: ignore[no-untyped-def]
    assert result.names == ("background", "person")
    assert result.labels.shape == result.matte.shape == astronaut.shape[:2]
    assert result.probabilities.shape == (*astronaut.shape[:2], 2)
    assert np.array_equal(result.labels, result.probabilities.argmax(-1))
    assert np.abs(result.matte - result.probabilities[..., 1]).max() < 1e-6  # one plane's sums, or two planes'
    assert 0.2 < result.shares["person"] < 0.8
    assert abs(sum(result.shares.values()) - 1) < 1e-9
    drawn = result.overlay(legend=False)
    assert np.array_equal(drawn[result.labels == 0], astronaut[result.labels == 0])
    reddened = drawn[result.labels == 1].astype(int) - astronaut[result.labels == 1]
    assert reddened[:, 1].mean() < -20  # the person's colour is dark red: green goes, and RGB stays RGB
    assert reddened[:, 0].mean() > reddened[:, 1].mean()


def test_the_matte_is_the_segmenters(astronaut, result) -> None:  # type: ignore[no-untyped-def]
    with Segmenter("portrait", precision="int8") as segmenter:
        low = segmenter.matte(astronaut)
    small = cv2.resize(result.matte, low.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small - low).mean() < 0.02


def test_a_path_bytes_and_an_array_are_the_same_picture(astronaut, result, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), astronaut[..., ::-1])
    with_alpha = np.dstack([astronaut, np.full(astronaut.shape[:2], 3, np.uint8)])
    answers = edge_deeplab.segment([str(path), path, path.read_bytes(), with_alpha])
    assert len(answers) == 4
    for answer in answers:
        assert np.array_equal(answer.labels, result.labels)
    grey = edge_deeplab.segment(astronaut[..., 1])
    assert grey.image.shape == astronaut.shape
    assert repr(grey).startswith("Segmentation(256x512: ")


def test_one_model_stays_open_for_many_pictures(astronaut, result) -> None:  # type: ignore[no-untyped-def]
    with edge_deeplab.PhotoSegmenter("portrait", threads=1) as segmenter:
        first, second = segmenter(astronaut), segmenter(astronaut[:200])
        assert segmenter.names == result.names
    assert np.array_equal(first.labels, result.labels)
    assert second.labels.shape == (200, 256)


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        ("nowhere.jpg", "no such file"),
        (b"no picture", "is no picture"),
        (b"", "is empty"),
        (np.zeros((4, 4, 3), np.float32), "allowed: uint8"),
        (np.zeros((4, 4, 2), np.uint8), "is no picture"),
        (3, "allowed: a path"),
    ],
)
def test_what_is_no_picture_is_told_in_one_line(picture: object, said: str) -> None:
    with pytest.raises(InputError) as caught:
        edge_deeplab.segment(picture)  # type: ignore[call-overload]
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_model_names_the_bundled_ones() -> None:
    with pytest.raises(ModelError, match="portrait"):
        edge_deeplab.segment(np.zeros((4, 4, 3), np.uint8), "portait")


def test_importing_the_package_imports_nothing_and_the_names_are_found() -> None:
    code = (
        "import sys; before = set(sys.modules); import edge_deeplab; new = set(sys.modules) - before;"
        "assert new == {'edge_deeplab'}, new;"
        "assert {'segment', 'PhotoSegmenter'} <= set(edge_deeplab.__all__);"
        "from edge_deeplab import segment; assert callable(segment);"
        "assert not {'tensorflow', 'keras', 'ray', 'fastapi'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'sgment'"):
        edge_deeplab.sgment  # noqa: B018
