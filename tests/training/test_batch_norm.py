"""Batch-norm statistics: given back to a folded network, measured for averaged weights."""

import numpy as np

from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.training.batch_norm import measure_batch_norms, settle_batch_norms


def two_batch_norms():
    """A small network whose statistics are not those of the pictures it comes with."""
    K = keras_namespace("keras")
    K.utils.set_random_seed(0)
    layers = [K.layers.Input((8, 8, 3)), K.layers.Conv2D(4, 3, use_bias=False),
              K.layers.BatchNormalization(name="a"), K.layers.ReLU(),
              K.layers.Conv2D(2, 1, use_bias=False), K.layers.BatchNormalization(name="b")]  # fmt: skip
    model = K.Sequential(layers)
    for name in ("a", "b"):
        layer = model.get_layer(name)
        layer.set_weights([np.full(v.shape, 0.7 + 0.1 * i, np.float32) for i, v in enumerate(layer.weights)])
    return model, np.random.RandomState(0).uniform(0, 1, (16, 8, 8, 3)).astype(np.float32)


def test_settling_batch_norms_keeps_inference_and_makes_training_agree():
    K = keras_namespace("keras")
    model, images = two_batch_norms()
    before = np.array(model(images, training=False))
    settle_batch_norms(K, model, images, {"a", "b"})
    # float32 rounding of a changed but equal map
    np.testing.assert_allclose(np.array(model(images, training=False)), before, atol=1e-5)
    np.testing.assert_allclose(np.array(model(images, training=True)), before, atol=1e-4)


def test_measured_statistics_make_inference_agree_with_training():
    model, images = two_batch_norms()
    expected = np.array(model(images, training=True))
    momentum = model.get_layer("a").momentum
    measure_batch_norms(model, [images])
    np.testing.assert_allclose(np.array(model(images, training=False)), expected, atol=1e-4)  # float32 rounding
    assert model.get_layer("a").momentum == momentum


def test_measured_statistics_are_the_mean_over_batches():
    model, images = two_batch_norms()
    means = []
    for half in (images[:8], images[8:]):
        measure_batch_norms(model, [half])
        means.append(np.array(model.get_layer("a").moving_mean))
    measure_batch_norms(model, [images[:8], images[8:]])
    np.testing.assert_allclose(np.array(model.get_layer("a").moving_mean), np.mean(means, axis=0), atol=1e-6)
