"""The loss, against small answers worked out by hand and against itself on the other Keras."""

import math

import numpy as np
import pytest

from edge_deeplab.errors import RecipeError
from edge_deeplab.labels import IGNORE
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.training.losses import (
    LossRecipe,
    TeacherRecipe,
    distillation_loss,
    edge_band,
    segmentation_loss,
    tf_ops,
)

PLAIN = LossRecipe(dice=0.0, edge=0.0)


def loss_of(recipe, labels, logits):
    ops = keras_namespace("keras").ops
    loss = segmentation_loss(ops, recipe, logits.shape[-1])
    return float(loss(ops.convert_to_tensor(labels), ops.convert_to_tensor(logits)))


def test_plain_loss_is_mean_cross_entropy():
    labels = np.array([[[0, 1], [1, 0]]], np.uint8)
    logits = np.zeros((1, 2, 2, 2), np.float32)
    logits[..., 1] = math.log(3)  # probabilities 1/4 and 3/4
    assert loss_of(PLAIN, labels, logits) == pytest.approx((2 * math.log(4) + 2 * math.log(4 / 3)) / 4, rel=1e-5)


def test_ignored_pixels_count_for_nothing():
    labels = np.array([[[0, IGNORE], [0, 0]]], np.uint8)
    logits = np.random.RandomState(0).randn(1, 2, 2, 3).astype(np.float32)
    other = logits.copy()
    other[0, 0, 1] = 9.0, -9.0, 4.0
    recipe = LossRecipe(dice=1.0, edge=0.0)
    assert loss_of(recipe, labels, logits) == pytest.approx(loss_of(recipe, labels, other), rel=1e-6)


def test_edge_band_surrounds_the_border_on_both_sides():
    labels = np.zeros((1, 5, 9), np.float32)
    labels[:, :, 4:] = 1
    ops = keras_namespace("keras").ops
    band = np.asarray(edge_band(ops, ops.convert_to_tensor(labels), 2))[0, 2]
    assert band.tolist() == [0, 0, 1, 1, 1, 1, 0, 0, 0]


def test_edge_weight_makes_mistakes_at_the_border_dearer():
    labels = np.zeros((1, 16, 16), np.uint8)
    labels[:, :, 8:] = 1
    right = np.where(labels[..., None] == np.arange(2), 4.0, -4.0).astype(np.float32)
    near, far = right.copy(), right.copy()
    near[:, :, 7] *= -1
    far[:, :, 1] *= -1
    weighted = LossRecipe(dice=0.0, edge=4.0, edge_px=2)
    assert loss_of(weighted, labels, near) > 2 * loss_of(weighted, labels, far)
    assert loss_of(PLAIN, labels, near) == pytest.approx(loss_of(PLAIN, labels, far), rel=1e-5)


def test_dice_of_a_perfect_answer_costs_nothing_and_of_its_opposite_all():
    labels = np.zeros((1, 16, 16), np.uint8)
    labels[:, :, 8:] = 1
    right = np.where(labels[..., None] == np.arange(2), 30.0, -30.0).astype(np.float32)
    only_dice = LossRecipe(dice=1.0, edge=0.0)
    assert loss_of(only_dice, labels, right) == pytest.approx(0, abs=1e-5)
    opposite = loss_of(only_dice, labels, -right) - loss_of(PLAIN, labels, -right)
    assert opposite == pytest.approx(1 - 1 / 257, abs=1e-4)  # one pixel of smoothing over 2 * 128


def test_tf_keras_computes_the_same_loss():
    import tensorflow as tf

    random = np.random.RandomState(0)
    labels = random.choice([0, 1, 2, IGNORE], (2, 12, 10)).astype(np.uint8)
    logits = random.randn(2, 12, 10, 3).astype(np.float32)
    twin = segmentation_loss(tf_ops(), LossRecipe(), 3)(tf.constant(labels), tf.constant(logits))
    assert float(twin) == pytest.approx(loss_of(LossRecipe(), labels, logits), rel=1e-5)


def test_recipe_refuses_negative_weights():
    with pytest.raises(RecipeError, match="edge"):
        LossRecipe(edge=-1)


