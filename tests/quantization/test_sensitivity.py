from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from small_networks import liven, ready_network, signal_to_noise_db, smooth_images

from edge_deeplab.quantization.graph import QuantizedNetwork, quantize
from edge_deeplab.quantization.ranges import set_ranges
from edge_deeplab.quantization.scheme import FakeQuant
from edge_deeplab.quantization.sensitivity import (
    decibels,
    keep,
    layer_groups,
    layer_noise,
    mixed_call,
    output_sqnr_db,
    worst_first,
)

L = tf_keras.layers
IMAGES = smooth_images(4, size_hw=(32, 32))


def small_network(spread: float = 1.0) -> QuantizedNetwork:
    """Two branches, summed and concatenated; `spread` makes one channel that much larger, and no one reads it."""
    tf_keras.utils.set_random_seed(0)
    image = tf_keras.Input((32, 32, 3))
    x = L.ReLU(name="stem")(
        L.BatchNormalization(name="stem_bn")(L.Conv2D(8, 3, padding="same", use_bias=False, name="stem_conv")(image))
    )
    y = L.BatchNormalization(name="middle")(L.Conv2D(8, 1, use_bias=False, name="middle_conv")(x))
    total = L.Add(name="total")([x, y])
    left = L.ReLU(name="left")(L.Conv2D(4, 1, name="left_conv")(total))
    right = L.ReLU(name="right")(L.Conv2D(4, 3, padding="same", name="right_conv")(total))
    joined = L.Concatenate(name="joined")([left, right])
    model = liven(tf_keras.Model(image, L.Conv2D(2, 1, name="logits")(joined)))
    gamma = model.get_layer("middle").gamma
    gamma.assign(gamma * tf.constant([spread] + [1.0] * 7))
    if spread != 1.0:
        for name in ("left_conv", "right_conv"):
            kernel = model.get_layer(name).kernel
            kernel.assign(kernel * tf.reshape(tf.constant([0.0] + [1.0] * 7), (8, 1)))
    network = quantize(model)
    set_ranges(network, [IMAGES])
    return network


def float_and_rounded(network: QuantizedNetwork, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """A layer's output by Keras's own model, fake-quant off and on."""
    wrapper = next(wrapper for wrapper in network.wrappers() if wrapper.layer.name == layer)
    probe = tf_keras.Model(network.model.input, wrapper.output)
    with network.switch.set(FakeQuant.OFF):
        plain = np.asarray(probe(IMAGES, training=False))
    return plain, np.asarray(probe(IMAGES, training=False))


def test_decibels_by_hand() -> None:
    assert decibels(100.0, 1.0) == pytest.approx(20.0)
    assert decibels(1.0, 0.0) == math.inf
    assert decibels(0.0, 1.0) == -math.inf


def test_groups_are_what_becomes_one_int8_tensor() -> None:
    groups = {group.name: group for group in layer_groups(small_network())}
    assert list(groups) == ["quantize_input", "stem", "middle", "total", "joined", "logits"]
    assert groups["stem"].layers == ("stem_conv", "stem_bn", "stem")
    assert groups["total"].layers == ("total",)
    assert set(groups["joined"].layers) == {"left_conv", "left", "right_conv", "right", "joined"}
    assert [group.kind for group in groups.values()] == ["input", "Conv2D", "Conv2D", "Add", "Conv2D", "Conv2D"]


def test_every_layer_that_rounds_is_in_one_group() -> None:
    network = ready_network("mobilenet_v3_small")
    grouped = [name for group in layer_groups(network) for name in group.layers]
    assert len(grouped) == len(set(grouped))
    rounding = {wrapper.layer.name for wrapper in network.wrappers() if wrapper._weight_vars} | set(network.ranges())
    assert rounding <= set(grouped)


def test_noise_behind_all_earlier_layers_is_that_of_the_whole_network() -> None:
    network = small_network()
    for noise in layer_noise(network, [IMAGES[:3], IMAGES[3:]]):
        if noise.group.kind == "input":
            assert noise.sqnr_db > 120.0  # 8-bit pixels pass, but for float32's own rounding
            continue
        plain, rounded = float_and_rounded(network, noise.group.name)
        assert noise.sqnr_db == pytest.approx(signal_to_noise_db(plain, rounded), abs=0.01)


def test_noise_of_a_layer_alone_is_its_own_rounding_of_float_inputs() -> None:
    network = small_network()
    alone = {noise.group.name: noise for noise in layer_noise(network, [IMAGES])}
    total, _ = float_and_rounded(network, "total")
    low, high = (float(end) for end in network.ranges()["total"])
    rounded = np.asarray(tf.quantization.fake_quant_with_min_max_args(total, min=low, max=high, num_bits=8))
    assert alone["total"].alone_db == pytest.approx(signal_to_noise_db(total, rounded), abs=0.01)
    assert alone["stem"].alone_db == pytest.approx(alone["stem"].sqnr_db)  # nothing lossy stands before it
    assert alone["logits"].output_db == pytest.approx(alone["logits"].alone_db)  # it is the output
    assert all(noise.alone_db >= noise.sqnr_db - 0.5 for noise in alone.values())


def test_the_layer_with_one_huge_channel_is_named_worst_and_keeping_it_pays() -> None:
    network = small_network(spread=200.0)
    noises = layer_noise(network, [IMAGES])
    worst = worst_first(noises)[:2]
    assert {noise.group.name for noise in worst} == {"middle", "total"}
    whole, half, wide = output_sqnr_db(
        network, [IMAGES], [{}, keep(worst, FakeQuant.FLOAT16), keep(worst, FakeQuant.INT16)]
    )
    plain, rounded = float_and_rounded(network, "logits")
    assert whole == pytest.approx(signal_to_noise_db(plain, rounded), abs=0.01)
    assert min(half, wide) > whole + 3.0


def test_keeping_everything_in_half_precision_leaves_its_rounding_alone() -> None:
    network = small_network()
    noises = layer_noise(network, [IMAGES])
    (kept,) = output_sqnr_db(network, [IMAGES], [keep(noises, FakeQuant.FLOAT16)])
    assert 50.0 < kept < 80.0  # 11 significant bits: 66 dB for one rounding


def test_sixteen_bit_activations_round_half_a_step_of_the_larger_end() -> None:
    network = small_network()
    states = {name: FakeQuant.OFF for group in layer_groups(network) for name in group.layers}
    values = np.asarray(mixed_call(network, {**states, "total": FakeQuant.INT16})(tf.constant(IMAGES)))
    plain = np.asarray(mixed_call(network, states)(tf.constant(IMAGES)))
    difference = np.abs(values - plain).max()
    assert 0 < difference < np.abs(plain).max() * 1e-3


def test_a_mixed_network_is_the_network_when_nothing_is_mixed_and_keeps_its_states_when_traced_later() -> None:
    network = small_network()
    images = tf.constant(IMAGES)
    whole = np.asarray(network.model(images, training=False))
    traced: Any = tf.function(mixed_call(network, {}), autograph=False)
    with network.switch.set(FakeQuant.OFF):
        got = np.asarray(traced(images))
    assert np.array_equal(got, whole)
    assert network.switch.state is FakeQuant.HOLD


def test_no_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match="no batch"):
        layer_noise(small_network(), [])
