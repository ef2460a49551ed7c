from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.quantization.scheme import (
    SMALLEST_KERNEL_PEAK,
    ActivationQuantizer,
    FakeQuant,
    FixedQuantizer,
    Switch,
    WeightQuantizer,
)


def build(quantizer: object, shape: tuple[int, ...]) -> dict[str, tf.Variable]:
    return quantizer.build(tf.TensorShape(shape), "x", tf_keras.layers.Layer())  # type: ignore[attr-defined]


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_depthwise_error_is_within_half_a_step_of_its_own_channel(channels: int, multiplier: int, seed: int) -> None:
    quantizer = WeightQuantizer(Switch(FakeQuant.HOLD), is_depthwise=True)
    rng = np.random.default_rng(seed)
    loudness = 10.0 ** rng.uniform(-3, 1, (1, 1, channels, multiplier))
    kernel = tf.constant(rng.normal(size=(3, 3, channels, multiplier)) * loudness, tf.float32)
    got = quantizer(kernel, True, build(quantizer, kernel.shape))
    steps = np.abs(kernel.numpy()).max(axis=(0, 1)) / 127
    assert (np.abs(got - kernel).max(axis=(0, 1)) <= 0.5 * steps * 1.001).all()


def test_stock_depthwise_quantizer_has_one_scale_for_all_channels() -> None:
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantizers

    stock = default_8bit_quantizers.Default8BitConvWeightsQuantizer()
    variables = stock.build(tf.TensorShape((3, 3, 5, 1)), "kernel", tf_keras.layers.Layer())
    assert variables["max_var"].shape == (1,), "tfmot mends issue 808: is_depthwise may go"
    assert WeightQuantizer(Switch(), is_depthwise=True).channels((3, 3, 5, 1)) == 5


def test_a_silent_channel_keeps_a_usable_scale() -> None:
    quantizer = WeightQuantizer(Switch(FakeQuant.HOLD))
    kernel = tf.constant(np.stack([np.zeros((1, 1, 3)), np.ones((1, 1, 3))], axis=-1), tf.float32)
    assert quantizer.peaks(kernel).numpy().tolist() == pytest.approx([SMALLEST_KERNEL_PEAK, 1.0])
    assert quantizer(kernel, True, build(quantizer, kernel.shape)).numpy() == pytest.approx(kernel.numpy())


def test_fixed_range_maps_pixels_to_themselves() -> None:
    quantizer = FixedQuantizer(Switch(FakeQuant.HOLD), low=0.0, high=1.0)
    pixels = tf.constant(np.arange(256) / 255, tf.float32)
    assert quantizer(pixels, False, {}).numpy() == pytest.approx(pixels.numpy(), abs=1e-7)


def test_ranges_move_in_training_while_tracking_alone() -> None:
    switch = Switch()
    quantizer = ActivationQuantizer(switch, decay=0.9)
    variables = build(quantizer, (1, 4))
    variables["high"].assign(1.0)
    values = tf.constant([[0.0, 1.0, 2.0, 11.0]])
    for state, training, high in (
        (FakeQuant.OFF, True, 1.0),
        (FakeQuant.HOLD, True, 1.0),
        (FakeQuant.TRACK, False, 1.0),
        (FakeQuant.TRACK, True, 2.0),
        (FakeQuant.OBSERVE, False, 11.0),
    ):
        with switch.set(state):
            quantizer(values, training, variables)
        assert float(variables["high"]) == pytest.approx(high), state


def test_the_switch_turns_back_after_an_error() -> None:
    switch = Switch(FakeQuant.HOLD)
    with pytest.raises(RuntimeError), switch.set(FakeQuant.OFF):
        raise RuntimeError
    assert switch.state is FakeQuant.HOLD
