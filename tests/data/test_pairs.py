"""Pairs folders: what is wrong is said by file, with what is allowed."""

import cv2
import numpy as np
import pytest

from edge_deeplab.data.pairs import PairsFolder, list_images
from edge_deeplab.errors import DataError, InputError
from edge_deeplab.labels import IGNORE


@pytest.fixture
def folder(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for index in range(3):
        image = np.full((20, 30, 3), 40 * index, np.uint8)
        mask = np.zeros((20, 30), np.uint8)
        mask[:, 10:20] = 255
        cv2.imwrite(str(tmp_path / f"images/{index}.jpg"), image)
        cv2.imwrite(str(tmp_path / f"masks/{index}.png"), mask)
    return tmp_path


def test_pairs_come_by_name_with_labels_0_and_1(folder):
    found = PairsFolder(folder)
    assert [pair.name for pair in found.pairs] == ["0", "1", "2"]
    image, labels = found.pairs[1].read()
    assert image.shape == (20, 30, 3)
    assert labels.dtype == np.uint8
    assert labels.sum() == 200
    assert labels.max() == 1


def test_missing_partner_is_named(folder):
    (folder / "masks/1.png").unlink()
    with pytest.raises(DataError, match="1 pictures without a mask: 1;"):
        PairsFolder(folder)


def test_mask_without_picture_is_named(folder):
    (folder / "images/2.jpg").unlink()
    with pytest.raises(DataError, match="1 masks without a picture: 2;"):
        PairsFolder(folder)


def test_mask_of_another_size_is_named(folder):
    cv2.imwrite(str(folder / "masks/0.png"), np.zeros((20, 31), np.uint8))
    with pytest.raises(DataError, match=r"0\.png.*came 31x20; allowed: 30x20"):
        PairsFolder(folder).pairs[0].read()


def test_labels_out_of_range_are_named(folder):
    mask = np.zeros((20, 30), np.uint8)
    mask[0, :5] = 5, 6, 7, 1, IGNORE
    cv2.imwrite(str(folder / "masks/0.png"), mask)
    pair = PairsFolder(folder).pairs[0]
    with pytest.raises(DataError, match=r"labels out of range; came 5, 6, 7; allowed: 0\.\.2"):
        pair.read(classes=3)
    assert pair.read(classes=8)[1][0, 4] == IGNORE


def test_truncated_picture_is_refused(folder):
    path = folder / "images/0.jpg"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"0\.jpg"):
        PairsFolder(folder).pairs[0].read()


@pytest.mark.parametrize("part", ["images", "masks"])
def test_folder_of_another_layout_says_what_it_should_hold(folder, part):
    (folder / part).rename(folder / "other")
    with pytest.raises(DataError, match="allowed: images/ and masks/"):
        PairsFolder(folder)


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        PairsFolder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no pictures"):
        list_images(tmp_path)