def test_a_teacher_that_agrees_costs_nothing_and_one_that_does_not_costs_its_divergence():
    ops = keras_namespace("keras").ops
    recipe = TeacherRecipe(weight=2.0, temperature=3.0)
    logits = np.array([[[[1.0, -2.0], [0.5, 0.25]]]], np.float32)
    guess = np.exp(logits / 3) / np.exp(logits / 3).sum(-1, keepdims=True)
    other = guess[..., ::-1]
    nothing = distillation_loss(ops, lambda labels, given: 0.0, recipe)
    labels = np.full((1, 1, 2, 1), IGNORE, np.float32)
    assert float(nothing(np.concatenate([labels, guess], -1), logits)) == pytest.approx(0, abs=1e-5)
    expected = 2 * 9 * (other * np.log(other / guess)).sum(-1).mean()
    assert float(nothing(np.concatenate([labels, other], -1), logits)) == pytest.approx(expected, rel=1e-4)


def test_a_taught_network_still_learns_its_labels():
    ops = keras_namespace("keras").ops
    logits = np.zeros((1, 2, 2, 2), np.float32)
    targets = np.concatenate(
        [np.array([[[[1], [0]], [[IGNORE], [1]]]], np.float32), np.full((1, 2, 2, 2), 0.5, np.float32)], -1
    )
    supervised = segmentation_loss(ops, LossRecipe(), 2)
    taught = distillation_loss(ops, supervised, TeacherRecipe())
    alone = supervised(targets[..., 0].astype(np.int32), logits)
    assert float(taught(targets, logits)) == pytest.approx(float(alone), abs=1e-5)


def test_labels_that_the_teacher_all_but_excludes_are_left_out():
    ops = keras_namespace("keras").ops
    seen = []
    loss = distillation_loss(ops, lambda labels, logits: seen.append(np.array(labels)) or 0.0, TeacherRecipe(doubt=0.1))
    labels = np.array([[[0, 1, 1, IGNORE]]], np.float32)
    person = np.array([[[0.95, 0.05, 0.2, 0.5]]], np.float32)
    targets = np.stack([labels, 1 - person, person], axis=-1)
    loss(ops.convert_to_tensor(targets), ops.zeros((1, 1, 4, 2)))
    assert seen[0].tolist() == [[[IGNORE, IGNORE, 1, IGNORE]]]


def test_class_weights_are_those_of_the_pixels_of_a_class():
    labels = np.array([[[0, 0], [1, IGNORE]]], np.uint8)
    logits = np.zeros((1, 2, 2, 2), np.float32)
    logits[..., 1] = math.log(3)  # probabilities 1/4 and 3/4
    recipe = LossRecipe(dice=0.0, edge=0.0, class_weights=(0.5, 4.0))
    expected = (2 * 0.5 * math.log(4) + 4.0 * math.log(4 / 3)) / (2 * 0.5 + 4.0)
    assert loss_of(recipe, labels, logits) == pytest.approx(expected, rel=1e-5)
    even = LossRecipe(dice=0.0, edge=0.0, class_weights=(3.0, 3.0))
    assert loss_of(even, labels, logits) == pytest.approx(loss_of(PLAIN, labels, logits), rel=1e-6)


def test_class_weights_are_one_for_each_class():
    with pytest.raises(RecipeError, match="one for each class; came 3; allowed: 2"):
        segmentation_loss(keras_namespace("keras").ops, LossRecipe(class_weights=(1.0, 1.0, 1.0)), 2)


@pytest.mark.parametrize("taught", [False, True])
def test_parts_of_a_batch_sum_to_the_loss_of_the_whole_however_unequal_their_void(taught):
    ops = keras_namespace("keras").ops
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, (4, 8, 8)).astype(np.float32)
    labels[2:][random.random((2, 8, 8)) < 0.9] = IGNORE
    logits = random.normal(size=(4, 8, 8, 3)).astype(np.float32)
    recipe = LossRecipe(class_weights=(0.5, 1.0, 4.0))
    targets = labels
    if taught:
        targets = np.concatenate([labels[..., None], random.dirichlet(np.ones(3), (4, 8, 8)).astype(np.float32)], -1)

    def loss(targets, logits, total):
        supervised = segmentation_loss(ops, recipe, 3, total=total)
        whole = distillation_loss(ops, supervised, TeacherRecipe(), total=total) if taught else supervised
        return float(whole(targets, logits))

    seen = []
    whole = loss(targets, logits, lambda value: seen.append(value) or value)
    totals = [iter(seen), iter(seen)]  # what all-reducing gives each of two devices
    halves = [
        loss(targets[rows], logits[rows], lambda _, found=found: next(found))
        for rows, found in zip((slice(0, 2), slice(2, 4)), totals)
    ]
    assert sum(halves) == pytest.approx(whole, rel=1e-5)
    means = [loss(targets[rows], logits[rows], lambda value: value) for rows in (slice(0, 2), slice(2, 4))]
    assert abs(np.mean(means) - whole) > 1e-3  # a mean of each device's own mean is another number
