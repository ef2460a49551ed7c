"""The average of the weights is theirs from the first steps on."""

import numpy as np
import pytest

from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.training.optimizer import averaging_adamw


@pytest.mark.parametrize("decay", [0.999, 0.3])
def test_the_average_is_that_of_the_steps_and_forgets_the_start(decay):
    K = keras_namespace("keras")
    variable = K.Variable(np.full(3, 100.0, np.float32))
    optimizer = averaging_adamw(K, decay)(0.5, weight_decay=0.0)
    optimizer.build([variable])
    expected = np.full(3, 100.0)
    for step in range(40):
        optimizer.apply([K.ops.ones(3)], [variable])
        kept = min(decay, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * K.ops.convert_to_numpy(variable)
    optimizer.finalize_variable_values([variable])
    np.testing.assert_allclose(K.ops.convert_to_numpy(variable), expected, rtol=1e-5)
    assert abs(expected[0] - (100 - 0.5 * 40)) < 6  # a constant decay of 0.999 would have stayed at 99


def test_no_decay_keeps_no_average():
    K = keras_namespace("keras")
    assert not averaging_adamw(K, 0.0)(1e-3).use_ema


def test_a_variable_learns_at_its_share_of_the_rate():
    K = keras_namespace("keras")
    variables = [K.Variable(np.zeros(3, np.float32), name=name) for name in ("backbone", "head", "frozen")]
    shares = {"backbone": 0.1, "head": 1.0, "frozen": 0.0}
    optimizer = averaging_adamw(K, 0.0, share_of=lambda variable: shares[variable.name])(0.5, weight_decay=0.0)
    optimizer.build(variables)
    for _ in range(5):
        optimizer.apply([K.ops.ones(3)] * 3, variables)
    backbone, head, frozen = (K.ops.convert_to_numpy(variable) for variable in variables)
    np.testing.assert_allclose(head, -2.5, rtol=1e-4)
    np.testing.assert_allclose(backbone, 0.1 * head, rtol=1e-4)
    assert not frozen.any()
