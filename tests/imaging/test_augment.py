"""Augmentation: laws that hold whatever was drawn."""

import dataclasses

import numpy as np
import pytest

from edge_deeplab.errors import RecipeError
from edge_deeplab.imaging.augment import AugmentRecipe, augment
from edge_deeplab.imaging.resize import resize_bilinear

STILL = AugmentRecipe(flip=0, scale=(1, 1), stretch=1, shift=0, rotate=0, paste=0, empty=0, exposure=0,
                      white_balance=0, grey=0, shade=0, low_resolution=0, blur=0, noise=0, jpeg=0)  # fmt: skip


def pair(size_hw=(64, 48)):
    """A picture whose red channel is its mask."""
    mask = np.zeros(size_hw, np.uint8)
    mask[20:50, 10:30] = 1
    image = np.random.RandomState(0).randint(0, 120, (*size_hw, 3)).astype(np.uint8)
    image[..., 0] = mask * 255
    return image, mask


def run(recipe, seed=0, size_hw=(64, 48), background=None, source=None):
    image, mask = source or pair()
    return augment(image, mask, size_hw=size_hw, recipe=recipe, rng=np.random.default_rng(seed), background=background)


def test_with_everything_off_it_is_the_stretch_of_inference():
    image, mask = pair()
    same, labels = run(STILL)
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(labels, mask)
    larger, _ = run(STILL, size_hw=(128, 96))
    expected = resize_bilinear(image.astype(np.float32), (128, 96))
    # warpAffine interpolates with 1/32 pixel steps: a few grey levels on noise; reflected against replicated borders
    assert np.abs(larger[2:-2, 2:-2].astype(float) - expected[2:-2, 2:-2]).max() <= 6


@pytest.mark.parametrize("seed", range(12))
def test_mask_follows_the_picture_through_any_geometry(seed):
    moving = dataclasses.replace(STILL, flip=0.5, scale=(0.5, 2), stretch=1.5, shift=0.3, rotate=1, rotate_deg=40)
    image, labels = run(moving, seed)
    assert set(np.unique(labels)) <= {0, 1}
    # apart from the interpolated border, red is where the label is
    assert np.mean((image[..., 0] > 127) == (labels == 1)) > 0.97


def test_pasting_keeps_the_person_and_changes_the_rest():
    background = np.full((30, 70, 3), (0, 200, 0), np.uint8)
    image, labels = run(dataclasses.replace(STILL, paste=1), background=background)
    source, mask = pair()
    inside, outside = (labels == 1), (labels == 0)
    np.testing.assert_array_equal(labels, mask)
    assert np.abs(image[30:40, 16:24].astype(int) - source[30:40, 16:24]).max() <= 1
    assert np.abs(image[outside][:, 1].astype(int) - 200).mean() < 20
    assert image[inside][:, 0].mean() > 200


def test_pasting_does_not_repeat_a_reflected_person():
    small = dataclasses.replace(STILL, paste=1, scale=(0.3, 0.3))
    image = np.full((60, 60, 3), 255, np.uint8)
    mask = np.ones((60, 60), np.uint8)
    _, labels = run(small, source=(image, mask), size_hw=(60, 60), background=np.zeros((60, 60, 3), np.uint8))
    assert labels.sum() == pytest.approx((0.3 * 60) ** 2, rel=0.15)


def test_an_empty_sample_has_no_foreground():
    image, labels = run(dataclasses.replace(STILL, empty=1), background=np.full((9, 9, 3), 77, np.uint8))
    assert labels.max() == 0
    assert (image == 77).all()


@pytest.mark.parametrize(
    "step", ["exposure", "white_balance", "grey", "shade", "low_resolution", "blur", "noise", "jpeg"]
)
def test_each_fault_changes_the_picture_and_never_the_mask(step):
    image, labels = run(dataclasses.replace(STILL, **{step: 1}))
    assert image.shape == (64, 48, 3)
    assert image.dtype == np.uint8
    assert not np.array_equal(image, pair()[0])
    np.testing.assert_array_equal(labels, pair()[1])


def test_colour_order_survives_the_codec():
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    image, _ = run(dataclasses.replace(STILL, jpeg=1), size_hw=(32, 32), source=(red, np.zeros((32, 32), np.uint8)))
    assert image[..., 0].mean() > 150 > image[..., 2].mean() + 100


def test_the_same_generator_makes_the_same_sample():
    first, second = (run(AugmentRecipe(), seed=3, background=np.zeros((9, 9, 3), np.uint8)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_recipe_refuses_a_probability_above_one():
    with pytest.raises(RecipeError, match=r"flip: out of range; came 1\.5; allowed: 0\.\.1"):
        AugmentRecipe(flip=1.5)
