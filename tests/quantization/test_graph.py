from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from small_networks import BACKBONES, lively_deeplab, ready_network, signal_to_noise_db, smooth_images

from edge_deeplab.errors import ConversionError
from edge_deeplab.quantization.graph import quantize
from edge_deeplab.quantization.ranges import set_ranges
from edge_deeplab.quantization.scheme import FakeQuant

EQUAL_DB = 80.0  # float rounding alone; a permuted concatenation is below 10 dB
L = tf_keras.layers


def branches(order: int = 1) -> tf_keras.Model:
    """Two branches of different content into a Concatenate; order -1 turns its inputs round."""
    tf_keras.utils.set_random_seed(0)
    image = tf_keras.Input((16, 16, 3))
    first = L.ReLU(name="early")(L.BatchNormalization()(L.Conv2D(4, 3, padding="same", use_bias=False)(image)))
    second = L.ReLU(name="late")(L.BatchNormalization()(L.Conv2D(4, 3, padding="same", use_bias=False)(first)))
    pooled = L.MaxPooling2D(3, strides=1, padding="same")(first)
    return tf_keras.Model(image, L.Conv2D(2, 1)(L.Concatenate()([second, pooled][::order])))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_graph_with_fake_quant_off_equals_the_float_network(backbone: str) -> None:
    model = lively_deeplab(backbone, form="int8")
    network = ready_network(backbone)
    images = smooth_images(2)
    with network.switch.set(FakeQuant.OFF):
        got = network.model(images, training=False)
    assert signal_to_noise_db(model(images, training=False), got) >= EQUAL_DB


def test_stock_tfmot_permutes_a_concatenation_and_ours_does_not() -> None:
    import tensorflow_model_optimization as tfmot
    from tensorflow_model_optimization.python.core.quantization.keras import quant_ops

    images, stock_db, our_db = smooth_images(2)[:, :16, :16], [], []
    for order in (1, -1):
        model = branches(order)
        stock = tfmot.quantization.keras.quantize_model(model)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(quant_ops, "_FakeQuantWithMinMaxVars", lambda inputs, *_, **__: inputs)
            stock_db.append(signal_to_noise_db(model(images, training=False), stock(images, training=False)))
        network = quantize(model)
        with network.switch.set(FakeQuant.OFF):
            our_db.append(signal_to_noise_db(model(images, training=False), network.model(images, training=False)))
    assert min(stock_db) < 20, "tfmot mends issues 1061 and 1179: say so in scheme.py"
    assert min(our_db) >= EQUAL_DB


def test_quantizing_leaves_the_float_model_untouched() -> None:
    model = branches()
    before = [array.copy() for array in model.get_weights()]
    network = quantize(model)
    set_ranges(network, [smooth_images(2)[:, :16, :16]])
    for variable in network.trainable_variables():
        variable.assign(tf.zeros_like(variable))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))


def test_trainable_variables_leave_batch_norm_out_when_frozen() -> None:
    network = quantize(branches())
    everything, without = network.trainable_variables(), network.trainable_variables(with_batch_norm=False)
    assert len(everything) == len(without) + 4  # two batch norms' gammas and betas, never their statistics
    assert len({id(variable) for variable in everything}) == len(everything)


def test_gradients_reach_every_kernel_through_the_fake_quant() -> None:
    network = quantize(branches())
    images = smooth_images(2)[:, :16, :16]
    set_ranges(network, [images])
    variables = network.trainable_variables()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(network.model(images, training=True) ** 2)
    assert all(gradient is not None for gradient in tape.gradient(loss, variables))


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (lambda x: L.Lambda(lambda y: y * 2, name="twice")(x), "twice"),
        (lambda x: x * 2.0, "tf.math.multiply"),
        (lambda x: L.Activation("swish", name="silky")(x), "silky"),
        (lambda x: L.LayerNormalization(name="normed")(x), "normed"),
    ],
)
def test_a_layer_without_int8_form_is_refused_by_name(broken: object, named: str) -> None:
    image = tf_keras.Input((8, 8, 3))
    model = tf_keras.Model(image, broken(L.Conv2D(2, 1)(image)))  # type: ignore[operator]
    with pytest.raises(ConversionError, match=named):
        quantize(model)


def test_a_layer_used_twice_is_refused_by_name() -> None:
    image = tf_keras.Input((8, 8, 3))
    shared = L.Conv2D(3, 1, name="shared")
    model = tf_keras.Model(image, shared(shared(image)))
    with pytest.raises(ConversionError, match="shared"):
        quantize(model)
