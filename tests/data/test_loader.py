"""The loader: a batch depends on seed, epoch and position, never on threads."""

import dataclasses

import cv2
import numpy as np
import pytest

from edge_deeplab.data.loader import PairLoader
from edge_deeplab.data.pairs import PairsFolder, list_images
from edge_deeplab.errors import DataError
from edge_deeplab.imaging.augment import AugmentRecipe

SIZE_HW = (32, 48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pairs")
    random = np.random.RandomState(0)
    for name in ("images", "masks", "backgrounds"):
        (root / name).mkdir()
    for index in range(11):
        image = cv2.resize(random.randint(0, 255, (6, 8, 3), np.uint8), (80, 60))
        mask = np.zeros((60, 80), np.uint8)
        mask[10:50, 20:60] = 255
        cv2.imwrite(str(root / f"images/{index:02d}.png"), image)
        cv2.imwrite(str(root / f"masks/{index:02d}.png"), mask)
        cv2.imwrite(str(root / f"backgrounds/{index:02d}.png"), np.full((40, 40, 3), 20 * index, np.uint8))
    return root


def loader(folder, **changes):
    values = {"size_hw": SIZE_HW, "batch_size": 3, "recipe": AugmentRecipe(), "seed": 5, "workers": 3}
    values["backgrounds"] = list_images(folder / "backgrounds")
    return PairLoader(PairsFolder(folder).pairs, **{**values, **changes})


def same(first, second):
    return all(np.array_equal(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y))


def test_batches_have_the_promised_shapes_and_ranges(folder):
    batches = list(loader(folder).epoch(0))
    assert len(batches) == loader(folder).batches_per_epoch == 3
    for images, labels in batches:
        assert images.shape == (3, *SIZE_HW, 3)
        assert images.dtype == np.float32
        assert 0 <= images.min() <= images.max() <= 1
        assert labels.shape == (3, *SIZE_HW)
        assert set(np.unique(labels)) <= {0, 1}


def test_same_batches_whatever_the_number_of_threads(folder):
    assert same(loader(folder, workers=1).epoch(2), loader(folder, workers=4).epoch(2))


def test_an_epoch_can_be_taken_up_in_the_middle(folder):
    whole = list(loader(folder).epoch(1))
    assert same(whole[2:], loader(folder).epoch(1, first_batch=2))


def test_shares_of_a_batch_are_the_batch_in_its_order(folder):
    shares = [loader(folder, share=(which, 3)).epoch(1) for which in range(3)]
    assert loader(folder, share=(1, 3)).batches_per_epoch == 3
    for whole, *parts in zip(loader(folder).epoch(1), *shares, strict=True):
        assert [len(images) for images, _ in parts] == [1, 1, 1]
        assert same([whole], [[np.concatenate(arrays) for arrays in zip(*parts)]])


def test_epochs_and_seeds_differ(folder):
    assert not same(loader(folder).epoch(0), loader(folder).epoch(1))
    assert not same(loader(folder).epoch(0), loader(folder, seed=6).epoch(0))


def test_no_pair_comes_twice_in_an_epoch(folder):
    steps = ("flip", "shift", "rotate", "paste", "empty", "exposure", "white_balance", "grey", "shade",
             "low_resolution", "blur", "noise", "jpeg")  # fmt: skip
    still = AugmentRecipe(**dict.fromkeys(steps, 0), scale=(1, 1), stretch=1)
    images = np.concatenate([images for images, _ in loader(folder, recipe=still).epoch(0)])
    assert len({image.tobytes() for image in images}) == len(images)


def test_a_broken_picture_reaches_the_caller(folder, tmp_path):
    pairs = PairsFolder(folder).pairs
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    pairs = (*pairs[:-1], dataclasses.replace(pairs[-1], image_path=broken))
    with pytest.raises(Exception, match=r"broken\.png"):
        list(PairLoader(pairs, size_hw=SIZE_HW, batch_size=11, recipe=AugmentRecipe()).epoch(0))


def test_too_few_pairs_for_a_batch(folder):
    with pytest.raises(DataError, match="came 11; allowed: at least batch_size 12"):
        loader(folder, batch_size=12)
