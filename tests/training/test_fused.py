"""The fused batch norm is Keras's own: outputs, gradients and statistics."""

import numpy as np
import pytest

from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.training.fused import fuse_batch_norms

tf = pytest.importorskip("tensorflow")


@pytest.fixture
def networks():
    """The same network as Keras has it and with fused batch norms, and pictures."""
    K = keras_namespace("keras")
    made = []
    for _ in range(2):
        K.utils.set_random_seed(0)
        made.append(K.Sequential([
            K.layers.Input((16, 16, 3)), K.layers.Conv2D(8, 3, use_bias=False), K.layers.BatchNormalization(),
            K.layers.ReLU(6.0), K.layers.DepthwiseConv2D(3, use_bias=False), K.layers.BatchNormalization(momentum=0.9),
            K.layers.Conv2D(4, 1),
        ]))  # fmt: skip
    fuse_batch_norms(K, made[1])
    return *made, np.random.default_rng(0).random((4, 16, 16, 3), np.float32)


def learn_once(model, images):
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        loss = tf.reduce_mean(tf.square(outputs - 0.3))
    return outputs.numpy(), tape.gradient(loss, [variable.value for variable in model.trainable_variables])


def test_outputs_gradients_and_statistics_are_keras_own(networks):
    plain, fused, images = networks
    expected, gradients = learn_once(plain, images)
    came, came_gradients = learn_once(fused, images)
    assert "FusedBatchNorm" in str(tf.function(lambda x: fused(x, training=True)).get_concrete_function(images).graph
                                   .as_graph_def())  # fmt: skip
    np.testing.assert_allclose(came, expected, atol=1e-5)
    for one, other in zip(came_gradients, gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    for one, other in zip(fused.non_trainable_variables, plain.non_trainable_variables, strict=True):
        assert "moving" not in one.path or one.numpy().std() > 0  # it moved
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-6, err_msg=one.path)


def test_inference_and_frozen_layers_stay_as_they_were(networks):
    plain, fused, images = networks
    np.testing.assert_array_equal(fused(images, training=False), plain(images, training=False))
    for model in (plain, fused):
        for layer in model.layers:
            layer.trainable = False
    before = [variable.numpy() for variable in fused.variables]
    np.testing.assert_array_equal(fused(images, training=True), plain(images, training=True))
    for variable, was in zip(fused.variables, before):
        np.testing.assert_array_equal(variable.numpy(), was)
