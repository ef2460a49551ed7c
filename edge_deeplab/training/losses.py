"""What a network is taught by: edge-weighted cross-entropy plus soft Dice, with an ignored label; and a teacher.

Works with either Keras: `ops` is `keras.ops`, or the same few functions on TensorFlow for tf_keras (see tf_ops).

    loss = segmentation_loss(keras.ops, LossRecipe())
    loss(labels, logits)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edge_deeplab.errors import RecipeError
from edge_deeplab.labels import IGNORE
from edge_deeplab.recipe import check, setting


@dataclass(frozen=True, kw_only=True)
class LossRecipe:
    """The [loss] table of a recipe.

    Dice is that of Milletari et al. 2016 (the equation for D).
    """

    dice: float = setting(0.5, low=0, help="weight of the soft Dice term; 0 switches it off")
    edge: float = setting(2.0, low=0, help="extra weight of pixels near a border between labels")
    edge_px: int = setting(3, low=1, help="half width of that band, in pixels of the network's output")
    class_weights: tuple[float, ...] | None = setting(
        None, low=0, help="of each class's pixels in the cross-entropy; `edge-deeplab doctor` suggests some"
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe:
    """The [teacher] table of a recipe: a network of ours whose guesses are learnt beside the labels."""

    model: Path | None = setting(None, help="a .keras file of ours with the same classes")
    weight: float = setting(1.0, low=0, help="of the teacher's guess beside the labels'")
    temperature: float = setting(1.0, low=0.1, high=20, help="softens the guesses of both")
    doubt: float = setting(
        0.0, low=0, high=0.5, help="labels to which the teacher gives less than this are left out; 0 believes them all"
    )

    def __post_init__(self) -> None:
        check(self)


def tf_ops() -> Any:
    """The functions of keras.ops used here, on TensorFlow, for tf_keras models."""
    import tensorflow as tf

    return SimpleNamespace(
        cast=tf.cast, softmax=tf.nn.softmax, log_softmax=tf.nn.log_softmax, sum=tf.reduce_sum, mean=tf.reduce_mean,
        where=tf.where, one_hot=tf.one_hot, not_equal=tf.not_equal, maximum=tf.maximum, zeros_like=tf.zeros_like,
        expand_dims=tf.expand_dims, ones_like=tf.ones_like,
        max_pool=lambda x, size, strides, padding: tf.nn.max_pool2d(x, size, strides, padding.upper()),
    )  # fmt: skip


def edge_band(ops: Any, labels: Any, half_width_px: int) -> Any:
    """Where two labels meet within half_width_px. labels: (N, H, W) float32. Returns: (N, H, W) float32 of 0 and 1."""
    window = 2 * half_width_px + 1
    tall = ops.expand_dims(labels, -1)
    highest = ops.max_pool(tall, window, 1, "same")
    lowest = -ops.max_pool(-tall, window, 1, "same")
    return ops.cast(ops.not_equal(highest, lowest), "float32")[..., 0]


def alone(value: Any) -> Any:
    """The total of what one device sees of a batch, where it sees all of it."""
    return value


def segmentation_loss(
    ops: Any, recipe: LossRecipe, classes: int, *, total: Callable[[Any], Any] = alone
) -> Callable[[Any, Any], Any]:
    """A loss of (labels, logits).

    labels: (N, H, W) integers, IGNORE counts for nothing; logits: (N, H, W, classes) float.
    total: sums a scalar over all devices that share a batch. What each of them is given is its part: their sum is the
        loss of the whole batch, however unequally void is spread over them.
    Raises: RecipeError where recipe.class_weights are not one for each class.
    Returns, when called: a scalar, weighted cross-entropy over the pixels plus recipe.dice times
        1 - mean over pictures and classes of the soft Dice.
    """

    if recipe.class_weights and len(recipe.class_weights) != classes:
        raise RecipeError("loss.class_weights: one for each class", came=len(recipe.class_weights), allowed=classes)

    def loss(labels: Any, logits: Any) -> Any:
        logits = ops.cast(logits, "float32")
        valid = ops.cast(ops.not_equal(labels, ops.cast(IGNORE, labels.dtype)), "float32")
        as_float = ops.cast(labels, "float32") * valid
        truth = ops.one_hot(ops.cast(as_float, "int32"), classes)
        weights = valid * (1.0 + recipe.edge * edge_band(ops, as_float, recipe.edge_px))
        cross_entropy = -ops.sum(truth * ops.log_softmax(logits, axis=-1), axis=-1)
        if recipe.class_weights:
            weights = weights * ops.sum(truth * ops.cast(recipe.class_weights, "float32"), axis=-1)
        entropy = ops.sum(weights * cross_entropy) / ops.maximum(total(ops.sum(weights)), 1.0)
        if not recipe.dice:
            return entropy
        truth = truth * ops.expand_dims(valid, -1)
        guess = ops.softmax(logits, axis=-1) * ops.expand_dims(valid, -1)
        overlap = ops.sum(truth * guess, axis=(1, 2))
        size = ops.sum(truth, axis=(1, 2)) + ops.sum(guess, axis=(1, 2))
        # one pixel on either side: a class absent from picture and guess costs nothing
        dice = (2.0 * overlap + 1.0) / (size + 1.0)
        return entropy + recipe.dice * _mean(ops, 1.0 - dice, total)

    return loss


def _mean(ops: Any, values: Any, total: Callable[[Any], Any]) -> Any:
    """This device's part of the mean of the values of all."""
    return ops.sum(values) / total(ops.sum(ops.ones_like(values)))


def distillation_loss(
    ops: Any, supervised: Callable[[Any, Any], Any], recipe: TeacherRecipe, *, total: Callable[[Any], Any] = alone
) -> Callable[[Any, Any], Any]:
    """A loss of (targets, logits): what the labels say, plus recipe.weight times how far the teacher's guess is.

    Hinton et al. 2015, equation 1: the Kullback-Leibler divergence of the softmax at a temperature, times its square,
    here the mean over all pixels, those without a label too.

    With recipe.doubt, a label that the teacher all but excludes teaches nothing: annotators differ (two of them agree
    at an IoU of 0.951), and some sets count what a person holds as person, others as background.

    targets: (N, H, W, 1 + classes) float32: the label, then the teacher's probabilities at that temperature.
    total: as segmentation_loss has it, and `supervised` was given.
    """

    def loss(targets: Any, logits: Any) -> Any:
        labels, taught = ops.cast(targets[..., 0], "int32"), targets[..., 1:]
        if recipe.doubt:
            believed = ops.sum(taught * ops.one_hot(labels, taught.shape[-1]), axis=-1)
            labels = ops.where(believed < recipe.doubt, IGNORE, labels)
        guess = ops.log_softmax(ops.cast(logits, "float32") / recipe.temperature, axis=-1)
        known = ops.log(ops.maximum(taught, 1e-6))
        divergence = _mean(ops, ops.sum(taught * (known - guess), axis=-1), total)
        return supervised(labels, logits) + recipe.weight * recipe.temperature**2 * divergence

    return loss
