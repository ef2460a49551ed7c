from __future__ import annotations

import numpy as np
import pytest
import tf_keras
from small_networks import lively_deeplab, liven, smooth_images

from edge_deeplab.calibration.calibrators import NAMES, Calibrator, choose_range
from edge_deeplab.calibration.observers import Histogram
from edge_deeplab.errors import ConversionError
from edge_deeplab.quantization.graph import quantize
from edge_deeplab.quantization.ranges import observe_histograms, set_chosen_ranges, set_ranges

L = tf_keras.layers


def two_convolutions() -> tf_keras.Model:
    """The least network with a rectified, a signed and a summed activation."""
    tf_keras.utils.set_random_seed(0)
    image = tf_keras.Input((32, 32, 3))
    x = L.ReLU(name="rectified")(L.BatchNormalization()(L.Conv2D(8, 3, padding="same", use_bias=False)(image)))
    y = L.BatchNormalization(name="signed")(L.Conv2D(8, 1, use_bias=False)(x))
    return liven(tf_keras.Model(image, L.Conv2D(2, 1, name="logits")(L.Add(name="summed")([x, y]))))


def test_ranges_are_the_extremes_of_the_float_network_and_hold_zero() -> None:
    model = lively_deeplab("mobilenet_v2")
    network = quantize(model)
    images = smooth_images(4)
    assert set_ranges(network, [images[:2], images[2:]]) == 4
    probe = tf_keras.Model(
        model.input, [model.get_layer("block_1_project_bn").output, model.get_layer("stem_act").output]
    )
    projected, stem = (np.asarray(tensor) for tensor in probe(images, training=False))
    low, high = (float(end) for end in network.ranges()["block_1_project_bn"])
    assert (low, high) == pytest.approx((projected.min(), projected.max()), rel=1e-5)
    assert [float(end) for end in network.ranges()["stem_act"]] == pytest.approx([0.0, stem.max()], rel=1e-5)


def test_setting_ranges_forgets_earlier_ones_and_leaves_batch_norm_alone() -> None:
    network = quantize(lively_deeplab("mobilenet_v2"))
    statistics = [variable.numpy() for variable in network.float_variables["stem_bn"]]
    set_ranges(network, [smooth_images(2)])
    once = {name: [float(end) for end in ends] for name, ends in network.ranges().items()}
    set_ranges(network, [smooth_images(2) * 0.1])
    set_ranges(network, [smooth_images(2)])
    assert {name: [float(end) for end in ends] for name, ends in network.ranges().items()} == once
    assert all(np.array_equal(a, b) for a, b in zip(statistics, network.float_variables["stem_bn"]))


def test_no_samples_is_an_error() -> None:
    image = tf_keras.Input((8, 8, 3))
    network = quantize(tf_keras.Model(image, L.Conv2D(2, 1)(image)))
    with pytest.raises(ConversionError, match="no calibration samples"):
        set_ranges(network, [])


def test_values_that_are_not_finite_name_their_layer() -> None:
    image = tf_keras.Input((8, 8, 3))
    network = quantize(tf_keras.Model(image, L.Conv2D(2, 1, name="boom")(image)))
    with pytest.raises(ConversionError, match="boom"):
        set_ranges(network, [np.full((1, 8, 8, 3), np.inf, np.float32)])


def test_histograms_are_those_of_the_float_networks_activations() -> None:
    model = two_convolutions()
    network = quantize(model)
    images = smooth_images(4, size_hw=(32, 32))
    set_ranges(network, [images])
    found = observe_histograms(network, [images[:3], images[3:]], bins=64)
    assert list(found) == list(network.ranges())
    for name in ("rectified", "signed", "summed", "logits"):
        values = np.asarray(tf_keras.Model(model.input, model.get_layer(name).output)(images, training=False))
        low, high = (float(end) for end in network.ranges()[name])
        direct = Histogram.of([values], low=low, high=high, bins=64)
        assert found[name].total == direct.total
        # float32 divides where numpy divides in float64: a value on a border may fall to either side
        assert found[name].zeros == pytest.approx(direct.zeros, abs=values.size / 1000)
        assert np.abs(found[name].counts - direct.counts).sum() <= values.size / 500


@pytest.mark.parametrize("name", NAMES)
def test_a_calibrator_sets_every_range_to_what_it_chooses(name: str) -> None:
    network = quantize(two_convolutions())
    images = smooth_images(4, size_hw=(32, 32))
    passes = 0

    def batches() -> list[np.ndarray]:
        nonlocal passes
        passes += 1
        return [images[:2], images[2:]]

    assert set_chosen_ranges(network, batches, Calibrator(name)) == 4
    assert passes == (1 if name == "min-max" else 2)
    chosen = {layer: tuple(float(end) for end in ends) for layer, ends in network.ranges().items()}
    set_ranges(network, batches())
    histograms = observe_histograms(network, batches())
    for layer, histogram in histograms.items():
        assert chosen[layer] == pytest.approx(choose_range(histogram, Calibrator(name)), rel=1e-6)
    if name != "min-max":
        assert any(high < histograms[layer].high for layer, (_, high) in chosen.items())
